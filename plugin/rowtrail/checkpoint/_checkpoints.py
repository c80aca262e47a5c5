"""Putting, finding, listing and deleting the checkpoints of one journal.

A channel value is one item, or a list whose items are stored once each. The newest checkpoint of a
namespace is the one that arrived last, not the one with the greatest clock reading.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from rowtrail.checkpoint._ancestry import delta_ancestors
from rowtrail.checkpoint._packing import pack_body
from rowtrail.checkpoint._reading import LIST_OF_ONE, Reading
from rowtrail.checkpoint._rows import (
    DamagedCheckpoint,
    Known,
    NewCheckpoint,
    NewWrites,
    StoredCheckpoint,
    StoredWrite,
    Value,
)
from rowtrail.content import LONGEST_INT, Content, Prepared, is_sweeping
from rowtrail.engine import Row, Store, Tx, id_text
from rowtrail.errors import BusyError, CorruptRowError

MAX_CACHED_LABELS = 10_000
"""Channels and nodes of a program are some hundred; one that makes up names must not fill
memory."""
CHECKPOINTS_DELETED = "its checkpoints were deleted while it waited for a person"
"""Error of such a run."""


class Checkpoints:
    """The checkpoints of one journal. Every method runs inside a transaction or a read."""

    def __init__(self, store: Store, content: Content) -> None:
        self._store = store
        self._content = content
        self._read = Reading(content)
        self._labels: dict[str, int] = {}
        """Rows of names that repeat: of channels, and paths of tasks."""
        self._labels_stamp: object = None

    def put(self, tx: Tx, new: NewCheckpoint, writes: Iterable[NewWrites] = ()) -> None:
        """Store a checkpoint, in place of one with the same id, and writes of its tasks."""
        now = tx.now_ms() if new.created_at is None else new.created_at
        thread = self._begin(tx, new.thread_id, now)
        row = self._put_row(tx, new, thread, now)
        values: list[dict[str, int | None]] = []
        for channel, value in new.values.items():
            item, items = self._put_value(tx, f"{thread}/{new.ns}/{channel}", value)
            label = self._labels.get(channel) or self._label(tx, channel)
            values.append({"checkpoint": row, "channel": label, "item": item, "list": items})
        tx.many("channel_value_insert", values)
        for each in writes:
            self._put_writes(tx, thread, new.ns, row, each)

    def _put_row(self, tx: Tx, new: NewCheckpoint, thread: int, now: int) -> int:
        """Store the row of a checkpoint and return its id."""
        key = {"thread": thread, "ns": new.ns, "checkpoint_id": tx.id(new.checkpoint_id)}
        rest = {
            "parent_id": tx.id(new.parent_id),
            "run": new.run,
            "run_id": new.run_id,
            "step": new.step,
            "source": new.source,
            "now": now,
            "body": pack_body(new.body, len(new.values)),
            "metadata": new.metadata,
        }
        row = tx.insert_absent("checkpoint_insert", **key, **rest)
        if row is not None:
            return row
        self._bring_to_front(tx, key)
        there: int = tx.value("checkpoint_upsert", **key, **rest)
        tx.run("channel_value_clear", checkpoint=there)
        return there

    def _begin(self, tx: Tx, thread_id: str, now: int | None = None) -> int:
        """Return the row of a thread, made if there is none.

        First what is remembered of rows is forgotten, if rows were deleted.
        """
        place = tx.one("checkpoint_place", thread_id=thread_id)
        assert place is not None
        self._content.refresh(place["generation"])
        stamp = self._content.stamp
        if self._labels_stamp is not stamp or len(self._labels) > MAX_CACHED_LABELS:
            self._labels.clear()
            self._labels_stamp = stamp
        thread: int | None = place["thread"]
        return self._new_thread(tx, thread_id, now) if thread is None else thread

    def _bring_to_front(self, tx: Tx, key: Mapping[str, object]) -> None:
        """Make a checkpoint whose writes came before it the newest: it arrives now."""
        stub = tx.value("checkpoint_stub_behind", **key)
        if stub is not None:
            front = tx.value("checkpoint_to_front", checkpoint=stub)
            tx.run("writes_move", source=stub, target=front)

    def put_writes(
        self, tx: Tx, *, thread_id: str, ns: str, checkpoint_id: str, new: NewWrites
    ) -> None:
        """Store the writes of one task."""
        thread = self._begin(tx, thread_id)
        key = {"thread": thread, "ns": ns, "checkpoint_id": tx.id(checkpoint_id)}
        row = tx.value("checkpoint_row", **key)
        if row is None:  # the writes of a superstep may arrive before its checkpoint
            row = tx.insert("checkpoint_stub", now=tx.now_ms(), **key)
        self._put_writes(tx, thread, ns, row, new)

    def _put_writes(self, tx: Tx, thread: int, ns: str, checkpoint: int, new: NewWrites) -> None:
        path, task_id = self._label(tx, new.task_path), tx.id(new.task_id)
        rows: list[dict[str, Any]] = []
        for write in new.writes:
            item, items = self._put_value(tx, f"{thread}/{ns}/{write.channel}/w", write.value)
            rows.append(
                {
                    "checkpoint": checkpoint,
                    "task_path": path,
                    "task_id": task_id,
                    "idx": write.idx,
                    "channel": self._label(tx, write.channel),
                    "item": item,
                    "list": items,
                }
            )
        tx.many("write_replace" if new.replace else "write_insert", rows)

    def fetch(
        self,
        tx: Tx,
        thread_id: str,
        ns: str,
        checkpoint_id: str | None,
        known: Known | None = None,
    ) -> StoredCheckpoint | None:
        """Return one checkpoint, the newest of the namespace when no id is given.

        Args:
            known: Lists that it returns are not read again.
        """
        thread = tx.value("thread_row", thread_id=thread_id)
        if checkpoint_id is None:
            row = tx.one("checkpoint_newest", thread=thread, ns=ns)
        else:
            key = {"thread": thread, "ns": ns, "checkpoint_id": tx.id(checkpoint_id)}
            row = tx.one("checkpoint_by_id", **key)
        return None if row is None else self._read.checkpoints(tx, [row], known)[0]

    def fetch_page(
        self,
        tx: Tx,
        *,
        thread_id: str | None,
        ns: str | None,
        checkpoint_id: str | None,
        filter: str,
        before: str | None,
        after: tuple[str, int] | None,
        limit: int,
    ) -> list[StoredCheckpoint | DamagedCheckpoint]:
        """Return the next checkpoints in descending order of their ids.

        Args:
            filter: JSON object: what the metadata must have.
            before: Only smaller ids than this.
            after: Id and row of the last checkpoint of the page before.
        """
        after_id, after_row = after or (None, None)
        columns = _columns_of(filter)
        run_id = columns.pop("run_id")
        wanted = {
            "thread_id": thread_id,
            "ns": ns,
            "checkpoint_id": tx.id(checkpoint_id),
            "before": tx.last_id if before is None else tx.id(before),
            "after_id": tx.id(after_id),
            "filter": filter,
            "limit": limit,
            **columns,
        }
        if run_id is not None:
            rows = tx.all("checkpoint_page_of_run", **wanted, run_id=run_id, after_row=after_row)
        elif thread_id is not None and ns is not None:
            rows = tx.all("checkpoint_page_of_ns", **wanted)
        else:
            rows = tx.all("checkpoint_page", **wanted, after_row=after_row)
        try:
            return [*self._read.checkpoints(tx, rows)]
        except CorruptRowError:
            return [self._filled_or_damaged(tx, row) for row in rows]

    def _filled_or_damaged(self, tx: Tx, row: Row) -> StoredCheckpoint | DamagedCheckpoint:
        try:
            return self._read.checkpoints(tx, [row])[0]
        except CorruptRowError as error:
            checkpoint_id = str(id_text(row["checkpoint_id"]))
            return DamagedCheckpoint(row["id"], row["thread_id"], checkpoint_id, error)

    def newest_id(self, tx: Tx, thread_id: str, ns: str) -> str | None:
        """Return the id of the newest checkpoint."""
        thread = tx.value("thread_row", thread_id=thread_id)
        row = tx.one("checkpoint_newest", thread=thread, ns=ns)
        return None if row is None else id_text(row["checkpoint_id"])

    def channel_history(
        self, tx: Tx, thread_id: str, ns: str, checkpoint_id: str | None, channels: Sequence[str]
    ) -> dict[str, tuple[Value | None, list[StoredWrite]]]:
        """Return per channel its nearest stored value before a checkpoint, and the writes since.

        Writes are oldest first. The value is None where no ancestor has one.
        """
        key = {"thread": tx.value("thread_row", thread_id=thread_id), "ns": ns}
        found: dict[str, tuple[Value | None, list[StoredWrite]]] = {}
        for name in channels:
            channel = tx.value("label_row", text=name)
            if channel is None:  # nothing was ever written to it
                found[name] = (None, [])
                continue
            lineage = tx.all(
                "channel_lineage", **key, checkpoint_id=tx.id(checkpoint_id), channel=channel
            )
            rows = [row["id"] for row in lineage]
            writes = self._read.writes(tx, rows, channel)
            value = None
            if lineage and lineage[-1]["holds"]:
                found_rows = tx.all(
                    "channel_values_of", checkpoints=tx.array(rows[-1:]), channel=channel
                )
                stamp = self._content.trusted_stamp(tx)
                value = self._read.values(tx, found_rows, stamp)[rows[-1]].get(name)
            found[name] = (value, [write for row in reversed(rows) for write in writes[row]])
        return found

    def delete_thread(self, tx: Tx, thread_id: str) -> None:
        """Delete a thread: its checkpoints, runs and steps. What days cost stays counted."""
        thread = tx.value("thread_row", thread_id=thread_id)
        if thread is None:
            return
        self.delete_rows(tx, [row["id"] for row in tx.all("thread_checkpoints", thread=thread)])
        for statement in ("questions", "replays", "steps", "scopes", "attempts", "runs"):
            tx.run(f"thread_{statement}_delete", thread=thread)
        tx.run("thread_delete", thread=thread)
        tx.run("generation_grow")

    def delete_checkpoints_of_thread(self, tx: Tx, thread_id: str) -> None:
        """Delete the checkpoints of a thread and keep its runs and steps.

        A thread without runs is gone then.
        """
        thread = tx.value("thread_row", thread_id=thread_id)
        if thread is None:
            return
        self.cancel_waiting(tx, thread)
        self.delete_rows(tx, [row["id"] for row in tx.all("thread_checkpoints", thread=thread)])
        if tx.changed("thread_delete_bare", thread=thread):
            tx.run("thread_questions_delete", thread=thread)

    def cancel_waiting(self, tx: Tx, thread: int) -> None:
        """Cancel what waits for a person in a thread whose checkpoints are about to be deleted.

        Nothing can take an answer without them. A step in doubt can be settled still, and a run
        that saved no checkpoint needs none.
        """
        tx.run("thread_open_questions_delete", thread=thread)
        tx.run("thread_waiting_cancel", thread=thread, error=CHECKPOINTS_DELETED)

    def delete_for_runs(self, tx: Tx, run_ids: Iterable[str]) -> None:
        """Delete the checkpoints that these runs made.

        Those from which a later checkpoint rebuilds a delta channel are kept, hidden.
        """
        doomed: dict[int, set[int]] = defaultdict(set)
        for run_id in run_ids:
            for row in tx.all("checkpoints_of_run", run_id=run_id):
                doomed[row["thread"]].add(row["id"])
        for thread, rows in doomed.items():
            self._hide_or_delete(tx, thread, rows)

    def copy_thread(self, tx: Tx, source: str, target: str) -> None:
        """Copy the checkpoints of a thread behind those of another; no value is stored again.

        Raises:
            BusyError: The journal is being pruned: what the copy refers to could go meanwhile.
        """
        if is_sweeping(tx.value("meta_value", key="generation")):
            raise BusyError(
                f"{self._store.where!r} is being pruned, and nothing can be copied until that is "
                "done: try again",
                path=self._store.where,
            )
        thread = tx.value("thread_row", thread_id=source)
        rows = tx.all("thread_checkpoints", thread=thread)
        target_row = self._thread_row(tx, target) if rows else None
        for row in rows:
            key = {"thread": target_row, "ns": row["ns"], "checkpoint_id": row["checkpoint_id"]}
            there = tx.value("checkpoint_row", **key)
            if there is not None:
                self.delete_rows(tx, [there])
            copy = tx.insert("checkpoint_copy", target=target_row, checkpoint=row["id"])
            tx.run("channel_values_copy", target=copy, checkpoint=row["id"])
            tx.run("writes_copy", target=copy, checkpoint=row["id"])

    def keep_latest(self, tx: Tx, thread_id: str) -> None:
        """Delete all but the newest checkpoint of each namespace.

        Ancestors from which a delta channel is rebuilt are kept, hidden.
        """
        thread = tx.value("thread_row", thread_id=thread_id)
        newest = {row["id"] for row in tx.all("namespace_newest", thread=thread)}
        rows = tx.all("thread_checkpoints", thread=thread)
        # A row without a body may become a checkpoint yet: its writes are there already.
        self._hide_or_delete(tx, thread, {row["id"] for row in rows if row["whole"]} - newest)

    def _hide_or_delete(self, tx: Tx, thread: int, doomed: set[int]) -> None:
        needed = delta_ancestors(tx, thread, doomed)
        tx.run("checkpoints_hide", checkpoints=tx.array(sorted(needed)))
        self.delete_rows(tx, sorted(doomed - needed))

    def delete_rows(self, tx: Tx, rows: list[int]) -> None:
        """Delete checkpoints with their values and writes."""
        if not rows:
            return
        listed = tx.array(rows)
        for statement in ("writes_delete", "channel_values_delete", "checkpoints_delete"):
            tx.run(statement, checkpoints=listed)
        tx.run("generation_grow")

    def _thread_row(self, tx: Tx, thread_id: str) -> int:
        row: int | None = tx.value("thread_row", thread_id=thread_id)
        return self._new_thread(tx, thread_id) if row is None else row

    def _new_thread(self, tx: Tx, thread_id: str, now: int | None = None) -> int:
        now = tx.now_ms() if now is None else now
        return tx.insert("thread_insert", thread_id=thread_id, now=now)

    def _label(self, tx: Tx, text: str) -> int:
        """Return the row of a name, made if there is none."""
        row = self._labels.get(text)
        if row is None:
            row = tx.value("label_row", text=text) or tx.insert("label_insert", text=text)
            tx.after_commit(partial(self._labels.__setitem__, text, row))
        return row

    def _put_value(self, tx: Tx, owner: str, value: Value) -> tuple[int | None, int | None]:
        put = self._content
        if isinstance(value, Prepared):
            return put.put(tx, value, refreshed=True), None
        if len(value) == 1:
            return put.put(tx, value[0], refreshed=True), LIST_OF_ONE
        return None, put.put_list(tx, owner, value, refreshed=True)


def _columns_of(filter: str) -> dict[str, str | int | None]:
    """Return the columns that rows which pass a filter have; None where any value will do.

    An index or a plain comparison answers these. The filter still decides: a column may have the
    same text for a number in the metadata.

    Args:
        filter: JSON object: what the metadata must have.
    """
    wanted = json.loads(filter)
    run_id, source, step = (wanted.get(key) for key in ("run_id", "source", "step"))
    return {
        "run_id": run_id if isinstance(run_id, str) else None,
        "source": source if isinstance(source, str) else None,
        "step": step if type(step) is int and abs(step) <= LONGEST_INT else None,
    }
