"""Responses in the form of Gemini, which the core reads, and back exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from google.adk.models.llm_response import LlmResponse
from google.genai import types

from rowtrail.adapter import ANSWERS, Usage

NOTHING_PAID = {
    "prompt_token_count": 0,
    "candidates_token_count": 0,
    "total_token_count": 0,
}
"""Tokens of a replay: the framework warns of an answer that tells none."""


class Responses:
    """Collects the responses of one answer.

    Pieces are handed on as they come; what is whole, and what follows it, once it is on disk.
    """

    def __init__(self) -> None:
        self._pieces: list[LlmResponse] = []
        self._held: list[LlmResponse] = []

    def take(self, chunk: LlmResponse) -> Sequence[LlmResponse]:
        """Keep a response, and hand it on if it is a piece."""
        if chunk.partial and not self._held:
            self._pieces.append(chunk)
            return [chunk]
        self._held.append(chunk)
        return []

    def held(self) -> Sequence[LlmResponse]:
        """Return what is whole."""
        return self._held

    def stored(self) -> Any:
        """Return what is stored of the answer, as far as it came."""
        whole = [each for each in self._held if not each.partial] or self._pieces
        return ANSWERS.store(_shape(whole)) if whole else None

    def usage(self) -> Usage | None:
        """Return the tokens of the answer."""
        told = [each.usage_metadata for each in self._held if each.usage_metadata is not None]
        return _usage(told[-1]) if told else None


def restored(shape: dict[str, Any], is_streamed: bool, with_usage: bool) -> Iterator[LlmResponse]:
    """Yield the responses that were stored, without tokens that nobody pays again.

    Args:
        is_streamed: A piece with the text comes first, as it did.
    """
    [candidate] = shape["candidates"]
    parts = list(candidate["content"]["parts"])
    for kept in candidate["responses"]:
        fields = dict(kept)
        count = fields.pop("parts", None)
        if count is not None:
            fields["content"] = {**fields["content"], "parts": parts[:count]}
            del parts[:count]
        if not with_usage and "usage_metadata" in fields:
            fields["usage_metadata"] = NOTHING_PAID
        response = LlmResponse.model_validate(fields)
        content = response.content
        spoken = [part for part in (content and content.parts) or () if part.text]
        if is_streamed and spoken and content is not None:
            told = types.Content(role=content.role, parts=spoken)
            yield LlmResponse(content=told, partial=True, model_version=response.model_version)
        yield response


def _shape(responses: Sequence[LlmResponse]) -> dict[str, Any]:
    """Return responses as one of Gemini's: their parts together, the rest of each beside them."""
    parts: list[Any] = []
    rest: list[Any] = []
    for response in responses:
        _name_calls(response)
        fields = response.model_dump(mode="json", exclude_none=True)
        if "content" in fields and "parts" in fields["content"]:
            own = fields["content"].pop("parts")
            fields["parts"] = len(own)
            parts += own
        rest.append(fields)
    candidate = {"content": {"role": "model", "parts": parts}, "responses": rest}
    reason = rest[-1].get("finish_reason") or rest[-1].get("error_code")
    return {"candidates": [candidate | ({"finish_reason": reason} if reason else {})]}


def _usage(told: types.GenerateContentResponseUsageMetadata) -> Usage:
    thoughts = told.thoughts_token_count or 0
    return Usage(
        (told.prompt_token_count or 0) + (told.tool_use_prompt_token_count or 0),
        (told.candidates_token_count or 0) + thoughts,
        "provider",
        cache_read_tokens=told.cached_content_token_count,
        reasoning_tokens=told.thoughts_token_count,
    )


def _name_calls(response: LlmResponse) -> None:
    """Give the calls of an answer the ids that the framework would make up anew on each replay."""
    for call in response.get_function_calls():
        if not call.id:
            call.id = f"adk-{uuid4()}"
