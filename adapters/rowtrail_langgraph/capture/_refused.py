"""Tool calls that a `ToolNode` refuses: the model asked for a tool that there is not.

Such a call comes to no tool, so the hooks of `_tools` see nothing of it. Its row is `failed`, once
for each time that a model asked: a node that is executed again refuses the same call again.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rowtrail.adapter import arecord, record
from rowtrail.engine import Tx
from rowtrail.journal import Request, Scope, fingerprint_of, has_failed_call
from rowtrail_langgraph.capture._interrupts import ErrorsLeaveGraph
from rowtrail_langgraph.capture._models import plain_codec
from rowtrail_langgraph.capture._place import current_config, place_in, place_of, run_of
from rowtrail_langgraph.capture._tools import TOOL_RESULTS, says_error

_KIND = "refused"
"""In place of `tool` in fingerprints: no result of a tool of that name is ever meant."""


def recorded_execute(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `ToolNode._execute_tool_sync`."""

    @functools.wraps(original)
    def execute(self: Any, request: Any, input_type: Any, config: Any) -> Any:
        answer = original(self, request, input_type, config)
        if request.tool is None:
            ambient = current_config(config)
            scope = place_in(ambient).scope
            if scope is not None:
                record_refusal(scope, ambient, request.tool_call, answer)
        return answer

    return execute


def recorded_aexecute(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap `ToolNode._execute_tool_async`."""

    @functools.wraps(original)
    async def aexecute(self: Any, request: Any, input_type: Any, config: Any) -> Any:
        answer = await original(self, request, input_type, config)
        if request.tool is None:
            ambient = current_config(config)
            scope = place_in(ambient).scope
            if scope is not None:
                await arecord_refusal(scope, ambient, request.tool_call, answer)
        return answer

    return aexecute


def record_refusal(
    scope: Scope, config: Mapping[str, Any], asked: Mapping[str, Any], answer: Any
) -> None:
    """Write the row of a call for which there was no tool, where `answer` says so."""
    if not says_error(answer):
        return
    with ErrorsLeaveGraph():
        request = _request(scope, config, asked)
        if scope.attempt.recorder.store.read(lambda tx: _is_recorded(tx, scope, request)):
            return
    record(scope, request, lambda: answer, TOOL_RESULTS)
    _suspect_answer(scope)


async def arecord_refusal(
    scope: Scope, config: Mapping[str, Any], asked: Mapping[str, Any], answer: Any
) -> None:
    """Async twin of `record_refusal`."""
    if not says_error(answer):
        return
    with ErrorsLeaveGraph():
        request = _request(scope, config, asked)
        if await scope.attempt.recorder.store.aread(lambda tx: _is_recorded(tx, scope, request)):
            return

    async def given() -> Any:
        return answer

    await arecord(scope, request, given, TOOL_RESULTS)
    _suspect_answer(scope)


def _request(scope: Scope, config: Mapping[str, Any], asked: Mapping[str, Any]) -> Request:
    run = run_of(config)
    codec = run.codec if run is not None else plain_codec()
    name, arguments = asked["name"], asked["args"]
    return Request(
        kind="tool",
        name=name,
        fingerprint=fingerprint_of(_KIND, name, arguments),
        encode=lambda: scope.attempt.prepare(codec.encode_shown(arguments)),
        tool_call_id=asked["id"],
        place=place_of(config),
        codec=codec,
        arguments=arguments,
    )


def _is_recorded(tx: Tx, scope: Scope, request: Request) -> bool:
    """Return whether this very call was refused before: its node is executed again."""
    return request.tool_call_id is not None and has_failed_call(
        tx,
        run=scope.attempt.run,
        scope=scope.name,
        fingerprint=request.fingerprint,
        tool_call_id=request.tool_call_id,
    )


def _suspect_answer(scope: Scope) -> None:
    """Let the answer that asked be set aside where the code after it raises: it was wrong."""
    scope.note_end(is_failure=False)
