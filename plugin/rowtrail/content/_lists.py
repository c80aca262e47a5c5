"""Lists as pieces of an append-only log.

A version of a list is a few `[offset, first position, length]` pieces of its log, so that append,
edit, trim, delete and fork all store what is new and a short row, whatever the list's length.
Source: the piece table of text editors (C. Crowley, "Data Structures for Text Sequences", 1998).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from rowtrail.engine import Store, Tx
from rowtrail.errors import CorruptRowError

MAX_PIECES = 32  # a list in more pieces is written out anew: 10 B an item, and reads stay short
MAX_CACHED_LOGS = 256

GAP = -1  # a position whose item was pruned
MAX_POSITIONS = 2**26  # a row that says more is damaged: its gaps alone would take half a gigabyte

Piece = tuple[int, int, int]


@dataclass
class Log:
    """One log as the writer remembers it: its items by position, and the newest list over it."""

    row: int
    items: list[int] = field(default_factory=list)
    position: dict[int, int] = field(default_factory=dict)
    newest: list[int] | None = None
    newest_pieces: list[Piece] = field(default_factory=list)
    newest_row: int = 0

    def append(self, items: list[int]) -> int:
        """Add items at the end and return the position of the first."""
        first = len(self.items)
        self.items.extend(items)
        self.position.update(zip(items, range(first, first + len(items)), strict=True))
        return first


class Lists:
    """Writes and reads versions of lists. Used on the writer thread; reading needs no state."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._epoch = store.epoch
        self._logs: OrderedDict[str, Log] = OrderedDict()
        self._reuse = True

    def put(self, tx: Tx, owner: str, items: list[int]) -> int:
        """Store a list of items in the log of `owner` and return the row of this version."""
        log = self._log(tx, owner)
        if log.newest == items:
            return log.newest_row
        known = len(log.items)
        pieces = _pieces(log, items)
        tx.many(
            "log_append",
            [
                {"log": log.row, "pos": pos, "item": log.items[pos]}
                for pos in range(known, len(log.items))
            ],
        )
        log.newest_row = tx.insert(
            "list_insert",
            log=log.row,
            length=len(items),
            pieces=json.dumps(pieces, separators=(",", ":")),
        )
        tx.run("log_set_newest", log=log.row, list=log.newest_row)
        log.newest, log.newest_pieces = list(items), pieces
        return log.newest_row

    def forget(self, *, reuse: bool = True) -> None:
        """Drop what is cached; the file is the truth.

        Args:
            reuse: Whether new lists may be made of what the logs hold. While somebody deletes what
                no list holds any more they may not: each list is written out once more.
        """
        self._logs.clear()
        self._reuse = reuse

    def _log(self, tx: Tx, owner: str) -> Log:
        if self._epoch != self._store.epoch:
            self._epoch = self._store.epoch
            self.forget(reuse=self._reuse)
        log = self._logs.get(owner)
        if log is None or tx.value("log_length", log=log.row) != len(log.items):
            log = _load(tx, owner, reuse=self._reuse)  # new here, or another process appended
            self._logs[owner] = log
        self._logs.move_to_end(owner)
        while len(self._logs) > MAX_CACHED_LOGS:
            self._logs.popitem(last=False)
        return log


def _load(tx: Tx, owner: str, *, reuse: bool) -> Log:
    row = tx.value("log_by_owner", owner=owner)
    if row is None:
        return Log(tx.insert("log_insert", owner=owner))
    log = Log(row)
    for pos, item in tx.all("log_items", log=row):
        if pos >= MAX_POSITIONS:
            raise CorruptRowError(
                f"position {pos} of log {row} is none: run `rowtrail verify`", row=f"log {row}"
            )
        log.append([GAP] * (pos - len(log.items)) + [item])
    log.position.pop(GAP, None)
    if not reuse:
        log.position.clear()
        return log
    newest = tx.one("list_newest", log=row)
    if newest is not None:
        with suppress(ValueError, TypeError, RecursionError):  # damaged: the next is written out
            pieces: list[Piece] = [tuple(piece) for piece in json.loads(newest["pieces"])]
            if len(pieces) <= MAX_PIECES:
                log.newest = [item for _, pos, n in pieces for item in log.items[pos : pos + n]]
                log.newest_pieces, log.newest_row = pieces, newest["id"]
    return log


def _pieces(log: Log, items: list[int]) -> list[Piece]:
    """Return the pieces that make up `items`, appending to the log what it lacks."""
    pieces: list[Piece] = []
    if log.newest and items[: len(log.newest)] == log.newest:
        pieces += log.newest_pieces
        _extend(log, pieces, items, len(log.newest))
    else:
        _cover(log, pieces, items)
    if len(pieces) > MAX_PIECES:
        pieces = [(0, log.append(items), len(items))]
    return pieces


def _extend(log: Log, pieces: list[Piece], items: list[int], start: int) -> None:
    """Add `items[start:]` behind the pieces; one piece stays one where it ends the log."""
    new = items[start:]
    if not new:
        return
    first = log.append(new)
    offset, pos, length = pieces[-1]
    if pos + length == first:
        pieces[-1] = (offset, pos, length + len(new))
    else:
        pieces.append((start, first, len(new)))


def _cover(log: Log, pieces: list[Piece], items: list[int]) -> None:
    """Cover `items` with the longest runs that the log already has."""
    index = 0
    while index < len(items):
        pos = log.position.get(items[index])
        if pos is None:
            fresh = index
            while fresh < len(items) and items[fresh] not in log.position:
                fresh += 1
            fresh = max(fresh, index + 1)
            pieces.append((index, log.append(items[index:fresh]), fresh - index))
            index = fresh
            continue
        length = _common(log.items, pos, items, index)
        pieces.append((index, pos, length))
        index += length


def _common(log: list[int], pos: int, items: list[int], index: int) -> int:
    """Return how many items from `index` on equal the log from `pos` on."""
    limit = min(len(log) - pos, len(items) - index)
    if log[pos : pos + limit] == items[index : index + limit]:
        return limit
    length = 1
    while length < limit and log[pos + length] == items[index + length]:
        length += 1
    return length
