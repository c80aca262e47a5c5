"""A session as the first attempt of an invocation saw it, and its events stored once."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from google.adk.events.event import Event
from google.adk.sessions.base_session_service import BaseSessionService
from google.adk.sessions.session import Session

from rowtrail_adk._turns import turn_here


def gets_session(original: Callable[..., Awaitable[Session | None]]) -> Callable[..., Any]:
    """Wrap what returns a session."""

    @functools.wraps(original)
    async def get_session(self: BaseSessionService, **asked: Any) -> Session | None:
        session = await original(self, **asked)
        turn = turn_here.get()
        if turn is not None and session is not None and turn.begins_in(session):
            await turn.look_back(session)
        return session

    return get_session


def appends_event(original: Callable[..., Awaitable[Event]]) -> Callable[..., Any]:
    """Wrap what adds an event to a session."""

    @functools.wraps(original)
    async def append_event(self: BaseSessionService, session: Session, event: Event) -> Event:
        turn = turn_here.get()
        stored = None if turn is None or event.partial else turn.stored(session, event)
        if stored is None:
            return await original(self, session=session, event=event)
        return await BaseSessionService.append_event(self, session=session, event=stored)

    return append_event
