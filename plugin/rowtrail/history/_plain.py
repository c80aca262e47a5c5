"""The words of a recorded value: what people search for, without JSON around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from rowtrail.vocabulary import is_message

_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{400,}")
"""Base64 and its like: no word of it is ever searched for."""


def plain_text(stored: str) -> str:
    """Return the words of a stored value: content of messages, values with their names, a text.

    Args:
        stored: JSON of an item; other text is returned as it is.
    """
    try:
        value = json.loads(stored)
        text = "\n".join(filter(None, _message(value) if _is_message(value) else _lines(value)))
    except (ValueError, RecursionError):
        text = stored
    return _ENCODED.sub("…", text)


def _is_message(value: Any) -> bool:
    """Return whether a value is a message, or a block of one that has content of its own."""
    return is_message(value) or (isinstance(value, dict) and "content" in value and "type" in value)


def _message(message: dict[str, Any]) -> Iterator[str]:
    content = message["content"]
    for block in _items(content) or [content]:
        if isinstance(block, dict):
            yield from _block(cast("dict[str, Any]", block))
        else:
            yield from _lines(block)
    for call in _items(message.get("tool_calls")):
        if isinstance(call, dict):
            yield from _call(cast("dict[str, Any]", call))


def _items(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def _block(block: dict[str, Any]) -> Iterator[str]:
    """Yield what a block of content says; its kind, signatures and images say nothing."""
    for key in ("text", "thinking", "reasoning", "refusal", "content", "title"):
        yield from _lines(block.get(key))


def _call(call: dict[str, Any]) -> Iterator[str]:
    yield f"{call.get('name')}: {', '.join(_lines(call.get('args')))}"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _fields(cast("dict[str, Any]", value))
    elif isinstance(value, list):
        for item in _items(value):
            yield from _message(item) if _is_message(item) else _lines(item)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield json.dumps(value)


def _fields(fields: dict[str, Any]) -> Iterator[str]:
    if fields.keys() == {"args", "kwargs"}:  # what a function was called with
        yield from _lines(fields["args"])
        yield from _lines(fields["kwargs"])
        return
    for name, value in fields.items():
        yield f"{name}: {', '.join(_lines(value))}"
