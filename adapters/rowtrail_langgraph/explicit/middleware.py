"""`JournalMiddleware`: recording for `langchain.agents.create_agent` without any hooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.errors import GraphBubbleUp

from rowtrail import Journal
from rowtrail.extras import Package, needed
from rowtrail.journal import aset_answer_aside, fingerprint_of, set_answer_aside
from rowtrail_langgraph.capture import ErrorsLeaveGraph
from rowtrail_langgraph.explicit._tool_nodes import (
    awrap_tool_call,
    explicit_runs,
    in_scope,
    is_captured,
    recording,
    wrap_tool_call,
)
from rowtrail_langgraph.values import canonical_input

with needed(Package("langchain", "1.0", extra=None), by="JournalMiddleware"):
    from langchain.agents.middleware import AgentMiddleware


class JournalMiddleware(AgentMiddleware[Any, Any, Any]):
    """Records and replays the model calls and tool calls of one agent.

    The explicit way, for `RowtrailSaver(..., capture=False)`, another checkpointer, or none. The
    agent is invoked with a `thread_id`. Put it last in the list of middleware: what stands before
    it is recorded as it was changed. On a capturing saver it does nothing.

    Args:
        journal: The journal; it stays the caller's to close.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._runs = explicit_runs(journal)
        self._wrap_tool_call = wrap_tool_call(journal)
        self._awrap_tool_call = awrap_tool_call(journal)

    def before_agent(self, state: Any, runtime: Any) -> None:
        """Begin the run of a new input."""
        if not is_captured():
            with ErrorsLeaveGraph():
                self._runs.begin(_digest(state))

    async def abefore_agent(self, state: Any, runtime: Any) -> None:
        """Async twin of `before_agent`."""
        if not is_captured():
            with ErrorsLeaveGraph():
                await self._runs.abegin(_digest(state))

    def after_agent(self, state: Any, runtime: Any) -> None:
        """End the run."""
        if not is_captured():
            with ErrorsLeaveGraph():
                self._runs.end()

    async def aafter_agent(self, state: Any, runtime: Any) -> None:
        """Async twin of `after_agent`."""
        if not is_captured():
            with ErrorsLeaveGraph():
                await self._runs.aend()

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Record or replay a model call."""
        if is_captured():
            return handler(request)
        with ErrorsLeaveGraph():
            scope = self._runs.scope()
        try:
            with in_scope(scope):
                return handler(request.override(model=recording(request.model)))
        except GraphBubbleUp:
            raise
        except Exception as error:  # the answer that it failed on is asked again
            set_answer_aside(scope.attempt, scope.name, error)
            raise

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Async twin of `wrap_model_call`."""
        if is_captured():
            return await handler(request)
        with ErrorsLeaveGraph():
            scope = await self._runs.ascope()
        try:
            with in_scope(scope):
                return await handler(request.override(model=recording(request.model)))
        except GraphBubbleUp:
            raise
        except Exception as error:  # likewise
            await aset_answer_aside(scope.attempt, scope.name, error)
            raise

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Record or replay a tool call."""
        return self._wrap_tool_call(request, handler)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Async twin of `wrap_tool_call`."""
        return await self._awrap_tool_call(request, handler)


def _digest(state: Any) -> bytes:
    return fingerprint_of("input", "", canonical_input(state.get("messages", [])))
