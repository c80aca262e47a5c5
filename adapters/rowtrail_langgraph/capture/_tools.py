"""Tool calls: hooks around `BaseTool.run` and `arun`, recorded and replayed.

Every way to call a tool ends there: `ToolNode`, `create_agent`, `tool.invoke` by hand.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langgraph.types import Command

from rowtrail.adapter import Form, Replayed, arecord, record
from rowtrail.journal import Request, Scope, identity_of
from rowtrail.journal.places import running_frame
from rowtrail_langgraph._private import visible_args
from rowtrail_langgraph.capture._effects import (
    BY_METADATA,
    Effects,
    effects_of_savers,
    strictest_effect,
)
from rowtrail_langgraph.capture._interrupts import (
    ErrorsLeaveGraph,
    InterruptCount,
    skip_interrupts,
)
from rowtrail_langgraph.capture._models import plain_codec
from rowtrail_langgraph.capture._place import current_config, place_in, place_of, run_of

_NO_EFFECTS = Effects({}, place=BY_METADATA)


def recorded_run(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `BaseTool.run`."""

    @functools.wraps(original)
    def run(
        self: BaseTool,
        tool_input: str | dict[str, Any],
        *args: Any,
        tool_call_id: str | None = None,
        **kwargs: Any,
    ) -> Any:
        kwargs["tool_call_id"] = tool_call_id
        config = current_config(kwargs.get("config"), kwargs.get("callbacks"))
        scope = _scope_in(config, self, tool_call_id, is_async=False)
        if scope is None:
            return original(self, tool_input, *args, **kwargs)
        with ErrorsLeaveGraph():
            request = tool_request(scope, config, self, tool_input, tool_call_id, is_async=False)
        count = _counting(kwargs)

        def restore(replayed: Replayed) -> Any:
            skip_interrupts(config, replayed.interrupts)
            _tell_replay(self, tool_input, kwargs, replayed.result)
            return replayed.result

        return record(
            scope,
            request,
            lambda: original(self, tool_input, *args, **kwargs),
            _form(restore, count),
        )

    return run


def recorded_arun(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `BaseTool.arun`."""

    @functools.wraps(original)
    async def arun(
        self: BaseTool,
        tool_input: str | dict[str, Any],
        *args: Any,
        tool_call_id: str | None = None,
        **kwargs: Any,
    ) -> Any:
        kwargs["tool_call_id"] = tool_call_id
        config = current_config(kwargs.get("config"), kwargs.get("callbacks"))
        scope = _scope_in(config, self, tool_call_id, is_async=True)
        if scope is None:
            return await original(self, tool_input, *args, **kwargs)
        with ErrorsLeaveGraph():
            request = tool_request(scope, config, self, tool_input, tool_call_id, is_async=True)
        count = _counting(kwargs)

        async def restore(replayed: Replayed) -> Any:
            skip_interrupts(config, replayed.interrupts)
            await _atell_replay(self, tool_input, kwargs, replayed.result)
            return replayed.result

        return await arecord(
            scope,
            request,
            lambda: original(self, tool_input, *args, **kwargs),
            _form(restore, count),
        )

    return arun


def _counting(kwargs: dict[str, Any]) -> InterruptCount:
    """Count the interrupts of a call by the config among its arguments."""
    count = InterruptCount()
    if kwargs.get("config") is not None:
        kwargs["config"] = count.counting(kwargs["config"])
    return count


def _form(restore: Callable[[Replayed], Any], count: InterruptCount) -> Form[Any]:
    return Form(
        restore=restore, failure=failure_of, interrupts=lambda: count.count, guard=ErrorsLeaveGraph
    )


def _scope_in(
    config: Mapping[str, Any], tool: BaseTool, tool_call_id: str | None, *, is_async: bool
) -> Scope | None:
    """Return the scope of a call of `tool` with `config` in force, None where it is just made."""
    if _is_recorded_around(tool, tool_call_id, config):
        return None
    run = run_of(config)
    savers = effects_of_savers() if run is None else [run.effects]
    with ErrorsLeaveGraph():
        return place_in(config).scope_of(
            tool.name, lambda: strictest_effect(tool, savers, is_async=is_async)
        )


def tool_request(
    scope: Scope,
    config: Mapping[str, Any],
    tool: BaseTool,
    tool_input: str | dict[str, Any],
    tool_call_id: str | None,
    *,
    is_async: bool,
) -> Request:
    """Return the request of a tool call: what the model can see of its arguments.

    What the framework injects (state, store, runtime) changes from attempt to attempt.
    """
    run = run_of(config)
    codec = run.codec if run is not None else plain_codec()
    declared = (run.effects if run is not None else _NO_EFFECTS).of(tool, is_async=is_async)
    arguments = _visible(tool, tool_input)
    mask = None if declared.effect == "write" else scope.attempt.canonical
    identity = identity_of("tool", tool.name, declared.asked(arguments), mask)
    identity.warn(tool.name)
    return Request(
        kind="tool",
        name=tool.name,
        fingerprint=identity.fingerprint,
        masked_fingerprint=identity.masked,
        not_told_apart=identity.not_told_apart,
        encode=lambda: scope.attempt.prepare_arguments(codec.encode_shown(arguments)),
        effect=declared.effect,
        on_doubt=declared.on_doubt,
        tool_call_id=tool_call_id,
        place=place_of(config),
        records=declared.function,
        tool=tool,
        codec=codec,
        arguments=arguments,
        not_done_on=declared.not_done_on,
        is_declared=declared.is_declared,
        shape=lambda answer: shaped(answer, tool.name, tool_call_id),
        readdress=lambda result: readdressed(result, tool.name, tool_call_id),
        ask=scope.attempt.ask,
    )


def _visible(tool: BaseTool, tool_input: str | dict[str, Any]) -> Any:
    if isinstance(tool_input, str):
        return {"input": tool_input}
    return visible_args(tool, tool_input)


def shaped(answer: Any, name: str, tool_call_id: str | None) -> Any:
    """Return the result of a tool call as a tool would, from what was answered in its place."""
    parts = answer if isinstance(answer, list) and answer else [answer]
    if tool_call_id is None or all(isinstance(part, (ToolMessage, Command)) for part in parts):
        return answer
    content = answer if isinstance(answer, str) else json.dumps(answer, default=str)
    return ToolMessage(content=content, name=name, tool_call_id=tool_call_id)


def readdressed(result: Any, name: str, tool_call_id: str | None) -> Any:
    """Return a result that was recorded under another id of the tool call as that of this one."""
    if isinstance(result, list):
        return [readdressed(part, name, tool_call_id) for part in result]
    if isinstance(result, ToolMessage):
        if tool_call_id is None:
            return result.content
        return result.model_copy(update={"tool_call_id": tool_call_id})
    if isinstance(result, Command):
        return _readdressed_command(result, name, tool_call_id)
    return shaped(result, name, tool_call_id)


def _readdressed_command(
    command: Command[Any], name: str, tool_call_id: str | None
) -> Command[Any]:
    update = command.update
    if not isinstance(update, Mapping) or tool_call_id is None:
        return command
    messages = [
        readdressed(message, name, tool_call_id) if isinstance(message, ToolMessage) else message
        for message in update.get("messages") or ()
    ]
    return replace(command, update={**update, "messages": messages}) if messages else command


def _is_recorded_around(
    tool: BaseTool, tool_call_id: str | None, config: Mapping[str, Any]
) -> bool:
    """Return whether the step around is the record of this very call (a middleware made it)."""
    frame = running_frame()
    return (
        frame is not None
        and frame.request.tool is tool
        and frame.request.tool_call_id == tool_call_id
        and frame.request.place == place_of(config)
    )


def says_error(result: Any) -> bool:
    """Return whether a tool call's result is the report of its failure."""
    return isinstance(result, ToolMessage) and result.status == "error"


def failure_of(result: Any) -> ToolException | None:
    """Return the failure that a tool call's result reports, None where it reports none."""
    return ToolException(str(result.content)) if says_error(result) else None


TOOL_RESULTS: Form[Any] = Form(failure=failure_of, guard=ErrorsLeaveGraph)
"""Where no hooks count interrupts or report replays."""


def _tell_replay(tool: BaseTool, tool_input: Any, kwargs: Mapping[str, Any], output: Any) -> None:
    """Fire the callbacks of a tool call, for streams and tracers."""
    manager = CallbackManager.configure(
        kwargs.get("callbacks"),
        tool.callbacks,
        tool.verbose,
        kwargs.get("tags"),
        tool.tags,
        kwargs.get("metadata"),
        tool.metadata,
    )
    visible = _visible(tool, tool_input)
    started = manager.on_tool_start(
        {"name": tool.name, "description": tool.description},
        str(visible),
        name=kwargs.get("run_name"),
        run_id=kwargs.get("run_id"),
        inputs=visible,
        tool_call_id=kwargs.get("tool_call_id"),
    )
    started.on_tool_end(output, name=tool.name)


async def _atell_replay(
    tool: BaseTool, tool_input: Any, kwargs: Mapping[str, Any], output: Any
) -> None:
    """Async twin of `_tell_replay`."""
    manager = AsyncCallbackManager.configure(
        kwargs.get("callbacks"),
        tool.callbacks,
        tool.verbose,
        kwargs.get("tags"),
        tool.tags,
        kwargs.get("metadata"),
        tool.metadata,
    )
    visible = _visible(tool, tool_input)
    started = await manager.on_tool_start(
        {"name": tool.name, "description": tool.description},
        str(visible),
        name=kwargs.get("run_name"),
        run_id=kwargs.get("run_id"),
        inputs=visible,
        tool_call_id=kwargs.get("tool_call_id"),
    )
    await started.on_tool_end(output, name=tool.name)
