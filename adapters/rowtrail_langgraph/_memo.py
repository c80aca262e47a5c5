"""Remembering what is stored already, so that an unchanged item is not encoded again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter, eq, is_
from typing import Any

from langchain_core.messages import BaseMessage

from rowtrail.content import Prepared
from rowtrail_langgraph._moulds import contents_of, holds_of

MAX_ITEMS = 50_000
MAX_SEARCHED = 256
"""Channels, the newest first, among which those of one thread are looked for."""

_FIRST_STRIDE = 8

_fields = attrgetter("__dict__")
_extra = attrgetter("__pydantic_extra__")


class _List:
    """The items of a list, what each of them held when it was stored, and its stored form."""

    __slots__ = ("_places", "are_messages", "held", "items", "prepared", "stored")

    def __init__(
        self, items: Sequence[Any], held: list[Any], prepared: list[Prepared], *, are_messages: bool
    ) -> None:
        self.items = tuple(items)
        self.held = held
        self.prepared = prepared
        self.are_messages = are_messages
        self.stored: tuple[int, object] | None = None
        """The row of the list, and the stamp under which it is that."""
        self._places: dict[int, int] | None = None

    def run(self, items: list[Any], at: int) -> tuple[int, int]:
        """Return where the list has `items[at]`, and how many from there on are these very items.

        No loop in Python over items: this is done for every item of every checkpoint.
        """
        place = self._place(items[at], at)
        if place is None:
            return 0, 0
        limit = min(len(items) - at, len(self.items) - place)
        count, stride = 0, _FIRST_STRIDE
        while count < limit:
            end = min(count + stride, limit)
            theirs, ours = items[at + count : at + end], self.items[place + count : place + end]
            if not all(map(is_, theirs, ours)):
                return place, count + list(map(is_, theirs, ours)).index(False)
            count, stride = end, 8 * stride
        return place, count

    def changed(self, items: list[Any], place: int) -> Sequence[int]:
        """Return which of these items, which the list has from `place` on, were mutated since."""
        held = self.held[place : place + len(items)]
        # A field of the user's own, which none had, is no part of the fields.
        if self.are_messages and not any(map(_extra, items)):
            contents = list(map(_fields, items))
        else:
            contents = list(map(contents_of, items))
        if contents == held:
            return ()
        return [n for n, same in enumerate(map(eq, contents, held)) if not same]

    def _place(self, item: Any, hint: int) -> int | None:
        if hint < len(self.items) and self.items[hint] is item:
            return hint
        if self._places is None:
            self._places = dict(zip(map(id, self.items), range(len(self.items)), strict=True))
        return self._places.get(id(item))


class _Channel:
    """The newest lists of one channel."""

    __slots__ = ("lists", "read", "size", "written")

    def __init__(self, written: _List | None, read: _List | None) -> None:
        self.written = written
        self.read = read
        self.lists = [each for each in (written, read) if each is not None]
        self.size = sum(len(each.items) for each in self.lists)


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
        self,
        key: object,
        items: list[Any],
        encode: Callable[[Any], Prepared],
        *,
        thread_id: str | None = None,
    ) -> list[Prepared]:
        """Return the stored form of each item; encodes those that are new or were mutated.

        Args:
            thread_id: Look among the lists of this thread too, for items that come from there.
        """
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
            known = [*channel.lists, *self._lists_of(thread_id)]
        new, whole = _prepared(known, items, encode)
        self._keep(key, _Channel(new, None if whole is channel.read else channel.read))
        return new.prepared

    def loaded(
        self, key: object, items: list[Any], held: list[Any], prepared: list[Prepared]
    ) -> None:
        """Remember a list that was read: whoever goes on from it stores only what is new.

        Args:
            held: What each item holds, from `holds_of`.
        """
        new = _List(items, held, prepared, are_messages=_are_messages(items))
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
        self._keep(key, _Channel(channel.written, new))

    def stored(self, key: object, prepared: object, row: int, stamp: object) -> None:
        """Note in which row the list is whose items have these stored forms; it is committed."""
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
        for each in channel.lists:
            if each.prepared is prepared:
                each.stored = (row, stamp)

    def in_row(self, key: object, row: int, stamp: object) -> list[Prepared] | None:
        """Return the items of the list in this row, where they are remembered."""
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
        for each in channel.lists:
            if each.stored is not None and each.stored[0] == row and each.stored[1] is stamp:
                return each.prepared
        return None

    def _lists_of(self, thread_id: str | None) -> list[_List]:
        if thread_id is None:
            return []
        return [
            each
            for key in islice(reversed(self._channels), MAX_SEARCHED)
            if isinstance(key, tuple) and key[0] == thread_id
            for each in self._channels[key].lists
        ]

    def _keep(self, key: object, channel: _Channel) -> None:
        with self._lock:
            before = self._channels.pop(key, _NOTHING)
            self._channels[key] = channel
            self._count += channel.size - before.size
            while self._count > MAX_ITEMS and len(self._channels) > 1:
                _, dropped = self._channels.popitem(last=False)
                self._count -= dropped.size


def _prepared(
    known: Sequence[_List], items: list[Any], encode: Callable[[Any], Prepared]
) -> tuple[_List, _List | None]:
    """Return a list made of runs of those known, and which of them is in it whole."""
    held: list[Any] = []
    prepared: list[Prepared] = []
    new: list[Any] = []
    are_messages, whole = True, None
    while len(held) < len(items):
        at = len(held)
        (place, count), base = max(
            ((each.run(items, at), each) for each in known),
            key=lambda found: found[0][1],
            default=((0, 0), None),
        )
        if base is None or not count:
            # What it holds is taken first: mutated while it is encoded, it is encoded again.
            held.append(holds_of(items[at]))
            prepared.append(encode(items[at]))
            new.append(items[at])
            continue
        held += base.held[place : place + count]
        prepared += base.prepared[place : place + count]
        are_messages = are_messages and base.are_messages
        for each in base.changed(items[at : at + count], place):
            held[at + each] = holds_of(items[at + each])
            prepared[at + each] = encode(items[at + each])
            new.append(items[at + each])
        if count == len(base.items):
            known, whole = [], base  # what comes behind a list that is there whole is new
    are_messages = are_messages and _are_messages(new)
    return _List(items, held, prepared, are_messages=are_messages), whole


def _are_messages(items: Sequence[Any]) -> bool:
    return all(isinstance(item, BaseMessage) and not item.__pydantic_extra__ for item in items)
