"""Values to JSON text and back, equal in value and type, without running any code.

JSON that Python's own `json` can hold stays as it is. What it cannot hold is an object with one key,
`"$rowtrail"`, that names a type from a closed list; a user's dict with such a key is wrapped, so
that text from outside can never pass for a tag. Decoding builds only types of that list.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowtrail.errors import CorruptRowError, UnstorableError

TAG = "$rowtrail"
MAX_DEPTH = 200  # SQLite's JSON functions refuse 1,000 levels, older ones 2,000; Python recurses
LONGEST_INT = 2**63 - 1
_PLAIN = frozenset({str, bool, type(None)})
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Encoded:
    """A value in its stored form.

    `text` is JSON that the views show, None where there is none. `data` is set when the text alone
    cannot rebuild the value. `identity` is what the content hash is made of: equal values give
    equal bytes; None means that the value must not be shared.
    """

    type: str
    text: str | None
    data: bytes | None = None
    identity: bytes | None = None


@dataclass(frozen=True)
class TypeCodec:
    """How one type outside JSON is written and read back.

    `encode` gives a value made of JSON types and of other known types; `decode` gets it back.
    """

    tag: str
    type: type
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    flat: bool = False
    """At the top of a value, write the JSON of `encode` bare: the stored type names the codec."""


_BUILTIN = (
    TypeCodec("tuple", tuple, list, tuple),
    TypeCodec("set", set, lambda v: sorted(v, key=repr), set),
    TypeCodec("frozenset", frozenset, lambda v: sorted(v, key=repr), frozenset),
    TypeCodec("bytes", bytes, lambda v: base64.b64encode(v).decode(), base64.b64decode),
    TypeCodec("datetime", datetime, datetime.isoformat, datetime.fromisoformat),
    TypeCodec("date", date, date.isoformat, date.fromisoformat),
    TypeCodec("time", time, time.isoformat, time.fromisoformat),
    TypeCodec(
        "timedelta",
        timedelta,
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda v: timedelta(v[0], v[1], v[2]),
    ),
    TypeCodec("decimal", Decimal, str, Decimal),
    TypeCodec("uuid", UUID, str, UUID),
    TypeCodec("complex", complex, lambda v: [v.real, v.imag], lambda v: complex(v[0], v[1])),
)


class Codec:
    """Encodes values to JSON text; adapters add the types of their framework."""

    def __init__(self, extra: tuple[TypeCodec, ...] = ()) -> None:
        codecs = (*_BUILTIN, *extra)
        self._by_type = {codec.type: codec for codec in codecs}
        self._by_tag = {codec.tag: codec for codec in codecs}

    def encode(self, value: Any) -> Encoded:
        """Return the stored form of `value`.

        Raises:
            UnstorableError: The value, or a part of it, has no form that gives it back equal.
        """
        codec = self._by_type.get(type(value))
        if codec is not None and codec.flat:
            name, text = codec.tag, dump_json(self.to_json(codec.encode(value)))
        else:
            name, text = type(value).__name__, dump_json(self.to_json(value))
        return Encoded(name, text, None, f"{name}\0{text}".encode())

    def encode_shown(self, value: Any) -> Encoded:
        """Return a form of `value` for people to read: what has no stored form is shown by repr."""
        try:
            return self.encode(value)
        except UnstorableError:
            text = canonical_json(value)
            return Encoded(type(value).__name__, text, None, f"shown\0{text}".encode())

    def decode(self, stored: Encoded) -> Any:
        """Return the value of a stored form.

        Raises:
            CorruptRowError: The text is not what `encode` writes.
        """
        try:
            value = self.from_json(json.loads(stored.text or ""))
            codec = self._by_tag.get(stored.type)
            return codec.decode(value) if codec is not None and codec.flat else value
        except (ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
            raise CorruptRowError(
                f"stored {stored.type} cannot be read back ({error}): run `rowtrail verify`",
                row=stored.type,
            ) from error

    def to_json(self, value: Any, depth: int = 0) -> Any:
        """Return `value` made of JSON types only; the value itself where it is so already."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if depth > MAX_DEPTH:
            raise UnstorableError(
                f"the value is nested deeper than {MAX_DEPTH} levels", type_name=kind.__name__
            )
        if kind is list:
            return [self.to_json(item, depth + 1) for item in value]
        if kind is dict:
            return self._dict_to_json(value, depth)
        if kind is int:
            return value if -LONGEST_INT <= value <= LONGEST_INT else {TAG: "int", "v": str(value)}
        if kind is float:
            return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}
        codec = self._by_type.get(kind)
        if codec is None:
            raise UnstorableError(
                f"a {kind.__module__}.{kind.__qualname__} has no stored form",
                type_name=kind.__qualname__,
            )
        return {TAG: codec.tag, "v": self.to_json(codec.encode(value), depth + 1)}

    def _dict_to_json(self, value: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: self.to_json(item, depth + 1) for key, item in value.items()}
        pairs = [
            [self.to_json(k, depth + 1), self.to_json(v, depth + 1)] for k, v in value.items()
        ]
        return {TAG: "dict", "v": pairs}

    def from_json(self, value: Any) -> Any:
        """Undo `to_json`."""
        if type(value) is list:
            return [self.from_json(item) for item in value]
        if type(value) is not dict:
            return value
        if TAG not in value:
            return {key: self.from_json(item) for key, item in value.items()}
        tag, inner = value[TAG], value["v"]
        if tag == "dict":
            return {self.from_json(k): self.from_json(v) for k, v in inner}
        if tag == "int":
            return int(inner)
        if tag == "float":
            return float(inner)
        return self._by_tag[tag].decode(self.from_json(inner))


def dump_json(value: Any) -> str:
    """Return compact JSON text that SQLite can store: a lone surrogate is written escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if _SURROGATE.search(text):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def canonical_json(value: Any) -> str:
    """Return JSON text that is the same for equal values: sorted keys, unknown types by repr.

    For fingerprints only, never to be read back.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_canonical)
    except (TypeError, ValueError, RecursionError):  # keys of several types, a cycle
        return json.dumps(_ADDRESS.sub("", repr(value)))


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def _canonical(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted((canonical_json(v) for v in value))
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    for dump in ("model_dump", "_asdict"):
        method = getattr(value, dump, None)
        if callable(method) and not isinstance(value, type):
            return {type(value).__qualname__: method()}
    if isinstance(value, type) or callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {type(value).__qualname__: {name: getattr(value, name) for name in fields}}
    return _ADDRESS.sub("", repr(value))
