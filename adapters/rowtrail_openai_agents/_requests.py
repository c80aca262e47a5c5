"""What a call of a model asks, and what of it counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents import FunctionTool, Handoff
from agents.models.interface import Model

from rowtrail.adapter import Request, Scope, llm_request, with_numbered_ids
from rowtrail.usage import provider_at
from rowtrail_openai_agents._private import address_of

PARAMETERS = (
    "system_instructions",
    "input",
    "model_settings",
    "tools",
    "output_schema",
    "handoffs",
    "tracing",
)
"""Of `Model.get_response` and `stream_response`, in order; the rest are given by name."""

SETTINGS_THAT_DO_NOT_COUNT = frozenset(
    {"extra_headers", "include_usage", "metadata", "preserve_raw_usage", "retry", "timeout"}
)
"""They say how a call is made and told of, and change no answer; headers are credentials too."""

KEYS_THAT_DO_NOT_COUNT = frozenset({"authorization", "headers", "prompt_cache_key"})
"""Credentials, and a key that the framework makes up for each run."""


def name_of(model: Model) -> str:
    """Return the name of a model as its provider spells it, else that of its class."""
    name = getattr(model, "model", None)
    return name if isinstance(name, str) and name else type(model).__name__


def request_of(scope: Scope, model: Model, given: Mapping[str, Any]) -> Request:
    """Return the request of a call of a model, from its arguments by name."""
    messages = _messages(given.get("input") or [])
    if given.get("system_instructions") is not None:
        messages.insert(0, {"role": "system", "content": given["system_instructions"]})
    parameters = _parameters(given)
    name = name_of(model)
    prefix = name.partition("/")[0] if "/" in name else "openai"
    return llm_request(
        scope,
        name,
        messages,
        parameters,
        provider=provider_at(address_of(model), prefix),
        counted={"messages": with_numbered_ids(_said(messages)), "parameters": parameters},
    )


def input_of(given: str | list[Any]) -> list[Any]:
    """Return what counts of what an agent is asked."""
    return with_numbered_ids(_said(_messages(given)))


def _messages(given: str | list[Any]) -> list[Any]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else [*given]


def _said(messages: list[Any]) -> list[Any]:
    """Return messages without what the framework notes of the answer that an item is of."""
    return [
        {key: value for key, value in each.items() if key != "provider_data"}
        if isinstance(each, dict)
        else each
        for each in messages
    ]


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    settings, schema = given["model_settings"], given.get("output_schema")
    counted: dict[str, Any] = {
        each.name: _plain(value)
        for each in dataclasses.fields(settings)
        if each.name not in SETTINGS_THAT_DO_NOT_COUNT
        and (value := getattr(settings, each.name)) is not None
    }
    told: dict[str, Any] = {
        "settings": {key: each for key, each in counted.items() if each not in ({}, [])},
        "tools": [_tool(each) for each in given.get("tools") or ()],
        "handoffs": [_handoff(each) for each in given.get("handoffs") or ()],
        "output": None if schema is None or schema.is_plain_text() else schema.json_schema(),
        "prompt": _plain(given.get("prompt")),
        "previous_response_id": given.get("previous_response_id"),
        "conversation_id": given.get("conversation_id"),
    }
    return {key: each for key, each in told.items() if each}


def _tool(tool: Any) -> dict[str, Any]:
    """Return what a model knows of a tool; of hosted ones their fields."""
    if isinstance(tool, FunctionTool):
        told = {
            "description": tool.description,
            "parameters": tool.params_json_schema,
            "strict": tool.strict_json_schema,
        }
        return {"name": tool.name, **told}
    fields = _plain(tool)
    return {"name": str(getattr(tool, "name", type(tool).__name__)), **fields}


def _handoff(handoff: Handoff[Any, Any]) -> dict[str, Any]:
    return {
        "name": handoff.tool_name,
        "description": handoff.tool_description,
        "parameters": handoff.input_json_schema,
    }


def _plain(value: Any) -> Any:
    """Return what of a value goes over the wire: no functions, objects and credentials."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            str(key): plain
            for key, each in value.items()
            if key not in KEYS_THAT_DO_NOT_COUNT and (plain := _plain(each)) is not None
        }
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None
