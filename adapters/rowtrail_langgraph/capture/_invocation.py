"""What is known of one invocation of a graph before it begins, and how it begins."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import Command

from rowtrail import Journal
from rowtrail.checkpoint import (
    newest_checkpoint,
    newest_input_step,
    newest_run_id,
    step_of_checkpoint,
)
from rowtrail.engine import Tx, id_text
from rowtrail.errors import UsageError
from rowtrail.journal import (
    Attempt,
    Beginning,
    Finished,
    Grip,
    Scope,
    abegin_again,
    begin_again,
    fingerprint_of,
    recorded_agents,
)
from rowtrail_langgraph._private import CHECKPOINTER_KEY, RESUMING_KEY, ensure_config
from rowtrail_langgraph.capture._agents import Seat, agent_of, name_of, superstep_of
from rowtrail_langgraph.capture._configs import (
    REPLAY_KEY,
    RUN_ID_KEY,
    replay_mode,
    with_run,
)
from rowtrail_langgraph.capture._interrupts import Positions, ask_a_person
from rowtrail_langgraph.capture._marker import AGENT_KEY
from rowtrail_langgraph.capture._place import (
    FIRST_STEP,
    GraphRun,
    current_config,
    run_of,
)
from rowtrail_langgraph.capture._saving import is_answer_used
from rowtrail_langgraph.values import canonical_input


@dataclass
class Invocation:
    """What is known of an invocation before it begins.

    Attributes:
        around: The run that it is part of, None where it begins one.
        name: Of the agent that the graph is, None where it has none of its own.
    """

    graph: Pregel[Any, Any, Any, Any]
    input: Any
    config_given: RunnableConfig | None
    config: Mapping[str, Any]
    saver: Any
    around: GraphRun | None
    name: str | None
    _seat: Seat | None = None

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

    @property
    def _is_resume(self) -> bool:
        return self.input is None or isinstance(self.input, Command)

    @property
    def _answer(self) -> Any:
        """The answer to a person's question that the graph is resumed with, None without one."""
        return self.input.resume if isinstance(self.input, Command) else None

    def beginning(self, tx: Tx) -> Beginning:
        """Return which run this invocation begins or continues."""
        thread_id = str(self.configurable.get("thread_id"))
        head_step, head_id, head_source = newest_checkpoint(tx, thread_id, "")
        addressed = self.configurable.get("checkpoint_id")
        metadata = self.config.get("metadata") or {}
        run_id = metadata.get("run_id") or self.config.get("run_id")
        name = self.configurable.get(RUN_ID_KEY)
        intent: Any = "input"
        shift = 0
        if name is not None:
            intent, run_id = "name", name
        elif addressed is not None and addressed != head_id:
            intent = "fork"
        elif self._is_resume or (
            metadata.get("run_id") is not None and _continues(tx, thread_id, run_id)
        ):
            intent = "resume"
        if name is not None and addressed not in (None, head_id):
            # LangGraph goes on from there, each time that the request is sent.
            head_step = step_of_checkpoint(tx, thread_id, "", str(addressed))
        elif self._is_resume:
            shift = self._shift(addressed, head_source)
        answer = self._answer
        return Beginning(
            intent,
            run_id=None if run_id is None else str(run_id),
            thread_id=thread_id,
            agent=self.name,
            input_digest=None if self._is_resume else self._digest("input", self.input),
            answer_digest=None if answer is None else self._digest("answer", answer),
            base_step=(FIRST_STEP - 1 if head_step is None else head_step) + 1,
            base_shift=shift,
            head=head_id,
            head_step=head_step,
            exclusive=name is not None,
            gives_back=name is not None,
            replay=replay_mode(self.configurable.get(REPLAY_KEY)),
            resend_within_s=self.saver.resend_within.total_seconds(),
            multitask=self.saver.multitask,
        )

    def _digest(self, kind: str, value: Any) -> bytes:
        return fingerprint_of(kind, "", canonical_input(value), self.journal.canonical)

    def _shift(self, addressed: str | None, head_source: str | None) -> int:
        """Return by how many supersteps a resume moves the tasks on.

        At a checkpoint that is addressed by its id LangGraph saves a fork of it first, if it is not
        one already and nobody answers an interrupt. Source: `PregelLoop._first`.
        """
        answers = isinstance(self.input, Command) and self.input.resume is not None
        return int(addressed is not None and not answers and head_source not in ("update", "fork"))

    def start(self, grip: Grip) -> tuple[GraphRun | None, Any]:
        """Begin an attempt, which `grip` keeps; return its run and what the graph is given.

        Of a run that is done already: None, and the state in which it ended.
        """
        try:
            beginning = self.journal.store.read(self.beginning)
            attempt = self.journal.attempt_or_end(beginning, self.codec, grip)
            if isinstance(attempt, Finished):
                return None, self.graph.get_state(self._end_config(attempt)).values
            run = self.begun(attempt)
            found = self.saver.get_tuple(self._thread_config) if self._is_repeated(run) else None
            return run, self.given(run, found)
        except BaseException:
            grip.let_go()  # Ctrl-C, or a thread that cannot be read: it must not stay taken
            raise

    async def astart(self, grip: Grip) -> tuple[GraphRun | None, Any]:
        """Async twin of `start`."""
        try:
            await self.saver.aopen()  # never on the event loop
            beginning = await self.journal.store.aread(self.beginning)
            attempt = await self.journal.aattempt_or_end(beginning, self.codec, grip)
            if isinstance(attempt, Finished):
                return None, (await self.graph.aget_state(self._end_config(attempt))).values
            run = self.begun(attempt)
            repeated = self._is_repeated(run)
            found = await self.saver.aget_tuple(self._thread_config) if repeated else None
            return run, self.given(run, found)
        except BaseException:  # as in `start`, a cancellation too
            grip.let_go()
            raise

    def begun(self, attempt: Attempt) -> GraphRun:
        """Return the run of a begun attempt."""
        attempt.ask = ask_a_person
        attempt.interrupts = Positions()
        attempt.re_executes = self._re_executed_from(attempt)
        is_applied_again = attempt.continues and not self._holds_input(attempt)
        return GraphRun(
            attempt,
            self.codec,
            self.saver.effects,
            renews_ids=is_applied_again,
            memo=self.saver.memo,
        )

    def _holds_input(self, attempt: Attempt) -> bool:
        """Return whether the graph goes on from what the thread has, with no input applied."""
        return self._is_resume or attempt.begun.holds_input

    def _re_executed_from(self, attempt: Attempt) -> Callable[[str, bool], bool]:
        """Return a function of a scope's name: whether it is executed again, by its superstep."""
        head, base = attempt.beginning.head_step, attempt.base_step
        is_from_head = self.configurable.get("checkpoint_id") in (None, attempt.beginning.head)
        goes_on = attempt.continues and self._holds_input(attempt) and is_from_head
        if not goes_on or head is None or base is None:
            return lambda name, finished: True
        first = head + 1 - base

        def re_executes(name: str, finished: bool) -> bool:
            step, _, _ = name.partition("/")
            if not step.lstrip("-").isdecimal():
                return True
            return int(step) > first or (int(step) == first and not finished)

        return re_executes

    def given(self, run: GraphRun, found: CheckpointTuple | None) -> Any:
        """Return what the graph is given: nothing where the thread has it already.

        Args:
            run: The begun run.
            found: The thread's newest checkpoint, where an answer was sent again.
        """
        attempt = run.attempt
        if self._is_resume:
            if found is not None and self._was_answered(attempt, found):
                run.drops_used_answer = True
                return None
            run.drops_used_answer = attempt.continues and self.input is None
            return self.input
        return None if attempt.continues and attempt.begun.holds_input else self.input

    def _is_repeated(self, run: GraphRun) -> bool:
        """Return whether an attempt that was given the same answer was left unfinished."""
        begun = run.attempt.begun
        before, answer = begun.before, run.attempt.beginning.answer_digest
        return (
            before is not None
            and answer is not None
            and before["answer"] == answer
            and before["outcome"] in ("crashed", "cancelled")
        )

    def _was_answered(self, attempt: Attempt, found: CheckpointTuple) -> bool:
        """Return whether the questions that the answer is for are answered, and not a later one."""
        before = attempt.begun.before
        moved = before is not None and before["head"] != attempt.beginning.head
        return moved or is_answer_used(found, self._answer)

    def _end_config(self, finished: Finished) -> RunnableConfig:
        if finished.checkpoint_id is None:
            raise UsageError(
                f"run {finished.run_id!r} is done, and the state in which it ended is not kept any "
                "more: read its rows, or give this request an id of its own"
            )
        thread_id = self.configurable.get("thread_id")
        checkpoint_id = id_text(finished.checkpoint_id)
        return {"configurable": {"thread_id": thread_id, "checkpoint_id": checkpoint_id}}

    def entered(self) -> RunnableConfig | None:
        """Enter this graph into the run around it, and return the config that it is given."""
        around = self._scope_around()
        begin_again(around)
        base_step = FIRST_STEP
        if self.graph.checkpointer is True:
            base_step = self.journal.store.read(self._inner_base)
        work = self._recorded_agents(around)
        recorded = [] if work is None else around.attempt.recorder.store.read(work)
        return self._noted(around, base_step, recorded)

    async def aentered(self) -> RunnableConfig | None:
        """Async twin of `entered`."""
        around = self._scope_around()
        await abegin_again(around)
        base_step = FIRST_STEP
        if self.graph.checkpointer is True:
            base_step = await self.journal.store.aread(self._inner_base)
        work = self._recorded_agents(around)
        recorded = [] if work is None else await around.attempt.recorder.store.aread(work)
        return self._noted(around, base_step, recorded)

    def _recorded_agents(self, around: Scope) -> Callable[[Tx], list[tuple[str, str]]] | None:
        """Return the read of the agents that earlier attempts had where this graph is invoked."""
        assert self.around is not None
        attempt, superstep = around.attempt, superstep_of(around.name)
        is_known = self.name is None or self.around.agents.knows(around.name, self.name)
        if is_known or not attempt.continues:
            return None
        return lambda tx: recorded_agents(tx, run=attempt.run, within=superstep)

    @contextmanager
    def watched(self) -> Generator[None]:
        """Notice that a graph inside a run stops to wait, and that it ends."""
        assert self.around is not None
        try:
            with self.around.watched():
                yield
        finally:
            if self._seat is not None:
                self._seat.leave()

    def _scope_around(self) -> Scope:
        assert self.around is not None
        # Not `config`: older versions let a graph's own metadata replace that of the task.
        ambient = current_config(self.config_given)
        return self.around.scope(ambient if run_of(ambient) is self.around else self.config)

    @property
    def _is_inner(self) -> bool:
        """Whether LangGraph takes the graph for an inner one: not if it has a thread of its own."""
        return run_of(self.config) is not None

    def _noted(
        self, around: Scope, base_step: int, recorded: list[tuple[str, str]]
    ) -> RunnableConfig | None:
        assert self.around is not None
        agent = around.agent
        if self.name is not None:
            self._seat = self.around.agents.enter(around.name, self.name, recorded)
            agent = self._seat.agent
        if not self._is_inner:
            return with_run(
                self.graph, self.config_given, self.around.inside(around, self.name), agent
            )
        self.around.enter_graph(self.config, around, base_step)
        return self.config_given if agent == agent_of(self.config) else self._named(agent)

    def _named(self, agent: str | None) -> RunnableConfig:
        """Return the config given, with the name of the agent; LangGraph adds what is around."""
        given: RunnableConfig = {**(self.config_given or {})}
        given["configurable"] = {**(given.get("configurable") or {}), AGENT_KEY: agent}
        return given

    def is_paused(self) -> bool:
        """Return whether the thread is at a breakpoint."""
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
        if self.configurable.get(RESUMING_KEY):
            input_step = newest_input_step(tx, thread_id, ns)
            return FIRST_STEP if input_step is None else input_step
        step, _, _ = newest_checkpoint(tx, thread_id, ns)
        return FIRST_STEP if step is None else step + 1


def invocation_of(
    graph: Pregel[Any, Any, Any, Any], input: Any, config: RunnableConfig | None
) -> Invocation | None:
    merged: Mapping[str, Any] = ensure_config(graph.config, config)
    configurable = merged.get("configurable") or {}
    saver = configurable.get(CHECKPOINTER_KEY) or graph.checkpointer
    around = _unended(run_of(merged))
    if around is None and not _is_recorded_by(saver, configurable):
        around = _unended(run_of(current_config(config)))
        if around is None:
            return None
    ambient = {} if around is None else current_config(config)
    name = name_of(graph.get_name(), merged, ambient)
    return Invocation(graph, input, config, merged, saver, around, name)


def _unended(run: GraphRun | None) -> GraphRun | None:
    """Return a run, None when it has ended: a task that it left behind serves others now."""
    return None if run is None or run.attempt.has_ended else run


def _is_recorded_by(saver: Any, configurable: Mapping[str, Any]) -> bool:
    # Not isinstance: a server wraps the saver in an adapter that passes attributes on.
    # Not `journal`, which opens the file, here perhaps on an event loop.
    captures = getattr(saver, "capture", False) and hasattr(saver, "aopen")
    return bool(captures) and configurable.get("thread_id") is not None


def _continues(tx: Tx, thread_id: str, run_id: Any) -> bool:
    """Return whether LangGraph takes an input with this run id for a continuation."""
    return newest_run_id(tx, thread_id) == str(run_id)
