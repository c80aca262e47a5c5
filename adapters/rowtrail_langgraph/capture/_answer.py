"""What a chat model answered: as it is stored, as it is returned again, and its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from rowtrail.journal import Request
from rowtrail.usage import Usage, count_tokens
from rowtrail_langgraph.capture._prompt import Asked, readable

M = TypeVar("M", bound=BaseMessage)
PARSED = "parsed"
"""Where a provider leaves the object that it read from an answer, in `additional_kwargs`."""

_TIERS = ("flex", "priority")
"""Service tiers that langchain-openai writes before the names of token details."""

LLM_CACHE = "LangChain's LLM cache"


def stored_result(result: ChatResult, kwargs: Mapping[str, Any]) -> Any:
    """Return what is stored of a result: its message, or its messages where there are several."""
    messages = [_reduced(generation.message, kwargs) for generation in result.generations]
    return messages[0] if len(messages) == 1 else messages


def result_of(stored: Any, kwargs: Mapping[str, Any]) -> ChatResult:
    """Return the result of which `stored` was kept."""
    messages = stored if isinstance(stored, list) else [stored]
    return ChatResult(
        generations=[
            ChatGeneration(message=_rebuilt(message_chunk_to_message(message), kwargs))
            for message in messages
        ]
    )


def chunk_of(stored: Any, kwargs: Mapping[str, Any]) -> AIMessageChunk:
    """Return the streamed answer of which `stored` was kept, in one chunk."""
    return _rebuilt(stored if isinstance(stored, AIMessageChunk) else _as_chunk(stored), kwargs)


def _as_chunk(message: AIMessage) -> AIMessageChunk:
    fields = {k: v for k, v in message.__dict__.items() if k != "type"}
    return AIMessageChunk.model_construct(
        **fields, type="AIMessageChunk", tool_call_chunks=[], chunk_position="last"
    )


def _schema(kwargs: Mapping[str, Any]) -> type[BaseModel] | None:
    """Return the class whose objects the answer is asked in, where one is."""
    asked = kwargs.get("response_format")
    return asked if isinstance(asked, type) and issubclass(asked, BaseModel) else None


def _reduced(message: M, kwargs: Mapping[str, Any]) -> M:
    """Return a message whose parsed object is plain data, if `_rebuilt` makes it equal again."""
    schema, parsed = _schema(kwargs), message.additional_kwargs.get(PARSED)
    if schema is None or not isinstance(parsed, schema) or type(parsed) is not schema:
        return message
    reduced = _with_parsed(message, parsed.model_dump(by_alias=True))
    try:
        again = _rebuilt(reduced, kwargs).additional_kwargs[PARSED]
    except ValueError:  # the class does not accept what it writes
        return message
    return reduced if again == parsed else message


def _rebuilt(message: M, kwargs: Mapping[str, Any]) -> M:
    schema, parsed = _schema(kwargs), message.additional_kwargs.get(PARSED)
    if schema is None or not isinstance(parsed, dict):
        return message
    return _with_parsed(message, schema.model_validate(parsed))


def _with_parsed(message: M, parsed: Any) -> M:
    extras = {**message.additional_kwargs, PARSED: parsed}
    return message.model_copy(update={"additional_kwargs": extras})


class Streamed:
    """Collects the chunks of a streamed answer, and keeps back its last."""

    def __init__(self, request: Request, kwargs: Mapping[str, Any]) -> None:
        self._request = request
        self._kwargs = kwargs
        self._chunks: list[AIMessageChunk] = []
        self._kept_back: list[AIMessageChunk] = []

    def take(self, chunk: AIMessageChunk) -> tuple[AIMessageChunk, ...]:
        """Keep a chunk, and return it if it may be passed on at once."""
        self._chunks.append(chunk)
        if self._kept_back or getattr(chunk, "chunk_position", None) == "last":
            self._kept_back.append(chunk)
            return ()
        return (chunk,)

    def held(self) -> list[AIMessageChunk]:
        """Return the chunks that are passed on once the answer is on disk."""
        return self._kept_back

    def stored(self) -> AIMessageChunk | None:
        """Return what is stored of the answer, as far as it came; None if no chunk did."""
        return None if self._merged is None else _reduced(self._merged, self._kwargs)

    def usage(self) -> Usage:
        """Return the usage of the answer."""
        return usage_of(self._request, [] if self._merged is None else [self._merged])

    @cached_property
    def _merged(self) -> AIMessageChunk | None:
        if not self._chunks:
            return None
        first, *rest = self._chunks
        merged: AIMessageChunk = first + rest if rest else first
        return merged


def usage_of_result(request: Request, result: ChatResult) -> Usage:
    """Return the usage of a result."""
    return usage_of(request, [generation.message for generation in result.generations])


def usage_of(request: Request, answers: Sequence[BaseMessage]) -> Usage:
    """Return the usage of a call: the provider's own when it sent it, else counted."""
    answer, usage = next(
        ((a, found) for a in answers if (found := getattr(a, "usage_metadata", None))),
        (None, None),
    )
    if answer is None or usage is None:
        return _counted(request, answers)
    if usage.get("total_cost") == 0:  # what LangChain marks an answer of its cache with
        return Usage(0, 0, "provider", answered_by=LLM_CACHE)
    return _provided(usage, answer.response_metadata)


def _provided(usage: Mapping[str, Any], metadata: Mapping[str, Any]) -> Usage:
    read: Mapping[str, Any] = usage.get("input_token_details") or {}
    made: Mapping[str, Any] = usage.get("output_token_details") or {}
    return Usage(
        input_tokens=_number(usage.get("input_tokens")) or 0,
        output_tokens=_number(usage.get("output_tokens")) or 0,
        source="provider",
        cache_read_tokens=_part(read, "cache_read"),
        cache_write_tokens=_cache_written(read),
        reasoning_tokens=_part(made, "reasoning"),
        cache_write_1h_tokens=_part(read, "ephemeral_1h_input_tokens"),
        input_audio_tokens=_part(read, "audio"),
        output_audio_tokens=_part(made, "audio"),
        service_tier=_service_tier(read, made, metadata),
        speed=_text(_own(metadata).get("speed")),
    )


def _part(details: Mapping[str, Any], name: str) -> int | None:
    """Return how many of the tokens are of a kind, whatever service tier they are given under."""
    names = (name, *(f"{tier}_{name}" for tier in _TIERS))
    counts = [n for each in names if (n := _number(details.get(each))) is not None]
    return sum(counts) if counts else None


def _cache_written(details: Mapping[str, Any]) -> int | None:
    """Return the tokens written to the provider's cache.

    Where a provider has several caches, LangChain gives one figure for each and 0 for their sum.
    """
    created = _part(details, "cache_creation")
    parts = [_number(n) or 0 for name, n in details.items() if name.startswith("ephemeral_")]
    return (created or sum(parts)) if parts else created


def _service_tier(
    read: Mapping[str, Any], made: Mapping[str, Any], metadata: Mapping[str, Any]
) -> str | None:
    """Return how the provider says that it served the call.

    OpenAI and Groq say it beside the answer, Anthropic with the usage, Bedrock in an object.
    """
    for tier in _TIERS:
        if tier in read or tier in made:
            return tier
    named = metadata.get("service_tier") or _own(metadata).get("service_tier")
    if named is None and isinstance(bedrock := metadata.get("serviceTier"), Mapping):
        named = bedrock.get("type")
    return _text(named)


def _own(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the usage in the provider's own form, which Anthropic's answers carry."""
    usage = metadata.get("usage")
    return usage if isinstance(usage, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    """Return a count, None for anything else: details are the provider's."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if math.isfinite(value) else None


def _counted(request: Request, answers: Sequence[BaseMessage]) -> Usage:
    asked: Asked = request.arguments
    input_tokens, source = count_tokens(asked.text(), request.model)
    output = "\n".join(readable(message.__dict__) for message in answers)
    output_tokens, _ = count_tokens(output, request.model)
    return Usage(input_tokens, output_tokens, source)
