"""The file of a `SqliteSaver` or an `AsyncSqliteSaver`, read without them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn, Self, cast

from langgraph.checkpoint.base import (
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from rowtrail.engine.files import ForeignFile
from rowtrail.errors import ImportSourceError, UnknownIdError

CHECKPOINT_COLUMNS = (
    "thread_id",
    "checkpoint_ns",
    "checkpoint_id",
    "parent_checkpoint_id",
    "type",
    "checkpoint",
    "metadata",
)
WRITE_COLUMNS = (
    "thread_id",
    "checkpoint_ns",
    "checkpoint_id",
    "task_id",
    "idx",
    "channel",
    "type",
    "value",
)
TASK_PATH = "task_path"
"""Column of `writes` that older files lack. Source: langgraph-checkpoint-sqlite 3.1."""

NS_ONLY = " AND checkpoint_ns = ?"

SHOWN = 5
"""How many threads a message lists."""

PARTS_OF_A_CHECKPOINT = ("channel_values", "channel_versions", "versions_seen")


@dataclass(frozen=True)
class OriginalWrite:
    """One pending write of the file."""

    task_id: str
    task_path: str
    idx: int
    channel: str
    value: Any


@dataclass(frozen=True)
class Original:
    """One checkpoint of the file; `writes` are in the order in which a superstep applies them."""

    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    checkpoint: Checkpoint
    metadata: CheckpointMetadata
    writes: list[OriginalWrite]

    @property
    def label(self) -> str:
        """Return which checkpoint it is, for messages."""
        return _label(self.thread_id, self.ns, self.checkpoint_id)

    @property
    def created_at(self) -> int | None:
        """Return when it was made, in milliseconds since 1970; None where it does not say."""
        try:
            made = datetime.fromisoformat(self.checkpoint["ts"])
            return int(made.timestamp() * 1000)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def as_tuple(self) -> CheckpointTuple:
        """Return what the file's own saver would return for it."""
        parent = self.parent_id and _config(self.thread_id, self.ns, self.parent_id)
        return CheckpointTuple(
            config=_config(self.thread_id, self.ns, self.checkpoint_id),
            checkpoint=self.checkpoint,
            # As every saver of LangGraph writes it today; the oldest ones let NUL through.
            metadata=get_checkpoint_metadata({}, self.metadata),
            parent_config=parent or None,
            pending_writes=[(write.task_id, write.channel, write.value) for write in self.writes],
        )


class SqliteSaverFile:
    """The file of LangGraph's SQLite savers, over one snapshot.

    Args:
        path: The file.
        serde: Serializer of the saver that wrote it.

    Raises:
        ImportSourceError: It is not such a file.
    """

    def __init__(self, path: str, serde: SerializerProtocol) -> None:
        self.path = path
        self._serde = serde
        self._file = ForeignFile(path)
        try:
            self._task_path = self._check_tables()
        except BaseException:  # Ctrl-C too: nobody else would close it
            self._file.close()
            raise

    def _check_tables(self) -> str:
        """Return the SQL of the task path, which not every file has."""
        if self._file.is_journal:
            self._refuse("it is a rowtrail journal already: use it as it is")
        columns = {name: self._file.columns(name) for name in ("checkpoints", "writes")}
        for table, needed in (("checkpoints", CHECKPOINT_COLUMNS), ("writes", WRITE_COLUMNS)):
            missing = [name for name in needed if name not in columns[table]]
            if missing == list(needed):
                self._refuse(
                    f"it has no table {table!r}: it is not a file of LangGraph's SqliteSaver"
                )
            if missing:
                self._refuse(
                    f"its table {table!r} has no column {', '.join(missing)}: only files of "
                    "langgraph-checkpoint-sqlite 1.0 and later can be imported"
                )
        return TASK_PATH if TASK_PATH in columns["writes"] else "''"

    @property
    def size_bytes(self) -> int:
        """Return how large the file is, with what its WAL holds."""
        return self._file.size_bytes

    def check(self) -> None:
        """Read the whole file as SQLite's `quick_check` does.

        Raises:
            ImportSourceError: It is damaged.
        """
        self._file.check()

    def threads(self, wanted: Iterable[str] | None = None) -> dict[str, int]:
        """Return how many checkpoints each thread has, of all threads or of the wanted ones.

        Raises:
            UnknownIdError: A wanted thread is not in the file.
        """
        query = "SELECT thread_id, count(*) FROM checkpoints GROUP BY thread_id ORDER BY thread_id"
        found = {self._text(thread_id, "a thread"): count for thread_id, count in self._rows(query)}
        if wanted is None:
            return found
        chosen = dict.fromkeys(map(str, wanted))
        for thread_id in chosen:
            if thread_id not in found:
                raise UnknownIdError(
                    f"{self.path!r} has no thread {thread_id!r}; it has {_some(list(found))}",
                    kind="thread",
                    value=thread_id,
                )
        return {thread_id: found[thread_id] for thread_id in chosen}

    def namespaces(self, thread_id: str) -> list[str]:
        """Return the namespaces of a thread: its own, which is empty, and those of subgraphs."""
        query = "SELECT DISTINCT checkpoint_ns FROM checkpoints WHERE thread_id = ? ORDER BY 1"
        return [ns for (ns,) in self._rows(query, (thread_id,))]

    def _keys(self, thread_id: str, ns: str | None) -> list[tuple[str, str]]:
        """Return id and namespace of checkpoints, oldest id first.

        The savers of LangGraph take the greatest id for the newest, and list by it.
        """
        in_ns, params = ("", (thread_id,)) if ns is None else (NS_ONLY, (thread_id, ns))
        query = (
            f"SELECT checkpoint_id, checkpoint_ns FROM checkpoints WHERE thread_id = ?{in_ns} "
            "ORDER BY checkpoint_id, checkpoint_ns"
        )
        label = f"thread {thread_id!r}"
        return [
            (self._text(checkpoint_id, label), self._text(ns, label))
            for checkpoint_id, ns in self._rows(query, params)
        ]

    def count_writes(self, thread_id: str) -> int:
        """Return how many pending writes a thread has, with those of no checkpoint."""
        query = "SELECT count(*) FROM writes WHERE thread_id = ?"
        ((count,),) = self._rows(query, (thread_id,))
        return int(count)

    def fetch(self, thread_id: str, ns: str, checkpoint_id: str) -> Original:
        """Return one checkpoint.

        Raises:
            ImportSourceError: It cannot be decoded.
        """
        query = (
            "SELECT parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints "
            "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
        )
        label = _label(thread_id, ns, checkpoint_id)
        ((parent_id, kind, blob, metadata),) = self._rows(query, (thread_id, ns, checkpoint_id))
        checkpoint = self._decoded(kind, blob, label)
        if not _is_checkpoint(checkpoint, checkpoint_id):
            self._refuse(f"what {label} holds is not that checkpoint: the row is damaged")
        return Original(
            thread_id,
            ns,
            checkpoint_id,
            # Some callers of `put` named the checkpoint itself as its parent: it has none.
            self._text(parent_id, label) if parent_id and parent_id != checkpoint_id else None,
            checkpoint,
            self._metadata(metadata, label),
            self._writes(thread_id, ns, checkpoint_id),
        )

    def iter_thread(
        self, thread_id: str, ns: str | None = None, *, newest_first: bool = False
    ) -> Iterator[Original]:
        """Yield the checkpoints of a thread, or of one namespace of it, in the order of their ids.

        One at a time is in memory.
        """
        keys = self._keys(thread_id, ns)
        for checkpoint_id, its_ns in reversed(keys) if newest_first else keys:
            yield self.fetch(thread_id, its_ns, checkpoint_id)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _writes(self, thread_id: str, ns: str, checkpoint_id: str) -> list[OriginalWrite]:
        query = (
            f"SELECT task_id, {self._task_path}, idx, channel, type, value FROM writes "
            "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
        )
        where = _label(thread_id, ns, checkpoint_id)
        found = []
        for task_id, task_path, idx, channel, kind, blob in self._rows(
            query, (thread_id, ns, checkpoint_id)
        ):
            label = f"write {idx} of task {task_id} at {where}"
            if type(idx) is not int:
                self._refuse(f"{label} has no number: the row is damaged")
            task, path, name = (self._text(text, label) for text in (task_id, task_path, channel))
            found.append(OriginalWrite(task, path, idx, name, self._decoded(kind, blob, label)))
        return sorted(found, key=lambda w: writes_sort_key(w.task_path, w.task_id, w.idx))

    def _metadata(self, raw: Any, label: str) -> CheckpointMetadata:
        try:
            # NaN is not JSON, and SQLite would not read it: a journal has it as text.
            metadata: Any = {} if raw is None else json.loads(raw, parse_constant=str)
        except (TypeError, ValueError, RecursionError) as error:
            self._refuse(f"the metadata of {label} is not JSON ({error})", error)
        if type(metadata) is not dict:
            self._refuse(f"the metadata of {label} is not a JSON object")
        return cast(CheckpointMetadata, metadata)

    def _decoded(self, kind: Any, blob: Any, label: str) -> Any:
        try:
            return self._serde.loads_typed((kind, blob))
        except Exception as error:  # whatever a serializer raises on bytes it did not write
            self._refuse(
                f"{label} cannot be decoded by {type(self._serde).__name__} "
                f"({type(error).__name__}: {error}): the row is damaged, or was written with "
                "another serializer or key: then give import_sqlite_saver() a saver that has it",
                error,
            )

    def _rows(self, query: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        return self._file.rows(query, params)

    def _text(self, value: Any, label: str) -> str:
        if type(value) is not str:
            self._refuse(f"{label} has {value!r} where a text should be: the row is damaged")
        return value

    def _refuse(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        raise ImportSourceError(
            f"{self.path!r} cannot be imported from: {reason}", path=self.path
        ) from cause


def _some(thread_ids: list[str]) -> str:
    more = f" and {len(thread_ids) - SHOWN} more" if len(thread_ids) > SHOWN else ""
    return (", ".join(map(repr, thread_ids[:SHOWN])) or "none") + more


def _is_checkpoint(value: Any, checkpoint_id: str) -> bool:
    return (
        type(value) is dict
        and value.get("id") == checkpoint_id
        and all(type(value.get(part)) is dict for part in PARTS_OF_A_CHECKPOINT)
    )


def _label(thread_id: str, ns: str, checkpoint_id: str) -> str:
    place = f"thread {thread_id!r}, namespace {ns!r}" if ns else f"thread {thread_id!r}"
    return f"checkpoint {checkpoint_id} of {place}"


def _config(thread_id: str, ns: str, checkpoint_id: str) -> Any:
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": ns,
            "checkpoint_id": checkpoint_id,
        }
    }
