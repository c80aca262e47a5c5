"""`Runner.run_async`, of apps with the plugin, inside a run of the journal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable
from typing import Any

from google.adk.events.event import Event
from google.adk.runners import Runner

from rowtrail_adk._hooks import error_of_journal, wrap_method
from rowtrail_adk._sessions import appends_event, gets_session
from rowtrail_adk._turns import Turn

Events = AsyncGenerator[Event]


def enters_run(plugin_class: type[Any], original: Callable[..., Events]) -> Callable[..., Events]:
    """Wrap what runs an agent."""

    @functools.wraps(original)
    def run_async(self: Runner, **asked: Any) -> Events:
        plugins = self.plugin_manager.plugins
        found = next((each for each in plugins if isinstance(each, plugin_class)), None)
        if found is None:
            return original(self, **asked)
        # before what makes answers of errors
        plugins.sort(key=lambda each: each is not found)
        return _recorded(found, self, original, asked)

    return run_async


async def _recorded(
    plugin: Any, runner: Runner, original: Callable[..., Events], asked: dict[str, Any]
) -> Events:
    turn = Turn(await plugin.aopen(), plugin.effects, runner, asked)
    wrap_method(type(runner.session_service), "get_session", gets_session)
    wrap_method(type(runner.session_service), "append_event", appends_event)
    events = original(runner, **turn.asked)
    error: BaseException | None = None
    try:
        while True:
            with turn.inside():
                event = await anext(events, None)
            if event is None:
                break
            yield event
        if turn.is_aborted:
            error = asyncio.CancelledError()
    except BaseException as raised:  # cancellation and the caller's leaving too
        error = raised
        found = error_of_journal(raised)
        if found is None or found is raised:
            raise
        raise found from None
    finally:
        try:
            with turn.inside():
                await events.aclose()
        finally:
            await turn.end(error)
