"""The adapter: after `install()`, what agents do inside `with journal.run(...)` is recorded.

Three hooks, one for each place at which the framework calls something. Each asks whose call it is,
says what is asked, and hands a function that makes the call to `record`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from examples.template_adapter.framework import Message, Model, Tool
from rowtrail.adapter import (
    ANSWERS,
    Effect,
    ListOfChunks,
    StreamForm,
    llm_request,
    record,
    record_stream,
    scope_here,
    tool_request,
)

WORDS: StreamForm[str] = StreamForm(ListOfChunks, lambda replayed: iter(replayed.result))


def install() -> None:
    """Record the calls of every model and tool from now on; a second time changes nothing."""
    if not hasattr(Model.answer, "__wrapped__"):
        Model.answer = _recorded_answer(Model.answer)  # type: ignore[method-assign]
        Model.stream = _recorded_stream(Model.stream)  # type: ignore[method-assign]
        Tool.call = _recorded_call(Tool.call)  # type: ignore[method-assign]


def _recorded_answer(original: Callable[..., Message]) -> Callable[..., Message]:
    @functools.wraps(original)
    def answer(self: Model, messages: list[Message]) -> Message:
        scope = scope_here(self.name)
        if scope is None:
            return original(self, messages)
        request = llm_request(scope, self.name, messages, {})
        return record(scope, request, lambda: original(self, messages), ANSWERS)

    return answer


def _recorded_stream(original: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    @functools.wraps(original)
    def stream(self: Model, messages: list[Message]) -> Iterator[str]:
        scope = scope_here(self.name)
        if scope is None:
            return original(self, messages)
        request = llm_request(scope, self.name, messages, {"stream": True})
        return record_stream(scope, request, lambda: original(self, messages), WORDS)

    return stream


def _recorded_call(original: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(original)
    def call(self: Tool, call_id: str, arguments: dict[str, Any]) -> str:
        name = self.function.__name__
        effect: Effect = "write" if self.writes else "read"
        scope = scope_here(name, effect)
        if scope is None:
            return original(self, call_id, arguments)
        request = tool_request(scope, name, arguments, effect=effect, tool_call_id=call_id)
        return record(scope, request, lambda: original(self, call_id, arguments))

    return call
