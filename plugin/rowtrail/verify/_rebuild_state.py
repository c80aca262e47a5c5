"""Copying checkpoints: whole ones only, so that no graph goes on from half a state."""

from __future__ import annotations

from collections.abc import Collection

from rowtrail.checkpoint import body_fault, has_delta_channels, values_fault
from rowtrail.engine import Row, id_text
from rowtrail.engine.files import DamagedFile, NewFile
from rowtrail.errors import DamagedError
from rowtrail.verify._contents import Contents, counted, metadata_fault
from rowtrail.verify._report import Progress

Task = tuple[int, object]
"""A checkpoint, and the id of a task that wrote to it."""


class State:
    """The checkpoints of one repair.

    A checkpoint without one of its values is left out: the thread goes on from the one before. Of a
    task all writes are copied or none: without them it is executed again, and its recorded steps
    are replayed. What a delta channel is rebuilt from must be there without a gap.
    """

    def __init__(
        self,
        file: DamagedFile,
        new: NewFile,
        contents: Contents,
        progress: Progress,
        losses: list[tuple[str, str]],
    ) -> None:
        self._file, self._new, self._contents, self._progress = file, new, contents, progress
        self._losses = losses
        self._bad: dict[int, str] = {}
        self._bad_tasks: set[Task] = set()
        self._torn: set[int] = set()
        """Checkpoints from which on the state of delta channels cannot be rebuilt."""

    def copy(self, *, threads: Collection[int], labels: Collection[int]) -> None:
        """Copy the checkpoints of these threads, with their values and writes."""
        self._find_bad(labels)
        copied = self._copy_checkpoints(threads)
        for row in counted(self._file, "channel_value", {}, self._progress):
            if row["checkpoint"] in copied:
                self._new.add("channel_value_salvage", dict(row))
        for row in counted(self._file, "pending_write", {}, self._progress):
            if row["checkpoint"] in copied and _task(row) not in self._bad_tasks:
                self._new.add("pending_write_salvage", dict(row))
        for thread in threads:
            self._drop_torn(thread)

    def _find_bad(self, labels: Collection[int]) -> None:
        for row in counted(self._file, "channel_value", {}, self._progress):
            why = self._value_fault(row, labels)
            if why is not None:
                self._bad[row["checkpoint"]] = why
        for row in counted(self._file, "pending_write", {}, self._progress):
            if row["task_path"] not in labels or self._value_fault(row, labels) is not None:
                self._bad_tasks.add(_task(row))
        for checkpoint, task in sorted(self._bad_tasks, key=str):
            self._torn.add(checkpoint)
            name = id_text(task) if isinstance(task, bytes | str) else task
            self._lose(
                f"pending_write {checkpoint}",
                f"the writes of task {name} are left out: it runs again",
            )

    def _value_fault(self, row: Row, labels: Collection[int]) -> str | None:
        if row["channel"] not in labels:
            return "the name of a channel is lost"
        if row["item"] is not None and self._contents.item_fault(row["item"]) is not None:
            return "a value of it is damaged"
        if row["list"] and self._contents.list_fault(row["list"]) is not None:
            return "a list of it is damaged"
        return "a value of it is lost" if row["item"] is None and not row["list"] else None

    def _copy_checkpoints(self, threads: Collection[int]) -> set[int]:
        copied: set[int] = set()
        suspects = self._suspects()
        for row in counted(self._file, "checkpoint", {}, self._progress):
            why = self._fault(row, threads)
            if row["id"] in suspects:
                why = "its row and its index differ"
            if why is None and not self._new.add("checkpoint_salvage", dict(row)):
                why = "it breaks a rule of its table"
            if why is None:
                copied.add(row["id"])
                continue
            self._torn.add(row["id"])
            name = id_text(row["checkpoint_id"])
            self._lose(f"checkpoint {row['id']}", f"checkpoint {name} is left out: {why}")
        return copied

    def _suspects(self) -> set[int]:
        try:
            return {row[0] for row in self._file.all("checkpoint_suspects")}
        except DamagedError as error:
            self._lose("checkpoint", f"could not be compared with its index: {error}")
            return set()

    def _fault(self, row: Row, threads: Collection[int]) -> str | None:
        if row["thread"] not in threads:
            return f"its thread {row['thread']} is lost"
        if row["id"] in self._bad:
            return self._bad[row["id"]]
        if self._is_in_hole("channel_value", row["id"]):
            return "its values cannot be read"
        if row["body"] is not None:
            why = body_fault(row["body"], row["checkpoint_id"])
            if why is None:
                why = self._values_fault(row)
            if why is not None:
                return why
        return metadata_fault(row["metadata"])

    def _values_fault(self, row: Row) -> str | None:
        try:
            (found,) = self._file.all("checkpoint_values", checkpoint=row["id"])
        except DamagedError as error:
            return f"its values cannot be read: {error}"
        return values_fault(row["body"], found[0])

    def _is_in_hole(self, table: str, key: int) -> bool:
        return any(
            hole.first <= key and (hole.last is None or key <= hole.last)
            for hole in self._file.holes
            if hole.table == table
        )

    def _drop_torn(self, thread: int) -> None:
        """Leave out the checkpoints of a thread whose delta channels cannot be rebuilt.

        Whatever is newer than the first gap may be rebuilt across it.
        """
        tx = self._new.tx
        if not has_delta_channels(tx, thread):
            return
        gaps = self._torn | {
            hole.first
            for hole in self._file.holes
            if hole.table in ("checkpoint", "pending_write", "channel_value")
        }
        if not gaps:
            return
        first = min(gaps)
        doomed = [r["id"] for r in tx.all("thread_checkpoints", thread=thread) if r["id"] >= first]
        if doomed:
            says = "left out: what their delta channels are rebuilt from is damaged"
            self._lose(f"{len(doomed)} checkpoints from {doomed[0]} on", says)
        for statement in ("writes_delete", "channel_values_delete", "checkpoints_delete"):
            tx.run(statement, checkpoints=tx.array(doomed))

    def _lose(self, row: str, says: str) -> None:
        self._losses.append((row, says))


def _task(row: Row) -> Task:
    return row["checkpoint"], row["task_id"]
