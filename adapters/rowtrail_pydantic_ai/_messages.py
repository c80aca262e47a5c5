"""Requests and answers of Pydantic AI in the words of the core, and answers back exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import FunctionType, MethodType
from typing import Any, cast

from pydantic_ai.durable_exec import JSON_CODEC
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from rowtrail import adapter
from rowtrail.adapter import Answer, Message, Request, Scope
from rowtrail.vocabulary import ToolCall

Asked = tuple[list[ModelMessage], ModelSettings | None, ModelRequestParameters]
"""What a model is asked."""

META = "pydantic_ai"
"""Key in the `meta` of an answer: the framework's own form of it, without its text."""
NOT_TOLD = {"id", "timestamp", "tool_call_id", "provider_details", "metadata", "identifier", "kind"}
"""Fields of parts that the provider or the framework makes up anew, or that are not sent."""
NOT_COUNTED = {"extra_headers", "timeout", "request_timeout", "first_event_timeout"}
"""Settings that say how a request is sent, not what is asked."""
VERSIONS = {"openai-beta", "anthropic-beta", "anthropic-version"}
"""Headers that choose a version of the API."""
TOOL = ("name", "description", "parameters_json_schema", "strict", "return_schema", "kind")
"""What a model sees of a tool."""
TOKENS = ("cache_read_tokens", "cache_write_tokens", "input_audio_tokens", "output_audio_tokens")
"""Those that are counted in others."""
PLAIN = (str, int, float, FunctionType, MethodType)


def request_of(scope: Scope, model: Model, asked: Asked) -> Request:
    """Return the request of a model's answer, streamed or not."""
    prompt, shown = prompt_of(asked), parameters_of(asked)
    told = adapter.with_numbered_ids([message.to_stored() for message in prompt])
    counted, name = [told, shown, _identity(model)], model.model_name
    return adapter.llm_request(scope, name, prompt, shown, provider=model.system, counted=counted)


def prompt_of(asked: Asked) -> list[Message]:
    """Return the messages that a model is told, instructions first."""
    messages, _, parameters = asked
    parts = [part.content for part in parameters.instruction_parts or () if part.content.strip()]
    told = [Message("system", "\n\n".join(parts))] if parts else []
    for each in messages:
        told += [_said(each)] if isinstance(each, ModelResponse) else map(_told, each.parts)
    return told


def parameters_of(asked: Asked) -> dict[str, Any]:
    """Return what is sent beside the messages and counts, without what is not set."""
    given, parameters = dict[str, Any](**(asked[1] or {})), asked[2]
    headers = (given.get("extra_headers") or {}).items()
    found = {key: value for key, value in given.items() if key not in NOT_COUNTED}
    found["versions"] = {key: value for key, value in headers if key.lower() in VERSIONS}
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if field.name in ("function_tools", "output_tools"):
            value = [_set({name: getattr(tool, name, None) for name in TOOL}) for tool in value]
        if field.compare and not field.name.startswith("instruction_"):  # these are messages
            found[field.name] = value
    return {name: value for name, value in found.items() if value not in (None, [], {}, set())}


def stored(response: ModelResponse) -> Any:
    """Return what is stored of an answer; its only text is not stored twice."""
    try:
        shape = _set(JSON_CODEC.dump(ModelResponse, response))
    except Exception:  # a custom model's own objects: what cannot be written is made again
        return response
    said, details = _said(response), response.provider_details or {}
    kept = {"text": "content"} if isinstance(said.content, str) else {}
    shape["parts"] = [_set(part, kept.get(part["part_kind"])) for part in shape["parts"]]
    reason, meta = details.get("finish_reason") or response.finish_reason, {META: shape}
    return Answer(said.role, said.content, said.tool_calls, finish_reason=reason, meta=meta)


def restored(answer: Any) -> ModelResponse:
    """Return the answer that was stored."""
    if isinstance(answer, ModelResponse):
        return answer
    shape, text = answer.meta[META], {"text": {"content": answer.content}}
    parts = [{**text.get(part["part_kind"], {}), **part} for part in shape["parts"]]
    return cast("ModelResponse", JSON_CODEC.load(ModelResponse, {**shape, "parts": parts}))


def usage_of(response: ModelResponse) -> adapter.Usage | None:
    """Return the tokens of an answer, None where its provider told none."""
    usage = response.usage
    if not usage.has_values():
        return None
    return adapter.Usage(
        usage.input_tokens,
        usage.output_tokens,
        "provider",
        cache_write_1h_tokens=getattr(usage, "cache_write_1h_tokens", None),
        reasoning_tokens=usage.details.get("reasoning_tokens"),
        service_tier=(response.provider_details or {}).get("service_tier"),
        **{name: getattr(usage, name) for name in TOKENS},
    )


def _identity(model: Model) -> list[Any]:
    """Return what tells a model from others: its class, address and public plain attributes."""
    while isinstance(model, WrapperModel):
        model = model.wrapped
    own = {key: value for key, value in vars(model).items() if isinstance(value, PLAIN)}
    public = {key: value for key, value in own.items() if not key.startswith("_")}
    return [type(model).__qualname__, model.system, model.base_url, public]


def _told(part: Any) -> Message:
    """Return a part of a request; of what kind it is says its `part_kind`."""
    name = getattr(part, "tool_name", None)
    call = {} if name is None else {"tool_call_id": part.tool_call_id, "name": name}
    if part.part_kind in ("system-prompt", "user-prompt"):
        return Message(part.part_kind.partition("-")[0], _blocks(part.content))
    if part.part_kind == "tool-return":
        text = part.model_response_str()
        return Message("tool", _blocks([text, *part.files]) if part.files else text, **call)
    if hasattr(part, "model_response"):  # the model is asked to try again
        return Message("tool" if call else "user", part.model_response(), **call)
    return Message("system", _blocks([part]))


def _said(response: ModelResponse) -> Message:
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    rest = [part for part in response.parts if not isinstance(part, ToolCallPart)]
    content = _blocks(rest)
    if [part.part_kind for part in rest] in ([], ["text"]):
        content = "".join(block["text"] for block in content)
    told = [ToolCall(each.tool_call_id, each.tool_name, each.args_as_dict()) for each in calls]
    return Message("assistant", content, tuple(told))


def _blocks(content: Any) -> Any:
    return content if isinstance(content, str) else [_block(each) for each in content]


def _block(part: Any) -> dict[str, Any]:
    """Return a part of a content: a block of text, or the fields that say what it is."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = getattr(part, "part_kind", None) or part.kind
    if kind in ("text", "text-content"):
        return {"type": "text", "text": part.content}
    told = _set(JSON_CODEC.dump(type(part), part))
    return {"type": kind, **{key: told[key] for key in told.keys() - NOT_TOLD}}


def _set(shape: Mapping[str, Any], but: str | None = None) -> dict[str, Any]:
    """Return an object without the fields that are not set, and without another one."""
    return {key: value for key, value in shape.items() if value is not None and key != but}
