"""Remembering what is stored already, so that an unchanged item is not encoded again."""

from __future__ import annotations

import marshal
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, eq, is_
from typing import Any

from langchain_core.messages import BaseMessage

from rowtrail.content import Prepared

MAX_ITEMS = 50_000

_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})
_MARSHAL_VERSION = 2  # later ones write down which objects are shared, and that may change

# What is held is never handed out: empty containers, which most messages have many of, are shared.
_EMPTY: dict[type, Any] = {dict: {}, list: []}

_fields = attrgetter("__dict__")
_extra = attrgetter("__pydantic_extra__")


@dataclass(frozen=True)
class _List:
    """The items of a list, what each of them held when it was stored, and its stored form."""

    items: Sequence[Any]
    held: list[Any]
    prepared: list[Prepared]
    are_messages: bool
    places: dict[int, int] = field(default_factory=dict)

    def unchanged(self, items: list[Any]) -> int:
        """Return how many items at the start of `items` are these; 0 when any was mutated.

        No loop in Python: this is done for every item of every checkpoint.
        """
        if not all(map(is_, items, self.items)):
            return 0
        count = min(len(items), len(self.items))
        some = items[:count]
        if self.are_messages:
            if any(map(_extra, some)):  # a field of the user's own, which none had
                return 0
            contents = map(tuple, map(dict.values, map(_fields, some)))
        else:
            contents = map(_contents, some)
        return count if all(map(eq, contents, self.held)) else 0

    def find(self, item: Any) -> int | None:
        """Return where the list has this item, None when it has not, or when it was mutated."""
        if not self.places:
            self.places.update((id(each), at) for at, each in enumerate(self.items))
        at = self.places.get(id(item))
        if at is None or self.items[at] is not item or _contents(item) != self.held[at]:
            return None
        return at


@dataclass(frozen=True)
class _Channel:
    """The newest lists of one channel."""

    written: _List | None
    read: _List | None

    @property
    def size(self) -> int:
        """Return how many items are remembered."""
        return sum(len(each.items) for each in (self.written, self.read) if each is not None)


_NOTHING = _Channel(None, None)


class Memo:
    """The lists of each channel that were written and that were read last.

    Items are known by their identity: a graph goes on from what it has read. That an item was
    mutated in place is noticed by comparing what it holds with what it held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: OrderedDict[object, _Channel] = OrderedDict()
        self._count = 0

    def prepare(
        self, key: object, items: list[Any], encode: Callable[[Any], Prepared]
    ) -> list[Prepared]:
        """Return the stored form of each item; encodes those that are new or were mutated."""
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
        known = [each for each in (channel.written, channel.read) if each is not None]
        start, base = 0, None
        for each in known:
            count = each.unchanged(items)
            if count > start:
                start, base = count, each
        if base is not None and start == len(base.items):
            known = []  # what comes behind a list that is there whole is new
        held: list[Any] = [] if base is None else base.held[:start]
        prepared = [] if base is None else base.prepared[:start]
        for item in items[start:]:
            # What it holds is taken first: mutated while it is encoded, it is encoded again.
            holds, stored = _find(known, item) or (_holds(item), encode(item))
            held.append(holds)
            prepared.append(stored)
        are_messages = (base is None or base.are_messages) and _are_messages(items[start:])
        new = _List(tuple(items), held, prepared, are_messages)
        self._keep(key, _Channel(new, None if base is channel.read else channel.read))
        return prepared

    def loaded(self, key: object, items: list[Any], prepared: list[Prepared]) -> None:
        """Remember a list that was read: whoever goes on from it stores only what is new."""
        new = _List(tuple(items), list(map(_holds, items)), prepared, _are_messages(items))
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
        self._keep(key, _Channel(channel.written, new))

    def _keep(self, key: object, channel: _Channel) -> None:
        with self._lock:
            before = self._channels.pop(key, _NOTHING)
            self._channels[key] = channel
            self._count += channel.size - before.size
            while self._count > MAX_ITEMS and len(self._channels) > 1:
                _, dropped = self._channels.popitem(last=False)
                self._count -= dropped.size


def _find(known: Sequence[_List], item: Any) -> tuple[Any, Prepared] | None:
    for each in known:
        at = each.find(item)
        if at is not None:
            return each.held[at], each.prepared[at]
    return None


def _are_messages(items: Sequence[Any]) -> bool:
    return all(isinstance(item, BaseMessage) and not item.__pydantic_extra__ for item in items)


def _contents(item: Any) -> Any:
    """Return what in-place mutation of an item would change; equal to nothing if unknown."""
    if isinstance(item, BaseMessage):
        extra = item.__pydantic_extra__
        values = tuple(item.__dict__.values())
        return (values, extra) if extra else values
    if type(item) in _IMMUTABLE:
        return None
    if type(item) in (dict, list):
        try:
            return marshal.dumps(item, _MARSHAL_VERSION)
        except ValueError:
            return object()
    return object()


def _holds(item: Any) -> Any:
    """Return what an item holds now, in a form that its mutation does not reach."""
    if not isinstance(item, BaseMessage):
        return _contents(item)
    try:
        extra = item.__pydantic_extra__
        values = tuple(map(_copied, item.__dict__.values()))
        return (values, _copy(extra)) if extra else values
    except ValueError:
        return object()


def _copied(value: Any) -> Any:
    return value if type(value) in _IMMUTABLE else _copy(value)


def _copy(value: Any) -> Any:
    if not value and type(value) in _EMPTY:
        return _EMPTY[type(value)]
    return marshal.loads(marshal.dumps(value, _MARSHAL_VERSION))  # noqa: S302 - our own bytes
