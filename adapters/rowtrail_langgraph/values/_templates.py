"""Items that were read once: made again without SQL and JSON, each time as objects of their own."""

from __future__ import annotations

import marshal
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from langchain_core.messages import BaseMessage

from rowtrail.content import TAG, Encoded, Prepared
from rowtrail_langgraph._private import extra_of, fields_set_of, set_states
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._memo import (
    EMPTY,
    IMMUTABLE,
    MARSHAL_VERSION,
    fields_snapshot,
    snapshot_of,
)

MAX_SHAPES = 256
"""A program has a dozen: what is not among these is made once more, and costs a few bytes."""
CHUNK = 500
"""Messages that are made at a time: a cache of the processor holds them (8,000 at once: +15 %)."""


class _Shape:
    """What messages of one class have in common that were given the same fields."""

    __slots__ = ("dicts", "empty_dicts", "empty_lists", "fields_set", "kind", "lists", "nested")

    def __init__(
        self,
        kind: type[BaseMessage],
        empty_dicts: Sequence[str],
        empty_lists: Sequence[str],
        dicts: Sequence[str],
        lists: Sequence[str],
        nested: Sequence[str],
        fields_set: frozenset[str],
    ) -> None:
        self.kind = kind
        self.empty_dicts = empty_dicts
        """Fields that are an empty dict, the most of all: a new one takes half of a copy."""
        self.empty_lists = empty_lists
        self.dicts = dicts
        """Fields that are a dict of texts, numbers and the like: each message has its own."""
        self.lists = lists
        """Fields that are such a list, likewise."""
        self.nested = nested
        """Fields with more in them that can be mutated."""
        self.fields_set = fields_set


_shape = lru_cache(MAX_SHAPES)(_Shape)


_NO_DICT, _NO_LIST = "{}", "[]"


class _MessageTemplate:
    """A message as it was decoded; `snapshot` are its fields, which no mutation reaches."""

    __slots__ = ("shape", "snapshot")

    def __init__(self, message: BaseMessage) -> None:
        fields = fields_snapshot(message.__dict__)
        names: dict[object, list[str]] = {_NO_DICT: [], _NO_LIST: [], dict: [], list: [], None: []}
        for name, part in fields.items():
            kind = type(part)
            if kind in IMMUTABLE:
                continue
            if kind in EMPTY and not part:
                names[_NO_DICT if kind is dict else _NO_LIST].append(name)
            else:
                names[kind if kind in EMPTY and _is_flat(part) else None].append(name)
        fields_set = frozenset(fields_set_of(message))
        self.shape = _shape(type(message), *map(tuple, names.values()), fields_set)
        self.snapshot = fields

    def instantiate(self) -> BaseMessage:
        """Return a new message that shares nothing mutable with another."""
        return _chunk([self])[0]


_shape_of = attrgetter("shape")
_kind_of = attrgetter("shape.kind")
_fields_set_of = attrgetter("shape.fields_set")
_snapshot_of = attrgetter("snapshot")
_template_of = attrgetter("template")


def _messages(templates: Sequence[_MessageTemplate]) -> list[BaseMessage]:
    """Return a new message of each template."""
    chunks = (templates[at : at + CHUNK] for at in range(0, len(templates), CHUNK))
    return list(chain.from_iterable(map(_chunk, chunks)))


def _chunk(templates: Sequence[_MessageTemplate]) -> list[BaseMessage]:
    """Return a new message of each template.

    Hardly anything is done for one message at a time: of long threads this is what is read.
    """
    messages: list[BaseMessage] = list(map(object.__new__, map(_kind_of, templates)))
    fields: list[dict[str, Any]] = list(map(dict.copy, map(_snapshot_of, templates)))
    by_shape: dict[_Shape, list[dict[str, Any]]] = defaultdict(list)
    for shape, each in zip(map(_shape_of, templates), fields, strict=True):
        by_shape[shape].append(each)
    for shape, of_shape in by_shape.items():
        _give_empty_ones(shape, of_shape)
        for name in shape.dicts:
            for each in of_shape:
                each[name] = each[name].copy()
        for name in shape.lists:
            for each in of_shape:
                each[name] = each[name][:]
        for name in shape.nested:
            for each in of_shape:
                each[name] = _copied(each[name])
    set_states(messages, fields, map(set, map(_fields_set_of, templates)))
    return messages


def _give_empty_ones(shape: _Shape, of_shape: list[dict[str, Any]]) -> None:
    """Give each message a dict and a list of its own where its template has an empty one."""
    for name in shape.empty_dicts:
        for each in of_shape:
            each[name] = {}
    for name in shape.empty_lists:
        for each in of_shape:
            each[name] = []


def _is_flat(part: dict[Any, Any] | list[Any]) -> bool:
    """Return whether nothing in a dict or a list can be mutated."""
    values = part.values() if isinstance(part, dict) else part
    return IMMUTABLE.issuperset(map(type, values))


def _copied(part: Any) -> Any:
    """Return a copy of plain data that shares nothing mutable with it.

    A third of the time that it takes to load it from bytes.
    """
    kind = type(part)
    if kind is dict:
        found = part.copy()
        for key, value in part.items():
            if type(value) not in IMMUTABLE:
                found[key] = _copied(value)
        return found
    if kind is list:
        return [value if type(value) in IMMUTABLE else _copied(value) for value in part]
    return marshal.loads(marshal.dumps(part, MARSHAL_VERSION))  # noqa: S302 - our own bytes


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
    templates: list[Any] = list(map(_template_of, stored))
    if set(map(type, templates)) == {_MessageTemplate}:  # what is read of long threads
        return _messages(templates), list(map(_snapshot_of, templates))
    missing = [at for at, each in enumerate(templates) if each is None or each is _NONE]
    decoded = codec.decode_items([stored[at].encoded for at in missing])
    for at, value in zip(missing, decoded, strict=True):
        if templates[at] is None:
            found = _made_of(stored[at].encoded, value) or _NONE
            stored[at].template = templates[at] = found
    items = decoded if len(missing) == len(stored) else _instantiated(templates)
    if len(missing) < len(stored):
        for at, value in zip(missing, decoded, strict=True):
            items[at] = value
    if _NONE not in templates:
        return items, list(map(_snapshot_of, templates))
    snapshots = [
        snapshot_of(item) if template is _NONE else template.snapshot
        for template, item in zip(templates, items, strict=True)
    ]
    return items, snapshots


def _instantiated(templates: list[Any]) -> list[Any]:
    """Return a new object of each template, None where there is none."""
    if set(map(type, templates)) == {_MessageTemplate}:
        return _messages(templates)
    return [None if template is _NONE else template.instantiate() for template in templates]


def _made_of(encoded: Encoded, value: Any) -> _Template | None:
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
