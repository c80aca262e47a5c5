"""`RowtrailSaver`: LangGraph's checkpointer on a journal, sync and async in one class."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT
from rowtrail import Journal
from rowtrail.checkpoint import (
    Checkpoints,
    NewCheckpoint,
    NewWrite,
    StoredCheckpoint,
    StoredWrite,
    Value,
)
from rowtrail.content import Encoded, Prepared, dump_json
from rowtrail.errors import UsageError
from rowtrail.store import Durability, Tx
from rowtrail_langgraph import _capture
from rowtrail_langgraph._codec import GraphCodec
from rowtrail_langgraph._effects import Effects
from rowtrail_langgraph._memo import Kept, Memo, remember
from rowtrail_langgraph._runs import ascope_failed, attempt_of, note_interrupt, scope_failed

T = TypeVar("T")

LIST_PAGE = 20
"""Checkpoints that `list` reads at once; no cursor or lock is held between pages."""

PRUNE_STRATEGIES = ("keep_latest", "delete", "delete_all")
COUNTERS = "counters_since_delta_snapshot"
"""Key of a checkpoint's metadata whose keys are its delta channels. Source: langgraph.pregel._loop."""


class RowtrailSaver(BaseCheckpointSaver[Any]):
    """A checkpointer that stores what is new, and the journal of the calls made in its graphs.

    `compile(checkpointer=RowtrailSaver("agent.db"))` is the only line that changes: with
    `capture=True` every chat-model call and every tool call made inside a graph that runs on this
    saver is recorded before the graph sees its result, and replayed when the graph is resumed.

    Args:
        path_or_journal: The journal's file, or an open `Journal`, which stays the caller's.
        serde: Serializer for what JSON cannot hold. With one that is not LangGraph's own (an
            encrypting one), everything goes through it and the views show no content.
        capture: Record and replay model and tool calls. Installs hooks into langchain-core and
            langgraph once per process; they do nothing outside graphs on such a saver.
        effects: What tools do to the world, by name: `{"send_email": "write"}`, or
            `{"send_email": {"effect": "write", "on_doubt": "ask"}}`.
        durability: Of the journal: `full` or `normal`.
        strict: Of the journal: a resumed scope that asks for something new raises `DivergedError`.

    Raises:
        StorageError: The file cannot be used; the leaf and the message say why.
        UnsupportedError: This langchain-core or langgraph lacks what capturing needs.
        UsageError: An effect is none of `read`, `idempotent`, `write`.
    """

    def __init__(
        self,
        path_or_journal: str | os.PathLike[str] | Journal,
        *,
        serde: SerializerProtocol | None = None,
        capture: bool = True,
        effects: Mapping[str, Any] | None = None,
        durability: Durability = "full",
        strict: bool = False,
    ) -> None:
        super().__init__(serde=serde)
        self.effects = Effects(effects or {})
        self.capture = capture
        if capture:
            _capture.install()
        self._owns_journal = not isinstance(path_or_journal, Journal)
        self.journal = (
            path_or_journal
            if isinstance(path_or_journal, Journal)
            else Journal(path_or_journal, durability=durability, strict=strict)
        )
        self._store = self.journal.store
        self._content = self.journal.recorder.content
        self._checkpoints = Checkpoints(self._store, self._content)
        self._memo = Memo()

    @classmethod
    def from_conn_string(cls, conn_string: str, **options: Any) -> Self:
        """Return a saver for `with` or `async with`, as `SqliteSaver` and `AsyncSqliteSaver` do."""
        return cls(conn_string, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal, if the saver opened it; further calls do nothing."""
        if self._owns_journal:
            self.journal.close()

    def setup(self) -> _Done:
        """Do nothing: the file is ready once the saver exists. May be awaited."""
        return _Done()

    @property
    def codec(self) -> GraphCodec:
        """Return how this saver writes values, by its serializer."""
        return GraphCodec(self.serde)

    # Reading.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the newest of its thread and namespace."""
        return self._loaded(self._store.read(partial(self._fetch, config)))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async twin of `get_tuple`."""
        return self._loaded(await self._store.aread(partial(self._fetch, config)))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest id first; anything may be called inside the loop.

        Args:
            config: Thread, namespace and checkpoint id to keep to; None for all threads.
            filter: Metadata that a checkpoint must have, key by key; any key, any JSON value.
            before: Only checkpoints with an id smaller than this one's.
            limit: How many at most.
        """
        page = self._pages(config, filter, before, limit)
        step = next(page, None)
        while step is not None:
            rows = self._store.read(step)
            yield from (self._tuple(row) for row in rows)
            step = _sent(page, rows)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async twin of `list`."""
        page = self._pages(config, filter, before, limit)
        step = next(page, None)
        while step is not None:
            rows = await self._store.aread(step)
            for row in rows:
                yield self._tuple(row)
            step = _sent(page, rows)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return per channel the nearest stored value before a checkpoint, and the writes since."""
        return self._store.read(partial(self._history, config, channels))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Async twin of `get_delta_channel_history`."""
        return await self._store.aread(partial(self._history, config, channels))

    # Writing.

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; committed before it returns.

        Raises:
            UnstorableError: The serializer refuses a channel's value.
        """
        work, saved = self._put(config, checkpoint, metadata)
        self._store.write(work)
        return saved

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async twin of `put`."""
        work, saved = self._put(config, checkpoint, metadata)
        await self._store.awrite(work)
        return saved

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store the writes of one task; committed before it returns.

        Raises:
            UnstorableError: The serializer refuses a value.
        """
        self._store.write(self._put_writes(config, writes, task_id, task_path))
        for error in self._noted(config, writes):
            scope_failed(config, task_id, error)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Async twin of `put_writes`."""
        await self._store.awrite(self._put_writes(config, writes, task_id, task_path))
        for error in self._noted(config, writes):
            await ascope_failed(config, task_id, error)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with its checkpoints, runs and steps; what days cost stays counted."""
        self._store.write(lambda tx: self._checkpoints.delete_thread(tx, str(thread_id)))

    async def adelete_thread(self, thread_id: str) -> None:
        """Async twin of `delete_thread`."""
        await self._store.awrite(lambda tx: self._checkpoints.delete_thread(tx, str(thread_id)))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made; their steps stay readable."""
        self._store.write(partial(self._delete_for_runs, run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Async twin of `delete_for_runs`."""
        await self._store.awrite(partial(self._delete_for_runs, run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy the checkpoints of a thread to another; no value is stored a second time."""
        self._store.write(partial(self._copy_thread, source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async twin of `copy_thread`."""
        await self._store.awrite(partial(self._copy_thread, source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints of threads.

        Args:
            thread_ids: The threads.
            strategy: `keep_latest` keeps the newest of each namespace, and hidden what a
                DeltaChannel is rebuilt from; `delete` (LangGraph's server says `delete_all`)
                keeps none. The journal's steps stay.

        Raises:
            UsageError: The strategy is none of these.
        """
        self._store.write(self._prune(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async twin of `prune`."""
        await self._store.awrite(self._prune(thread_ids, strategy))

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the version after `current`: numbers, or the texts that other savers count with."""
        if isinstance(current, str):
            return f"{int(current.split('.')[0]) + 1:032}.{0:016}"
        return 1 if current is None else current + 1

    # What the two kinds of methods share.

    def _fetch(self, config: RunnableConfig, tx: Tx) -> StoredCheckpoint | None:
        thread_id, ns, checkpoint_id = _address(config)
        return self._checkpoints.fetch(tx, thread_id, ns, checkpoint_id)

    def _loaded(self, stored: StoredCheckpoint | None) -> CheckpointTuple | None:
        return None if stored is None else self._tuple(stored)

    def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        codec = self.codec
        values = {channel: _value(codec, value) for channel, value in stored.values.items()}
        parent = stored.parent_id and _config(stored.thread_id, stored.ns, stored.parent_id)
        body = codec.decode(stored.body)
        return CheckpointTuple(
            config=_config(stored.thread_id, stored.ns, stored.checkpoint_id),
            checkpoint={**body, "channel_values": values},
            metadata=json.loads(stored.metadata),
            parent_config=parent or None,
            pending_writes=[_pending(codec, write) for write in stored.writes],
        )

    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[Callable[[Tx], list[StoredCheckpoint]]]:
        """Yield reads of one page each; each is answered by `send` with what it found."""
        wanted: Mapping[str, Any] = (config or {}).get("configurable", {})
        thread_id = wanted.get("thread_id")
        end = (before or {}).get("configurable", {}).get("checkpoint_id")
        after: tuple[str, int] | None = None
        left = limit
        while left is None or left > 0:
            size = LIST_PAGE if left is None else min(LIST_PAGE, left)
            rows = yield partial(
                _page,
                self._checkpoints,
                thread_id=None if thread_id is None else str(thread_id),
                ns=wanted.get("checkpoint_ns"),
                checkpoint_id=wanted.get("checkpoint_id"),
                filter=filter,
                before=end,
                after=after,
                limit=size,
            )
            if len(rows) < size:
                return
            after = (rows[-1].checkpoint_id, rows[-1].row)
            left = None if left is None else left - len(rows)

    def _history(
        self, config: RunnableConfig, channels: Sequence[str], tx: Tx
    ) -> dict[str, DeltaChannelHistory]:
        thread_id, ns, checkpoint_id = _address(config)
        if checkpoint_id is None:
            checkpoint_id = self._checkpoints.newest_id(tx, thread_id, ns)
        if checkpoint_id is None or not channels:
            return {channel: {"writes": []} for channel in channels}
        codec = self.codec
        history: dict[str, DeltaChannelHistory] = {}
        found = self._checkpoints.channel_history(tx, thread_id, ns, checkpoint_id, channels)
        for channel, (seed, writes) in found.items():
            entry: DeltaChannelHistory = {"writes": [_pending(codec, write) for write in writes]}
            if seed is not None:
                entry["seed"] = _value(codec, seed)
            history[channel] = entry
        return history

    def _put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> tuple[Callable[[Tx], None], RunnableConfig]:
        thread_id, ns, parent_id = _address(config)
        codec = self.codec
        merged: dict[str, Any] = dict(get_checkpoint_metadata(config, metadata))
        body = {key: value for key, value in checkpoint.items() if key != "channel_values"}
        attempt = attempt_of(config, self.journal)
        new = NewCheckpoint(
            thread_id=thread_id,
            ns=ns,
            checkpoint_id=checkpoint["id"],
            parent_id=parent_id,
            body=_readable(body) or codec.encode_value(body),
            metadata=_metadata_text(merged),
            values={
                channel: self._new_value(codec, (thread_id, ns, channel), value)
                for channel, value in checkpoint["channel_values"].items()
            },
            step=merged.get("step"),
            source=merged.get("source"),
            run=attempt.run if attempt is not None else None,
            run_id=_text_or_none(merged.get("run_id")),
        )
        saved = _config(thread_id, ns, checkpoint["id"])
        return lambda tx: self._checkpoints.put(tx, new), saved

    def _put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> Callable[[Tx], None]:
        thread_id, ns, checkpoint_id = _address(config)
        codec = self.codec
        rows = [
            NewWrite(
                WRITES_IDX_MAP.get(channel, idx), channel, self._new_value(codec, None, value)
            )
            for idx, (channel, value) in enumerate(writes)
        ]
        return lambda tx: self._checkpoints.put_writes(
            tx,
            thread_id=thread_id,
            ns=ns,
            checkpoint_id=str(checkpoint_id),
            task_id=task_id,
            task_path=task_path,
            writes=rows,
            replace=all(channel in WRITES_IDX_MAP for channel, _ in writes),
        )

    def _noted(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]]
    ) -> list[BaseException]:
        """Tell the run of an interrupt among the writes, and return the errors among them."""
        if any(channel == INTERRUPT for channel, _ in writes):
            note_interrupt(config)
        return [v for channel, v in writes if channel == ERROR and isinstance(v, BaseException)]

    def _new_value(self, codec: GraphCodec, key: object, value: Any) -> Value:
        if type(value) is not list or not value or _is_numbers(value):
            return self._content.prepare(codec.encode_value(value))
        known = self._memo.known(key) if key is not None else {}
        kept: dict[int, Kept] = {}
        items: list[Prepared] = []
        for item in value:
            before = known.get(id(item))
            if before is None or not before.still_holds(item):
                prepared = self._content.prepare(codec.encode_value(item))
                before = remember(item, prepared)
            else:
                prepared = before.prepared
            items.append(prepared)
            if before is not None:
                kept[id(item)] = before
        if key is not None:
            self._memo.keep(key, kept)
        return tuple(items)

    def _delete_for_runs(self, run_ids: Sequence[str], tx: Tx) -> None:
        for run_id in run_ids:
            self._checkpoints.delete_for_run(tx, str(run_id))

    def _copy_thread(self, source: str, target: str, tx: Tx) -> None:
        self._checkpoints.copy_thread(tx, str(source), str(target))

    def _prune(self, thread_ids: Sequence[str], strategy: str) -> Callable[[Tx], None]:
        if strategy not in PRUNE_STRATEGIES:
            raise UsageError(
                f"strategy={strategy!r} is unknown: use one of {', '.join(PRUNE_STRATEGIES)}"
            )

        def work(tx: Tx) -> None:
            for thread_id in map(str, thread_ids):
                if strategy != "keep_latest":
                    self._checkpoints.delete_checkpoints_of_thread(tx, thread_id)
                    continue
                newest = self._checkpoints.newest_of_thread(tx, thread_id)
                delta = {row: set(json.loads(text).get(COUNTERS, {})) for row, text in newest.items()}
                self._checkpoints.keep_latest(tx, thread_id, delta)

        return work


class _Done:
    """Nothing to wait for, whether it is awaited or not."""

    def __await__(self) -> Iterator[Any]:
        return iter(())


def _page(checkpoints: Checkpoints, tx: Tx, **wanted: Any) -> list[StoredCheckpoint]:
    return checkpoints.fetch_page(tx, **wanted)


def _sent(pages: Iterator[T], rows: Any) -> T | None:
    """Answer a generator's question, and return its next one, None at its end."""
    try:
        return pages.send(rows)  # type: ignore[attr-defined,no-any-return]
    except StopIteration:
        return None


def _address(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config.get("configurable", {})
    if "thread_id" not in configurable:
        raise UsageError(
            "config has no thread_id: pass config={'configurable': {'thread_id': '...'}}"
        )
    return (
        str(configurable["thread_id"]),
        configurable.get("checkpoint_ns") or "",
        configurable.get("checkpoint_id"),
    )


def _config(thread_id: str, ns: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": ns,
            "checkpoint_id": checkpoint_id,
        }
    }


def _value(codec: GraphCodec, stored: Encoded | list[Encoded]) -> Any:
    return [codec.decode(s) for s in stored] if isinstance(stored, list) else codec.decode(stored)


def _pending(codec: GraphCodec, write: StoredWrite) -> PendingWrite:
    return (write.task_id, write.channel, _value(codec, write.value))


def _is_numbers(value: list[Any]) -> bool:
    """Tell whether a list holds numbers only, such as an embedding: one value, not many items."""
    return len(value) > 16 and all(type(item) in (int, float, bool) for item in value)


def _readable(body: dict[str, Any]) -> Encoded | None:
    """Return the JSON of a checkpoint's versions, which hold no content; None if it has none."""
    try:
        text = dump_json(body)
        return Encoded("dict", text) if json.loads(text) == body else None
    except (TypeError, ValueError):
        return None


def _metadata_text(metadata: dict[str, Any]) -> str:
    try:
        return dump_json(metadata)
    except (TypeError, ValueError):  # a value of the user's own config: shown, not lost
        return dump_json(json.loads(json.dumps(metadata, default=repr), parse_constant=repr))


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


