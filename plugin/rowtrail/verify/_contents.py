"""Items, logs and lists: which of them are what was stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

from rowtrail.content import TAG, Encoded, is_for_show, is_genuine, seal_of, stored
from rowtrail.engine import Row
from rowtrail.engine.files import DamagedFile
from rowtrail.errors import DamagedError
from rowtrail.retention import Bits
from rowtrail.verify._report import Progress

MAX_ROW = 2**34
"""Rows are numbered from 1: a larger number is not a row of a journal, and costs memory to note."""

EVERY = 10_000
"""Rows between two reports of progress."""

MISSING = "it is missing"

ValueFault = Callable[[Encoded], str | None]
"""Says why a value cannot be read back as what it was, None where it can."""

Piece = tuple[int, int, int]
Span = tuple[int, int]


class Contents:
    """What is sound in the content of a journal, and why the rest is not."""

    def __init__(self) -> None:
        self.items = Bits()
        self.lists = Bits()
        self.bad_items: dict[int, str] = {}
        self.bad_lists: dict[int, str] = {}
        self.missing_items: set[int] = set()
        """Of the bad ones, those that have no row."""
        self.missing_lists: set[int] = set()
        self.spans: dict[int, list[Span]] = {}
        """By log, the positions that hold a sound item."""
        self.missing_logs: set[int] = set()
        """Logs that have no row of their own, and lists over them."""
        self.rows: dict[str, int] = {}
        self.unreadable: dict[int, str] = {}
        """Sound items that are not read back as what they were, and why."""
        self.unreadable_in: dict[int, dict[int, int]] = {}
        """By log, the positions of such items."""
        self.unreadable_lists: dict[int, int] = {}
        """By list, one of such items in it."""

    def judge(self, row: Row, key: bytes, fault_of: ValueFault) -> None:
        """Note an item that is not read back as what it was; one for people only is not read."""
        encoded = stored(row)
        needs_more_than_json = encoded.data is not None or TAG in (encoded.text or "")
        if needs_more_than_json and not is_for_show(encoded, row["digest"], key):
            why = fault_of(encoded)
            if why is not None:
                self.unreadable[row["id"]] = why

    def item_fault(self, row: int) -> str | None:
        """Return what is wrong with an item, None where nothing is."""
        if _is_row(row) and row in self.items:
            return None
        if row not in self.bad_items:
            self.missing_items.add(row)
        return self.bad_items.setdefault(row, MISSING)

    def list_fault(self, row: int) -> str | None:
        """Return what is wrong with a list, None where nothing is."""
        if _is_row(row) and row in self.lists:
            return None
        if row not in self.bad_lists:
            self.missing_lists.add(row)
        return self.bad_lists.setdefault(row, MISSING)

    def holds(self, log: int, first: int, end: int) -> bool:
        """Return whether each of these positions of a log holds a sound item."""
        return any(low <= first and end <= high for low, high in self.spans.get(log, ()))


def read_contents(
    file: DamagedFile,
    progress: Progress,
    *,
    key: bytes | None,
    quick: bool = False,
    fault_of: ValueFault | None = None,
) -> Contents:
    """Look at every item, log and list.

    Args:
        file: The journal.
        progress: Called with how far it is.
        key: The key of the digests; None where it is lost: then nothing can be proved.
        quick: Leave the digests out.
        fault_of: Says of a sound value why it cannot be read back as what it was.
    """
    found = Contents()
    for row in counted(file, "item", found.rows, progress):
        why = None if _is_row(row["id"]) else "its number is not one of a row"
        if why is None and not quick:
            why = _item_fault(row, key)
        if why is None:
            found.items.add(row["id"])
            if fault_of is not None and key is not None:
                found.judge(row, key, fault_of)
        else:
            found.bad_items[row["id"]] = why
    logs = [row["id"] for row in counted(file, "log", found.rows, progress)]
    found.rows["log_item"] = 0
    for log in logs:
        found.spans[log] = _spans(file, found, log)
    for row in counted(file, "list", found.rows, progress):
        if row["log"] not in found.spans:
            found.missing_logs.add(row["log"])
            found.spans[row["log"]] = _spans(file, found, row["log"])
        why = _list_fault(found, row)
        if why is None and row["log"] in found.unreadable_in:
            _note_unreadable(found, row)
        if why is None:
            found.lists.add(row["id"])
        else:
            found.bad_lists[row["id"]] = why
    return found


def counted(
    file: DamagedFile, table: str, rows: dict[str, int], progress: Progress
) -> Iterator[Row]:
    """Yield the rows of a table, count them, and report how far it is."""
    total = newest_row(file, table)
    rows[table] = 0
    for row in file.scan(table, f"{table}_scan"):
        if rows[table] % EVERY == 0:
            progress(table, rows[table], total)
        rows[table] += 1
        yield row


def log_items(file: DamagedFile, log: int) -> Iterator[Row]:
    """Yield the positions of a log."""
    return file.scan("log_item", "log_item_scan", label=f"log_item of log {log}", log=log)


def newest_row(file: DamagedFile, table: str) -> int:
    """Return the largest row number of a table; 0 where it has none, or cannot be read."""
    try:
        [found] = file.all(f"{table}_last")
    except DamagedError:
        return 0
    return int(found[0] or 0)


def hash_key(file: DamagedFile) -> bytes | None:
    """Return the key of the digests, None where it cannot be read or is not one."""
    try:
        found = file.all("meta_value", key="hash_key")
        key = bytes.fromhex(found[0]["value"]) if found else b""
    except (DamagedError, ValueError, TypeError):
        return None
    return key if len(key) == 16 else None


def _is_row(row: object) -> bool:
    return isinstance(row, int) and 0 <= row < MAX_ROW


def _item_fault(row: Row, key: bytes | None) -> str | None:
    if key is None:
        return "it cannot be proved: the key of the hashes is lost"
    if row["digest"] is None and (row["text"] is not None or row["data"]):
        return "its hash is wrong: it has none"  # only what nobody reads back has none
    is_right = is_genuine(stored(row), row["digest"], key)
    return None if is_right else "its hash is wrong"


def _spans(file: DamagedFile, found: Contents, log: int) -> list[Span]:
    spans: list[Span] = []
    for row in log_items(file, log):
        found.rows["log_item"] += 1
        if found.item_fault(row["item"]) is not None:
            continue
        pos = row["pos"]
        if row["item"] in found.unreadable:
            found.unreadable_in.setdefault(log, {})[pos] = row["item"]
        if spans and spans[-1][1] == pos:
            spans[-1] = (spans[-1][0], pos + 1)
        else:
            spans.append((pos, pos + 1))
    return spans


def _list_fault(found: Contents, row: Row) -> str | None:
    if not _is_row(row["id"]):
        return "its number is not one of a row"
    pieces = _pieces(row["pieces"])
    if pieces is None:
        return "its pieces are no [[offset, first, length], ...]"
    at = 0
    for offset, first, length in pieces:
        if offset != at:
            return f"its pieces do not join at {at}"
        if length and not found.holds(row["log"], first, first + length):
            return f"of its {length} items from {first} on of log {row['log']} some are not sound"
        at += length
    if at != row["length"]:
        return f"its pieces make {at} items, and its length is {row['length']}"
    return None


def _note_unreadable(found: Contents, row: Row) -> None:
    for _, first, length in _pieces(row["pieces"]) or ():
        for pos, item in found.unreadable_in[row["log"]].items():
            if first <= pos < first + length:
                found.unreadable_lists[row["id"]] = item


def _pieces(text: Any) -> list[Piece] | None:
    try:
        pieces: Any = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(pieces, list):
        return None
    found = cast("list[object]", pieces)
    return cast("list[Piece]", found) if all(map(_is_piece, found)) else None


def _is_piece(piece: object) -> bool:
    if not isinstance(piece, list):
        return False
    numbers = cast("list[object]", piece)
    return len(numbers) == 3 and all(type(number) is int and _is_row(number) for number in numbers)


def unsealed_steps(file: DamagedFile, key: bytes | None) -> Iterator[tuple[int, int]]:
    """Yield the steps whose result is another than their row was sealed with, and its item."""
    for row in file.scan("step", "sealed_scan"):
        if key is None or seal_of(key, stored(row), row["fingerprint"], row["n"]) != row["seal"]:
            yield row["id"], row["output"]


def metadata_fault(text: str) -> str | None:
    """Return what is wrong with the metadata of a checkpoint, None where nothing is."""
    try:
        is_object = type(json.loads(text)) is dict
    except (ValueError, TypeError, RecursionError):
        is_object = False
    return None if is_object else "its metadata is not a JSON object"
