"""Where two recorded values differ, without what differs every time: ids, usage, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, cast

from rowtrail.vocabulary import META, is_message

MISSING: Any = object()
"""Stands for what one of the two does not have."""

BEFORE_CHARS = 20
"""Enough of what is the same to find the place in the text."""
SHOWN_CHARS = 80
"""One line of a terminal."""
MAX_DEPTH = 60
"""Well below Python's limit of recursion: requests are written by strangers."""

_VOLATILE = frozenset(("id", "tool_call_id", "finish_reason", META))
"""Fields of a message that are not part of what is asked. Source: the adapters' fingerprints."""


@dataclass(frozen=True)
class Difference:
    """One place where two values differ.

    Attributes:
        path: Where, such as `messages[3].content`; empty for the whole value.
        a: What the first has there, cut to what shows the difference; None where it has nothing.
        b: The same of the second.
    """

    path: str
    a: str | None
    b: str | None


def parsed(text: str | None) -> Any:
    """Return the value of recorded JSON; other text is a value itself."""
    if text is None:
        return MISSING
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def essence(value: Any, depth: int = 0) -> Any:
    """Return a value without what changes from call to call: ids of messages and calls, usage."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, list):
        return [essence(item, depth + 1) for item in cast("Sequence[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    if is_message(fields):
        fields = {name: item for name, item in fields.items() if name not in _VOLATILE}
        calls = fields.get("tool_calls")
        if isinstance(calls, list):
            fields["tool_calls"] = [_call(call) for call in cast("Sequence[Any]", calls)]
    return {name: essence(item, depth + 1) for name, item in fields.items()}


def _call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    fields = cast("dict[str, Any]", call)
    return {name: item for name, item in fields.items() if name not in ("id", "type", "index")}


def differences(a: Any, b: Any, limit: int) -> list[Difference]:
    """Return the first `limit` places where two values differ, in the order of their text."""
    return [Difference(path, *_shown(x, y)) for path, x, y in differing(a, b, limit)]


def differing(a: Any, b: Any, limit: int) -> list[tuple[str, Any, Any]]:
    """Return the first `limit` places where two values differ, with what the two have there."""
    return list(islice(_walk(essence(a), essence(b), "", 0), limit))


def _walk(a: Any, b: Any, path: str, depth: int) -> Iterator[tuple[str, Any, Any]]:
    if a is not MISSING and b is not MISSING and type(a) is type(b) and a == b:
        return
    if depth < MAX_DEPTH and isinstance(a, dict) and isinstance(b, dict):
        first, second = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        for name in [*first, *(name for name in second if name not in first)]:
            inner = f"{path}.{name}" if path else name
            yield from _walk(first.get(name, MISSING), second.get(name, MISSING), inner, depth + 1)
    elif depth < MAX_DEPTH and isinstance(a, list) and isinstance(b, list):
        lefts, rights = cast("Sequence[Any]", a), cast("Sequence[Any]", b)
        for n, (left, right) in enumerate(zip_longest(lefts, rights, fillvalue=MISSING)):
            yield from _walk(left, right, f"{path}[{n}]", depth + 1)
    else:
        yield path, a, b


def _shown(a: Any, b: Any) -> tuple[str | None, str | None]:
    first, second = _text(a), _text(b)
    if first is None or second is None:
        return first and _cut(first, 0), second and _cut(second, 0)
    at = next((n for n, (x, y) in enumerate(zip(first, second, strict=False)) if x != y), None)
    start = max((min(len(first), len(second)) if at is None else at) - BEFORE_CHARS, 0)
    return _cut(first, start), _cut(second, start)


def _text(value: Any) -> str | None:
    if value is MISSING:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, start: int) -> str:
    before = "…" if start else ""
    after = "…" if len(text) > start + SHOWN_CHARS else ""
    return f"{before}{text[start : start + SHOWN_CHARS]}{after}"
