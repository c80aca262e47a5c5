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
from rowtrail_langgraph._private import extra_of
from rowtrail_langgraph.values._moulds import contents_of, holds_of

MAX_ITEMS = 50_000
MAX_BYTES = 64 * 2**20
"""Of the stored forms; what they are of takes about as much."""
MAX_SEARCHED = 256
"""Channels, the newest first, among which those of one thread are looked for."""

_FIRST_STRIDE = 8

_fields = attrgetter("__dict__")


class _List:
    """The items of a list, what each of them held when it was stored, and its stored form."""

    __slots__ = ("_places", "are_messages", "held", "items", "prepared", "size", "stored")

    def __init__(
        self,
        items: Sequence[Any],
        held: list[Any],
        prepared: list[Prepared],
        size: int,
        *,
        are_messages: bool,
    ) -> None:
        self.items = tuple(items)
        self.held = held
        self.prepared = prepared
        self.size = size
        """Bytes of the stored forms."""
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

    def size_of(self, place: int, count: int) -> int:
        """Return the bytes of some items; looks at those or at the others, which are fewer."""
        end = place + count
        others = len(self.items) - count
        if others < count:
            return self.size - _size(self.prepared[:place]) - _size(self.prepared[end:])
        return _size(self.prepared[place:end])

    def changed(self, items: list[Any], place: int) -> Sequence[int]:
        """Return which of these items, which the list has from `place` on, were mutated since."""
        held = self.held[place : place + len(items)]
        # A field of the user's own, which none had, is no part of the fields.
        if self.are_messages and not any(map(extra_of, items)):
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

    __slots__ = ("count", "lists", "read", "size", "written")

    def __init__(self, written: _List | None, read: _List | None) -> None:
        self.written = written
        self.read = read
        self.lists = [each for each in (written, read) if each is not None]
        self.count = sum(len(each.items) for each in self.lists)
        self.size = sum(each.size for each in self.lists)


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
        self._size = 0

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
        with self._lock:
            channel = self._channels.get(key, _NOTHING)
        same = next((each for each in channel.lists if each.prepared is prepared), None)
        size = _size(prepared) if same is None else same.size
        new = _List(items, held, prepared, size, are_messages=_are_messages(items))
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

    def forget(self, thread_id: str) -> None:
        """Drop what is remembered of a thread: it is deleted."""
        with self._lock:
            for key in list(self._channels):
                if isinstance(key, tuple) and key[0] == thread_id:
                    self._drop(key)

    def _drop(self, key: object) -> None:
        dropped = self._channels.pop(key, _NOTHING)
        self._count -= dropped.count
        self._size -= dropped.size

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
            self._drop(key)
            self._channels[key] = channel
            self._count += channel.count
            self._size += channel.size
            while (self._count > MAX_ITEMS or self._size > MAX_BYTES) and len(self._channels) > 1:
                self._drop(next(iter(self._channels)))


def _prepared(
    known: Sequence[_List], items: list[Any], encode: Callable[[Any], Prepared]
) -> tuple[_List, _List | None]:
    """Return a list made of runs of those known, and which of them is in it whole."""
    held: list[Any] = []
    prepared: list[Prepared] = []
    new: list[Any] = []
    are_messages, whole, size = True, None, 0
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
            size += _size(prepared[-1:])
            new.append(items[at])
            continue
        held += base.held[place : place + count]
        prepared += base.prepared[place : place + count]
        size += base.size_of(place, count)
        are_messages = are_messages and base.are_messages
        for each in base.changed(items[at : at + count], place):
            held[at + each] = holds_of(items[at + each])
            size -= _size([prepared[at + each]])
            prepared[at + each] = encode(items[at + each])
            size += _size([prepared[at + each]])
            new.append(items[at + each])
        if count == len(base.items):
            known, whole = [], base  # what comes behind a list that is there whole is new
    are_messages = are_messages and _are_messages(new)
    return _List(items, held, prepared, size, are_messages=are_messages), whole


def _size(prepared: Sequence[Prepared]) -> int:
    """Return how many bytes stored forms take, with one for each character."""
    return sum(len(each.encoded.text or "") + len(each.encoded.data or b"") for each in prepared)


def _are_messages(items: Sequence[Any]) -> bool:
    return all(isinstance(item, BaseMessage) and not extra_of(item) for item in items)
