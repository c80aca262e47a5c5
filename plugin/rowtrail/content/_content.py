"""The content of one journal: every value once, and lists as pieces of append-only logs.

A version of a list is a few `[offset, first position, length]` pieces of its log, so that append,
edit, trim, delete and fork all store what is new and a short row, whatever the list's length.
Source: the piece table of text editors (C. Crowley, "Data Structures for Text Sequences", 1998).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from rowtrail.content._codec import Encoded
from rowtrail.content._digests import digest_of, is_genuine, seal_of
from rowtrail.content._known import KnownValues
from rowtrail.engine import Row, Store, Tx
from rowtrail.errors import CorruptRowError

MAX_CACHED_DIGESTS = 50_000
"""Bounds the memory of a process; what is found here needs no query."""
MAX_CACHED_LOGS = 256
"""The channels of some hundred threads; what is not here costs one query."""
MAX_PIECES = 32  # a list in more pieces is written out anew: 10 B an item, and reads stay short

GAP = -1  # a position whose item was pruned
MAX_POSITIONS = 2**26  # a row that says more is damaged: its gaps alone would take half a gigabyte

Piece = tuple[int, int, int]


@dataclass(eq=False, slots=True)
class Prepared:
    """An encoded value with its content digest, ready for a transaction.

    `row` is where it was stored last, true as long as `stamp` is the store's. `template`,
    `canonical` and `masked` are whatever an adapter derives from the value, once.
    """

    encoded: Encoded
    digest: bytes | None
    row: int = 0
    stamp: object = None
    template: object = None
    canonical: object = None
    masked: object = None
    is_checked: bool = False


class PreparedList(list[Prepared]):
    """The items of a list, ready for a transaction.

    `place` is the row where the list was stored last and the stamp under which it is that, None
    where it is not known; one object, because readers look at it while the writer sets it.
    """

    place: tuple[int, object] | None = None

    def is_in(self, row: int, stamp: object) -> bool:
        """Return whether the list is the one in this row, as long as the stamp is valid."""
        place = self.place
        return place is not None and place[0] == row and place[1] is stamp


@dataclass(slots=True)
class Log:
    """One log as the writer remembers it: its items by position, and the newest list over it.

    `written` are the items of that list as they were given, empty where that is not known.
    """

    row: int
    items: list[int] = field(default_factory=list[int])
    position: dict[int, int] = field(default_factory=dict[int, int])
    newest: list[int] = field(default_factory=list[int])
    newest_pieces: list[Piece] = field(default_factory=list[Piece])
    newest_row: int = 0
    written: Sequence[Prepared] = ()

    def append(self, items: list[int]) -> int:
        """Add items at the end and return the position of the first."""
        first = len(self.items)
        self.items.extend(items)
        self.position.update(zip(items, range(first, first + len(items)), strict=True))
        return first


class Content:
    """The content store of one journal file.

    `prepare` may run on any thread; the methods that take a `Tx` run inside a transaction.
    """

    def __init__(self, store: Store) -> None:
        self._key = store.hash_key
        self.known = KnownValues()
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._logs: OrderedDict[str, Log] = OrderedDict()
        self._seen: str | None = None
        self._is_sweeping = False
        self.stamp: object = None
        """What is remembered of rows is valid while this stays: it changes when rows are deleted
        anywhere, and is another for every opening of the journal."""

    def prepare(self, encoded: Encoded) -> Prepared:
        """Digest an encoded value."""
        if encoded.identity is None:
            return Prepared(encoded, None)
        digest = digest_of(self._key, encoded.identity)
        # What was digested is as large as the value, and of no more use.
        kept = Encoded(encoded.type, encoded.text, encoded.data)
        return Prepared(kept, digest, is_checked=True)

    def seal(self, encoded: Encoded, fingerprint: bytes, n: int) -> bytes:
        """Return what ties a result to the step that returned it."""
        return seal_of(self._key, encoded, fingerprint, n)

    def check(self, items: Sequence[Prepared]) -> None:
        """Compare values that were read with their digests, each once.

        Raises:
            CorruptRowError: A value is not the one that was stored: a bit of the file has changed.
        """
        for item in items:
            if not item.is_checked and not is_genuine(item.encoded, item.digest, self._key):
                raise CorruptRowError(
                    f"a stored {item.encoded.type} (item {item.row or '?'}) is not what was "
                    "stored: run `rowtrail verify`",
                    row=f"item {item.row}",
                )
            item.is_checked = True

    def put(self, tx: Tx, prepared: Prepared, *, refreshed: bool = False) -> int:
        """Store a value, or find it stored already, and return its row.

        Args:
            refreshed: Whether `refresh` was called in this transaction.
        """
        if not refreshed:
            self.refresh(tx.value("meta_value", key="generation"))
        return prepared.row if prepared.stamp is self.stamp else self._put(tx, prepared)

    def _put(self, tx: Tx, prepared: Prepared) -> int:
        """Store a value that may not be stored, and return its row."""
        encoded, digest = prepared.encoded, prepared.digest
        row = None if digest is None else self._known.get(digest)
        if row is not None:
            prepared.row, prepared.stamp = row, self.stamp
            return row
        # What was read is there already; what was not is most likely new.
        row = self._find(tx, digest) if digest is not None and prepared.row else None
        row = row or tx.insert_absent(
            "item_insert",
            digest=digest,
            type=encoded.type,
            text=encoded.text,
            data=encoded.data,
        )
        row = row or self._find(tx, digest)
        assert row is not None
        # Not before: the row may be undone, and what others store would refer to nothing.
        tx.after_commit(partial(self._remember, prepared, row, self.stamp))
        return row

    def _remember(self, prepared: Prepared, row: int, stamp: object) -> None:
        """Note where a value is, once that is committed, unless rows were deleted since."""
        if stamp is not self.stamp:
            return
        prepared.row, prepared.stamp = row, stamp
        if prepared.digest is not None:
            self._known[prepared.digest] = row
            if len(self._known) > MAX_CACHED_DIGESTS:
                self._known.popitem(last=False)

    def _find(self, tx: Tx, digest: bytes | None) -> int | None:
        row: int | None = tx.value("item_by_digest", digest=digest)
        if row is not None and self._is_sweeping:
            tx.run("item_touch", item=row)  # whoever sweeps may have found that nothing needs it
        return row

    def put_list(
        self, tx: Tx, owner: str, items: Sequence[Prepared], *, refreshed: bool = False
    ) -> int:
        """Store a list of values in the log of `owner` and return the row of this version."""
        if not refreshed:
            self.refresh(tx.value("meta_value", key="generation"))
        log, stamp = self._log(tx, owner), self.stamp
        known = len(log.written)
        goes_on = known > 0 and log.written == items[:known]  # by identity
        # Only what is new is looked at one by one: this is done for every list of every checkpoint.
        rows = [
            item.row if item.stamp is stamp else self._put(tx, item)
            for item in (items[known:] if goes_on else items)
        ]
        if goes_on:
            rows = log.newest + rows
        if not log.newest_row or rows != log.newest:
            _write_version(tx, log, rows, goes_on=goes_on)
        log.written = items
        if isinstance(items, PreparedList):
            tx.after_commit(partial(setattr, items, "place", (log.newest_row, stamp)))
        return log.newest_row

    def _log(self, tx: Tx, owner: str) -> Log:
        tx.after_rollback(partial(self._logs.pop, owner, None))  # it would have what was undone
        log = self._logs.get(owner)
        if log is None or tx.value("log_length", log=log.row) != len(log.items):
            # New here, or another process appended. While somebody deletes what no list has any
            # more, no new list is made of what the log has: each is written out once more.
            log = self._logs[owner] = _load(tx, owner, reuse=not self._is_sweeping)
            if len(self._logs) > MAX_CACHED_LOGS:
                self._logs.popitem(last=False)
        self._logs.move_to_end(owner)
        return log

    def refresh(self, generation: str) -> None:
        """Drop what is remembered when rows were deleted anywhere.

        Args:
            generation: That of the journal, as this transaction finds it.
        """
        if generation != self._seen:
            self._seen = generation
            self.stamp = object()
            self._is_sweeping = is_sweeping(generation)
            self._known.clear()
            self._logs.clear()

    def trusted_stamp(self, tx: Tx) -> object:
        """Return the stamp for rows that are read here; None where they may go before their use."""
        stamp, seen = self.stamp, self._seen  # in this order: a new stamp never meets an old `seen`
        generation = tx.value("meta_value", key="generation")
        if seen is None or seen != generation or is_sweeping(generation):
            return None
        return stamp

    def fetch(self, tx: Tx, row: int) -> Encoded:
        """Return a stored value.

        Raises:
            CorruptRowError: There is no such row.
        """
        found = tx.one("item_by_id", id=row)
        if found is None:
            raise CorruptRowError(
                f"item {row} is missing: run `rowtrail verify`", row=f"item {row}"
            )
        return stored(found)

    def fetch_list(self, tx: Tx, row: int) -> list[tuple[int, Encoded]]:
        """Return the items of a list in order, each with its row."""
        return [(r["id"], stored(r)) for r in tx.all("list_items", list=row)]


def is_sweeping(generation: str) -> bool:
    """Return whether somebody is deleting content that nothing refers to: the number is odd."""
    return bool(int(generation) & 1)


def stored(row: Row) -> Encoded:
    """Return the stored form in a row of `item`."""
    return Encoded(row["type"], row["text"], row["data"])


def _write_version(tx: Tx, log: Log, rows: list[int], *, goes_on: bool) -> None:
    """Write another version of a list, and what its log lacks.

    Args:
        goes_on: Whether the rows begin with those of the newest version.
    """
    known = len(log.items)
    pieces = _pieces(log, rows, goes_on=goes_on)
    if len(log.items) > known:
        added = range(known, len(log.items))
        tx.many("log_append", [{"log": log.row, "pos": at, "item": log.items[at]} for at in added])
    log.newest_row = tx.insert(
        "list_insert",
        log=log.row,
        length=len(rows),
        pieces=json.dumps(pieces, separators=(",", ":")),
    )
    tx.run("log_set_newest", log=log.row, list=log.newest_row)
    log.newest, log.newest_pieces = rows, pieces


def _load(tx: Tx, owner: str, *, reuse: bool) -> Log:
    row = tx.value("log_by_owner", owner=owner)
    if row is None:
        return Log(tx.insert("log_insert", owner=owner))
    log = Log(row)
    for pos, item in tx.all("log_items", log=row):
        if pos >= MAX_POSITIONS:
            raise CorruptRowError(
                f"position {pos} of log {row} is out of range: run `rowtrail verify`",
                row=f"log {row}",
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


def _pieces(log: Log, rows: list[int], *, goes_on: bool) -> list[Piece]:
    """Return the pieces that make up `rows`, appending to the log what it lacks."""
    pieces: list[Piece] = []
    if goes_on or (log.newest and rows[: len(log.newest)] == log.newest):
        pieces += log.newest_pieces
        _extend(log, pieces, rows, len(log.newest))
    else:
        _cover(log, pieces, rows)
    if len(pieces) > MAX_PIECES:
        pieces = [(0, log.append(rows), len(rows))]
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
