"""One text for equal requests: what fingerprints are made of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import chain
from typing import Any, cast

from rowtrail.content._tagged import TAG, kind_of

MAX_NESTING = 200
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_ELIDED = "..."
_DECIMAL_BITS = 10_000


def canonical_json(value: Any) -> str:
    """Return JSON text that is the same for equal values and differs for others.

    Keys are sorted and types told apart. What has no data to look at is told by its repr without
    addresses, functions by their names. For fingerprints and for people, never to be read back.
    """
    try:
        return _dump(_plain(value, ()))
    except RecursionError:  # the caller's own calls are nested deep
        return _dump(_deep(value))


def _dump(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    """Return `value` made of JSON types; `around` are the ids of the containers that it is in."""
    kind = kind_of(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if value.bit_length() < _DECIMAL_BITS else _tagged("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if id(value) in around:
        return _tagged("cycle", None)
    if len(around) > MAX_NESTING:
        return _deep(value)
    around = (*around, id(value))
    if kind is list:
        return [_plain(item, around) for item in value]
    if kind is dict and TAG not in value and all(type(key) is str for key in value):
        return {key: _plain(item, around) for key, item in value.items()}
    return _other(value, lambda part: _plain(part, around))


def _other(value: Any, plain: Callable[[Any], Any]) -> Any:
    kind = kind_of(value)
    parts: Any = value
    if isinstance(value, dict):
        pairs = [[plain(k), plain(v)] for k, v in parts.items()]
        return _tagged(kind.__qualname__, sorted(pairs, key=_dump))
    if isinstance(value, (set, frozenset)):
        return _tagged(kind.__qualname__, sorted((plain(v) for v in parts), key=_dump))
    if isinstance(value, (bytes, bytearray)):
        return _tagged(kind.__qualname__, bytes(value).hex())
    if isinstance(value, type):
        return _tagged("type", f"{value.__module__}.{value.__qualname__}")
    fields = _fields(value)
    if fields is not None:
        return _tagged(kind.__qualname__, plain(fields))
    if isinstance(value, (list, tuple)):
        return _tagged(kind.__qualname__, [plain(v) for v in parts])
    if callable(value) and hasattr(value, "__qualname__"):
        return _tagged("function", f"{value.__module__}.{value.__qualname__}")
    return _tagged(kind.__qualname__, _described(value))


def _tagged(name: str, content: Any) -> dict[str, Any]:
    return {TAG: name, "v": content}


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a model, a dataclass or a named tuple, None for anything else."""
    for dump in ("model_dump", "_asdict"):
        method = getattr(value, dump, None)
        if callable(method):
            try:
                return cast("dict[str, Any]", method())
            except Exception:  # whatever a model's own serializers say: look at its repr
                return None
    fields = getattr(value, "__dataclass_fields__", None)
    return None if fields is None else {name: getattr(value, name, None) for name in fields}


def _described(value: Any) -> Any:
    """Return what tells a value of an unknown type from others: its buffer, else its repr."""
    try:
        with memoryview(value) as view:
            return [view.format, list(view.shape or ()), _digest(view.tobytes())]
    except (TypeError, ValueError, NotImplementedError):
        text = _repr(value)
    # Arrays, frames and tensors leave out their middle: two long ones would look the same.
    return [text, _pickled(value)] if _ELIDED in text else text


def _repr(value: Any) -> str:
    try:
        return _ADDRESS.sub("", repr(value))
    except Exception as error:  # a repr of the user's own
        return f"repr raised {type(error).__name__}"


def _pickled(value: Any) -> str | None:
    import pickle

    try:
        return _digest(pickle.dumps(value, protocol=4))  # never loaded
    except Exception:  # whatever a type says that cannot be pickled
        return None


def _digest(data: bytes) -> str:
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()


def _deep(value: Any) -> Any:
    """Return a digest of a value that is nested too deep for recursion, walked with a stack."""
    from hashlib import blake2b

    digest = blake2b(digest_size=16)
    todo: list[Any] = [value]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        kind = kind_of(item)
        if kind not in (list, tuple, dict):
            told = _repr(item)
        elif id(item) in seen:
            told = "seen"
        else:
            seen.add(id(item))
            told = str(len(item))
            parts = list(chain.from_iterable(item.items())) if kind is dict else list(item)
            todo.extend(reversed(parts))
        digest.update(f"{kind.__name__} {told}\0".encode("utf-8", "backslashreplace"))
    return _tagged("deep", digest.hexdigest())
