"""What models answer on the wire: OpenAI chat completions and Responses, Anthropic, Gemini.

Whole and as server-sent events. Source: the API references of OpenAI, Anthropic and Google (Gemini,
`generateContent`), November 2026.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rowtrail._clock import Clock

CHARS_PER_TOKEN = 4
"""The usual rule of thumb for English."""

CHUNK_CHARS = 16
"""A few words, as providers stream them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer; cached and reasoning tokens are part of input and output."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def as_wire(self) -> dict[str, Any]:
        """Return the `usage` object of a chat completion."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: text, tool calls as (name, arguments), or an HTTP error.

    `delay` is the time in seconds before the first byte, `pause` that before each event of a
    streamed answer but the first. A `status` of 400 or more sends an error whose message is `text`.
    Without `usage` the tokens are estimated from the characters.
    """

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    usage: Usage | None = None
    delay: float = 0.0
    status: int = 200
    pause: float = 0.0

    @property
    def finish_reason(self) -> str:
        """Why the model stopped: `tool_calls` or `stop`."""
        return "tool_calls" if self.tool_calls else "stop"


@dataclass(frozen=True, slots=True)
class Wire:
    """How one endpoint answers.

    Attributes:
        needs: The field of a request that must be there, and of which types it may be.
        whole: Returns the JSON object of an answer.
        events: Yields the server-sent events of a streamed one, each with its blank line.
    """

    needs: tuple[str, tuple[type, ...]]
    whole: Callable[[dict[str, Any], Reply], dict[str, Any]]
    events: Callable[[dict[str, Any], Reply], Iterator[str]]


def _id(prefix: str) -> str:
    return f"{prefix}{uuid.uuid4().hex}"


def _now_s() -> int:
    return Clock().now_ms() // 1000  # the provider's clock, never a test's


def _usage(request: dict[str, Any], reply: Reply) -> Usage:
    if reply.usage is not None:
        return reply.usage
    asked: list[Any] = [told_in(request), request.get("tools") or []]
    calls = [(name, dict(arguments)) for name, arguments in reply.tool_calls]
    answered = len(reply.text) + (len(json.dumps(calls)) if calls else 0)
    return Usage(1 + len(json.dumps(asked)) // CHARS_PER_TOKEN, 1 + answered // CHARS_PER_TOKEN)


def told_in(request: dict[str, Any]) -> Any:
    """Return what a request tells the model: its messages, in the form of the provider."""
    return next((request[key] for key in ("messages", "input", "contents") if key in request), None)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), CHUNK_CHARS):
        yield text[start : start + CHUNK_CHARS]


def _data(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _named(value: dict[str, Any]) -> str:
    return f"event: {value['type']}\n{_data(value)}"


def _envelope(request: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": _id("chatcmpl-"),
        "object": kind,
        "created": _now_s(),
        "model": request.get("model", ""),
    }


def _tool_calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "id": _id("call_")[:29],
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(dict(arguments))},
        }
        for name, arguments in reply.tool_calls
    ]


def _completion(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    usage = _usage(request, reply).as_wire()
    return _envelope(request, "chat.completion") | {"choices": [choice], "usage": usage}


def _chunks(request: dict[str, Any], reply: Reply) -> Iterator[str]:
    """Yield the chunks of a streamed answer; the usage comes last, and only if it was asked for."""
    envelope = _envelope(request, "chat.completion.chunk")
    for delta in _deltas(reply):
        yield _data(envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    last: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": reply.finish_reason}
    yield _data(envelope | {"choices": [last]})
    options: dict[str, Any] = request.get("stream_options") or {}
    if options.get("include_usage"):
        yield _data(envelope | {"choices": [], "usage": _usage(request, reply).as_wire()})
    yield "data: [DONE]\n\n"


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for piece in _pieces(reply.text):
        yield {"content": piece}
    for index, call in enumerate(_tool_calls(reply)):
        function = call["function"]
        opening = call | {"index": index, "function": function | {"arguments": ""}}
        yield {"tool_calls": [opening]}
        for piece in _pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _response(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    usage = _usage(request, reply)
    text = {"type": "output_text", "text": reply.text, "annotations": list[Any]()}
    said = {"type": "message", "id": _id("msg_"), "role": "assistant", "status": "completed"}
    calls = [
        {
            "type": "function_call",
            "id": _id("fc_"),
            "call_id": call["id"],
            "status": "completed",
            **call["function"],
        }
        for call in _tool_calls(reply)
    ]
    return {
        "id": _id("resp_"),
        "object": "response",
        "created_at": _now_s(),
        "status": "completed",
        "model": request.get("model", ""),
        "output": [*([said | {"content": [text]}] if reply.text else []), *calls],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def _response_events(request: dict[str, Any], reply: Reply) -> Iterator[str]:
    whole = _response(request, reply)
    begun: dict[str, Any] = whole | {"status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(whole["output"]):
        events += _item_events(at, item)
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        yield _named({"type": event["type"], "sequence_number": number, **event})


def _item_events(at: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place: dict[str, Any] = {"output_index": at, "item_id": item["id"]}
    is_text = item["type"] == "message"
    empty: dict[str, Any] = {"content": []} if is_text else {"arguments": ""}
    opened: dict[str, Any] = item | empty | {"status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": at, "item": opened}
    if is_text:
        [part] = item["content"]
        place |= {"content_index": 0}
        yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
        for piece in _pieces(part["text"]):
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
    else:
        kind = "response.function_call_arguments"
        for piece in _pieces(item["arguments"]):
            yield {"type": f"{kind}.delta", **place, "delta": piece}
        told = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": f"{kind}.done", **place, **told}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _message(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    usage = _usage(request, reply)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    for name, arguments in reply.tool_calls:
        call_id = _id("toolu_")[:30]
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": dict(arguments)})
    return {
        "id": _id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": request.get("model", ""),
        "content": blocks,
        "stop_reason": "tool_use" if reply.tool_calls else "end_turn",
        "stop_sequence": None,
        "usage": {  # what was cached stands beside the input, not in it
            "input_tokens": usage.input_tokens - usage.cached_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": usage.output_tokens,
        },
    }


def _message_events(request: dict[str, Any], reply: Reply) -> Iterator[str]:
    whole = _message(request, reply)
    usage = whole["usage"]
    begun: dict[str, Any] = whole | {
        "content": [],
        "stop_reason": None,
        "usage": usage | {"output_tokens": 1},
    }
    yield _named({"type": "message_start", "message": begun})
    for at, block in enumerate(whole["content"]):
        is_text = block["type"] == "text"
        empty: dict[str, Any] = {"text": ""} if is_text else {"input": {}}
        text = block["text"] if is_text else json.dumps(block["input"])
        yield _named({"type": "content_block_start", "index": at, "content_block": block | empty})
        for piece in _pieces(text):
            delta = (
                {"type": "text_delta", "text": piece}
                if is_text
                else {"type": "input_json_delta", "partial_json": piece}
            )
            yield _named({"type": "content_block_delta", "index": at, "delta": delta})
        yield _named({"type": "content_block_stop", "index": at})
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    told = {"output_tokens": usage["output_tokens"]}
    yield _named({"type": "message_delta", "delta": ended, "usage": told})
    yield _named({"type": "message_stop"})


def _content(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    texts = [{"text": reply.text}] if reply.text else []
    return _candidate(request, reply, [*texts, *_function_calls(reply)])


def _function_calls(reply: Reply) -> list[dict[str, Any]]:
    return [{"functionCall": {"name": name, "args": {**args}}} for name, args in reply.tool_calls]


def _candidate(request: dict[str, Any], reply: Reply, parts: list[Any]) -> dict[str, Any]:
    usage = _usage(request, reply)
    content = {"role": "model", "parts": parts}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": usage.input_tokens,
            "cachedContentTokenCount": usage.cached_tokens,
            "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
            "thoughtsTokenCount": usage.reasoning_tokens,
            "totalTokenCount": usage.input_tokens + usage.output_tokens,
        },
        "modelVersion": request["model"],
        "responseId": _id(""),
    }


def _content_events(request: dict[str, Any], reply: Reply) -> Iterator[str]:
    texts = [{"text": piece} for piece in _pieces(reply.text)]
    parts = [*texts, *_function_calls(reply)] or [{"text": ""}]
    for number, part in enumerate(parts):
        event = _candidate(request, reply, [part])
        if number < len(parts) - 1:
            del event["candidates"][0]["finishReason"]
        yield _data(event)


WIRES = {
    "/v1/chat/completions": Wire(("messages", (list,)), _completion, _chunks),
    "/v1/responses": Wire(("input", (list, str)), _response, _response_events),
    "/v1/messages": Wire(("messages", (list,)), _message, _message_events),
}
"""What is served, by its path."""

GEMINI = Wire(("contents", (list,)), _content, _content_events)


def wire_at(path: str) -> tuple[Wire | None, dict[str, Any]]:
    """Return what is served at a path, and what the path says of a request: Gemini's do."""
    found = re.fullmatch(r"/v1(?:beta)?/models/([^/:]+):(g|streamG)enerateContent", path)
    if found is None:
        return WIRES.get(path), {}
    return GEMINI, {"model": found[1], "stream": found[2] != "g"}
