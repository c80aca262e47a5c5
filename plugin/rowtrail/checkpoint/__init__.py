"""Checkpoints: their rows, whatever framework writes them.

A channel value is one item, or a list whose items are stored once each. The newest checkpoint of a
namespace is the one that arrived last, not the one with the greatest clock reading.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rowtrail.content import Content, Encoded, Prepared, dump_json
from rowtrail.content import stored as stored_item
from rowtrail.store import Row, Store, Tx

__all__ = ["Checkpoints", "NewCheckpoint", "NewWrite", "StoredCheckpoint", "StoredWrite", "Value"]

Value = Prepared | tuple[Prepared, ...]
"""A channel value on its way in: one item, or the items of a list."""

StoredValue = Encoded | list[Encoded]


@dataclass(frozen=True)
class NewCheckpoint:
    """A checkpoint on its way in; `run` is the row of the run that is active, if one is."""

    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    body: Encoded
    metadata: str
    values: Mapping[str, Value]
    step: int | None = None
    source: str | None = None
    run: int | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class NewWrite:
    """One pending write on its way in."""

    idx: int
    channel: str
    value: Value


@dataclass(frozen=True)
class StoredWrite:
    """One pending write as it was stored."""

    task_id: str
    channel: str
    value: StoredValue


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as it was stored; `metadata` is JSON text."""

    row: int
    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    body: Encoded
    metadata: str
    values: dict[str, StoredValue] = field(default_factory=dict)
    writes: list[StoredWrite] = field(default_factory=list)


class Checkpoints:
    """The checkpoints of one journal. Every method runs inside a transaction or a read."""

    def __init__(self, store: Store, content: Content) -> None:
        self._store = store
        self._content = content

    def put(self, tx: Tx, new: NewCheckpoint) -> None:
        """Store a checkpoint, in place of one with the same id."""
        thread = self._thread_row(tx, new.thread_id)
        row = tx.value(
            "checkpoint_upsert",
            thread=thread,
            ns=new.ns,
            checkpoint_id=new.checkpoint_id,
            parent_id=new.parent_id,
            run=new.run,
            run_id=new.run_id,
            step=new.step,
            source=new.source,
            now=self._store.clock.now_ms(),
            body=new.body.text,
            body_data=new.body.data,
            metadata=new.metadata,
        )
        tx.run("channel_value_clear", checkpoint=row)
        for channel, value in new.values.items():
            item, items = self._put_value(tx, f"{thread}/{new.ns}/{channel}", value)
            tx.run(
                "channel_value_insert",
                checkpoint=row,
                channel=self._channel_row(tx, channel),
                item=item,
                list=items,
            )

    def put_writes(
        self,
        tx: Tx,
        *,
        thread_id: str,
        ns: str,
        checkpoint_id: str,
        task_id: str,
        task_path: str,
        writes: Sequence[NewWrite],
        replace: bool,
    ) -> None:
        """Store the writes of one task; those already there stay unless `replace`."""
        thread = self._thread_row(tx, thread_id)
        key = {"thread": thread, "ns": ns, "checkpoint_id": checkpoint_id}
        row = tx.value("checkpoint_row", **key)
        if row is None:  # the writes of a superstep may arrive before its checkpoint
            row = tx.insert("checkpoint_stub", now=self._store.clock.now_ms(), **key)
        for write in writes:
            item, items = self._put_value(tx, f"{thread}/{ns}/{write.channel}/w", write.value)
            tx.run(
                "write_replace" if replace else "write_insert",
                checkpoint=row,
                task_path=task_path,
                task_id=task_id,
                idx=write.idx,
                channel=self._channel_row(tx, write.channel),
                item=item,
                list=items,
            )

    def fetch(
        self, tx: Tx, thread_id: str, ns: str, checkpoint_id: str | None
    ) -> StoredCheckpoint | None:
        """Return one checkpoint, the newest of the namespace when no id is given."""
        thread = tx.value("thread_row", thread_id=thread_id)
        if checkpoint_id is None:
            row = tx.one("checkpoint_newest", thread=thread, ns=ns)
        else:
            row = tx.one("checkpoint_by_id", thread=thread, ns=ns, checkpoint_id=checkpoint_id)
        return None if row is None else self._filled(tx, [row])[0]

    def fetch_page(
        self,
        tx: Tx,
        *,
        thread_id: str | None,
        ns: str | None,
        checkpoint_id: str | None,
        filter: Mapping[str, object] | None,
        before: str | None,
        after: tuple[str, int] | None,
        limit: int,
    ) -> list[StoredCheckpoint]:
        """Return the next checkpoints in descending order of their ids."""
        after_id, after_row = after or (None, None)
        rows = tx.all(
            "checkpoint_page",
            thread_id=thread_id,
            ns=ns,
            checkpoint_id=checkpoint_id,
            before=before,
            after_id=after_id,
            after_row=after_row,
            filter=dump_json(filter or {}),
            limit=limit,
        )
        return self._filled(tx, rows)

    def newest_id(self, tx: Tx, thread_id: str, ns: str) -> str | None:
        """Return the id of the newest checkpoint."""
        thread = tx.value("thread_row", thread_id=thread_id)
        row = tx.one("checkpoint_newest", thread=thread, ns=ns)
        return None if row is None else row["checkpoint_id"]

    def channel_history(
        self, tx: Tx, thread_id: str, ns: str, checkpoint_id: str, channels: Sequence[str]
    ) -> dict[str, tuple[StoredValue | None, list[StoredWrite]]]:
        """Return per channel its nearest stored value before a checkpoint, and the writes since.

        Writes are oldest first. The value is None where no ancestor has one.
        """
        thread = tx.value("thread_row", thread_id=thread_id)
        lineage = [
            row["id"]
            for row in tx.all("ancestors", thread=thread, ns=ns, checkpoint_id=checkpoint_id)
        ][1:]
        found: dict[str, tuple[StoredValue | None, list[StoredWrite]]] = {}
        for channel in channels:
            seed = self._seed(tx, lineage, channel)
            part = lineage if seed is None else lineage[: lineage.index(seed) + 1]
            writes = self._writes(tx, part)
            value = None if seed is None else self._values(tx, [seed])[seed].get(channel)
            found[channel] = (
                value,
                [w for row in reversed(part) for w in writes[row] if w.channel == channel],
            )
        return found

    def delete_thread(self, tx: Tx, thread_id: str) -> None:
        """Delete a thread: its checkpoints, runs and steps. What days cost stays counted."""
        thread = tx.value("thread_row", thread_id=thread_id)
        if thread is None:
            return
        self._delete(tx, [row["id"] for row in tx.all("thread_checkpoints", thread=thread)])
        for statement in ("replays", "steps", "scopes", "attempts", "runs"):
            tx.run(f"thread_{statement}_delete", thread=thread)
        tx.run("thread_delete", thread=thread)

    def delete_checkpoints_of_thread(self, tx: Tx, thread_id: str) -> None:
        """Delete the checkpoints of a thread and keep its runs and steps."""
        thread = tx.value("thread_row", thread_id=thread_id)
        self._delete(tx, [row["id"] for row in tx.all("thread_checkpoints", thread=thread)])

    def delete_for_run(self, tx: Tx, run_id: str) -> None:
        """Delete the checkpoints that a run made."""
        self._delete(tx, [row["id"] for row in tx.all("checkpoints_of_run", run_id=run_id)])

    def copy_thread(self, tx: Tx, source: str, target: str) -> None:
        """Copy the checkpoints of a thread behind those of another; no value is stored again."""
        thread = tx.value("thread_row", thread_id=source)
        rows = tx.all("thread_checkpoints", thread=thread)
        target_row = self._thread_row(tx, target) if rows else None
        for row in rows:
            key = {"thread": target_row, "ns": row["ns"], "checkpoint_id": row["checkpoint_id"]}
            there = tx.value("checkpoint_row", **key)
            if there is not None:
                self._delete(tx, [there])
            copy = tx.insert("checkpoint_copy", target=target_row, checkpoint=row["id"])
            tx.run("channel_values_copy", target=copy, checkpoint=row["id"])
            tx.run("writes_copy", target=copy, checkpoint=row["id"])

    def keep_latest(self, tx: Tx, thread_id: str, delta_channels: Mapping[int, set[str]]) -> None:
        """Delete all but the newest checkpoint of each namespace.

        Ancestors from which a delta channel is rebuilt are kept, hidden.

        Args:
            delta_channels: Per row of a newest checkpoint, the channels that it rebuilds.
        """
        thread = tx.value("thread_row", thread_id=thread_id)
        newest = {row["id"] for row in tx.all("namespace_newest", thread=thread)}
        needed: set[int] = set()
        rows = tx.all("thread_checkpoints", thread=thread)
        for row in rows:
            if row["id"] in newest:
                needed |= self._lineage_of(tx, thread, row, delta_channels.get(row["id"], set()))
        kept = newest | needed
        tx.run("checkpoints_hide", checkpoints=json.dumps(sorted(needed - newest)))
        self._delete(tx, [row["id"] for row in rows if row["id"] not in kept])

    def newest_of_thread(self, tx: Tx, thread_id: str) -> dict[int, str]:
        """Return the metadata of the newest checkpoint of each namespace, by row."""
        thread = tx.value("thread_row", thread_id=thread_id)
        newest = {row["id"] for row in tx.all("namespace_newest", thread=thread)}
        return {
            row["id"]: row["metadata"]
            for row in tx.all("thread_checkpoints", thread=thread)
            if row["id"] in newest
        }

    def _lineage_of(self, tx: Tx, thread: int, row: Row, channels: Iterable[str]) -> set[int]:
        """Return the ancestors that rebuild `channels`, up to the one that stores the value."""
        key = {"thread": thread, "ns": row["ns"], "checkpoint_id": row["checkpoint_id"]}
        lineage = [found["id"] for found in tx.all("ancestors", **key)]
        needed: set[int] = set()
        for channel in channels:
            seed = self._seed(tx, lineage, channel)
            needed |= set(lineage if seed is None else lineage[: lineage.index(seed) + 1])
        return needed

    def _seed(self, tx: Tx, lineage: list[int], channel: str) -> int | None:
        holders = {
            row["checkpoint"]
            for row in tx.all(
                "checkpoints_with_channel", channel=channel, checkpoints=json.dumps(lineage)
            )
        }
        return next((row for row in lineage if row in holders), None)

    def _delete(self, tx: Tx, rows: list[int]) -> None:
        if not rows:
            return
        listed = json.dumps(rows)
        for statement in ("writes_delete", "channel_values_delete", "checkpoints_delete"):
            tx.run(statement, checkpoints=listed)
        tx.run("generation_grow")

    def _thread_row(self, tx: Tx, thread_id: str) -> int:
        row: int | None = tx.value("thread_row", thread_id=thread_id)
        if row is not None:
            return row
        return tx.insert("thread_insert", thread_id=thread_id, now=self._store.clock.now_ms())

    def _channel_row(self, tx: Tx, channel: str) -> int:
        row: int | None = tx.value("channel_row", channel=channel)
        return row if row is not None else tx.insert("channel_insert", channel=channel)

    def _put_value(self, tx: Tx, owner: str, value: Value) -> tuple[int | None, int | None]:
        if isinstance(value, Prepared):
            return self._content.put(tx, value), None
        return None, self._content.put_list(tx, owner, value)

    def _filled(self, tx: Tx, rows: list[Row]) -> list[StoredCheckpoint]:
        """Return checkpoints with their values and writes: three queries, however many rows."""
        ids = [row["id"] for row in rows]
        values, writes = self._values(tx, ids), self._writes(tx, ids)
        return [
            StoredCheckpoint(
                row=row["id"],
                thread_id=row["thread_id"],
                ns=row["ns"],
                checkpoint_id=row["checkpoint_id"],
                parent_id=row["parent_id"],
                body=Encoded("dict", row["body"], row["body_data"]),
                metadata=row["metadata"],
                values=values[row["id"]],
                writes=writes[row["id"]],
            )
            for row in rows
        ]

    def _values(self, tx: Tx, rows: Sequence[int]) -> dict[int, dict[str, StoredValue]]:
        found = tx.all("channel_values_of", checkpoints=json.dumps(list(rows)))
        lists = self._lists(tx, found)
        values: dict[int, dict[str, StoredValue]] = defaultdict(dict)
        for row in found:
            values[row["checkpoint"]][row["channel"]] = _value(row, lists)
        return values

    def _writes(self, tx: Tx, rows: Sequence[int]) -> dict[int, list[StoredWrite]]:
        found = tx.all("writes_of", checkpoints=json.dumps(list(rows)))
        lists = self._lists(tx, found)
        writes: dict[int, list[StoredWrite]] = defaultdict(list)
        for row in found:
            value = _value(row, lists)
            writes[row["checkpoint"]].append(StoredWrite(row["task_id"], row["channel"], value))
        return writes

    def _lists(self, tx: Tx, rows: Iterable[Row]) -> dict[int, list[Encoded]]:
        wanted = sorted({row["list"] for row in rows if row["list"] is not None})
        lists: dict[int, list[Encoded]] = {row: [] for row in wanted}
        if wanted:
            for item in tx.all("lists_of", lists=json.dumps(wanted)):
                lists[item["list"]].append(stored_item(item))
        return lists


def _value(row: Row, lists: dict[int, list[Encoded]]) -> StoredValue:
    return lists[row["list"]] if row["list"] is not None else stored_item(row)
