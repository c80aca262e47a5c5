"""What is stored already, so that an unchanged item is not encoded again.

Items are known by their identity: a graph goes on from what it has read. That an item was mutated
in place is noticed by comparing what it contains with its snapshot.
"""

from __future__ import annotations

import marshal
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from operator import attrgetter, eq, is_
from typing import Any

from langchain_core.messages import BaseMessage

from rowtrail.content import Prepared, PreparedList
from rowtrail_langgraph._private import extra_of

MAX_ITEMS = 50_000
"""Bounds the memory of a process: some long threads, or many short ones."""
MAX_BYTES = 64 * 2**20
"""Of the stored forms; what they are of takes about as much."""
MAX_SEARCHED = 256
"""Channels, the newest first, among which those of one thread are looked for."""

_FIRST_STRIDE = 8
"""Runs of equal messages are looked for in growing strides: short lists are the rule."""

IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})
_DISTINCT = IMMUTABLE - {int, float, bool}
"""Types of which equal values are the same: 1, 1.0 and True are equal, and stored differently."""
MARSHAL_VERSION = 2  # later ones write down which objects are shared, and that may change

# Snapshots are never handed out: empty containers, which most messages have many of, are shared.
EMPTY: dict[type, Any] = {dict: {}, list: []}

_fields = attrgetter("__dict__")


class Exact(dict[str, Any]):
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


_OF_MESSAGES = {dict, Exact}
"""Types of the snapshots of messages."""


def _bytes_of(fields: Mapping[str, Any], names: Sequence[str]) -> bytes:
    return marshal.dumps([fields[name] for name in names], MARSHAL_VERSION)


def snapshot_of(item: Any) -> Any:
    """Return what an item contains now, in a form that its mutation does not reach.

    It is a dict for a message without fields of the user's own, and for nothing else.
    """
    if not isinstance(item, BaseMessage):
        return contents_of(item)
    try:
        extra = extra_of(item)
        fields = fields_snapshot(item.__dict__)
        return (fields, fields_snapshot(extra)) if extra else fields
    except ValueError:
        return object()


def fields_snapshot(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that equals these fields as long as nothing in them was mutated.

    A message of text with empty containers is a plain dict: many are compared without Python.

    Raises:
        ValueError: There is more in them than plain data.
    """
    found: dict[str, Any] = {}
    names: list[str] = []
    for name, value in fields.items():
        kind = type(value)
        if kind in _DISTINCT:
            found[name] = value
        elif not value and kind in EMPTY:
            found[name] = EMPTY[kind]
        else:
            found[name] = value
            names.append(name)
    return Exact(found, tuple(names)) if names else found


def contents_of(item: Any) -> Any:
    """Return what mutation of an item in place would change; equal to nothing if unknown."""
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


class _List:
    """The items of a list, the snapshot of each when it was stored, and its stored form."""

    __slots__ = ("_places", "are_messages", "items", "prepared", "size", "snapshots", "was_read")

    def __init__(
        self,
        items: Sequence[Any],
        snapshots: list[Any],
        prepared: PreparedList,
        size: int,
        *,
        are_messages: bool,
        was_read: bool = False,
    ) -> None:
        self.items = tuple(items)
        self.snapshots = snapshots
        self.prepared = prepared
        self.size = size
        """Bytes of the stored forms."""
        self.are_messages = are_messages
        self.was_read = was_read
        self._places: dict[int, int] | None = None

    def starts(self, items: list[Any], at: int) -> bool:
        """Return whether the list has `items[at]` at this very index."""
        return at < len(self.items) and self.items[at] is items[at]

    def run(self, items: list[Any], at: int) -> tuple[int, int]:
        """Return where the list has `items[at]`, and how many from there on are these very items.

        No loop in Python over items: this is done for every item of every checkpoint.
        """
        place: int | None = at
        if not self.starts(items, at):
            if self._places is None:
                self._places = dict(zip(map(id, self.items), range(len(self.items)), strict=True))
            place = self._places.get(id(items[at]))
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
        if 2 * count <= len(self.items):
            return sum(map(_size, self.prepared[place:end]))
        return self.size - sum(map(_size, self.prepared[:place] + self.prepared[end:]))

    def changed(self, items: list[Any], place: int) -> Sequence[int]:
        """Return which of these items, which the list has from `place` on, were mutated since."""
        before = self.snapshots[place : place + len(items)]
        # A field of the user's own, which none had, is no part of the fields.
        if self.are_messages and not any(map(extra_of, items)):
            contents = list(map(_fields, items))
        else:
            contents = list(map(contents_of, items))
        if contents == before:
            return ()
        return [n for n, same in enumerate(map(eq, contents, before)) if not same]


class Memo:
    """The lists of each channel that were written and that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: OrderedDict[object, tuple[_List, ...]] = OrderedDict()
        """Of each channel the list that was written last, and the one that was read last."""
        self._count = 0
        self._size = 0

    def prepare(
        self,
        key: object,
        items: list[Any],
        encode: Callable[[Any], Prepared],
        *,
        thread_id: str | None = None,
    ) -> PreparedList:
        """Return the stored form of each item; encodes those that are new or were mutated.

        Args:
            thread_id: Look among the lists of this thread too, for items that come from there.
        """
        with self._lock:
            lists = self._channels.get(key, ())
            known = lists if thread_id is None else (*lists, *self._lists_of(thread_id))
        new, whole = _prepared(known, items, encode)
        self._keep(key, (new, *(each for each in lists if each.was_read and each is not whole)))
        return new.prepared

    def loaded(
        self, key: object, items: list[Any], snapshots: list[Any], prepared: PreparedList
    ) -> None:
        """Remember a list that was read: whoever goes on from it stores only what is new.

        Args:
            snapshots: Of each item, from `snapshot_of`.
        """
        with self._lock:
            lists = self._channels.get(key, ())
        same = next((each for each in lists if each.prepared is prepared), None)
        size = sum(map(_size, prepared)) if same is None else same.size
        are_messages = set(map(type, snapshots)) <= _OF_MESSAGES
        new = _List(items, snapshots, prepared, size, are_messages=are_messages, was_read=True)
        self._keep(key, (*(each for each in lists if not each.was_read), new))

    def in_row(self, key: object, row: int, stamp: object) -> PreparedList | None:
        """Return the items of the list in this row, where they are remembered."""
        with self._lock:
            lists = self._channels.get(key, ())
        return next((each.prepared for each in lists if each.prepared.is_in(row, stamp)), None)

    def forget(self, thread_id: str) -> None:
        """Drop what is remembered of a thread: it is deleted."""
        with self._lock:
            for key in list(self._channels):
                if isinstance(key, tuple) and key[0] == thread_id:
                    self._drop(key)

    def _lists_of(self, thread_id: str) -> list[_List]:
        return [
            each
            for key in islice(reversed(self._channels), MAX_SEARCHED)
            if isinstance(key, tuple) and key[0] == thread_id
            for each in self._channels[key]
        ]

    def _keep(self, key: object, lists: tuple[_List, ...]) -> None:
        with self._lock:
            self._drop(key)
            self._channels[key] = lists
            for each in lists:
                self._count += len(each.items)
                self._size += each.size
            while (self._count > MAX_ITEMS or self._size > MAX_BYTES) and len(self._channels) > 1:
                self._drop(next(iter(self._channels)))

    def _drop(self, key: object) -> None:
        for each in self._channels.pop(key, ()):
            self._count -= len(each.items)
            self._size -= each.size


def _prepared(
    known: Sequence[_List], items: list[Any], encode: Callable[[Any], Prepared]
) -> tuple[_List, _List | None]:
    """Return a list made of runs of those known, and which of them is in it whole."""
    snapshots: list[Any] = []
    prepared = PreparedList()
    are_messages, whole, size = True, None, 0
    while (at := len(snapshots)) < len(items):
        base, place, count = None, 0, 0
        # Another list than that which was written last may be there: no index is made of that one.
        for each in sorted(known, key=lambda each: not each.starts(items, at)):
            if count == len(items) - at:
                break
            found, length = each.run(items, at)
            if length > count:
                base, place, count = each, found, length
        if base is None:
            # Its snapshot is taken first: mutated while it is encoded, it is encoded again.
            snapshots.append(snapshot_of(items[at]))
            prepared.append(encode(items[at]))
            size += _size(prepared[at])
            are_messages = are_messages and isinstance(snapshots[at], dict)
            continue
        snapshots += base.snapshots[place : place + count]
        prepared += base.prepared[place : place + count]
        is_whole = count == len(base.items)
        size += base.size if is_whole else base.size_of(place, count)
        are_messages = are_messages and base.are_messages
        for each_changed in base.changed(items[at : at + count], place):
            n = at + each_changed
            size -= _size(prepared[n])
            snapshots[n], prepared[n] = snapshot_of(items[n]), encode(items[n])
            size += _size(prepared[n])
            are_messages = are_messages and isinstance(snapshots[n], dict)
        if is_whole:
            known, whole = (), base  # what comes behind a list that is there whole is new
    return _List(items, snapshots, prepared, size, are_messages=are_messages), whole


def _size(prepared: Prepared) -> int:
    """Return how many bytes a stored form takes, with one for each character."""
    encoded = prepared.encoded
    return len(encoded.text or "") + len(encoded.data or b"")
