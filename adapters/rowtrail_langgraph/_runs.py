"""One invocation of a graph is one attempt of a run: hooks around `Pregel.stream` and `astream`."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langgraph._internal._config import ensure_config
from langgraph.pregel import Pregel
from langgraph.types import Command
from rowtrail import Journal
from rowtrail.journal import Attempt, Beginning, fingerprint_of
from rowtrail.store import Tx
from rowtrail_langgraph._ask import ask_a_person
from rowtrail_langgraph._canonical import canonical_input
from rowtrail_langgraph._place import FIRST_STEP, RUN_KEY, GraphRun, RunCarrier, run_of

REPLAY_KEY = "rowtrail_replay"
"""Key of `configurable`: `always` replays what earlier runs of the thread recorded."""

RESUMING = "__pregel_resuming"


def recorded_stream(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Wrap `Pregel.stream` so that an invocation on a rowtrail saver is an attempt of a run."""

    @functools.wraps(original)
    def stream(
        self: Pregel[Any, Any, Any, Any],
        input: Any,
        config: RunnableConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[Any]:
        invocation = _invocation(self, input, config)
        if invocation is None:
            yield from original(self, input, config, *args, **kwargs)
            return
        if invocation.around is not None:
            invocation.note(invocation.store_read())
            yield from original(self, input, config, *args, **kwargs)
            return
        beginning = invocation.journal.store.read(invocation.beginning)
        run = invocation.begun(invocation.journal.attempt(beginning, invocation.codec))
        try:
            yield from original(self, input, _with_run(config, run), *args, **kwargs)
        except BaseException as error:
            run.attempt.end(*_failed(run, error))
            raise
        waiting = run.is_waiting or (_may_pause(self, kwargs) and _is_paused(self, config))
        run.attempt.end("waiting" if waiting else "done")

    return stream


def recorded_astream(
    original: Callable[..., AsyncIterator[Any]],
) -> Callable[..., AsyncIterator[Any]]:
    """Wrap `Pregel.astream`, the async twin of `stream`."""

    @functools.wraps(original)
    async def astream(
        self: Pregel[Any, Any, Any, Any],
        input: Any,
        config: RunnableConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        invocation = _invocation(self, input, config)
        if invocation is None:
            async for chunk in original(self, input, config, *args, **kwargs):
                yield chunk
            return
        if invocation.around is not None:
            invocation.note(await invocation.store_aread())
            async for chunk in original(self, input, config, *args, **kwargs):
                yield chunk
            return
        beginning = await invocation.journal.store.aread(invocation.beginning)
        run = invocation.begun(await invocation.journal.aattempt(beginning, invocation.codec))
        try:
            async for chunk in original(self, input, _with_run(config, run), *args, **kwargs):
                yield chunk
        except BaseException as error:
            await run.attempt.aend(*_failed(run, error))
            raise
        waiting = run.is_waiting or (_may_pause(self, kwargs) and await _ais_paused(self, config))
        await run.attempt.aend("waiting" if waiting else "done")

    return astream


@dataclass(frozen=True)
class _Invocation:
    """What is known of an invocation before it begins; `around` is the run that it is part of."""

    graph: Pregel[Any, Any, Any, Any]
    input: Any
    config: Mapping[str, Any]
    saver: Any
    around: GraphRun | None

    @property
    def journal(self) -> Journal:
        journal: Journal = self.saver.journal
        return journal

    @property
    def codec(self) -> Any:
        return self.saver.codec

    @property
    def configurable(self) -> Mapping[str, Any]:
        configurable: Mapping[str, Any] = self.config.get("configurable") or {}
        return configurable

    def beginning(self, tx: Tx) -> Beginning:
        """Tell which run this invocation begins or continues."""
        thread_id = str(self.configurable.get("thread_id"))
        head_step, head_id = _head(tx, thread_id, "")
        addressed = self.configurable.get("checkpoint_id")
        is_resume = self.input is None or isinstance(self.input, Command)
        metadata = self.config.get("metadata") or {}
        run_id = metadata.get("run_id") or self.config.get("run_id")
        intent: Any = "input"
        shift = 0
        if addressed is not None and addressed != head_id:
            intent = "fork"
        elif is_resume:
            intent = "resume"
            # Resuming at an addressed checkpoint, LangGraph saves a fork of it first.
            shift = 1 if addressed is not None and self.input is None else 0
        elif metadata.get("run_id") is not None and _continues(tx, thread_id, run_id):
            intent = "resume"
        return Beginning(
            intent,
            run_id=None if run_id is None else str(run_id),
            thread_id=thread_id,
            agent=self.graph.get_name(),
            input_digest=None if is_resume else _digest(self.input),
            base_step=(FIRST_STEP - 1 if head_step is None else head_step) + 1,
            base_shift=shift,
        )

    def begun(self, attempt: Attempt) -> GraphRun:
        """Return the run of a begun attempt."""
        attempt.ask = ask_a_person
        attempt.replay_always = self.configurable.get(REPLAY_KEY) == "always"
        return GraphRun(attempt, self.codec, self.saver.effects)

    def note(self, base_step: int) -> None:
        """Tell the run around that one of its tasks invokes this graph."""
        assert self.around is not None
        self.around.enter_graph(self.config, base_step)

    def store_read(self) -> int:
        """Return the superstep from which this inner graph counts."""
        if self.graph.checkpointer is not True:
            return FIRST_STEP
        return self.journal.store.read(self._inner_base)

    async def store_aread(self) -> int:
        """Async twin of `store_read`."""
        if self.graph.checkpointer is not True:
            return FIRST_STEP
        return await self.journal.store.aread(self._inner_base)

    def _inner_base(self, tx: Tx) -> int:
        """Return the base of a graph with a history of its own, which goes on from run to run."""
        thread_id = str(self.configurable.get("thread_id"))
        segments = str(self.configurable.get("checkpoint_ns", "")).split("|")
        ns = "|".join(segment.partition(":")[0] for segment in segments)
        if self.configurable.get(RESUMING):
            row = tx.one("newest_input_step", thread_id=thread_id, ns=ns)
            return FIRST_STEP if row is None else int(row["step"])
        step, _ = _head(tx, thread_id, ns)
        return FIRST_STEP if step is None else step + 1


def _invocation(
    graph: Pregel[Any, Any, Any, Any], input: Any, config: RunnableConfig | None
) -> _Invocation | None:
    merged: Mapping[str, Any] = ensure_config(graph.config, config)
    configurable = merged.get("configurable") or {}
    saver = configurable.get("__pregel_checkpointer") or graph.checkpointer
    around = run_of(merged)
    # Not isinstance: a server wraps the saver in an adapter that passes attributes on.
    if around is None and not getattr(saver, "capture", False):
        return None
    if around is None and (
        getattr(saver, "journal", None) is None or configurable.get("thread_id") is None
    ):
        return None
    return _Invocation(graph, input, merged, saver, around)


def _with_run(config: RunnableConfig | None, run: GraphRun) -> RunnableConfig:
    given: dict[str, Any] = dict(config or {})
    given["configurable"] = {**(given.get("configurable") or {}), RUN_KEY: run}
    callbacks = given.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(RunCarrier(run))
    else:
        callbacks = [*(callbacks or ()), RunCarrier(run)]
    given["callbacks"] = callbacks
    return given  # type: ignore[return-value]


def _head(tx: Tx, thread_id: str, ns: str) -> tuple[int | None, str | None]:
    row = tx.one("newest_step_and_id", thread_id=thread_id, ns=ns)
    return (None, None) if row is None else (row["step"], row["checkpoint_id"])


def _continues(tx: Tx, thread_id: str, run_id: Any) -> bool:
    """Tell whether LangGraph takes an input with this run id for a continuation."""
    row = tx.one("newest_run_id", thread_id=thread_id)
    return row is not None and row["run_id"] == str(run_id)


def _digest(input: Any) -> bytes:
    return fingerprint_of("input", "", canonical_input(input))


def _failed(run: GraphRun, error: BaseException) -> tuple[Any, str]:
    outcome = "failed" if isinstance(error, Exception) else "cancelled"
    return outcome, run.attempt.recorder.describe(error)


def _may_pause(graph: Pregel[Any, Any, Any, Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether the graph has static breakpoints, which leave no write."""
    return bool(
        graph.interrupt_before_nodes
        or graph.interrupt_after_nodes
        or kwargs.get("interrupt_before")
        or kwargs.get("interrupt_after")
    )


def _is_paused(graph: Pregel[Any, Any, Any, Any], config: RunnableConfig | None) -> bool:
    return bool(graph.get_state(_thread_config(config)).next)


async def _ais_paused(graph: Pregel[Any, Any, Any, Any], config: RunnableConfig | None) -> bool:
    return bool((await graph.aget_state(_thread_config(config))).next)


def _thread_config(config: RunnableConfig | None) -> RunnableConfig:
    configurable = (config or {}).get("configurable", {})
    return {"configurable": {"thread_id": configurable.get("thread_id")}}


# What the saver tells the run.


def attempt_of(config: Mapping[str, Any], journal: Journal) -> Attempt | None:
    """Return the attempt that a saver's call is part of."""
    run = run_of(config)
    return run.attempt if run is not None and run.attempt.journal is journal else None


def note_interrupt(config: Mapping[str, Any]) -> None:
    """Tell the run that one of its tasks waits for a person."""
    run = run_of(config)
    if run is not None:
        run.is_waiting = True


def scope_failed(config: Mapping[str, Any], task_id: str, error: BaseException) -> None:
    """Tell the run that a task ended with an error."""
    found = _failed_scope(config, task_id)
    if found is not None:
        found[0].blame(found[1], error)


async def ascope_failed(config: Mapping[str, Any], task_id: str, error: BaseException) -> None:
    """Async twin of `scope_failed`."""
    found = _failed_scope(config, task_id)
    if found is not None:
        await found[0].ablame(found[1], error)


def _failed_scope(config: Mapping[str, Any], task_id: str) -> tuple[Attempt, str] | None:
    run = run_of(config)
    scope = None if run is None else run.scope_of_task(task_id)
    return None if run is None or scope is None else (run.attempt, scope)
