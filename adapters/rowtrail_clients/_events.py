"""Server-sent events of a streamed answer: where it ends, and the answer that they make.

Source: the API references of OpenAI (chat; Responses) and Anthropic on streaming, November 2026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Position = Literal["inside", "ending", "end", "error"]

DONE = b"[DONE]"
ENDS = ("message_stop", "response.completed", "response.incomplete")
ERRORS = ("error", "response.failed")
ENDINGS = ("content_block_stop", "message_delta", "ping")
DONE_ENDING = ".done"
"""What ends a part of a response: the last of them shows the whole."""
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole events at the start of `data`, as they came, and the rest."""
    events: list[bytes] = []
    start = 0
    for found in _BLANK_LINE.finditer(data):
        events.append(data[start : found.end()])
        start = found.end()
    return events, data[start:]


def told_by(event: bytes) -> Any:
    """Return the JSON value of an event, None where it has none."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        return json.loads(b"\n".join(lines))
    except (RecursionError, ValueError):
        return None


def position(event: bytes, choices: set[int], expected: int) -> Position:
    """Return whether an event is the last one, or may be the last that says anything.

    Args:
        choices: Those of a chat completion that are whole; one more may be added.
        expected: How many there will be.
    """
    told = told_by(event)
    if not isinstance(told, dict):
        return "end" if DONE in event else "inside"
    kind = told.get("type")
    if kind in ENDS:
        return "end"
    if kind in ERRORS or (told.get("error") and "choices" not in told):
        return "error"
    choices |= {
        choice.get("index", 0)
        for choice in told.get("choices") or ()
        if choice.get("finish_reason")
    }
    is_ending = kind in ENDINGS or str(kind).endswith(DONE_ENDING)
    return "ending" if is_ending or len(choices) >= expected else "inside"


def assembled(body: bytes) -> dict[str, Any] | None:
    """Return the response that a stream makes up, None where it is of no known form."""
    told = [each for event in split(body)[0] if isinstance(each := told_by(event), dict)]
    response = next((each for each in reversed(told) if "response" in each), None)
    if response is not None and isinstance(response["response"], dict):
        whole = dict(response["response"])
        items = [each["item"] for each in told if each.get("type") == "response.output_item.done"]
        return whole if whole.get("output") else {**whole, "output": items}
    if any(each.get("type") == "message_start" for each in told):
        return _message(told)
    return _completion(told) if any("choices" in each for each in told) else None


def _message(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together a message of Anthropic."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for each in told:
        match each:
            case {"type": "message_start", "message": started}:
                message = {**started, "usage": dict(started.get("usage") or {})}
            case {"type": "content_block_start", "index": at, "content_block": block}:
                blocks[at] = dict(block)
            case {"type": "content_block_delta", "index": at, "delta": delta} if at in blocks:
                _add(blocks[at], delta)
            case {"type": "message_delta", "delta": delta}:
                message |= delta
                message["usage"] |= each.get("usage") or {}
            case _:
                pass
    for block in blocks.values():
        if isinstance(block.get("input"), str):  # the text of its JSON came in pieces
            block["input"] = told_by(b"data: " + block["input"].encode()) or block["input"]
    return {**message, "content": [blocks[at] for at in sorted(blocks)]}


def _add(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for key, piece in delta.items():
        into = "input" if key == "partial_json" else key
        if isinstance(piece, str) and key != "type":
            before = block.get(into)
            block[into] = (before if isinstance(before, str) else "") + piece


def _completion(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together the first choice of a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    reason = None
    for each in told:
        found |= {key: value for key in ("id", "model", "usage") if (value := each.get(key))}
        for choice in _first_choices(each):
            delta = choice.get("delta") or {}
            for key, piece in delta.items():
                if isinstance(piece, str) and key != "role":
                    message[key] = (message.get(key) or "") + piece
            for piece in delta.get("tool_calls") or ():
                call = calls.setdefault(piece.get("index", len(calls)), {"function": {}})
                call["id"] = call.get("id") or piece.get("id")
                for key, text in (piece.get("function") or {}).items():
                    call["function"][key] = call["function"].get(key, "") + (text or "")
            reason = choice.get("finish_reason") or reason
    if calls:
        message["tool_calls"] = [calls[at] for at in sorted(calls)]
    return {**found, "choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def _first_choices(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (choice for choice in told.get("choices") or () if not choice.get("index"))
