"""Requests to models, recorded at the model that serves them: each attempt of a fallback apart."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic_ai import RunContext, models
from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponseStreamEvent
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from rowtrail import adapter
from rowtrail.adapter import Replayed, Request, Scope, StreamForm, WholeAnswer
from rowtrail_pydantic_ai._messages import Asked, request_of, restored, stored, usage_of
from rowtrail_pydantic_ai._private import events_of, with_events

Chunk = models.StreamedResponse | ModelResponseStreamEvent
"""A stream that was opened, then its events."""


ANSWERS = adapter.Form(
    store=stored, restore=lambda replayed: restored(replayed.result), usage=usage_of
)


class RecordedModel(WrapperModel):
    """A model whose requests are steps."""

    def __init__(self, wrapped: models.Model, scope_of: Callable[..., Scope | None]) -> None:
        super().__init__(wrapped)
        self._scope_of = scope_of
        self._parts: FallbackModel | None = None
        if isinstance(wrapped, FallbackModel):  # it is not entered: its models stay the owner's
            self._parts = copy.copy(wrapped)
            self._parts.models = [RecordedModel(each, scope_of) for each in wrapped.models]

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: models.ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the model, or hand back what it answered."""
        asked = messages, model_settings, model_request_parameters
        found = self._request(asked)
        if found is None:
            return await (self._parts or self.wrapped).request(*asked)
        return await adapter.arecord(*found, lambda: self.wrapped.request(*asked), ANSWERS)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: models.ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[models.StreamedResponse]:
        """Ask the model for a stream, or hand back what it answered, each part whole."""
        asked = messages, model_settings, model_request_parameters
        found = self._request(asked)
        if found is None:
            async with (self._parts or self.wrapped).request_stream(*asked, run_context) as plain:
                yield plain
            return
        opened: list[models.StreamedResponse] = []
        async with AsyncExitStack() as stack:  # of the task that holds the stream, whoever reads it

            async def make() -> AsyncGenerator[Chunk]:
                stream = self.wrapped.request_stream(*asked, run_context)
                opened.append(await stack.enter_async_context(stream))
                events = events_of(opened[0])
                yield opened[0]
                if not isinstance(opened[0], models.CompletedStreamedResponse):
                    async for event in events:
                        yield event

            async def replay(replayed: Replayed) -> AsyncGenerator[Chunk]:
                yield models.CompletedStreamedResponse(
                    restored(replayed.result),
                    model_request_parameters=model_request_parameters,
                    replay_events=True,
                )

            form = StreamForm[Chunk](lambda: WholeAnswer(lambda: _answer(opened), ANSWERS), replay)
            async with aclosing(adapter.arecord_stream(*found, make, form)) as chunks:
                stream = await anext(chunks)
                if isinstance(stream, models.CompletedStreamedResponse):  # there is no more of it
                    async for _ in chunks:
                        pass
                yield with_events(stream, chunks)

    def _request(self, asked: Asked) -> tuple[Scope, Request] | None:
        """Return whose request it is and what it says, None where it is made unrecorded."""
        scope = None if self._parts is not None else self._scope_of(self.model_name)
        return None if scope is None else (scope, request_of(scope, self.wrapped, asked))


def _answer(opened: list[models.StreamedResponse]) -> ModelResponse | None:
    """Return the answer of a stream, which calls it complete only when its end was read."""
    answer = opened[0].get() if opened else None
    if answer is None or answer.state != "incomplete" or opened[0].state == "incomplete":
        return answer
    return replace(answer, state="complete")
