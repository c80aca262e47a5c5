"""Items that were read once: cast again without SQL and JSON, each time as objects of their own."""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage

from rowtrail.content import TAG, Encoded, Prepared
from rowtrail_langgraph._private import extra_of, fields_set_of, set_state
from rowtrail_langgraph.values._codec import GraphCodec

IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})
_TELLING = IMMUTABLE - {int, float}
"""Types of which equal values are the same; a flag of a message is never another number."""
MARSHAL_VERSION = 2  # later ones write down which objects are shared, and that may change

# What is held is never handed out: empty containers, which most messages have many of, are shared.
EMPTY: dict[type, Any] = {dict: {}, list: []}


class _Exact(dict[str, Any]):
    """Fields some of which `==` does not tell apart: 1 and True, or a dict in another order."""

    __slots__ = ("blob", "names")

    def __init__(self, fields: dict[str, Any], names: tuple[str, ...]) -> None:
        self.names = names
        self.blob = _bytes_of(fields, names)
        super().__init__(fields)
        self.update(self.loaded())

    def __eq__(self, other: object) -> bool:
        if not (isinstance(other, dict) and super().__eq__(other)):
            return False
        try:
            return _bytes_of(other, self.names) == self.blob
        except ValueError:
            return False

    __hash__ = None  # like that of every dict

    def loaded(self) -> dict[str, Any]:
        """Return the fields in question, each time as objects of their own."""
        return dict(zip(self.names, marshal.loads(self.blob), strict=True))  # noqa: S302 - our own


def _bytes_of(fields: Mapping[str, Any], names: Sequence[str]) -> bytes:
    return marshal.dumps([fields[name] for name in names], MARSHAL_VERSION)


def _fields_held(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that equals these fields as long as nothing in them was mutated.

    A message of text with empty containers is a plain dict: many are compared without Python.

    Raises:
        ValueError: There is more in them than plain data.
    """
    held: dict[str, Any] = {}
    names: list[str] = []
    for name, value in fields.items():
        kind = type(value)
        if kind in _TELLING:
            held[name] = value
        elif not value and kind in EMPTY:
            held[name] = EMPTY[kind]
        else:
            held[name] = value
            names.append(name)
    return _Exact(held, tuple(names)) if names else held


class _MessageMould:
    """A message as it was decoded; `held` are its fields, which no mutation reaches."""

    __slots__ = ("_empties", "_is_set", "_kind", "held")

    def __init__(self, message: BaseMessage) -> None:
        fields = message.__dict__
        self._kind = type(message)
        self._empties = tuple(
            (name, type(part)) for name, part in fields.items() if type(part) in EMPTY and not part
        )
        self._is_set = frozenset(fields_set_of(message))
        self.held = _fields_held(fields)

    def cast(self) -> BaseMessage:
        """Return a new message that shares nothing mutable with another."""
        fields = self.held.copy()
        for name, kind in self._empties:
            fields[name] = kind()
        if isinstance(self.held, _Exact):
            fields.update(self.held.loaded())
        message = self._kind.__new__(self._kind)
        set_state(message, fields, set(self._is_set), {})
        return message


class _PlainMould:
    """A dict or a list of plain data, as bytes."""

    __slots__ = ("held",)

    def __init__(self, value: Any) -> None:
        self.held = marshal.dumps(value, MARSHAL_VERSION)

    def cast(self) -> Any:
        """Return a new object."""
        return marshal.loads(self.held)  # noqa: S302 - our own bytes


class _Constant:
    """A text or a number: there is nothing to mutate."""

    __slots__ = ("_value", "held")

    def __init__(self, value: Any) -> None:
        self._value = value
        self.held = None

    def cast(self) -> Any:
        """Return the value."""
        return self._value


_Mould = _MessageMould | _PlainMould | _Constant

_NONE: Final = object()
"""In place of the mould of an item that has none: it is decoded each time."""


def read_items(codec: GraphCodec, stored: Sequence[Prepared]) -> tuple[list[Any], list[Any]]:
    """Return the values of a list's items, and for each what it holds; see `holds_of`.

    What a mould was made of before is not decoded again.

    Raises:
        CorruptRowError: An item is not what the codec writes.
    """
    missing = [at for at, each in enumerate(stored) if each.mould is None or each.mould is _NONE]
    decoded = codec.decode_items([stored[at].encoded for at in missing])
    for at, value in zip(missing, decoded, strict=True):
        if stored[at].mould is None:
            stored[at].mould = _mould_of(stored[at].encoded, value) or _NONE
    moulds: list[Any] = [each.mould for each in stored]
    if len(missing) == len(stored):
        items = decoded
    else:
        items = [None if mould is _NONE else mould.cast() for mould in moulds]
        for at, value in zip(missing, decoded, strict=True):
            items[at] = value
    held = [
        holds_of(item) if mould is _NONE else mould.held
        for mould, item in zip(moulds, items, strict=True)
    ]
    return items, held


def _mould_of(encoded: Encoded, value: Any) -> _Mould | None:
    """Return what casts equal values; None for what is more than JSON, which a serializer reads."""
    if encoded.data is not None or TAG in (encoded.text or TAG):
        return None
    kind = type(value)
    if kind in IMMUTABLE:
        return _Constant(value)
    try:
        if isinstance(value, BaseMessage):
            return None if extra_of(value) else _MessageMould(value)
        return _PlainMould(value) if kind in EMPTY else None
    except ValueError:  # a default of a field that is no JSON
        return None


def contents_of(item: Any) -> Any:
    """Return what in-place mutation of an item would change; equal to nothing if unknown."""
    if isinstance(item, BaseMessage):
        extra = extra_of(item)
        return (item.__dict__, extra) if extra else item.__dict__
    if type(item) in IMMUTABLE:
        return None
    if type(item) in EMPTY:
        try:
            return marshal.dumps(item, MARSHAL_VERSION)
        except ValueError:
            return object()
    return object()


def holds_of(item: Any) -> Any:
    """Return what an item holds now, in a form that its mutation does not reach."""
    if not isinstance(item, BaseMessage):
        return contents_of(item)
    try:
        extra = extra_of(item)
        fields = _fields_held(item.__dict__)
        return (fields, _fields_held(extra)) if extra else fields
    except ValueError:
        return object()
