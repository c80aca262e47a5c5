"""One invocation of a graph is one attempt of a run: hooks around `Pregel.stream` and `astream`."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import langgraph.errors
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langgraph._internal._config import ensure_config
from langgraph.pregel import Pregel
from langgraph.types import Command

from rowtrail import Journal
from rowtrail.checkpoint import newest_checkpoint
from rowtrail.journal import Attempt, Beginning, Scope, fingerprint_of
from rowtrail.replay import culprit
from rowtrail.store import Tx
from rowtrail_langgraph._ask import ask_a_person
from rowtrail_langgraph._canonical import canonical_input
from rowtrail_langgraph._handed import RUN_KEY
from rowtrail_langgraph._place import (
    FIRST_STEP,
    GraphRun,
    RunCarrier,
    current_config,
    run_of,
)

REPLAY_KEY = "rowtrail_replay"
"""Key of `configurable`: `always` replays what earlier runs of the thread recorded."""

RESUMING = "__pregel_resuming"

_DRAINED: tuple[type[Exception], ...] = tuple(
    found for found in [getattr(langgraph.errors, "GraphDrained", None)] if found is not None
)
"""What a graph raises that was asked to stop and go on later; newer versions have it."""

_HANDLED = RunnableConfig(callbacks=[BaseCallbackHandler()])
_MERGES_CALLBACKS = len(ensure_config(_HANDLED, _HANDLED)["callbacks"] or ()) == 2  # type: ignore[arg-type]
"""Whether LangGraph adds a call's callbacks to those around it; older versions replace them."""


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
            with invocation.around.watched():
                yield from original(self, input, invocation.entered(), *args, **kwargs)
            return
        beginning = invocation.journal.store.read(invocation.beginning)
        attempt = invocation.journal.attempt(beginning, invocation.codec)
        run = invocation.begun(attempt, beginning)
        try:
            yield from original(self, input, _with_run(self, config, run), *args, **kwargs)
        except BaseException as error:
            _blame(run)
            run.attempt.end(*_failed(run, error))
            raise
        waiting = run.is_waiting or (_may_pause(self, kwargs) and invocation.is_paused())
        run.attempt.end("waiting" if waiting else "done")

    return stream


def recorded_astream(
    original: Callable[..., AsyncGenerator[Any]],
) -> Callable[..., AsyncGenerator[Any]]:
    """Wrap `Pregel.astream`, the async twin of `stream`."""

    @functools.wraps(original)
    async def astream(
        self: Pregel[Any, Any, Any, Any],
        input: Any,
        config: RunnableConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AsyncGenerator[Any]:
        invocation = _invocation(self, input, config)
        if invocation is None:
            async for chunk in original(self, input, config, *args, **kwargs):
                yield chunk
            return
        if invocation.around is not None:
            with invocation.around.watched():
                config = await invocation.aentered()
                async with aclosing(original(self, input, config, *args, **kwargs)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            return
        beginning = await invocation.journal.store.aread(invocation.beginning)
        attempt = await invocation.journal.aattempt(beginning, invocation.codec)
        run = invocation.begun(attempt, beginning)
        given = _with_run(self, config, run)
        try:
            # Closed here: what a consumer leaves has stopped before its attempt ends.
            async with aclosing(original(self, input, given, *args, **kwargs)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BaseException as error:
            await _ablame(run)
            await run.attempt.aend(*_failed(run, error))
            raise
        waiting = run.is_waiting or (_may_pause(self, kwargs) and await invocation.ais_paused())
        await run.attempt.aend("waiting" if waiting else "done")

    return astream


@dataclass(frozen=True)
class _Invocation:
    """What is known of an invocation before it begins; `around` is the run that it is part of."""

    graph: Pregel[Any, Any, Any, Any]
    input: Any
    given: RunnableConfig | None
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
        head_step, head_id, head_source = newest_checkpoint(tx, thread_id, "")
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
            shift = self._shift(addressed, head_source)
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

    def _shift(self, addressed: str | None, head_source: str | None) -> int:
        """Return by how many supersteps a resume moves the tasks on.

        At a checkpoint that is addressed by its id LangGraph saves a fork of it first, if it is not
        one already and nobody answers an interrupt. Source: `PregelLoop._first`.
        """
        answers = isinstance(self.input, Command) and self.input.resume is not None
        return int(addressed is not None and not answers and head_source not in ("update", "fork"))

    def begun(self, attempt: Attempt, beginning: Beginning) -> GraphRun:
        """Return the run of a begun attempt."""
        attempt.ask = ask_a_person
        attempt.replay_always = self.configurable.get(REPLAY_KEY) == "always"
        is_sent_again = beginning.intent == "input" and attempt.continues
        return GraphRun(
            attempt,
            self.codec,
            self.saver.effects,
            renews_ids=is_sent_again,
            memo=self.saver.memo,
        )

    def entered(self) -> RunnableConfig | None:
        """Tell the run around of this graph, and return the config that the graph is given."""
        around = self._scope_around()
        around.begin_again()
        base_step = FIRST_STEP
        if self.graph.checkpointer is True:
            base_step = self.journal.store.read(self._inner_base)
        return self._noted(around, base_step)

    async def aentered(self) -> RunnableConfig | None:
        """Async twin of `entered`."""
        around = self._scope_around()
        await around.abegin_again()
        base_step = FIRST_STEP
        if self.graph.checkpointer is True:
            base_step = await self.journal.store.aread(self._inner_base)
        return self._noted(around, base_step)

    def _scope_around(self) -> Scope:
        assert self.around is not None
        # Not `config`: older versions let a graph's own metadata replace that of the task.
        ambient = current_config(self.given)
        return self.around.scope(ambient if run_of(ambient) is self.around else self.config)

    @property
    def _is_inner(self) -> bool:
        """Whether LangGraph takes the graph for an inner one: not if it has a thread of its own."""
        return run_of(self.config) is not None

    def _noted(self, around: Scope, base_step: int) -> RunnableConfig | None:
        assert self.around is not None
        if not self._is_inner:
            return _with_run(self.graph, self.given, self.around.inside(around))
        self.around.enter_graph(self.config, around, base_step)
        return self.given

    def is_paused(self) -> bool:
        """Tell whether the thread stands at a breakpoint."""
        return bool(self.graph.get_state(self._thread_config).next)

    async def ais_paused(self) -> bool:
        """Async twin of `is_paused`."""
        return bool((await self.graph.aget_state(self._thread_config)).next)

    @property
    def _thread_config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.configurable.get("thread_id")}}

    def _inner_base(self, tx: Tx) -> int:
        """Return the base of a graph with a history of its own, which goes on from run to run."""
        thread_id = str(self.configurable.get("thread_id"))
        segments = str(self.configurable.get("checkpoint_ns", "")).split("|")
        ns = "|".join(segment.partition(":")[0] for segment in segments)
        if self.configurable.get(RESUMING):
            row = tx.one("newest_input_step", thread_id=thread_id, ns=ns)
            return FIRST_STEP if row is None else int(row["step"])
        step, _, _ = newest_checkpoint(tx, thread_id, ns)
        return FIRST_STEP if step is None else step + 1


def _invocation(
    graph: Pregel[Any, Any, Any, Any], input: Any, config: RunnableConfig | None
) -> _Invocation | None:
    merged: Mapping[str, Any] = ensure_config(graph.config, config)
    configurable = merged.get("configurable") or {}
    saver = configurable.get("__pregel_checkpointer") or graph.checkpointer
    around = _unended(run_of(merged))
    if around is None and not _is_recorded_by(saver, configurable):
        around = _unended(run_of(current_config(config)))
        if around is None:
            return None
    return _Invocation(graph, input, config, merged, saver, around)


def _unended(run: GraphRun | None) -> GraphRun | None:
    """Return a run, None when it has ended: a task that it left behind serves others now."""
    return None if run is None or run.attempt.has_ended else run


def _is_recorded_by(saver: Any, configurable: Mapping[str, Any]) -> bool:
    # Not isinstance: a server wraps the saver in an adapter that passes attributes on.
    captures = getattr(saver, "capture", False) and getattr(saver, "journal", None) is not None
    return bool(captures) and configurable.get("thread_id") is not None


def _with_run(
    graph: Pregel[Any, Any, Any, Any], config: RunnableConfig | None, run: GraphRun
) -> RunnableConfig:
    given: dict[str, Any] = dict(config or {})
    # Older versions do not merge this with what is bound to the graph: they take one or the other.
    configurable = given.get("configurable") or (graph.config or {}).get("configurable")
    given["configurable"] = {**(configurable or {}), RUN_KEY: run}
    callbacks = given.get("callbacks")
    if callbacks is None and not _MERGES_CALLBACKS:
        callbacks = ensure_config(graph.config, config).get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(RunCarrier(run))
    else:
        callbacks = [*(callbacks or ()), RunCarrier(run)]
    given["callbacks"] = callbacks
    return given  # type: ignore[return-value]


def _continues(tx: Tx, thread_id: str, run_id: Any) -> bool:
    """Tell whether LangGraph takes an input with this run id for a continuation."""
    row = tx.one("newest_run_id", thread_id=thread_id)
    return row is not None and row["run_id"] == str(run_id)


def _digest(input: Any) -> bytes:
    return fingerprint_of("input", "", canonical_input(input))


def _failed(run: GraphRun, error: BaseException) -> tuple[Any, str]:
    stopped = not isinstance(error, Exception) or isinstance(error, _DRAINED)
    return "cancelled" if stopped else "failed", run.attempt.recorder.describe(error, run.codec)


def _may_pause(graph: Pregel[Any, Any, Any, Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether the graph has static breakpoints, which leave no write."""
    return bool(
        graph.interrupt_before_nodes
        or graph.interrupt_after_nodes
        or kwargs.get("interrupt_before")
        or kwargs.get("interrupt_after")
    )


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


def note_failure(config: Mapping[str, Any], task_id: str, error: BaseException) -> None:
    """Tell the run that a task ended with an error."""
    run = run_of(config)
    if run is not None:
        run.note_failure(task_id, error)


def _blame(run: GraphRun) -> None:
    """Set aside the answers that made code raise; an error is one scope's fault only."""
    blamed: list[BaseException] = []
    for scope, error in run.failures():
        if culprit(error, blamed) is None and run.attempt.blame(scope, error):
            blamed.append(error)


async def _ablame(run: GraphRun) -> None:
    """Async twin of `_blame`."""
    blamed: list[BaseException] = []
    for scope, error in run.failures():
        if culprit(error, blamed) is None and await run.attempt.ablame(scope, error):
            blamed.append(error)
