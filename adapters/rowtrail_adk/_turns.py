"""One attempt at a turn of an invocation: from what a person said to the next that one must say."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from google.adk.agents.invocation_context import InvocationContext
from google.adk.events.event import Event
from google.adk.runners import Runner
from google.adk.sessions.session import Session
from google.genai import types

from rowtrail.adapter import arecord_answer, arecord_question, step
from rowtrail.adapter.effects import Effects
from rowtrail.adapter.opening import run_in_thread
from rowtrail.history import fetch_run
from rowtrail.journal import Journal, Run, active_scope, take_run_id

CONFIRMATION = "adk_request_confirmation"
"""Name of the call by which the framework asks whether a tool may be called."""


class Turn:
    """What is known of it, while it goes on.

    Attributes:
        asked: The arguments of `run_async`.
        is_part: It is part of a run that was entered around it.
    """

    def __init__(
        self, journal: Journal, effects: Effects, runner: Runner, asked: dict[str, Any]
    ) -> None:
        around = active_scope()
        self.is_part = around is not None and around.attempt.recorder.store is journal.store
        self.effects = effects
        self.asked = asked
        self.run: Run | None = None
        self.context: InvocationContext | None = None
        self._journal = journal
        self._runner = runner
        self._message: types.Content | None = asked.get("new_message")
        self._earlier: list[Event] = []
        self._stored: dict[str, Event] = {}
        if not self.is_part and not asked.get("invocation_id") and not _answers(self._message):
            named = take_run_id()
            if named is not None:
                self.asked = {**asked, "invocation_id": named}

    @property
    def is_aborted(self) -> bool:
        """Return whether the caller gave a sign that it should end."""
        return getattr(self.context, "is_aborted", False) is True

    @property
    def needs_usage(self) -> bool:
        """Return whether the framework decides by the tokens of answers what it asks next."""
        config = getattr(self.context, "events_compaction_config", None)
        return getattr(config, "token_threshold", None) is not None

    @contextmanager
    def inside(self) -> Generator[None]:
        """Let the code inside be part of the turn, that between two events be outside."""
        token = turn_here.set(self)
        try:
            if self.run is not None:
                self.run.step_in()
            yield
        finally:
            if self.run is not None:
                self.run.step_out()
            with suppress(ValueError):  # a generator may be closed in another context
                turn_here.reset(token)

    def begins_in(self, session: Session) -> bool:
        """Return whether this is the session of a turn that has not begun."""
        is_begun = self.is_part or self.run is not None
        return not is_begun and session.id == self.asked.get("session_id")

    async def look_back(self, session: Session) -> None:
        """Take out of a session what an earlier attempt at the turn has added to it."""
        named = self._named(session)
        if named is None or not await run_in_thread(lambda: fetch_run(self._journal.store, named)):
            return
        mine = [at for at, each in enumerate(session.events) if each.invocation_id == named]
        said = [at for at in mine if session.events[at].author == "user"]
        if not said:
            return
        at, last = said[-1], session.events[said[-1]].content
        is_said_again = _parts(last) == _parts(self._message)
        if _answers(self._message) and not is_said_again:
            return  # a new turn
        # What is said again may be stored again. An answer is, and must not stand there before;
        # a message is by earlier versions, and others must find it.
        self._earlier = [
            each
            for each in session.events[at + (not is_said_again) :]
            if each.invocation_id == named
        ]
        del session.events[at + (not _answers(self._message)) :]

    def _named(self, session: Session) -> str | None:
        """Return the id of the invocation that is meant, None where it is a new one."""
        answered = set(_answers(self._message))
        for event in reversed(session.events):
            if any(call.id in answered for call in event.get_function_calls()):
                return event.invocation_id
        return self.asked.get("invocation_id")

    async def begin(self, context: InvocationContext) -> None:
        """Enter the run in the journal."""
        session = context.session
        events = [each for each in session.events if each.invocation_id == context.invocation_id]
        turns = sum(each.author == "user" for each in events)
        run = self._journal.run(
            context.invocation_id, thread_id=session.id, agent=self._runner.agent.name
        )
        self.context = context
        self.run = await run.of_turn(max(turns, 1)).__aenter__()
        await self._restore(session)
        for position, call in enumerate(_questions(events)):
            answer = next((each for each in _responses(events) if each.id == call.id), None)
            if answer is None:
                await self._ask(call, position)
            else:
                await arecord_answer(self.run.whole, answer.response, position=position)

    async def _restore(self, session: Session) -> None:
        """Let the state of a session be what it was when the turn began first."""
        earlier = self._earlier
        if not session.state and not earlier:
            return

        @step(name="session.state", key=dict)
        async def state() -> dict[str, Any]:
            return {} if earlier else dict(session.state)

        then = await state()
        if earlier:
            session.state.clear()
            session.state.update(then)

    async def note(self, context: InvocationContext, event: Event) -> Event | None:
        """Record what an event asks a person; return it as the session has it, if it does."""
        found = self._claimed(event)
        if found is not None:
            self._stored[event.id] = found
        shown = event if found is None else found
        asked = _questions([shown])
        if asked:
            own = context.invocation_id
            events = [each for each in context.session.events if each.invocation_id == own]
            for position, call in enumerate(asked, len(_questions(events))):
                await self._ask(call, position)
        if found is None or found.content == event.content:
            return None
        ids = found.long_running_tool_ids
        return event.model_copy(update={"content": found.content, "long_running_tool_ids": ids})

    async def _ask(self, call: types.FunctionCall, position: int) -> None:
        assert self.run is not None
        if call.name == CONFIRMATION:
            told = (call.args or {}).get("originalFunctionCall") or {}
            question = {"tool": told.get("name"), "args": told.get("args")}
            await arecord_question(self.run.whole, question, kind="approval", position=position)
        else:
            question = {"tool": call.name, "args": call.args}
            await arecord_question(self.run.whole, question, position=position)

    def stored(self, session: Session, event: Event) -> Event | None:
        """Return the event that an earlier attempt stored of one that is to be stored."""
        if self.is_part or session.id != self.asked.get("session_id"):
            return None
        found = self._stored.pop(event.id, None) or self._claimed(event)
        if found is not None and found in session.events:
            session.events.remove(found)
        return found

    def _claimed(self, event: Event) -> Event | None:
        for at, earlier in enumerate(self._earlier):
            if _said(earlier) == _said(event):
                return self._earlier.pop(at)
        return None

    async def end(self, error: BaseException | None) -> None:
        """Leave the run."""
        if self.run is not None:
            await self.run.__aexit__(None if error is None else type(error), error, None)


turn_here: ContextVar[Turn | None] = ContextVar("rowtrail_adk_turn", default=None)
"""The turn that the running code is part of."""


def _answers(message: types.Content | None) -> list[str | None]:
    """Return the ids of the calls that a message answers."""
    said = (part.function_response for part in _parts(message))
    return [each.id for each in said if each is not None]


def _parts(content: types.Content | None) -> list[types.Part]:
    return (content.parts if content is not None else None) or []


def _questions(events: Iterable[Event]) -> list[types.FunctionCall]:
    """Return the calls of events whose results come from outside."""
    return [
        call
        for event in events
        for call in event.get_function_calls()
        if call.id in (event.long_running_tool_ids or ())
    ]


def _responses(events: Iterable[Event]) -> list[types.FunctionResponse]:
    said = (event for event in events if event.author == "user")
    return [each for event in said for each in event.get_function_responses()]


def _said(event: Event) -> Any:
    """Return what an event says, without ids that were made up."""
    content = event.content
    parts = None if content is None else [_without_id(part) for part in content.parts or []]
    actions = event.actions.model_dump(exclude_defaults=True) if parts is None else None
    return event.author, event.branch, parts, actions, event.error_code


def _without_id(part: types.Part) -> Any:
    if part.function_call is not None:
        return part.function_call.name, part.function_call.args
    if part.function_response is not None:
        return part.function_response.name, part.function_response.response
    return part
