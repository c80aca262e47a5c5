"""What the saver's sync and async methods share: reads and transactions of its journal.

Each is a function of a `Tx`, which the store runs where it likes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)

from rowtrail import Journal
from rowtrail.checkpoint import (
    Checkpoints,
    DamagedCheckpoint,
    NewCheckpoint,
    NewWrite,
    NewWrites,
    StoredCheckpoint,
)
from rowtrail.content import LONGEST_INT, PreparedList
from rowtrail.engine import Tx, WriteKey
from rowtrail.errors import CorruptRowError, UsageError
from rowtrail_langgraph.capture import asking, attempt_of, finishing
from rowtrail_langgraph.saver._collector import collector
from rowtrail_langgraph.saver._held import Held, TaskWrites
from rowtrail_langgraph.values import Values, logger, metadata_text

FIRST_PAGE = 2
"""Most callers want the newest checkpoint, some the one before it."""
LARGEST_PAGE = 32
"""Checkpoints that `list` reads at once; no cursor or lock stays open between pages."""

PRUNE_STRATEGIES = ("keep_latest", "delete", "delete_all")

Page = list[tuple[tuple[str, int], CheckpointTuple | None]]
"""Some checkpoints, each behind its id and row; None in place of one that is damaged."""
Pages = Generator[Callable[[Tx], Page], Page]


class Address(NamedTuple):
    """A checkpoint, or with `checkpoint_id` None the newest of its thread and namespace."""

    thread_id: str
    ns: str
    checkpoint_id: str | None

    @property
    def config(self) -> RunnableConfig:
        """Return the config that names it."""
        return {
            "configurable": {
                "thread_id": self.thread_id,
                "checkpoint_ns": self.ns,
                "checkpoint_id": self.checkpoint_id,
            }
        }


def address_of(config: RunnableConfig) -> Address:
    """Return what a config names.

    Raises:
        UsageError: It names no thread.
    """
    configurable = config.get("configurable") or {}
    thread_id = configurable.get("thread_id")
    if thread_id is None:
        raise UsageError(
            "config has no thread_id: pass config={'configurable': {'thread_id': '...'}}"
        )
    checkpoint_id = configurable.get("checkpoint_id")
    return Address(
        str(thread_id),
        configurable.get("checkpoint_ns") or "",
        None if checkpoint_id is None else str(checkpoint_id),
    )


def key_of(thread: RunnableConfig | str) -> WriteKey:
    """Return what a transaction of a thread, or of the one that a config names, belongs to."""
    return ("thread", str(thread) if not isinstance(thread, dict) else address_of(thread).thread_id)


class Transactions:
    """Reads and transactions of one journal, with the values of one serializer."""

    def __init__(
        self,
        journal: Journal,
        checkpoints: Checkpoints,
        values: Values,
        held: Held | None = None,
    ) -> None:
        self.store = journal.store
        self.values = values
        self._held = held or Held()
        self._journal = journal
        self._checkpoints = checkpoints

    def fetch(self, config: RunnableConfig) -> Callable[[Tx], CheckpointTuple | None]:
        """Return the read of the checkpoint that `config` names."""
        address = address_of(config)

        def found(tx: Tx) -> CheckpointTuple | None:
            stored = self._checkpoints.fetch(tx, *address, known=known)
            self._held.note(address[:2], None if stored is None else stored.checkpoint_id)
            return None if stored is None else self.tuple_of(stored, to_go_on_from=True)

        def known(channel: str, row: int, stamp: object) -> PreparedList | None:
            return self.values.memo.in_row((*address[:2], channel), row, stamp)

        return lambda tx: collector.paused(lambda: found(tx))

    def pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Pages:
        """Yield reads of one page each; each is answered by `send` with what it found."""
        wanted: Mapping[str, Any] = (config or {}).get("configurable") or {}
        thread_id = wanted.get("thread_id")
        checkpoint_id = wanted.get("checkpoint_id")
        page = partial(
            self._page,
            thread_id=None if thread_id is None else str(thread_id),
            ns=wanted.get("checkpoint_ns"),
            checkpoint_id=None if checkpoint_id is None else str(checkpoint_id),
            filter=metadata_text(filter or {}),
            before=((before or {}).get("configurable") or {}).get("checkpoint_id"),
        )
        after: tuple[str, int] | None = None
        size, left = FIRST_PAGE, limit
        while left is None or left > 0:
            size = size if left is None else min(size, left)
            found = yield partial(page, after=after, limit=size)
            if len(found) < size:
                return
            after, _ = found[-1]
            if left is not None:
                left -= sum(each is not None for _, each in found)
            size = min(2 * size, LARGEST_PAGE)

    def history(
        self, config: RunnableConfig, channels: Sequence[str]
    ) -> Callable[[Tx], dict[str, DeltaChannelHistory]]:
        """Return the read of the writes that rebuild delta channels."""
        address = address_of(config)

        def read(tx: Tx) -> dict[str, DeltaChannelHistory]:
            checkpoint_id = address.checkpoint_id
            if checkpoint_id is None:
                checkpoint_id = self._checkpoints.newest_id(tx, address.thread_id, address.ns)
            found = self._checkpoints.channel_history(
                tx, address.thread_id, address.ns, checkpoint_id, channels
            )
            history: dict[str, DeltaChannelHistory] = {}
            for channel, (seed, writes) in found.items():
                history[channel] = {"writes": [self.values.pending(write) for write in writes]}
                if seed is not None:
                    history[channel]["seed"] = self.values.read(seed)
            return history

        return read

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        created_at: int | None = None,
    ) -> tuple[Callable[[Tx], None], RunnableConfig]:
        """Return the transaction that stores a checkpoint, and the config that names it.

        Args:
            created_at: Milliseconds since 1970, for one that was made elsewhere; None is now.
        """
        thread_id, ns, parent_id = address_of(config)
        merged: dict[str, Any] = dict(get_checkpoint_metadata(config, metadata))
        attempt = attempt_of(config, self._journal)
        step, source, run_id = merged.get("step"), merged.get("source"), merged.get("run_id")
        new = NewCheckpoint(
            thread_id=thread_id,
            ns=ns,
            checkpoint_id=checkpoint["id"],
            parent_id=None if parent_id == checkpoint["id"] else parent_id,
            body=self.values.body(checkpoint),
            metadata=metadata_text(merged),
            values={
                channel: self.values.written(channel, value, (thread_id, ns, channel))
                for channel, value in checkpoint["channel_values"].items()
            },
            step=step if type(step) is int and abs(step) <= LONGEST_INT else None,
            source=None if source is None else str(source),
            run=None if attempt is None else attempt.run,
            run_id=None if run_id is None else str(run_id),
            created_at=created_at,
        )
        saved = Address(thread_id, ns, checkpoint["id"]).config
        held = self._held.taken((thread_id, ns), checkpoint["id"])
        return partial(self._put, new=new, held=held), saved

    def _put(self, tx: Tx, new: NewCheckpoint, held: Sequence[TaskWrites]) -> None:
        """Store a checkpoint with the writes that waited for it, behind those that others left."""
        its_own = [each for each in held if each.checkpoint_id == new.checkpoint_id]
        for each in held:
            if each.checkpoint_id != new.checkpoint_id:
                self.write(tx, each)
        self._checkpoints.put(tx, new, [each.new for each in its_own])
        for each in its_own:
            if each.also is not None:
                each.also(tx)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> Callable[[Tx], None] | None:
        """Return the transaction that stores the writes of one task.

        None where they are stored with their checkpoint, which is on its way.
        """
        thread_id, ns, checkpoint_id = address_of(config)
        if checkpoint_id is None:
            raise UsageError(
                "config has no checkpoint_id: pass the config that put() returned, to say whose "
                "writes these are"
            )
        rows = [
            NewWrite(WRITES_IDX_MAP.get(channel, idx), channel, self.values.written(channel, value))
            for idx, (channel, value) in enumerate(writes)
        ]
        channels = [channel for channel, _ in writes]
        finish = finishing(config, task_id, channels)
        ask = asking(config, self._journal, self.values.codec, task_id, writes)

        def also(tx: Tx) -> None:
            if finish is not None:
                finish(tx)
            if ask is not None:
                ask(tx, thread_id)

        is_more = finish is not None or ask is not None
        is_special = all(channel in WRITES_IDX_MAP for channel in channels)
        new = NewWrites(task_id, task_path, rows, replace=is_special)
        of_task = TaskWrites(thread_id, ns, checkpoint_id, new, also if is_more else None)
        return None if self._held.hold(config, of_task) else partial(self.write, writes=of_task)

    def write(self, tx: Tx, writes: TaskWrites) -> None:
        """Store the writes of one task."""
        thread_id, ns, checkpoint_id = writes.thread_id, writes.ns, writes.checkpoint_id
        self._checkpoints.put_writes(
            tx, thread_id=thread_id, ns=ns, checkpoint_id=checkpoint_id, new=writes.new
        )
        if writes.also is not None:
            writes.also(tx)

    def delete_thread(self, thread_id: str, *, keep_journal: bool) -> Callable[[Tx], None]:
        """Return the transaction that deletes a thread, with its runs and steps or without."""
        checkpoints = self._checkpoints
        delete = (
            checkpoints.delete_checkpoints_of_thread if keep_journal else checkpoints.delete_thread
        )
        return partial(delete, thread_id=str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> Callable[[Tx], None]:
        """Return the transaction that deletes what runs saved."""
        return lambda tx: self._checkpoints.delete_for_runs(tx, map(str, run_ids))

    def copy_thread(self, source: str, target: str) -> Callable[[Tx], None]:
        """Return the transaction that copies a thread."""
        return lambda tx: self._checkpoints.copy_thread(tx, str(source), str(target))

    def prune(self, thread_ids: Sequence[str], strategy: str) -> Callable[[Tx], None]:
        """Return the transaction that prunes threads."""
        if strategy not in PRUNE_STRATEGIES:
            raise UsageError(
                f"strategy={strategy!r} is unknown: use one of {', '.join(PRUNE_STRATEGIES)}"
            )

        def work(tx: Tx) -> None:
            for thread_id in map(str, thread_ids):
                if strategy == "keep_latest":
                    self._checkpoints.keep_latest(tx, thread_id)
                else:
                    self._checkpoints.delete_checkpoints_of_thread(tx, thread_id)

        return work

    def _page(self, tx: Tx, **wanted: Any) -> Page:
        is_named = wanted["checkpoint_id"] is not None
        return [
            ((each.checkpoint_id, each.row), self._tuple_or_none(each, is_named=is_named))
            for each in self._checkpoints.fetch_page(tx, **wanted)
        ]

    def _tuple_or_none(
        self, stored: StoredCheckpoint | DamagedCheckpoint, *, is_named: bool
    ) -> CheckpointTuple | None:
        """Return a checkpoint; None for one that is damaged, if it is not this one that is asked.

        What another key cannot read is not damaged.
        """
        try:
            if isinstance(stored, DamagedCheckpoint):
                raise stored.error
            written = (write.value for write in stored.writes)
            for value in chain(stored.values.values(), written):
                self.values.check(value)
        except CorruptRowError as damage:
            if is_named:
                raise
            logger.warning(
                "checkpoint %r of thread %r is left out of the list: %s",
                stored.checkpoint_id,
                stored.thread_id,
                damage,
            )
            return None
        return self.tuple_of(stored)

    def tuple_of(self, stored: StoredCheckpoint, *, to_go_on_from: bool = False) -> CheckpointTuple:
        """Return a checkpoint as LangGraph has it.

        Args:
            to_go_on_from: Remember its lists, so that the next checkpoint stores only what is new.
        """
        place = Address(stored.thread_id, stored.ns, stored.checkpoint_id)
        values = {
            channel: self.values.read(value, (*place[:2], channel) if to_go_on_from else None)
            for channel, value in stored.values.items()
        }
        checkpoint: Any = {**self.values.checkpoint(stored.body), "channel_values": values}
        if checkpoint.get("id") != stored.checkpoint_id:
            raise _corrupt(stored, f"it says that it is {checkpoint.get('id')!r}")
        parent = stored.parent_id and place._replace(checkpoint_id=stored.parent_id).config
        return CheckpointTuple(
            config=place.config,
            checkpoint=checkpoint,
            metadata=_metadata(stored),
            parent_config=parent or None,
            pending_writes=[self.values.pending(write) for write in stored.writes],
        )


def _metadata(stored: StoredCheckpoint) -> CheckpointMetadata:
    try:
        metadata: CheckpointMetadata = json.loads(stored.metadata)
    except (ValueError, RecursionError) as error:
        raise _corrupt(stored, f"its metadata are no JSON: {error}") from error
    return metadata


def _corrupt(stored: StoredCheckpoint, why: str) -> CorruptRowError:
    return CorruptRowError(
        f"checkpoint {stored.checkpoint_id!r} of thread {stored.thread_id!r} is damaged ({why}): "
        "run `rowtrail verify`",
        row=f"checkpoint {stored.checkpoint_id}",
    )
