"""Tokens of a chat-model call, from the provider's figures or counted here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from rowtrail.content import canonical_json
from rowtrail.journal import Request
from rowtrail.usage import Usage, count_tokens

_TIERS = ("flex", "priority")
"""Service tiers that langchain-openai writes before the names of token details."""

LLM_CACHE = "LangChain's LLM cache"


def usage_of(request: Request, answers: Sequence[BaseMessage]) -> Usage:
    """Return the usage of a call: the provider's own when it sent it, else counted."""
    answer, told = next(
        ((a, found) for a in answers if (found := getattr(a, "usage_metadata", None))),
        (None, None),
    )
    if answer is None or told is None:
        return _counted(request, answers)
    if told.get("total_cost") == 0:  # what LangChain marks an answer of its cache with
        return Usage(0, 0, "provider", answered_by=LLM_CACHE)
    return _told(told, answer.response_metadata)


def _told(told: Mapping[str, Any], metadata: Mapping[str, Any]) -> Usage:
    read: Mapping[str, Any] = told.get("input_token_details") or {}
    made: Mapping[str, Any] = told.get("output_token_details") or {}
    return Usage(
        input_tokens=_number(told.get("input_tokens")) or 0,
        output_tokens=_number(told.get("output_tokens")) or 0,
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
    """Return how many of the tokens are of a kind, whatever service tier they are told under."""
    names = (name, *(f"{tier}_{name}" for tier in _TIERS))
    counts = [n for each in names if (n := _number(details.get(each))) is not None]
    return sum(counts) if counts else None


def _cache_written(details: Mapping[str, Any]) -> int | None:
    """Return the tokens written to the provider's cache.

    Where a provider has several caches, LangChain gives one figure for each and 0 for their sum.
    """
    told = _part(details, "cache_creation")
    parts = [_number(n) or 0 for name, n in details.items() if name.startswith("ephemeral_")]
    return (told or sum(parts)) if parts else told


def _service_tier(
    read: Mapping[str, Any], made: Mapping[str, Any], metadata: Mapping[str, Any]
) -> str | None:
    """Return how the provider says that it served the call.

    OpenAI and Groq say it beside the answer, Anthropic with the usage, Bedrock in an object.
    """
    for tier in _TIERS:
        if tier in read or tier in made:
            return tier
    told = metadata.get("service_tier") or _own(metadata).get("service_tier")
    if told is None and isinstance(bedrock := metadata.get("serviceTier"), Mapping):
        told = bedrock.get("type")
    return _text(told)


def _own(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the usage in the provider's own form, which Anthropic's answers carry."""
    usage = metadata.get("usage")
    return usage if isinstance(usage, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    """Return a count, None for what is none: details may hold anything."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if math.isfinite(value) else None


def _counted(request: Request, answers: Sequence[BaseMessage]) -> Usage:
    asked = request.arguments or {}
    prompt = "\n".join(_readable(message) for message in asked.get("messages", []))
    tools = (asked.get("parameters") or {}).get("tools")
    if tools:
        prompt += canonical_json(tools)
    output = "\n".join(_readable(message.__dict__) for message in answers)
    input_tokens, source = count_tokens(prompt, request.model)
    output_tokens, _ = count_tokens(output, request.model)
    return Usage(input_tokens, output_tokens, source)


def _readable(message: Mapping[str, Any]) -> str:
    content = message.get("content", "")
    text = content if isinstance(content, str) else json.dumps(content, default=repr)
    calls = message.get("tool_calls")
    return text + canonical_json([[c["name"], c["args"]] for c in calls]) if calls else text
