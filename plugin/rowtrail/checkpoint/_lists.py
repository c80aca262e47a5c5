"""Reading many lists at once: items that several versions of a list share are read once."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rowtrail.content import Encoded, Prepared
from rowtrail.engine import Row, Tx
from rowtrail.errors import CorruptRowError

MOST_PIECES = 256
"""Eight times what a writer makes; of more, a few bytes each would repeat a log without end."""

Span = tuple[int, int]
"""Positions of a log, from the first to before the second."""


def fetch_lists(tx: Tx, wanted: Iterable[int], stamp: object) -> dict[int, list[Prepared]]:
    """Return the items of each list, by the row of the list.

    Args:
        stamp: Says that the rows of the items may be used again; see `Content.trusted_stamp`.

    Raises:
        CorruptRowError: A list, or an item of one, is missing.
    """
    rows = sorted(set(wanted))
    if not rows:
        return {}
    try:
        versions = {
            row["id"]: (row["log"], _pieces(row["pieces"]))
            for row in tx.all("lists_pieces", lists=json.dumps(rows))
        }
        spans: dict[int, list[Span]] = {}
        for log, pieces in versions.values():
            spans.setdefault(log, []).extend((first, first + count) for _, first, count in pieces)
        logs = {log: _items(tx, log, merged(found), stamp) for log, found in spans.items()}
        return {row: _assembled(*versions[row], logs) for row in rows}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptRowError(
            f"an item of lists {rows} is missing, or what they are made of is no JSON ({error}): "
            "run `rowtrail verify`",
            row="list",
        ) from error


def _pieces(text: str) -> list[list[int]]:
    pieces: list[list[int]] = json.loads(text)
    if len(pieces) > MOST_PIECES:
        raise ValueError(f"it is in {len(pieces):,} pieces")
    return pieces


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the same positions in as few spans as there can be, in order."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def stored_item(row: Row) -> Prepared:
    """Return the stored form in a row with the columns of `item`."""
    return Prepared(Encoded(row["type"], row["text"], row["data"]), row["digest"])


def _items(tx: Tx, log: int, spans: list[Span], stamp: object) -> dict[int, Prepared]:
    return {
        pos: Prepared(Encoded(kind, text, data), digest, row, stamp)
        for first, end in spans
        for pos, kind, text, data, digest, row in tx.all("log_span", log=log, first=first, end=end)
    }


def _assembled(
    log: int, pieces: list[list[int]], logs: dict[int, dict[int, Prepared]]
) -> list[Prepared]:
    items = logs[log]
    return [items[at] for _, first, count in pieces for at in range(first, first + count)]
