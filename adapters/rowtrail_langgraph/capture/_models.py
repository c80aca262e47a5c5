"""Chat-model calls: hooks around `BaseChatModel`, recorded and replayed.

Hooked are `_generate_with_cache` and `_agenerate_with_cache`, through which `invoke`, `batch`,
bound tools and structured output go, and `stream` and `astream`, which bypass them; `invoke` and
`ainvoke` only for the config that they do not pass on.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rowtrail.adapter import (
    Form,
    Replayed,
    StreamForm,
    arecord,
    arecord_stream,
    record,
    record_stream,
)
from rowtrail.content import Mask
from rowtrail.journal import Identity, Request, Scope, fingerprint_of, fingerprint_of_text
from rowtrail_langgraph._private import (
    ASTREAM_CHUNKS,
    STREAM_CHUNKS,
    areplay_events,
    converted,
    ls_params,
    replay_events,
    should_stream,
)
from rowtrail_langgraph.capture._answer import (
    Streamed,
    chunk_of,
    result_of,
    stored_result,
    usage_of_result,
)
from rowtrail_langgraph.capture._interrupts import ErrorsLeaveGraph
from rowtrail_langgraph.capture._parameters import (
    Parameters,
    class_of,
    model_parameters,
    note_changes,
)
from rowtrail_langgraph.capture._place import (
    current_config,
    own_configurable,
    place_in,
    place_of,
    run_of,
)
from rowtrail_langgraph.capture._prompt import Asked, Prompt, memo_of, prompt_of
from rowtrail_langgraph.values import GraphCodec

_bound_configurable: ContextVar[Mapping[str, Any] | None] = ContextVar(
    "bound_configurable", default=None
)
"""The `configurable` of the config of the call under way, which `invoke` passes to nobody."""


def recorded_generate(original: Callable[..., ChatResult]) -> Callable[..., ChatResult]:
    """Wrap `BaseChatModel._generate_with_cache`."""

    @functools.wraps(original)
    def generate(
        self: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        config = current_config(callbacks=run_manager)
        scope = _scope_in(config, self)
        if scope is None:
            return original(self, messages, stop, run_manager, **kwargs)
        with ErrorsLeaveGraph():
            request = model_request(scope, config, self, messages, stop, kwargs)

        def make() -> ChatResult:
            try:
                return original(self, messages, stop, run_manager, **kwargs)
            finally:
                note_changes(self, request.arguments.fields)

        def restore(replayed: Replayed) -> ChatResult:
            result = _with_ids(result_of(replayed.result, kwargs), config, run_manager)
            replay_events(self, result.generations, run_manager, kwargs)
            return result

        return record(scope, request, make, _form_of_results(request, kwargs, restore))

    return generate


def recorded_agenerate(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `BaseChatModel._agenerate_with_cache`."""

    @functools.wraps(original)
    async def agenerate(
        self: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        config = current_config(callbacks=run_manager)
        scope = _scope_in(config, self)
        if scope is None:
            result: ChatResult = await original(self, messages, stop, run_manager, **kwargs)
            return result
        with ErrorsLeaveGraph():
            request = model_request(scope, config, self, messages, stop, kwargs)

        async def make() -> ChatResult:
            try:
                result: ChatResult = await original(self, messages, stop, run_manager, **kwargs)
                return result
            finally:
                note_changes(self, request.arguments.fields)

        async def restore(replayed: Replayed) -> ChatResult:
            result = _with_ids(result_of(replayed.result, kwargs), config, run_manager)
            await areplay_events(self, result.generations, run_manager, kwargs)
            return result

        return await arecord(scope, request, make, _form_of_results(request, kwargs, restore))

    return agenerate


def _form_of_results(
    request: Request, kwargs: Mapping[str, Any], restore: Callable[[Replayed], Any]
) -> Form[ChatResult]:
    return Form(
        store=functools.partial(stored_result, kwargs=kwargs),
        restore=restore,
        usage=functools.partial(usage_of_result, request),
        guard=ErrorsLeaveGraph,
    )


def bound_invoke(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `BaseChatModel.invoke`, which passes its config's `configurable` to nobody."""

    @functools.wraps(original)
    def invoke(self: BaseChatModel, input: Any, config: Any = None, **kwargs: Any) -> Any:
        token = _bound_configurable.set(own_configurable(config))
        try:
            return original(self, input, config, **kwargs)
        finally:
            _bound_configurable.reset(token)

    return invoke


def bound_ainvoke(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `BaseChatModel.ainvoke`."""

    @functools.wraps(original)
    async def ainvoke(self: BaseChatModel, input: Any, config: Any = None, **kwargs: Any) -> Any:
        token = _bound_configurable.set(own_configurable(config))
        try:
            return await original(self, input, config, **kwargs)
        finally:
            _bound_configurable.reset(token)

    return ainvoke


def recorded_stream(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Wrap `BaseChatModel.stream`: the last chunk is passed on once the answer is on disk."""

    @functools.wraps(original)
    def stream(
        self: BaseChatModel,
        input: Any,
        config: Any = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        ambient = current_config(config)
        scope = _scope_in(ambient, self)
        if scope is None or not _streams(self, kwargs, async_api=False):
            yield from original(self, input, config, stop=stop, **kwargs)
            return
        with ErrorsLeaveGraph():
            messages, bound = converted(self, input), own_configurable(config)
            request = model_request(scope, ambient, self, messages, stop, kwargs, bound)

        def make() -> Iterator[Any]:
            try:
                yield from original(self, input, config, stop=stop, **kwargs)
            finally:
                note_changes(self, request.arguments.fields)

        def replay(replayed: Replayed) -> Iterator[Any]:
            replaying = _replaying(self, chunk_of(replayed.result, kwargs), ambient)
            return original(replaying, input, config, stop=stop, **kwargs)

        form = StreamForm(lambda: Streamed(request, kwargs), replay, ErrorsLeaveGraph)
        yield from record_stream(scope, request, make, form)

    return stream


def recorded_astream(
    original: Callable[..., AsyncGenerator[Any]],
) -> Callable[..., AsyncGenerator[Any]]:
    """Wrap `BaseChatModel.astream`."""

    @functools.wraps(original)
    async def astream(
        self: BaseChatModel,
        input: Any,
        config: Any = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Any]:
        ambient = current_config(config)
        scope = _scope_in(ambient, self)
        if scope is None or not _streams(self, kwargs, async_api=True):
            async for chunk in original(self, input, config, stop=stop, **kwargs):
                yield chunk
            return
        with ErrorsLeaveGraph():
            messages, bound = converted(self, input), own_configurable(config)
            request = model_request(scope, ambient, self, messages, stop, kwargs, bound)

        async def make() -> AsyncGenerator[Any]:
            try:
                async with aclosing(original(self, input, config, stop=stop, **kwargs)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                note_changes(self, request.arguments.fields)

        def replay(replayed: Replayed) -> AsyncGenerator[Any]:
            replaying = _replaying(self, chunk_of(replayed.result, kwargs), ambient)
            return original(replaying, input, config, stop=stop, **kwargs)

        form = StreamForm(lambda: Streamed(request, kwargs), replay, ErrorsLeaveGraph)
        async with aclosing(arecord_stream(scope, request, make, form)) as chunks:
            async for chunk in chunks:
                yield chunk

    return astream


def _scope_in(config: Mapping[str, Any], model: BaseChatModel) -> Scope | None:
    """Return the scope of a call of `model` with `config` in force, None where it is just made."""
    place = place_in(config)
    return place.scope or place.scope_of(type(model).__name__, lambda: "read")


def model_request(
    scope: Scope,
    config: Mapping[str, Any],
    model: BaseChatModel,
    messages: list[BaseMessage],
    stop: list[str] | None,
    kwargs: dict[str, Any],
    bound: Mapping[str, Any] | None = None,
) -> Request:
    """Return the request of a chat-model call that is made with `config` in force.

    Args:
        bound: The `configurable` of the call's own config, where the model is given that.
    """
    run = run_of(config)
    codec = run.codec if run is not None else plain_codec()
    bound = _bound_configurable.get() if bound is None else bound
    parameters = model_parameters(model, stop, kwargs, messages, bound)
    described = ls_params(model, stop, kwargs)
    name = described.get("ls_model_name") or type(model).__name__
    attempt = scope.attempt
    owner = f"{attempt.thread if attempt.thread is not None else f'r{attempt.run}'}/prompt/{name}"
    prompt = prompt_of(
        messages,
        lambda message: attempt.prepare(codec.encode_value(message)),
        memo=memo_of(attempt) if run is None or run.memo is None else run.memo,
        thread_id=None if run is None else str(config["configurable"].get("thread_id")),
        owner=owner,
        mask=attempt.canonical,
    )
    identity = _identity(model, prompt, parameters, attempt.canonical)
    if identity.not_told_apart is not None:
        identity.warn(name)
    return Request(
        kind="llm",
        name=name,
        fingerprint=identity.fingerprint,
        masked_fingerprint=identity.masked,
        not_told_apart=identity.not_told_apart,
        encode=lambda: attempt.prepare(codec.encode_shown(parameters.shown)),
        prompt=prompt.prepared,
        prompt_owner=owner,
        model=name,
        provider=described.get("ls_provider"),
        place=place_of(config),
        codec=codec,
        arguments=Asked(tuple(messages), parameters),
    )


def _identity(
    model: BaseChatModel, prompt: Prompt, parameters: Parameters, mask: Mask | None
) -> Identity:
    if parameters.unclear is not None:
        return Identity.unique(parameters.unclear)
    name = class_of(model)
    # The canonical form of {"messages": ..., "parameters": ...}, whose parts are at hand.
    asked = f'{{"messages":{json.dumps(prompt.canonical)},"parameters":{parameters.text}}}'
    masked = None
    if mask is not None:
        hidden = {"messages": prompt.masked, "parameters": parameters.shown}
        masked = fingerprint_of("llm", name, hidden, mask)
    return Identity(fingerprint_of_text("llm", name, asked), masked)


@functools.cache
def plain_codec() -> GraphCodec:
    """Return the codec of calls outside graphs."""
    return GraphCodec(JsonPlusSerializer())


def _streams(model: BaseChatModel, kwargs: dict[str, Any], *, async_api: bool) -> bool:
    """Return whether the model streams, as its `stream` finds out."""
    return should_stream(model, {**kwargs, "stream": True}, async_api=async_api)


def _renews_ids(config: Mapping[str, Any]) -> bool:
    run = run_of(config)
    return run is not None and run.renews_ids


def _with_ids(result: ChatResult, config: Mapping[str, Any], run_manager: Any) -> ChatResult:
    """Return a replayed result, with ids as a new call gives them where that is wanted."""
    if _renews_ids(config):
        for i, generation in enumerate(result.generations):
            called = getattr(run_manager, "run_id", None)
            generation.message.id = f"{LC_ID_PREFIX}-{called}-{i}" if called else None
    return result


def _replaying(
    model: BaseChatModel, chunk: AIMessageChunk, config: Mapping[str, Any]
) -> BaseChatModel:
    """Return a copy of a model whose stream is the recorded answer, in one chunk."""
    cls = type(model)
    if _renews_ids(config):
        chunk = chunk.model_copy(update={"id": None})  # the stream gives it one

    def chunks(self: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=chunk.model_copy())

    async def achunks(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=chunk.model_copy())

    members = {
        STREAM_CHUNKS.name: chunks,
        ASTREAM_CHUNKS.name: achunks,
        "__module__": cls.__module__,
    }
    clone = copy.copy(model)
    object.__setattr__(clone, "rate_limiter", None)
    object.__setattr__(clone, "__class__", type(cls.__name__, (cls,), members))
    return clone
