"""`RowtrailRunner`: the framework's `Runner` inside a run of the journal."""

from __future__ import annotations

import asyncio
import contextvars
import os
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

from agents import Agent, Runner, RunResult, RunResultStreaming, RunState
from agents.items import TResponseInputItem
from agents.memory import Session
from agents.stream_events import StreamEvent

from rowtrail.adapter import Scope
from rowtrail.adapter.effects import Effects
from rowtrail.adapter.opening import OpensJournal, run_in_thread
from rowtrail.journal import Journal, Run, active_scope
from rowtrail_openai_agents._approvals import decided, record_answers, run_that_asked
from rowtrail_openai_agents._models import current_agent, finds_model
from rowtrail_openai_agents._private import failure_of, install
from rowtrail_openai_agents._requests import input_of
from rowtrail_openai_agents._sessions import RecordedSession
from rowtrail_openai_agents._tools import (
    BY_RUNNER,
    effects_here,
    error_of_journal,
    formats_failure,
    invokes_tool,
)

Input = str | list[TResponseInputItem] | RunState[Any]


class RowtrailRunner(OpensJournal):
    """Runs agents as `Runner` does; what they pay for is recorded, and replayed when given again.

    Args:
        path_or_journal: The file, opened at the first run, or a journal that is open; when None,
            what $ROWTRAIL_DB says, else `./agent.db`.
        effects: What tools do to the world, by name: `"write"`, or `{"effect": "write",
            "on_doubt": "retry"}`. A tool may say so itself by `@rowtrail.step` under
            `@function_tool`.

    Raises:
        UsageError: An effect is none of the documented ones.
        UnsupportedError: This version of the SDK lacks what is needed.
    """

    def __init__(
        self,
        path_or_journal: str | os.PathLike[str] | Journal | None = None,
        *,
        effects: Mapping[str, Any] | None = None,
    ) -> None:
        install(finds_model, invokes_tool, formats_failure)
        self._effects = Effects(effects or {}, place=BY_RUNNER)
        self.use_journal(path_or_journal)

    async def run(
        self,
        agent: Agent[Any],
        input: Input,
        *,
        run_id: str | None = None,
        session: Session | None = None,
        thread_id: str | None = None,
        **options: Any,
    ) -> RunResult:
        """Run an agent as `Runner.run` does, or go on with the run of this id.

        Where calls wait for approval, the run is `waiting`, and the result has its `interruptions`
        as ever. It goes on with the state in which they were decided about, also without its id;
        or with the same input, where the answers that were given are given again.

        Args:
            agent: To start with.
            input: The question, or a state with decisions.
            run_id: Names the work; when None, the run that `rowtrail resume` continues with this
                program, or a new one.
            session: Its id is that of the thread.
            thread_id: The conversation, where that is not the session's.
            options: As of `Runner.run`.

        Raises:
            InDoubtError: A `write` may or may not have happened, and nobody decided.
            RunBusyError: A live process or thread holds the run.
            UsageError: The run of this id was begun with another input.
        """
        journal = await self.aopen()
        if run_id is None and isinstance(input, RunState):
            run_id = await run_in_thread(partial(run_that_asked, journal, input))
        async with self._run_of(journal, agent, input, run_id, session, thread_id, options):
            scope = _scope()
            if session is not None:
                options["session"] = RecordedSession(session)
            with self._as_here(agent):
                if isinstance(input, RunState):
                    await record_answers(scope, input)
                result = await Runner.run(agent, input, **options)
                options.pop("context", None)  # the state has it
                while (state := await decided(scope, result)) is not None:
                    result = await Runner.run(agent, state, **options)
                return result

    def run_sync(self, agent: Agent[Any], input: Input, **options: Any) -> RunResult:
        """Run an agent as `Runner.run_sync` does; for the rest see `run`.

        Raises:
            RuntimeError: An event loop is running in this thread.
        """
        loop = _loop_of_thread()
        task = loop.create_task(self.run(agent, input, **options))
        try:
            return loop.run_until_complete(task)
        finally:
            if not task.done():  # Ctrl-C
                task.cancel()
                with suppress(asyncio.CancelledError):
                    loop.run_until_complete(task)

    def run_streamed(
        self,
        agent: Agent[Any],
        input: Input,
        *,
        run_id: str | None = None,
        session: Session | None = None,
        thread_id: str | None = None,
        **options: Any,
    ) -> RunResultStreaming:
        """Run an agent as `Runner.run_streamed` does; for the rest see `run`.

        The run ends with the framework's own task; it is on disk when `stream_events` ends. Answers
        to approvals are not given again: a stream that waits ends as it did.
        """
        journal = self.journal
        if run_id is None and isinstance(input, RunState):
            run_id = run_that_asked(journal, input)
        run = self._run_of(journal, agent, input, run_id, session, thread_id, options)
        context = contextvars.copy_context()

        def start() -> RunResultStreaming:
            with self._as_here(agent):
                if session is not None:
                    options["session"] = RecordedSession(session)
                return Runner.run_streamed(agent, input, **options)

        context.run(run.__enter__)
        try:
            streamed = context.run(start)
        except BaseException as error:  # the run must not stay open
            context.run(run.__exit__, type(error), error, error.__traceback__)
            raise
        end = asyncio.get_running_loop().create_task(_end(run, input, streamed), context=context)
        events = streamed.stream_events
        cast("Any", streamed).stream_events = lambda: _to_the_end(events, end)
        return streamed

    def _run_of(
        self,
        journal: Journal,
        agent: Agent[Any],
        input: Input,
        run_id: str | None,
        session: Session | None,
        thread_id: str | None,
        options: Mapping[str, Any],
    ) -> Run:
        if thread_id is None:
            thread_id = options.get("conversation_id") if session is None else session.session_id
        named: Any = {} if run_id is None else {"run_id": run_id}
        run = journal.run(**named, thread_id=thread_id, agent=agent.name)
        return run if isinstance(input, RunState) else run.of_input(input_of(input))

    @contextmanager
    def _as_here(self, agent: Agent[Any]) -> Generator[None]:
        """Let what runs here be this runner's; the journal's errors leave it as they are."""
        effects, name = effects_here.set(self._effects), current_agent.set(agent.name)
        try:
            yield
        except Exception as error:
            found = error_of_journal(error)
            if found is None or found is error:
                raise
            raise found from None
        finally:
            effects_here.reset(effects)
            current_agent.reset(name)


def _scope() -> Scope:
    scope = active_scope()
    assert scope is not None, "the run was just entered"
    return scope


async def _end(run: Run, input: Input, streamed: RunResultStreaming) -> None:
    """Wait for the end of a streamed run, and write it down."""
    scope = _scope()
    if isinstance(input, RunState):
        await record_answers(scope, input)
    assert streamed.run_loop_task is not None
    await asyncio.wait([streamed.run_loop_task])
    error = failure_of(streamed)
    if error is None:
        await decided(scope, streamed)
    await run.__aexit__(None if error is None else type(error), error, None)


async def _to_the_end(events: Any, end: asyncio.Task[None]) -> AsyncIterator[StreamEvent]:
    try:
        coming: AsyncGenerator[StreamEvent] = events()
        async for event in coming:
            yield event
    except Exception as error:
        found = error_of_journal(error)
        if found is None or found is error:
            raise
        raise found from None
    finally:
        await asyncio.wait([end])
    await end


def _loop_of_thread() -> asyncio.AbstractEventLoop:
    """Return the loop that `Runner.run_sync` uses, and leaves open for clients and sessions."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("run_sync() cannot be called while an event loop runs: await run()")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # where there is none yet
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = None
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop
