"""Rows of checkpoints, filled with their values and their writes.

Items that several versions of a list share are read once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rowtrail.checkpoint._packing import unpack_body, values_fault
from rowtrail.checkpoint._rows import Known, StoredCheckpoint, StoredWrite, Value
from rowtrail.content import Content, Encoded, Prepared, PreparedList
from rowtrail.engine import Row, Tx, id_text
from rowtrail.errors import CorruptRowError

LIST_OF_ONE = 0
"""In place of the row of a list: a list of the row's one item, which needs no log."""

MOST_PIECES = 256
"""Eight times what a writer makes; of more, a few bytes each would repeat a log without end."""

Span = tuple[int, int]
"""Positions of a log, from the first to before the second."""


class Reading:
    """Reads what checkpoints hold: always many at once, by one query for each kind of row."""

    def __init__(self, content: Content) -> None:
        self._content = content

    def checkpoints(
        self, tx: Tx, rows: list[Row], known: Known | None = None
    ) -> list[StoredCheckpoint]:
        """Return checkpoints with their values and writes: three queries, however many rows."""
        ids = [row["id"] for row in rows]
        stamp = self._content.trusted_stamp(tx)
        found = tx.all("channel_values_of", checkpoints=tx.array(ids), channel=None)
        values, writes = self.values(tx, found, stamp, known), self.writes(tx, ids)
        for row in rows:
            _refuse_torn(row, len(values[row["id"]]))
        return [
            StoredCheckpoint(
                row=row["id"],
                thread_id=row["thread_id"],
                ns=row["ns"],
                checkpoint_id=str(id_text(row["checkpoint_id"])),
                parent_id=id_text(row["parent_id"]),
                body=unpack_body(row["body"]),
                metadata=row["metadata"],
                values=values[row["id"]],
                writes=writes[row["id"]],
            )
            for row in rows
        ]

    def values(
        self, tx: Tx, found: list[Row], stamp: object, known: Known | None = None
    ) -> dict[int, dict[str, Value]]:
        """Return the values in rows of `channel_values_of`, by checkpoint and channel."""
        lists: dict[int, PreparedList] = {}
        for row in found:
            if known is not None and stamp is not None and row["list"]:
                remembered = known(row["channel"], row["list"], stamp)
                if remembered is not None:
                    lists[row["list"]] = remembered
        wanted = [row["list"] for row in found if row["list"] and row["list"] not in lists]
        lists |= _fetch_lists(tx, wanted, stamp)
        values: dict[int, dict[str, Value]] = defaultdict(dict)
        for row in found:
            values[row["checkpoint"]][row["channel"]] = _value(row, lists)
        return values

    def writes(
        self, tx: Tx, rows: Sequence[int], channel: int | None = None
    ) -> dict[int, list[StoredWrite]]:
        """Return the writes on checkpoints, to all channels or to one, in order of application."""
        found = tx.all("writes_of", checkpoints=tx.array(rows), channel=channel)
        wanted = [row["list"] for row in found if row["list"]]
        lists = _fetch_lists(tx, wanted, self._content.trusted_stamp(tx)) if wanted else {}
        writes: dict[int, list[tuple[tuple[str, str, int], StoredWrite]]] = defaultdict(list)
        for row in found:
            task_id = str(id_text(row["task_id"]))
            write = StoredWrite(task_id, row["channel"], _value(row, lists))
            writes[row["checkpoint"]].append(((row["task_path"], task_id, row["idx"]), write))
        return defaultdict(
            list,
            {
                row: [write for _, write in sorted(of, key=lambda found: found[0])]
                for row, of in writes.items()
            },
        )


def _refuse_torn(row: Row, values: int) -> None:
    why = values_fault(row["body"], values)
    if why is not None:
        raise CorruptRowError(
            f"checkpoint {id_text(row['checkpoint_id'])} is damaged: {why}; run `rowtrail verify`",
            row=f"checkpoint {row['id']}",
        )


def _value(row: Row, lists: dict[int, PreparedList]) -> Value:
    if row["list"] == LIST_OF_ONE:
        return PreparedList([_stored_item(row)])
    return _stored_item(row) if row["list"] is None else lists[row["list"]]


def _fetch_lists(tx: Tx, wanted: Iterable[int], stamp: object) -> dict[int, PreparedList]:
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
            for row in tx.all("lists_pieces", lists=tx.array(rows))
        }
        spans: dict[int, list[Span]] = {}
        for log, pieces in versions.values():
            spans.setdefault(log, []).extend((first, first + count) for _, first, count in pieces)
        logs = {log: _items(tx, log, _merged(found), stamp) for log, found in spans.items()}
        return {row: _assembled(row, *versions[row], logs, stamp) for row in rows}
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


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the same positions in as few spans as there can be, in order."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _stored_item(row: Row) -> Prepared:
    """Return the stored form in a row with the columns of `item`."""
    return Prepared(Encoded(row["type"], row["text"], row["data"]), row["digest"])


def _items(tx: Tx, log: int, spans: list[Span], stamp: object) -> dict[int, Prepared]:
    return {
        pos: Prepared(Encoded(kind, text, data), digest, row, stamp)
        for first, end in spans
        for pos, kind, text, data, digest, row in tx.all("log_span", log=log, first=first, end=end)
    }


def _assembled(
    row: int,
    log: int,
    pieces: list[list[int]],
    logs: dict[int, dict[int, Prepared]],
    stamp: object,
) -> PreparedList:
    items = logs[log]
    found = PreparedList(
        items[at] for _, first, count in pieces for at in range(first, first + count)
    )
    if stamp is not None:
        found.place = (row, stamp)
    return found
