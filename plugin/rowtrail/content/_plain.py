"""Values that are JSON as they are: most of what is asked and answered needs no walk of its own."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable
from typing import Any

from rowtrail.content._tagged import TAG, kind_of

MAX_PLAIN_DEPTH = 50
"""Deeper values take the way with exact limits: a quarter of theirs leaves room for the stack."""
LONGEST_INT = 2**63 - 1
"""SQLite's largest: JSON functions turn longer ones into floats."""

LEAST_PLAIN_FLOAT, LONGEST_PLAIN_FLOAT = 1e-4, 1e16
"""Between them a float is written without an exponent: writers of JSON differ in how they spell it,
and what is stored must not hang on which are installed."""

_LEAVES = frozenset({str, bool, type(None)})
_STRINGS = frozenset({str})


def is_plain(value: Any, depth: int = MAX_PLAIN_DEPTH) -> bool:
    """Return whether a value is made of JSON's own types, each as JSON and SQLite can hold it.

    Its JSON text is then both its stored and its canonical form.
    """
    kind = kind_of(value)
    if kind in _LEAVES:
        return True
    if kind is int:
        return is_short_int(value)
    if kind is float:
        return _is_short_float(value)
    if kind is dict:
        if TAG in value or not _STRINGS.issuperset(map(type, value)):
            return False
        parts = value.values()
    elif kind is list:
        parts = value
    else:
        return False
    for part in parts:
        if type(part) not in _LEAVES and (depth == 0 or not is_plain(part, depth - 1)):
            return False
    return True


def is_short_int(value: int) -> bool:
    """Return whether SQLite's JSON functions keep an integer as it is."""
    return -LONGEST_INT <= value <= LONGEST_INT


def _is_short_float(value: float) -> bool:
    return value == 0 or LEAST_PLAIN_FLOAT <= abs(value) < LONGEST_PLAIN_FLOAT


def _encoder(*, ensure_ascii: bool, sort_keys: bool) -> Callable[[Any], str]:
    """Return what writes plain values as compact JSON.

    `JSONEncoder.encode` makes its C encoder anew for each value, which takes half of the time.
    """
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False
    )
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return encoder.encode
    name = "encode_basestring_ascii" if ensure_ascii else "encode_basestring"
    write_text = getattr(json.encoder, name)
    write = make(None, encoder.default, write_text, None, ":", ",", sort_keys, False, False)
    return lambda value: "".join(write(value, 0))


write_sorted = _encoder(ensure_ascii=True, sort_keys=True)
"""Returns the JSON text of a plain value for fingerprints: the same characters for ever."""
write_plain = _encoder(ensure_ascii=False, sort_keys=False)
"""Returns the JSON text of a plain value to be stored."""


@functools.cache
def _orjson() -> Any:
    """Return the module orjson, None where it is not installed."""
    try:
        return importlib.import_module("orjson")
    except ImportError:
        return None


def write_fast(value: Any) -> str | None:
    """Return the text of `write_plain` by orjson; None without it, and where it refuses a value.

    It refuses half of a surrogate pair.
    """
    orjson = _orjson()
    if orjson is None:
        return None
    try:
        text: str = orjson.dumps(value).decode()
    except TypeError:
        return None
    return text
