"""Calls of tools, recorded where the framework leaves its own code, inside all of its callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from google.adk.events.event_actions import EventActions
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext

from rowtrail.adapter import DECLARED, Form, Replayed, arecord, leaves_calls_by, scope_here
from rowtrail.adapter.effects import Declared
from rowtrail_adk._turns import turn_here

BY_PLUGIN = 'RowtrailPlugin(..., effects={{{name}: "{effect}"}})'
"""What declares the effect of a tool: a template."""

ACTIONS = "adk_actions"
"""Key of what a call did to its context, beside its result."""

NOT_KEPT = {"requested_auth_configs", "requested_tool_confirmations"}
"""Actions that ask: the call is made again with the answer."""

_inside: set[int] = set()
"""Contexts of the calls that go on: a class may call that which it inherits from."""


class _AsksError(Exception):
    """A tool asks a person, and is called again with the answer."""

    def __init__(self, result: Any) -> None:
        self.result = result


leaves_calls_by(_AsksError)


def records_tool(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what calls a tool."""

    @functools.wraps(original)
    async def run_async(self: BaseTool, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        async def make() -> Any:
            _inside.add(id(tool_context))
            try:
                result = await original(self, args=args, tool_context=tool_context)
            finally:
                _inside.discard(id(tool_context))
            if any(getattr(tool_context.actions, name, None) for name in NOT_KEPT):
                raise _AsksError(result)
            return result

        turn = turn_here.get()
        if turn is None or id(tool_context) in _inside:
            return await original(self, args=args, tool_context=tool_context)
        declared = _declared(self)
        agent = tool_context.agent_name
        scope = scope_here(self.name, declared.effect, agent=agent)
        if scope is None:
            return await original(self, args=args, tool_context=tool_context)
        call_id = tool_context.function_call_id
        request = declared.request(scope, self.name, args, tool_call_id=call_id)
        try:
            return await arecord(scope, request, make, _form_of(tool_context))
        except _AsksError as asks:
            return asks.result

    return run_async


def _declared(tool: BaseTool) -> Declared:
    """Return what a tool declares; those of the framework itself are read."""
    turn = turn_here.get()
    assert turn is not None
    function = getattr(tool, "func", None)
    module = getattr(function, "__module__", None) or type(tool).__module__
    if module.startswith("google.adk.") and module.count(".") <= len(("google", "adk", "tools")):
        return Declared()
    is_step = hasattr(function, DECLARED)
    return turn.effects.declared(tool.name, tool.custom_metadata, function if is_step else None)


def _form_of(context: ToolContext) -> Form[Any]:
    """Return how the result of a call is stored, with what the call did to its context."""
    before = _actions(context)

    def store(result: Any) -> Any:
        done = {name: each for name, each in _actions(context).items() if before.get(name) != each}
        return {ACTIONS: done, "result": result} if done else result

    def restore(replayed: Replayed) -> Any:
        replayed.pass_interrupts()
        kept = replayed.result
        if not isinstance(kept, dict) or ACTIONS not in kept:
            return kept
        done = EventActions.model_validate(kept[ACTIONS])
        for name in kept[ACTIONS]:
            if name == "state_delta":
                context.state.update(done.state_delta)
            else:
                setattr(context.actions, name, getattr(done, name))
        return kept["result"]

    return Form(store=store, restore=restore)


def _actions(context: ToolContext) -> dict[str, Any]:
    return context.actions.model_dump(exclude_defaults=True, exclude=NOT_KEPT)
