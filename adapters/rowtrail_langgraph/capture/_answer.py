"""What a chat model answered: as it is stored, and as it is handed out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from rowtrail.usage import Usage
from rowtrail_langgraph.capture._usage import usage_of

M = TypeVar("M", bound=BaseMessage)
PARSED = "parsed"
"""Where a provider leaves the object that it read from an answer, in `additional_kwargs`."""


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


def stored_chunk(merged: AIMessageChunk | None, kwargs: Mapping[str, Any]) -> AIMessageChunk | None:
    """Return what is stored of a streamed answer."""
    return None if merged is None else _reduced(merged, kwargs)


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


@dataclass
class Streamed:
    """Collects the chunks of a streamed answer, and holds back its last."""

    held: list[AIMessageChunk] = field(default_factory=list)
    _chunks: list[AIMessageChunk] = field(default_factory=list)

    def take(self, chunk: AIMessageChunk) -> bool:
        """Keep a chunk, and tell whether it may be handed on at once."""
        self._chunks.append(chunk)
        if self.held or getattr(chunk, "chunk_position", None) == "last":
            self.held.append(chunk)
            return False
        return True

    @cached_property
    def merged(self) -> AIMessageChunk | None:
        """Return the answer, as far as it came; None if no chunk did. Read it at the end."""
        if not self._chunks:
            return None
        first, *rest = self._chunks
        merged: AIMessageChunk = first + rest if rest else first
        return merged

    @property
    def messages(self) -> list[BaseMessage]:
        """Return the answer as a list of one, or of none."""
        return [] if self.merged is None else [self.merged]


def usage_of_result(request: Request, result: ChatResult) -> Usage:
    """Return the usage of a result."""
    return usage_of(request, [generation.message for generation in result.generations])
