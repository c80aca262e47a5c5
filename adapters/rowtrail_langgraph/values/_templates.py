"""Items that were read once: made again without SQL and JSON, each time as objects of their own."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage

from rowtrail.content import TAG, Encoded, Prepared
from rowtrail_langgraph._private import extra_of, fields_set_of, set_state
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._memo import (
    EMPTY,
    IMMUTABLE,
    MARSHAL_VERSION,
    Exact,
    fields_snapshot,
    snapshot_of,
)


class _MessageTemplate:
    """A message as it was decoded; `snapshot` are its fields, which no mutation reaches."""

    __slots__ = ("_empties", "_is_set", "_kind", "snapshot")

    def __init__(self, message: BaseMessage) -> None:
        fields = message.__dict__
        self._kind = type(message)
        self._empties = tuple(
            (name, type(part)) for name, part in fields.items() if type(part) in EMPTY and not part
        )
        self._is_set = frozenset(fields_set_of(message))
        self.snapshot = fields_snapshot(fields)

    def instantiate(self) -> BaseMessage:
        """Return a new message that shares nothing mutable with another."""
        fields = self.snapshot.copy()
        for name, kind in self._empties:
            fields[name] = kind()
        if isinstance(self.snapshot, Exact):
            fields.update(self.snapshot.loaded())
        message = self._kind.__new__(self._kind)
        set_state(message, fields, set(self._is_set), {})
        return message


class _PlainTemplate:
    """A dict or a list of plain data, as bytes."""

    __slots__ = ("snapshot",)

    def __init__(self, value: Any) -> None:
        self.snapshot = marshal.dumps(value, MARSHAL_VERSION)

    def instantiate(self) -> Any:
        """Return a new object."""
        return marshal.loads(self.snapshot)  # noqa: S302 - our own bytes


class _Constant:
    """A text or a number: there is nothing to mutate."""

    __slots__ = ("_value", "snapshot")

    def __init__(self, value: Any) -> None:
        self._value = value
        self.snapshot = None

    def instantiate(self) -> Any:
        """Return the value."""
        return self._value


_Template = _MessageTemplate | _PlainTemplate | _Constant

_NONE: Final = object()
"""In place of the template of an item that has none: it is decoded each time."""


def read_items(codec: GraphCodec, stored: Sequence[Prepared]) -> tuple[list[Any], list[Any]]:
    """Return the values of a list's items, and the snapshot of each.

    Of what there is a template, nothing is decoded.

    Raises:
        CorruptRowError: An item is not what the codec writes.
    """
    missing = [
        at for at, each in enumerate(stored) if each.template is None or each.template is _NONE
    ]
    decoded = codec.decode_items([stored[at].encoded for at in missing])
    for at, value in zip(missing, decoded, strict=True):
        if stored[at].template is None:
            stored[at].template = _template_of(stored[at].encoded, value) or _NONE
    templates: list[Any] = [each.template for each in stored]
    if len(missing) == len(stored):
        items = decoded
    else:
        items = [None if template is _NONE else template.instantiate() for template in templates]
        for at, value in zip(missing, decoded, strict=True):
            items[at] = value
    snapshots = [
        snapshot_of(item) if template is _NONE else template.snapshot
        for template, item in zip(templates, items, strict=True)
    ]
    return items, snapshots


def _template_of(encoded: Encoded, value: Any) -> _Template | None:
    """Return what makes equal values; None where there is more than JSON, for a serializer."""
    if encoded.data is not None or TAG in (encoded.text or TAG):
        return None
    kind = type(value)
    if kind in IMMUTABLE:
        return _Constant(value)
    try:
        if isinstance(value, BaseMessage):
            return None if extra_of(value) else _MessageTemplate(value)
        return _PlainTemplate(value) if kind in EMPTY else None
    except ValueError:  # a default that JSON cannot hold
        return None
