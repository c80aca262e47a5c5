"""What the messages of a request ask for, without what changes from one attempt to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel

from rowtrail.content import register_canonical

_VOLATILE_FIELDS = frozenset(
    # An artifact is for the program, never for a model.
    {
        *("id", "response_metadata", "usage_metadata", "chunk_position", "tool_call_chunks"),
        "artifact",
    }
)
_CALL_KINDS = frozenset({"tool_use", "tool_call", "tool_call_chunk", "function_call"})
_CALL_FIELDS = frozenset(
    # Of a tool call's copy in the content: the call itself says it.
    {
        *("type", "id", "call_id", "name", "input", "args", "arguments", "partial_json", "index"),
        "status",
    }
)
_REFERENCES = ("call_id", "tool_use_id", "tool_call_id", "item_id", "approval_request_id")
"""Fields of a block that name another one by the id that was made up for it."""
_HANDLES = frozenset({"type", "id", "index", "status"})
_MADE_UP_PREFIX = "lc_"
"""Of the ids that LangChain gives to blocks."""
_FUNCTION_IDS = "__openai_function_call_ids__"


def canonical_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as a provider gets them: no message ids, tool calls numbered.

    A tool call's id is made by the provider; a conversation is the same whatever it was.
    """
    numbers: dict[str, str] = {}
    return [canonical_message(message, numbers) for message in messages]


def canonical_message(message: BaseMessage, numbers: dict[str, str]) -> dict[str, Any]:
    """Return one message of a conversation; `numbers` are those of the made-up ids so far."""
    fields = {
        name: value
        for name, value in message.__dict__.items()
        if name not in _VOLATILE_FIELDS and value not in (None, "", [], {})
    }
    fields["type"] = fields.get("type", message.type).removesuffix("MessageChunk").lower()
    calls: list[Any] = getattr(message, "tool_calls", None) or []
    if not _are_calls(calls):  # a field of the user's own that has this name
        calls = []
    if calls:
        fields["tool_calls"] = [_call(call, numbers) for call in calls]
    for name in ("invalid_tool_calls",):
        if name in fields and _are_calls(fields[name]):
            fields[name] = [_call(call, numbers) for call in fields[name]]
    is_made = isinstance(message, AIMessage)
    content = message.content
    if isinstance(content, list):
        fields["content"] = _blocks(content, numbers, is_made, {call["id"] for call in calls})
        version = (message.response_metadata or {}).get("output_version")
        if version is not None:
            fields["output_version"] = version  # decides how the blocks are read
    if message.additional_kwargs:
        fields["additional_kwargs"] = _extras(message.additional_kwargs, numbers, bool(calls))
    if "tool_call_id" in fields:
        fields["tool_call_id"] = _number(fields["tool_call_id"], numbers)
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def _are_calls(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(call, Mapping) and {"args", "id"} <= call.keys() for call in value
    )


def _call(call: Mapping[str, Any], numbers: dict[str, str]) -> dict[str, Any]:
    kept = {name: call[name] for name in ("name", "args", "error", "extras") if call.get(name)}
    return {"args": call["args"], **kept, "id": _number(call["id"], numbers)}


def _blocks(
    content: Sequence[Any], numbers: dict[str, str], is_made: bool, calls: set[Any]
) -> list[Any]:
    """Return content blocks, their made-up ids numbered; calls that only close it are left out."""
    found = [_block(block, numbers, is_made, calls) for block in content]
    while found and isinstance(found[-1], dict) and found[-1].keys() == {"call"}:
        found.pop()  # providers get the calls after the content in any case
    return found


def _block(block: Any, numbers: dict[str, str], is_made: bool, calls: set[Any]) -> Any:
    if not isinstance(block, dict):
        return block
    fields = cast("dict[str, Any]", block)
    called = fields.get("call_id") or fields.get("id")
    if fields.get("type") in _CALL_KINDS and called in calls:
        more = {name: value for name, value in fields.items() if name not in _CALL_FIELDS}
        return {"call": _number(called, numbers), **more}
    if fields.get("type") == "non_standard" and isinstance(fields.get("value"), dict):
        inside = _block(fields["value"], numbers, is_made, calls)
        return {**_without_ids(fields, numbers, is_made), "value": inside}
    found = _without_ids(fields, numbers, is_made)
    if isinstance(fields.get("content"), list):
        found["content"] = _blocks(fields["content"], numbers, is_made, calls)
    return found


def _without_ids(fields: dict[str, Any], numbers: dict[str, str], is_made: bool) -> dict[str, Any]:
    """Return a block in which ids that a provider or LangChain made up are numbered.

    What a block holds is in its other fields. Where it holds nothing else, its id names what a
    provider keeps, and counts; reasoning is kept beside the text that came of it.
    """
    found = dict(fields)
    for name in _REFERENCES:
        if isinstance(found.get(name), str):
            found[name] = _number(found[name], numbers)
    own = found.get("id")
    if isinstance(own, str) and _is_made_up(own, fields, is_made):
        found["id"] = _number(own, numbers)
    if is_made:
        found.pop("index", None)  # of a stream's chunks
    return found


def _is_made_up(own: str, fields: dict[str, Any], is_made: bool) -> bool:
    if own.startswith(_MADE_UP_PREFIX):
        return True
    if not is_made or fields.get("source_type") == "id":
        return False
    return fields.get("type") == "reasoning" or not fields.keys() <= _HANDLES


def _extras(extras: Mapping[str, Any], numbers: dict[str, str], has_calls: bool) -> dict[str, Any]:
    """Return additional_kwargs without the copies of tool calls, and with made-up ids numbered."""
    found: dict[str, Any] = {}
    for name, value in extras.items():
        if name == _FUNCTION_IDS or (name == "tool_calls" and has_calls):
            continue
        if isinstance(value, dict):
            found[name] = _extra(cast("dict[str, Any]", value), numbers)
        elif isinstance(value, list):
            found[name] = [
                _block(each, numbers, True, set()) for each in cast("Sequence[Any]", value)
            ]
        else:
            found[name] = value
    return found


def _extra(value: dict[str, Any], numbers: dict[str, str]) -> dict[str, Any]:
    if "id" in value:
        return _without_ids(value, numbers, True)
    # Signatures of Gemini's tool calls go by the ids of the calls.
    return {numbers.get(name, name): each for name, each in value.items()}


def _number(made_up: str | None, numbers: dict[str, str]) -> str | None:
    return None if made_up is None else numbers.setdefault(made_up, f"call {len(numbers)}")


register_canonical(BaseMessage, canonical_message)


def canonical_input(value: Any) -> Any:
    """Return a graph's input without the ids of its messages: the same where it is sent again."""
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
