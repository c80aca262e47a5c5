"""Values to JSON text and back, equal in value and type, without running any code.

JSON that Python's own `json` can hold stays as it is. What it cannot hold is an object with the key
`"$rowtrail"`, that names a type from a closed list; a user's dict with such a key is wrapped, so
that text from outside can never pass for a tag. Decoding builds only types of that list.
"""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Self, cast

from rowtrail.content._arrays import optional_codec, optional_codec_of_tag
from rowtrail.content._canonical import canonical_json
from rowtrail.content._classes import class_codec, codec_of_tag
from rowtrail.content._plain import is_plain, is_short_int, write_fast, write_plain
from rowtrail.content._tagged import TAG, TypeCodec, expect, kind_of
from rowtrail.errors import CorruptRowError, UnstorableError

MAX_DEPTH = 200  # a level takes up to 3 of JSON; SQLite's functions refuse 1,000, older ones 2,000
_DECIMAL_BITS = 10_000  # longer ones are written in base 16: Python limits base 10 to 4,300 digits
_PLAIN = frozenset({str, bool, type(None)})
_STRINGS = frozenset({str})
_JSON = _PLAIN | {int, float, list, dict}
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPLIT_PAIR = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
_ESCAPE = re.compile(r"\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|u(0000|d[89a-f][0-9a-f]{2})|.)")
_EXACT = b"rowtrail:json\0"
"""What `data` begins with where it is JSON; no serializer's word has a colon."""


@dataclass(slots=True)
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

    @classmethod
    def of_json(cls, type_: str, json_text: str) -> Encoded:
        """Return the form of a value that is JSON, with what no database holds as text beside it.

        NUL ends a text for SQLite's functions and PostgreSQL has none, half a surrogate is none of
        UTF-8's characters: one tool's output with either would make a view fail for all readers.
        """
        shown = legible(json_text)
        if shown is json_text:
            return cls(type_, json_text, None, f"{type_}\0{json_text}".encode())
        data = _EXACT + json_text.encode()
        return cls(type_, shown, data, type_.encode() + b"\0" + data)

    @property
    def json(self) -> str | None:
        """The JSON text that the value is built from; None where a serializer's bytes are it."""
        if self.data is None:
            return self.text
        return self.data[len(_EXACT) :].decode() if self.data.startswith(_EXACT) else None


_registered: dict[type, TypeCodec] = {}
_registered_tags: dict[str, TypeCodec] = {}


def register_form(codec: TypeCodec) -> None:
    """Say how objects of a framework's class are written by journals that know no adapter.

    Args:
        codec: Its tag has a dot, so that a process without the adapter says what it cannot read.
    """
    _registered[codec.type] = codec
    _registered_tags[codec.tag] = codec


class Codec:
    """Encodes values to JSON text; adapters add the types of their framework."""

    is_opaque: bool = False
    """Whether nothing of what it encodes may be stored as text: it encrypts."""

    def __init__(self, extra: tuple[TypeCodec, ...] = ()) -> None:
        from rowtrail.content._types import BUILTIN  # decimal and uuid: not for `import rowtrail`

        codecs = (*BUILTIN, *extra)
        self._by_type: dict[type, TypeCodec] = {codec.type: codec for codec in codecs}
        self._by_tag = {codec.tag: codec for codec in codecs}
        self._names_classes = True
        self._doubted: set[str] = set()
        """Tags of classes of which nothing but their names is known: what is written of them is
        read back and compared before it is trusted."""

    def with_classes(self, codecs: tuple[TypeCodec, ...]) -> Self:
        """Return a codec that also knows these classes, whether or not a row could name them.

        A class that has a form of its own keeps it.
        """
        known = self._by_type.keys() | _registered.keys()
        codecs = tuple(codec for codec in codecs if codec.type not in known)
        clone = copy.copy(self)
        clone._by_type = {**self._by_type, **{codec.type: codec for codec in codecs}}
        clone._by_tag = {**self._by_tag, **{codec.tag: codec for codec in codecs}}
        clone._doubted = self._doubted | {codec.tag for codec in codecs}
        return clone

    def encode(self, value: Any) -> Encoded:
        """Return the stored form of `value`.

        Raises:
            UnstorableError: The value, or a part of it, has no form that gives it back equal.
        """
        kind = kind_of(value)
        try:
            if is_plain(value):
                return Encoded.of_json(kind.__name__, _dump_plain(value))
            codec = self._by_type.get(kind) or self._codec_of(kind)
            if codec is not None and codec.flat:
                name, text = codec.tag, _dump_exactly(self.to_json(codec.encode(value)))
            else:
                name, text = kind.__name__, _dump_exactly(self.to_json(value))
        except RecursionError as error:  # the caller's own calls are nested deep
            raise UnstorableError(
                "the value is nested too deep for the stack", type_name=kind.__name__
            ) from error
        encoded = Encoded.of_json(name, text)
        if name in self._doubted or (
            TAG in text and any(tag in text for tag in tuple(self._doubted))
        ):
            self._check(value, encoded)
        return encoded

    def _check(self, value: Any, encoded: Encoded) -> None:
        try:
            again = self.decode(encoded)
            is_equal = type(again) is type(value) and self._is_equal(again, value, encoded)
        except Exception:  # constructors of the user's own
            is_equal = False
        if not is_equal:
            raise UnstorableError(
                f"a {encoded.type} that is not equal when it is built again from its fields",
                type_name=encoded.type,
            )

    def _is_equal(self, again: Any, value: Any, encoded: Encoded) -> bool:
        try:
            return bool(again == value)
        except Exception:  # arrays have no single answer, and nor has what contains one
            codec = self._codec_of(kind_of(again))
            is_flat = codec is not None and codec.flat
            parts = codec.encode(again) if codec is not None and is_flat else again
            return _dump_exactly(self.to_json(parts)) == encoded.json

    def encode_shown(self, value: Any, *, is_known_plain: bool = False) -> Encoded:
        """Return a form of `value` for people to read: what has no stored form is shown by repr.

        No object is built again to see whether it is equal: arguments may be of any class.

        Args:
            value: What is shown.
            is_known_plain: Whether `canonical` has found that it is plain.
        """
        if is_known_plain or is_plain(value):
            return Encoded.of_json(type(value).__name__, _dump_plain(value))
        shown = copy.copy(self)
        shown._names_classes = False
        try:
            return shown.encode(value)
        except UnstorableError:
            return self.encode_canonical(value, canonical_json(value))

    def encode_canonical(self, value: Any, text: str) -> Encoded:
        """Return a form of `value` that shows its canonical text, which is at hand."""
        shown = legible(text)
        return Encoded(type(value).__name__, shown, None, f"shown\0{shown}".encode())

    def decode_shown(self, stored: Encoded) -> Any:
        """Return what `encode_shown` was given, or what it shows of a value without a form."""
        try:
            return self.decode(stored)
        except CorruptRowError:
            return None if stored.text is None else json.loads(stored.text)

    def decode(self, stored: Encoded) -> Any:
        """Return the value of a stored form.

        Raises:
            CorruptRowError: The text is not what `encode` writes.
        """
        try:
            return self.revive(stored.type, self.from_json(json.loads(stored.json or "")))
        except CorruptRowError:
            raise
        except Exception as error:  # whatever a decoder says to text that its encoder never wrote
            raise CorruptRowError(
                f"stored {stored.type} cannot be read back ({type(error).__name__}: {error}): "
                "run `rowtrail verify`",
                row=stored.type,
            ) from error

    def revive(self, stored_type: str, value: Any) -> Any:
        """Return the value of a stored type whose JSON is this, as `from_json` gives it."""
        codec = self._by_tag.get(stored_type)
        if codec is None and "." in stored_type:
            codec = self._codec_of_tag(stored_type)
        return codec.decode(value) if codec is not None and codec.flat else value

    def to_json(self, value: Any, depth: int = 0) -> Any:
        """Return `value` made of JSON types only; the value itself where it is so already."""
        kind = kind_of(value)
        if kind in _PLAIN:
            return value
        if depth > MAX_DEPTH:
            raise UnstorableError(
                f"the value is nested deeper than {MAX_DEPTH} levels", type_name=kind.__name__
            )
        depth += 1
        if kind is list:
            return [self.to_json(item, depth) for item in value]
        if kind is dict:
            if TAG not in value and _STRINGS.issuperset(map(type, value)):
                # Most of what is in messages is plain: no call for each.
                return {
                    key: item if type(item) in _PLAIN else self.to_json(item, depth)
                    for key, item in value.items()
                }
            pairs = [[self.to_json(k, depth), self.to_json(v, depth)] for k, v in value.items()]
            return {TAG: "dict", "v": pairs}
        if kind is int or kind is float:
            return _number_to_json(value)
        codec = self._codec_of(kind)
        if codec is None:
            return self.unknown_to_json(value)
        inner = self.to_json(codec.encode(value), depth)
        return {TAG: codec.tag, "v": sorted(inner, key=json.dumps) if codec.unordered else inner}

    def _codec_of(self, kind: type) -> TypeCodec | None:
        if kind in _JSON:
            return None
        registered = _registered.get(kind) if self._names_classes else None
        known = self._by_type.get(kind) or registered or optional_codec(kind)
        return known or self.class_codec(kind)

    def class_codec(self, kind: type) -> TypeCodec | None:
        """Return how objects of a class of the program's own are written, None if they are not."""
        codec = class_codec(kind) if self._names_classes else None
        if codec is not None:
            self._doubted.add(codec.tag)
        return codec

    def class_of_tag(self, tag: str) -> TypeCodec:
        """Return how the class is read that a row names.

        Raises:
            UnknownClassError: It is not loaded, or no data type.
        """
        return codec_of_tag(tag)

    def _codec_of_tag(self, tag: str) -> TypeCodec:
        codec = self._by_tag.get(tag) or _registered_tags.get(tag)
        if codec is None:
            codec = self.class_of_tag(tag) if "." in tag else optional_codec_of_tag(tag)
        if codec is None:
            raise KeyError(tag)
        return codec

    def unknown_to_json(self, value: Any) -> Any:
        """Return the JSON of a value of an unknown type; adapters may know more.

        Raises:
            UnstorableError: There is none.
        """
        kind = kind_of(value)
        raise UnstorableError(
            f"a {kind.__module__}.{kind.__qualname__} has no stored form",
            type_name=kind.__qualname__,
        )

    def from_json(self, value: Any) -> Any:
        """Undo `to_json`."""
        kind = kind_of(value)
        if kind is list:
            return [self.from_json(item) for item in value]
        if kind is not dict:
            return value
        fields = cast("dict[str, Any]", value)
        if TAG not in fields:
            return {key: self.from_json(item) for key, item in fields.items()}
        if fields.keys() != {TAG, "v"}:
            raise ValueError("a tagged value has other fields")
        tag, inner = fields[TAG], fields["v"]
        if tag == "dict":
            pairs = (expect(list, pair) for pair in expect(list, inner))
            return {self.from_json(k): self.from_json(v) for k, v in pairs}
        if tag == "int":
            return int(expect(str, inner), 0)
        if tag == "float":
            return float(expect(str, inner))
        if tag == "str":
            return "".join(expect(list, inner))
        return self._codec_of_tag(tag).decode(self.from_json(inner))


def _number_to_json(value: int | float) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}
    if is_short_int(value):
        return value
    return {TAG: "int", "v": str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)}


_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _dump_plain(value: Any) -> str:
    """Return JSON of a plain value, from which the very characters are read back."""
    text = write_fast(value)
    if text is None:
        text = write_plain(value)
        if not text.isascii() and _SURROGATE.search(text):
            return _dump_exactly(value)
    return text


def _dump_exactly(value: Any) -> str:
    """Return JSON from which the very characters are read back."""
    text = write_plain(value)
    if text.isascii():
        return text
    if _SPLIT_PAIR.search(text):
        value = _split_pairs(value)  # escaped, the two halves would be read back as one character
    elif not _SURROGATE.search(text):
        return text
    return dump_json(value)


def _split_pairs(value: Any) -> Any:
    if isinstance(value, str):
        return {TAG: "str", "v": _SPLIT_PAIR.split(value)} if _SPLIT_PAIR.search(value) else value
    kind = kind_of(value)
    if kind is list:
        return [_split_pairs(item) for item in value]
    if kind is not dict:
        return value
    fields = cast("dict[str, Any]", value)
    if any(_SPLIT_PAIR.search(key) for key in fields):
        pairs = [[_split_pairs(key), _split_pairs(item)] for key, item in fields.items()]
        return {TAG: "dict", "v": pairs}
    return {key: _split_pairs(item) for key, item in fields.items()}


def legible(json_text: str) -> str:
    """Return JSON text whose strings every database can hold; itself where they are so."""
    if "\\u" not in json_text:
        return json_text
    shown = _ESCAPE.sub(_legible_escape, json_text)
    return json_text if shown == json_text else shown


def _legible_escape(escape: re.Match[str]) -> str:
    code = escape[1]
    if code is None:
        return escape[0]
    return "\u2400" if code == "0000" else "\ufffd"


def dump_json(value: Any) -> str:
    """Return compact JSON text that SQLite can store: a lone surrogate is written escaped."""
    text = _dump(value)
    if not text.isascii() and _SURROGATE.search(text):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text
