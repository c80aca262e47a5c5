"""`RowtrailSaver`: LangGraph's checkpointer on a journal, sync and async in one class."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from rowtrail import Journal
from rowtrail.adapter.opening import Opening, OpensJournal
from rowtrail.checkpoint import Checkpoints
from rowtrail.engine import Durability, Tx
from rowtrail.journal import (
    Multitask,
    Pattern,
    check_durability,
    check_multitask,
    masks_of,
)
from rowtrail_langgraph.capture import (
    Effects,
    install,
    note_writes,
    without_used_answer,
)
from rowtrail_langgraph.saver._held import Held
from rowtrail_langgraph.saver._transactions import Page, Pages, Transactions, key_of
from rowtrail_langgraph.values import Ciphertexts, GraphCodec, Memo, Values, default_serde

RESEND_WITHIN = timedelta(hours=24)


class RowtrailSaver(OpensJournal, BaseCheckpointSaver[Any]):
    """A checkpointer that stores what is new, and the journal of the calls made in its graphs.

    `compile(checkpointer=RowtrailSaver("agent.db"))` is the only line that changes: with
    `capture=True` every chat-model call and every tool call made inside a graph that runs on this
    saver is recorded before the graph sees its result, and replayed when the graph is resumed.

    Args:
        path_or_journal: The journal's file, or an open `Journal`, which stays the caller's; when
            None, what $ROWTRAIL_DB says, else `./agent.db`. `rowtrail resume` sets it, and
            $ROWTRAIL_THREAD to the thread that is to be continued, with no input.
        serde: Serializer for what JSON cannot hold. With one that is not LangGraph's own (an
            encrypting one), everything goes through it and the views show no content.
        capture: Record and replay model and tool calls. Installs hooks into langchain-core and
            langgraph once per process; they do nothing outside graphs on such a saver.
        effects: What tools do to the world, by name: `{"send_email": "write"}`, or
            `{"send_email": {"effect": "write", "on_doubt": "ask"}}`.
        multitask: What becomes of a second invocation of a thread while one goes on: `allow` (it
            begins beside it, and a warning says so: of two states one may be lost), `enqueue` (it
            waits), or `reject` (`RunBusyError`).
        resend_within: How long after a run crashed or was cancelled, or failed after a call that
            changes the world, the same input sent again goes on with it.
        durability: Of the journal: `full` or `normal`.
        strict: Of the journal: a resumed scope that asks for something new raises `DivergedError`.
        embedder: Of the journal: a LangChain `Embeddings` with which `journal.search` finds
            meanings. Recording does not call it.
        canonical: Of the journal: regular expressions and functions of a text that mask what a
            program puts into prompts anew each time, when requests are compared.
        keep_journal: What deletes a thread deletes its checkpoints, and keeps its runs and steps
            with all that was said in them: `delete_thread`, and LangGraph's server through it. A
            run of it that waits for a person is cancelled.

    The file is opened by the first use, in whatever process that is, so that a server may make the
    saver before it forks its workers; what is wrong with the file is raised then. A parent that
    used it keeps it: there, a child gets `ForkedError`.

    Raises:
        ReadOnlyError: The folder of the file does not exist.
        UnsupportedError: This langchain-core or langgraph lacks what capturing needs.
        UsageError: An effect or `durability` is unknown.
    """

    def __init__(
        self,
        path_or_journal: str | os.PathLike[str] | Journal | None = None,
        *,
        serde: SerializerProtocol | None = None,
        capture: bool = True,
        effects: Mapping[str, Any] | None = None,
        multitask: Multitask = "allow",
        resend_within: timedelta = RESEND_WITHIN,
        durability: Durability = "full",
        strict: bool = False,
        embedder: Embeddings | None = None,
        canonical: Sequence[Pattern] | None = None,
        keep_journal: bool = False,
    ) -> None:
        check_multitask(multitask)
        super().__init__(serde=default_serde() if serde is None else serde)
        self.effects = Effects(effects or {})
        self.multitask = multitask
        self.resend_within = resend_within
        self.capture = capture
        self.keep_journal = keep_journal
        if capture:
            install()
        check_durability(durability)
        masks_of(canonical)  # what is wrong with a pattern is said here
        self.use_journal(
            path_or_journal,
            durability=durability,
            strict=strict,
            embedder=embedder,
            canonical=canonical,
        )
        if isinstance(path_or_journal, Journal):
            if embedder is not None:
                path_or_journal.embedder = embedder
            if canonical is not None:
                path_or_journal.canonical = masks_of(canonical)
        self.memo = Memo()
        """What is stored already of the lists that were written and read last."""
        self._held = Held()
        self._ciphertexts = Ciphertexts()
        self._codec = GraphCodec(self.serde, self._ciphertexts)
        self._work: Transactions | None = None

    @classmethod
    def from_conn_string(cls, conn_string: str, **options: Any) -> Opening[Self]:
        """Return what opens a saver in `with` or `async with`, as `SqliteSaver` has it.

        `async with` opens and closes the file on a thread of its own.
        """
        return Opening(lambda: cls(conn_string, **options), cls.open)

    def setup(self) -> _Done:
        """Do nothing: the first use makes the file ready. May be awaited."""
        return _Done()

    @property
    def codec(self) -> GraphCodec:
        """Return how this saver writes values, by its serializer."""
        if self._codec.serde is not self.serde:  # `with_allowlist` copies the saver
            self._codec = GraphCodec(self.serde, self._ciphertexts)
        return self._codec

    def _using(self) -> Transactions:
        """Return the reads and transactions of the journal, opened now if it was not."""
        work = self._work
        if work is None or work.values.codec.serde is not self.serde:
            journal = self.lazy.open()
            content = journal.recorder.content
            values = Values(content, self.codec, self.memo)
            checkpoints = Checkpoints(journal.store, content)
            work = Transactions(journal, checkpoints, values, self._held)
            self._work = work
        return work

    async def _ausing(self) -> Transactions:
        """Async twin of `_using`."""
        await self.lazy.aopen()
        return self._using()

    # Reading.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the newest of its thread and namespace.

        Raises:
            UsageError: `config` names no thread.
            CorruptRowError: A value cannot be read back, for example with another key.
        """
        work = self._using()
        return without_used_answer(config, work.store.read(work.fetch(config)))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async twin of `get_tuple`."""
        work = await self._ausing()
        return without_used_answer(config, await work.store.aread(work.fetch(config)))

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

        A checkpoint that is damaged is left out, and the logger `rowtrail` names it.

        Raises:
            CorruptRowError: `config` names the one that is damaged, or the key is another.
        """
        work = self._using()
        pages = work.pages(config, filter, before, limit)
        read = next(pages, None)
        while read is not None:
            page = work.store.read(read)
            yield from (found for _, found in page if found is not None)
            read = _next_read(pages, page)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async twin of `list`."""
        work = await self._ausing()
        pages = work.pages(config, filter, before, limit)
        read = next(pages, None)
        while read is not None:
            page = await work.store.aread(read)
            for _, found in page:
                if found is not None:
                    yield found
            read = _next_read(pages, page)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return per channel the nearest stored value before a checkpoint, and the writes since."""
        work = self._using()
        return work.store.read(work.history(config, channels))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Async twin of `get_delta_channel_history`."""
        work = await self._ausing()
        return await work.store.aread(work.history(config, channels))

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
        work = self._using()
        transaction, saved = work.put(config, checkpoint, metadata)
        work.store.write(transaction, key=key_of(config))
        return saved

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async twin of `put`."""
        work = await self._ausing()
        transaction, saved = work.put(config, checkpoint, metadata)
        await work.store.awrite(transaction, key=key_of(config))
        return saved

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store the writes of one task; committed before it returns.

        Those of a task that a graph executed before its checkpoint was saved, which LangGraph does
        in the background, are committed with that: alone they would be of no use.

        Raises:
            UnstorableError: The serializer refuses a value.
        """
        work = self._using()
        transaction = work.put_writes(config, writes, task_id, task_path)
        if transaction is not None:
            work.store.write(transaction, key=key_of(config))
        note_writes(config, task_id, writes)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Async twin of `put_writes`."""
        work = await self._ausing()
        transaction = work.put_writes(config, writes, task_id, task_path)
        if transaction is not None:
            await work.store.awrite(transaction, key=key_of(config))
        note_writes(config, task_id, writes)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with its checkpoints, runs and steps; what days cost stays counted.

        With `keep_journal`, runs and steps stay readable.
        """
        work = self._using()
        deletion = work.delete_thread(thread_id, keep_journal=self.keep_journal)
        work.store.write(deletion, key=key_of(thread_id))
        self._forget(str(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """Async twin of `delete_thread`."""
        work = await self._ausing()
        deletion = work.delete_thread(thread_id, keep_journal=self.keep_journal)
        await work.store.awrite(deletion, key=key_of(thread_id))
        self._forget(str(thread_id))

    def _forget(self, thread_id: str) -> None:
        self.memo.forget(thread_id)
        self._held.forget(thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made; their steps stay readable."""
        work = self._using()
        work.store.write(work.delete_for_runs(run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Async twin of `delete_for_runs`."""
        work = await self._ausing()
        await work.store.awrite(work.delete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy the checkpoints of a thread to another; no value is stored a second time."""
        work = self._using()
        copying = work.copy_thread(source_thread_id, target_thread_id)
        work.store.write(copying, key=key_of(target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async twin of `copy_thread`."""
        work = await self._ausing()
        copying = work.copy_thread(source_thread_id, target_thread_id)
        await work.store.awrite(copying, key=key_of(target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints of threads.

        Args:
            thread_ids: The threads.
            strategy: `keep_latest` keeps the newest of each namespace, and hidden what a
                DeltaChannel is rebuilt from; `delete` (LangGraph's server says `delete_all`)
                keeps none, and cancels what waits for a person. The journal's steps stay.

        Raises:
            UsageError: The strategy is unknown.
        """
        work = self._using()
        work.store.write(work.prune(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async twin of `prune`."""
        work = await self._ausing()
        await work.store.awrite(work.prune(thread_ids, strategy))

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the version after `current`: a number, or a text as other savers count."""
        if isinstance(current, str):
            return f"{int(current.split('.')[0]) + 1:032}.{0:016}"
        return 1 if current is None else current + 1


class _Done:
    """Nothing to wait for, whether it is awaited or not."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


def _next_read(pages: Pages, found: Page) -> Callable[[Tx], Page] | None:
    """Return the read of the next page after what the last one found, None at the end."""
    try:
        return pages.send(found)
    except StopIteration:
        return None
