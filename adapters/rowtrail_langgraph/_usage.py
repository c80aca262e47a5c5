"""Tokens of a chat-model call, from the provider's figures or counted here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from rowtrail.content import canonical_json
from rowtrail.journal import Request
from rowtrail.usage import Usage, count_tokens


def usage_of(request: Request, answers: Sequence[BaseMessage]) -> Usage:
    """Return the usage of a call: the provider's own when it sent it, else counted."""
    told: dict[str, Any] | None = next(
        (found for a in answers if (found := getattr(a, "usage_metadata", None))), None
    )
    if told is None:
        return _counted(request, answers)
    read: dict[str, Any] = told.get("input_token_details") or {}
    made: dict[str, Any] = told.get("output_token_details") or {}
    return Usage(
        input_tokens=told.get("input_tokens") or 0,
        output_tokens=told.get("output_tokens") or 0,
        source="provider",
        cache_read_tokens=read.get("cache_read"),
        cache_write_tokens=_cache_written(read),
        reasoning_tokens=made.get("reasoning"),
    )


def _cache_written(details: dict[str, Any]) -> int | None:
    """Return the tokens written to the provider's cache.

    Where a provider has several caches, LangChain gives one figure for each and 0 for their sum.
    """
    parts = [n for name, n in details.items() if name.startswith("ephemeral_") and n]
    told: int | None = details.get("cache_creation")
    return sum(parts) if parts and not told else told


def _counted(request: Request, answers: Sequence[BaseMessage]) -> Usage:
    asked = request.arguments or {}
    prompt = "\n".join(_text(message) for message in asked.get("messages", []))
    tools = (asked.get("parameters") or {}).get("tools")
    if tools:
        prompt += canonical_json(tools)
    output = "\n".join(_text(message.__dict__) for message in answers)
    input_tokens, source = count_tokens(prompt, request.model)
    output_tokens, _ = count_tokens(output, request.model)
    return Usage(input_tokens, output_tokens, source)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content", "")
    text = content if isinstance(content, str) else json.dumps(content, default=repr)
    calls = message.get("tool_calls")
    return text + canonical_json([[c["name"], c["args"]] for c in calls]) if calls else text
