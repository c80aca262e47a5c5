"""Rows of checkpoints, filled with their values and their writes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from rowtrail.checkpoint._lists import fetch_lists, stored_item
from rowtrail.checkpoint._packing import unpack_body, unpack_id, values_fault
from rowtrail.checkpoint._rows import Known, Placed, StoredCheckpoint, StoredWrite, Value
from rowtrail.content import Content, Prepared
from rowtrail.engine import Row, Tx
from rowtrail.errors import CorruptRowError

LIST_OF_ONE = 0
"""In place of the row of a list: a list that holds the row's one item, and needs no log."""


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
        found = tx.all("channel_values_of", checkpoints=json.dumps(ids), channel=None)
        values, writes = self.values(tx, found, stamp, known), self.writes(tx, ids)
        lists: dict[int, dict[str, int]] = defaultdict(dict)
        for row in found:
            if row["list"]:
                lists[row["checkpoint"]][row["channel"]] = row["list"]
        for row in rows:
            _refuse_torn(row, len(values[row["id"]]))
        return [
            StoredCheckpoint(
                row=row["id"],
                thread_id=row["thread_id"],
                ns=row["ns"],
                checkpoint_id=str(unpack_id(row["checkpoint_id"])),
                parent_id=unpack_id(row["parent_id"]),
                body=unpack_body(row["body"]),
                metadata=row["metadata"],
                values=values[row["id"]],
                writes=writes[row["id"]],
                placed=None if stamp is None else Placed(lists[row["id"]], stamp),
            )
            for row in rows
        ]

    def values(
        self, tx: Tx, found: list[Row], stamp: object, known: Known | None = None
    ) -> dict[int, dict[str, Value]]:
        """Return the values in rows of `channel_values_of`, by checkpoint and channel."""
        lists: dict[int, list[Prepared]] = {}
        for row in found:
            if known is not None and stamp is not None and row["list"]:
                remembered = known(row["channel"], row["list"], stamp)
                if remembered is not None:
                    lists[row["list"]] = remembered
        wanted = [row["list"] for row in found if row["list"] and row["list"] not in lists]
        lists |= fetch_lists(tx, wanted, stamp)
        values: dict[int, dict[str, Value]] = defaultdict(dict)
        for row in found:
            values[row["checkpoint"]][row["channel"]] = _value(row, lists)
        return values

    def writes(
        self, tx: Tx, rows: Sequence[int], channel: int | None = None
    ) -> dict[int, list[StoredWrite]]:
        """Return the writes on checkpoints, to all channels or to one, in order of application."""
        found = tx.all("writes_of", checkpoints=json.dumps(rows), channel=channel)
        wanted = [row["list"] for row in found if row["list"]]
        lists = fetch_lists(tx, wanted, self._content.trusted_stamp(tx)) if wanted else {}
        writes: dict[int, list[tuple[tuple[str, str, int], StoredWrite]]] = defaultdict(list)
        for row in found:
            task_id = str(unpack_id(row["task_id"]))
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
            f"checkpoint {unpack_id(row['checkpoint_id'])} is damaged: {why}; "
            "run `rowtrail verify`",
            row=f"checkpoint {row['id']}",
        )


def _value(row: Row, lists: dict[int, list[Prepared]]) -> Value:
    if row["list"] == LIST_OF_ONE:
        return [stored_item(row)]
    return stored_item(row) if row["list"] is None else lists[row["list"]]
