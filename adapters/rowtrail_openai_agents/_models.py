"""Calls of models, recorded where the framework, or the program, makes them."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from agents import Model, ModelResponse
from agents.items import TResponseStreamEvent

from rowtrail.adapter import Request, Scope, arecord, arecord_stream, scope_here
from rowtrail_openai_agents._answers import (
    Collected,
    ModelFailedError,
    events_of,
    form_of,
    stream_form_of,
)
from rowtrail_openai_agents._private import install_in_class
from rowtrail_openai_agents._requests import PARAMETERS, name_of, request_of

current_agent: ContextVar[str | None] = ContextVar("rowtrail_agent", default=None)
"""Name of the agent whose turn it is."""

_is_inside: ContextVar[bool] = ContextVar("rowtrail_inside_model", default=False)
"""Whether the code is that of a model whose call is recorded: it may ask another model."""


def finds_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what finds the model of an agent's turn."""

    @functools.wraps(original)
    def get_model(agent: Any, run_config: Any) -> Model:
        model: Model = original(agent, run_config)
        install_in_class(type(model), "get_response", answers)
        install_in_class(type(model), "stream_response", streams)
        current_agent.set(agent.name)
        return model

    return get_model


def answers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `Model.get_response`."""

    @functools.wraps(original)
    async def get_response(self: Model, *args: Any, **kwargs: Any) -> ModelResponse:
        asked = _asked(self, args, kwargs)

        async def make() -> ModelResponse:
            token = _is_inside.set(True)
            try:
                answer: ModelResponse = await original(self, *args, **kwargs)
            finally:
                _is_inside.reset(token)
            return answer

        if asked is None:
            return await make()
        scope, request = asked
        return await arecord(scope, request, make, form_of(request))

    return get_response


def streams(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `Model.stream_response`."""

    @functools.wraps(original)
    async def stream_response(
        self: Model, *args: Any, **kwargs: Any
    ) -> AsyncGenerator[TResponseStreamEvent]:
        asked = _asked(self, args, kwargs)
        stream = functools.partial(_each_inside, original, self, *args, **kwargs)
        if asked is None:
            recorded: AsyncGenerator[TResponseStreamEvent] = stream()
        else:
            scope, request = asked
            collected = Collected(request)
            form = stream_form_of(request)._replace(chunks=lambda: collected)
            make = functools.partial(_to_its_end, stream, collected)
            recorded = arecord_stream(scope, request, make, form)
        try:
            async with aclosing(recorded) as events:
                async for event in events:
                    yield event
        except ModelFailedError as failed:  # the framework says what it makes of it
            for event in events_of(failed.events):
                yield event

    return stream_response


def _asked(model: Model, args: Any, kwargs: Any) -> tuple[Scope, Request] | None:
    """Return whose call is made, and what it asks; None where it is just made."""
    if _is_inside.get():
        return None
    scope = scope_here(name_of(model), agent=current_agent.get())
    if scope is None:
        return None
    given = dict(zip(PARAMETERS, args, strict=False)) | kwargs
    return scope, request_of(scope, model, given)


async def _each_inside(
    stream: Callable[..., Any], *args: Any, **kwargs: Any
) -> AsyncGenerator[TResponseStreamEvent]:
    """Yield the events of a stream, whose code alone is inside: whoever reads it is not."""
    coming = aiter(stream(*args, **kwargs))
    try:
        while True:
            token = _is_inside.set(True)
            try:
                event = await anext(coming)
            except StopAsyncIteration:
                return
            finally:
                _is_inside.reset(token)
            yield event
    finally:
        if hasattr(coming, "aclose"):
            await coming.aclose()


async def _to_its_end(
    stream: Callable[[], AsyncGenerator[TResponseStreamEvent]], collected: Collected
) -> AsyncGenerator[TResponseStreamEvent]:
    async with aclosing(stream()) as events:
        async for event in events:
            yield event
    collected.check_end()
