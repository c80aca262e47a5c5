"""Calls of function tools, recorded inside what makes messages of their errors."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from agents import FunctionTool

from rowtrail.adapter import DECLARED, arecord, leaves_calls_by, scope_here
from rowtrail.adapter.effects import Declared, Effects
from rowtrail.errors import NotDoneError, RowtrailError
from rowtrail_openai_agents._models import current_agent
from rowtrail_openai_agents._private import Invoke, asks_inside, function_of, with_body

BY_RUNNER = 'RowtrailRunner(..., effects={{{name}: "{effect}"}})'
"""What declares the effect of a tool: a template."""

NO_EFFECTS = Effects({}, place=BY_RUNNER)

effects_here: ContextVar[Effects] = ContextVar("rowtrail_effects", default=NO_EFFECTS)
"""What the runner of the run here was given."""


class _AsksInsideError(Exception):
    """The agent that a tool ran waits for a person: it goes on when the call is made again."""

    def __init__(self, result: Any) -> None:
        self.result = result


leaves_calls_by(_AsksInsideError)


def invokes_tool(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what calls a function tool."""

    @functools.wraps(original)
    async def invoke(*, function_tool: FunctionTool, context: Any, arguments: str) -> Any:
        wrap = functools.partial(_recorded, function_tool, context)
        twin = with_body(function_tool, wrap)
        return await original(function_tool=twin, context=context, arguments=arguments)

    return invoke


def formats_failure(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what makes a message to the model of a tool's error: the journal's are for people."""

    @functools.wraps(original)
    async def failure(*, function_tool: FunctionTool, context: Any, error: BaseException) -> Any:
        if error_of_journal(error) is not None:
            return None
        return await original(function_tool=function_tool, context=context, error=error)

    return failure


def error_of_journal(error: BaseException | None) -> RowtrailError | None:
    """Return the journal's error that an error is, or that it was raised from."""
    while error is not None:
        if isinstance(error, RowtrailError) and not isinstance(error, NotDoneError):
            return error
        error = error.__cause__
    return None


def _recorded(tool: FunctionTool, context: Any, body: Invoke) -> Invoke:
    @functools.wraps(body)
    async def invoke(ctx: Any, arguments: str) -> Any:
        agent = getattr(getattr(context, "agent", None), "name", None) or current_agent.get()
        scope = scope_here(tool.name, lambda: _declared(tool).effect, agent=agent)
        if scope is None:
            return await body(ctx, arguments)

        async def make() -> Any:
            result = await body(ctx, arguments)
            if asks_inside(context):
                raise _AsksInsideError(result)
            return result

        request = _declared(tool).request(
            scope, tool.name, _arguments(arguments), tool_call_id=context.tool_call_id
        )
        try:
            return await arecord(scope, request, make)
        except _AsksInsideError as asks:
            return asks.result

    return invoke


def _declared(tool: FunctionTool) -> Declared:
    function = function_of(tool)
    is_step = hasattr(function, DECLARED)
    return effects_here.get().declared(tool.name, None, function if is_step else None)


def _arguments(text: str) -> Any:
    """Return the arguments that a model wrote; as text where they are no JSON object."""
    try:
        told = json.loads(text or "{}")
    except ValueError:
        return {"input": text}
    return told if isinstance(told, dict) else {"input": text}
