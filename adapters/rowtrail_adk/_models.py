"""Requests to models, recorded where the framework hands them to a model's class."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from contextvars import ContextVar
from typing import Any

from google.adk.agents.callback_context import CallbackContext
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.models.registry import LLMRegistry

from rowtrail.adapter import (
    Replayed,
    Request,
    Scope,
    StreamForm,
    arecord_stream,
    llm_request,
    scope_here,
)
from rowtrail_adk._answers import Responses, restored
from rowtrail_adk._hooks import wrap_method
from rowtrail_adk._requests import asked_of
from rowtrail_adk._turns import turn_here

_asking: ContextVar[CallbackContext | None] = ContextVar("rowtrail_adk_asking", default=None)
"""Of the agent that asks a model here."""

_inside: set[int] = set()
"""Requests that go on: a class may hand one to that which it inherits from."""


def hook_models(asking: CallbackContext, request: LlmRequest) -> None:
    """Record what the model that an agent is about to ask says."""
    _asking.set(asking)
    with suppress(ValueError):  # a name that is not registered: the model was given as an object
        wrap_method(LLMRegistry.resolve(request.model or ""), METHOD, records_model)
    for cls in _below(BaseLlm):  # one that was given as an object may be of any class
        wrap_method(cls, METHOD, records_model)


METHOD = "generate_content_async"


def _below(cls: type[Any]) -> Iterator[type[Any]]:
    for each in cls.__subclasses__():
        yield each
        yield from _below(each)


def records_model(original: Callable[..., AsyncGenerator[LlmResponse]]) -> Callable[..., Any]:
    """Wrap what asks a model."""

    @functools.wraps(original)
    def generate_content_async(
        self: BaseLlm, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse]:
        found = None if id(llm_request) in _inside else _asked(self, llm_request)
        if found is None:
            return original(self, llm_request, stream)

        async def make() -> AsyncGenerator[LlmResponse]:
            _inside.add(id(llm_request))
            try:
                async with aclosing(original(self, llm_request, stream)) as responses:
                    async for response in responses:
                        yield response
            finally:
                _inside.discard(id(llm_request))

        form = StreamForm(Responses, functools.partial(_replayed, stream))
        return arecord_stream(*found, make, form)

    return generate_content_async


def _asked(model: BaseLlm, request: LlmRequest) -> tuple[Scope, Request] | None:
    """Return whose request it is and what it says, None where it is made unrecorded."""
    if turn_here.get() is None:
        return None
    name = request.model or model.model
    asking = _asking.get()
    scope = scope_here(name, agent=None if asking is None else asking.agent_name)
    if scope is None:
        return None
    asked = asked_of(model, request, () if asking is None else asking.session.events)
    return scope, llm_request(
        scope,
        asked.model,
        asked.messages,
        asked.parameters,
        provider=asked.provider,
        counted=asked.counted,
    )


async def _replayed(stream: bool, replayed: Replayed) -> AsyncGenerator[LlmResponse]:
    turn = turn_here.get()
    for response in restored(replayed.result, stream, turn is not None and turn.needs_usage):
        yield response
