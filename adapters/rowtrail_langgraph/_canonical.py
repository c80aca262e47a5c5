"""What a request asks for, without what changes from one attempt to the next."""

# pyright: reportPrivateUsage=false
# hooks reach where LangChain has no public door; _capture.py checks what they need
from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

_VOLATILE_PARAMETERS = frozenset(
    # How an answer is delivered, traced or authorised is not what is asked.
    {
        "stream",
        "stream_options",
        "streaming",
        "stream_usage",
        "run_manager",
        "callbacks",
        "extra_headers",
        "default_headers",
        "api_key",
        "timeout",
        "request_timeout",
        "max_retries",
        "structured_output_format",
    }
)
_VOLATILE_FIELDS = frozenset({"id", "response_metadata", "usage_metadata", "chunk_position"})


def canonical_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as a provider is told them: no message ids, tool calls numbered.

    A tool call's id is made by the provider; a conversation is the same whatever it was.
    """
    numbers: dict[str, str] = {}
    return [canonical_message(message, numbers) for message in messages]


def canonical_message(message: BaseMessage, numbers: dict[str, str]) -> dict[str, Any]:
    """Return one message of a conversation; `numbers` are those of the tool calls so far."""
    fields = {
        name: value
        for name, value in message.__dict__.items()
        if name not in _VOLATILE_FIELDS and value not in (None, "", [], {})
    }
    fields["type"] = fields.get("type", message.type).removesuffix("MessageChunk").lower()
    fields.pop("tool_call_chunks", None)
    if getattr(message, "tool_calls", None):
        fields["tool_calls"] = [
            {"name": call["name"], "args": call["args"], "id": _number(call["id"], numbers)}
            for call in message.tool_calls  # type: ignore[attr-defined]
        ]
        fields["content"], fields["additional_kwargs"] = _without_calls(message)
    if "tool_call_id" in fields:
        fields["tool_call_id"] = _number(fields["tool_call_id"], numbers)
    return fields


def _without_calls(message: BaseMessage) -> tuple[Any, dict[str, Any]]:
    """Return content and extras without their own copies of the tool calls, which hold ids."""
    content = message.content
    if isinstance(content, list):
        kinds = ("tool_use", "tool_call", "tool_call_chunk", "function_call")
        content = [c for c in content if not (isinstance(c, dict) and c.get("type") in kinds)]
    extras = {k: v for k, v in message.additional_kwargs.items() if k != "tool_calls"}
    return content, extras


def _number(call_id: str | None, numbers: dict[str, str]) -> str | None:
    return None if call_id is None else numbers.setdefault(call_id, f"call {len(numbers)}")


def model_parameters(
    model: BaseChatModel, stop: list[str] | None, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a model call is parametrised with: model, tools, temperature and the like."""
    parameters: dict[str, Any] = model._get_invocation_params(stop=stop, **kwargs)
    return {
        name: _with_schema(value)
        for name, value in parameters.items()
        if name not in _VOLATILE_PARAMETERS and not name.startswith("ls_") and value is not None
    }


def _with_schema(value: Any) -> Any:
    """Return the JSON schema of a class whose objects are asked for: fields change, names stay."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return value


def canonical_input(value: Any) -> Any:
    """Return a graph's input without the ids of its messages, to tell whether it is sent again."""
    if isinstance(value, BaseMessage):
        return canonical_messages([value])[0]
    if isinstance(value, Mapping):
        return {str(key): canonical_input(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical_input(item) for item in value]
    if isinstance(value, BaseModel):
        return canonical_input(dict(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: canonical_input(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value
