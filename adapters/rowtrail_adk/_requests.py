"""What of a request is shown, and what counts."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from google.adk.events.event import Event
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.genai import types
from pydantic import TypeAdapter

NOT_COUNTED = {"http_options", "labels", "response_schema", "system_instruction"}
"""Of the settings: how a request is sent, and what is read otherwise."""

NOT_SAID = {"thought_signature"}
"""Of a part: opaque, and different for each time that the same is answered."""


class Asked(NamedTuple):
    """A request in plain values."""

    model: str
    provider: str | None
    messages: list[Any]
    parameters: dict[str, Any]
    counted: Any


def asked_of(model: BaseLlm, request: LlmRequest, events: Sequence[Event]) -> Asked:
    """Return what a model is asked.

    Args:
        events: Of the session: they know the ids of calls that the framework does not send.
    """
    provider, name = _names(model, request.model or model.model)
    contents = [
        each.model_dump(mode="json", exclude_none=True, exclude={"parts": {"__all__": NOT_SAID}})
        for each in request.contents
    ]
    system = _system(request.config.system_instruction)
    parameters = _parameters(request)
    counted = [system, _numbered(contents), parameters, _identity(model)]
    messages = [
        *([{"role": "system", "content": system}] if system else []),
        *_with_ids(contents, events),
    ]
    return Asked(name, provider, messages, parameters, counted)


def _parameters(request: LlmRequest) -> dict[str, Any]:
    """Return what is sent beside the messages and counts, without what is not set."""
    config = request.config
    found = config.model_dump(mode="json", exclude_none=True, exclude=NOT_COUNTED)
    schema: Any = config.response_schema
    if isinstance(schema, types.Schema):
        found["response_schema"] = schema.model_dump(mode="json", exclude_none=True)
    elif schema is not None:
        is_plain = isinstance(schema, dict)
        found["response_schema"] = schema if is_plain else TypeAdapter(schema).json_schema()
    for name in ("previous_interaction_id", "service_tier"):
        value = getattr(request, name, None)
        if value is not None:
            found[name] = str(value)
    return found


def _system(given: Any) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    parts = given.parts if isinstance(given, types.Content) else given
    return "\n\n".join(part.text or "" for part in parts or () if hasattr(part, "text"))


def _with_ids(contents: list[Any], events: Sequence[Event]) -> list[Any]:
    """Return contents with the ids by which calls and their results belong together."""
    known: defaultdict[str, deque[str]] = defaultdict(deque)
    for event in events:
        for call in event.get_function_calls():
            known[repr((call.name, call.args))].append(call.id or "")
        for result in event.get_function_responses():
            known[repr((result.name, result.response))].append(result.id or "")

    def with_id(part: dict[str, Any]) -> dict[str, Any]:
        found = dict(part)
        for key, what in (("function_call", "args"), ("function_response", "response")):
            call = part.get(key)
            if call is not None and "id" not in call:
                ids = known[repr((call.get("name"), call.get(what)))]
                found[key] = {**call, "id": ids.popleft()} if ids else call
        return found

    return [
        {**each, "parts": [with_id(part) for part in each.get("parts", ())]} for each in contents
    ]


def _numbered(contents: list[Any]) -> list[Any]:
    """Return contents in which ids of calls count by their order."""
    seen: dict[str, int] = {}

    def numbered(part: dict[str, Any]) -> dict[str, Any]:
        found = dict(part)
        for key in ("function_call", "function_response"):
            call = part.get(key)
            if call is not None and call.get("id") is not None:
                found[key] = {**call, "id": seen.setdefault(call["id"], len(seen))}
        return found

    return [
        {**each, "parts": [numbered(part) for part in each.get("parts", ())]} for each in contents
    ]


def _identity(model: BaseLlm) -> dict[str, Any]:
    """Return what tells a model from others: its class, and its fields that are plain."""
    fields = {name: getattr(model, name, None) for name in type(model).model_fields}
    plain = {name: each for name, each in fields.items() if isinstance(each, (str, int, float))}
    return {**plain, "class": f"{type(model).__module__}.{type(model).__qualname__}"}


def _names(model: BaseLlm, name: str) -> tuple[str | None, str]:
    """Return the provider of a model, in the words of genai-prices, and its name there."""
    kinds = {each.__name__ for each in type(model).__mro__}
    if "LiteLlm" in kinds and "/" in name:
        provider, _, name = name.partition("/")
        return provider, name
    if "AnthropicLlm" in kinds or "Claude" in kinds:
        return "anthropic", name
    return ("google", name.rpartition("/")[2]) if "Gemini" in kinds else (None, name)
