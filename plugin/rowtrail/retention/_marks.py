"""Finding what nothing refers to any more, from one snapshot, without a lock."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field

from rowtrail.engine import Tx


class Bits:
    """A set of row ids, one bit each."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, row: int) -> None:
        """Put a row into the set."""
        index = row >> 3
        if index >= len(self._bytes):
            self._bytes.extend(bytes(index - len(self._bytes) + 1024))
        self._bytes[index] |= 1 << (row & 7)

    def add_some(self, *rows: int | None) -> None:
        """Put those of the rows that there are into the set."""
        for row in rows:
            if row is not None:
                self.add(row)

    def __contains__(self, row: int) -> bool:
        index = row >> 3
        return index < len(self._bytes) and bool(self._bytes[index] & (1 << (row & 7)))


@dataclass
class Garbage:
    """What nothing refers to: rows of `list`, positions of `log_item`, rows of `item`."""

    lists: list[int] = field(default_factory=list)
    positions: list[tuple[int, int]] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    item_bytes: int = 0


@dataclass(frozen=True)
class Doomed:
    """Rows that a plan would delete, to be looked through as if they were gone."""

    checkpoints: frozenset[int] = frozenset()
    steps: frozenset[int] = frozenset()


def find_garbage(tx: Tx, doomed: Doomed = Doomed()) -> Garbage:
    """Return what would be unreferenced once `doomed` is gone. Reads every reference once."""
    live_lists, live_items = _roots(tx, doomed)
    garbage = Garbage()
    covered: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row, log, pieces in tx.iter("lists_all"):
        if row in live_lists:
            covered[log].extend((pos, pos + length) for _, pos, length in json.loads(pieces))
        else:
            garbage.lists.append(row)
    spans = {log: _merged(found) for log, found in covered.items()}
    for log, pos, item in tx.iter("log_items_all"):
        if _is_inside(spans.get(log, []), pos):
            live_items.add(item)
        else:
            garbage.positions.append((log, pos))
    for row, size in tx.iter("items_all"):
        if row not in live_items:
            garbage.items.append(row)
            garbage.item_bytes += size
    return garbage


def _roots(tx: Tx, doomed: Doomed) -> tuple[Bits, Bits]:
    """Return the lists and the items that rows refer to."""
    lists, items = Bits(), Bits()
    for statement in ("values_refer", "writes_refer"):
        for owner, item, row in tx.iter(statement):
            if owner not in doomed.checkpoints:
                items.add_some(item)
                lists.add_some(row)
    for owner, given, output, prompt in tx.iter("steps_refer"):
        if owner not in doomed.steps:
            items.add_some(given, output)
            lists.add_some(prompt)
    return lists, items


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _is_inside(spans: list[tuple[int, int]], pos: int) -> bool:
    low, high = 0, len(spans)
    while low < high:
        middle = (low + high) // 2
        if spans[middle][1] <= pos:
            low = middle + 1
        else:
            high = middle
    return low < len(spans) and spans[low][0] <= pos
