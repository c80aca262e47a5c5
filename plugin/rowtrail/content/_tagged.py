"""How a type that JSON cannot hold is written: a tag from a closed list, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TAG = "$rowtrail"
"""The key of a JSON object that stands for a value JSON cannot hold."""

kind_of: Callable[[object], type[object]] = type
"""The very type of a value: `type`, typed so that what it finds out is not `Unknown`."""


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
    unordered: bool = False
    """`encode` gives a list in no order: it is put in one, the same for equal values."""


def expect(kind: type, value: Any) -> Any:
    """Return `value`, which must be of this very type."""
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def class_name(kind: type) -> str:
    """Return the name of a class: `module.qualname`, bare where Python itself brings it."""
    name, module = kind.__qualname__, kind.__module__
    return name if module == "builtins" else f"{module}.{name}"
