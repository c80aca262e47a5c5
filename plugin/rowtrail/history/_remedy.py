"""What to do about a request that differs each time: by what the difference looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from rowtrail.history._compare import MAX_DEPTH, MISSING, differing, essence

INPUT_AGAIN = (
    "Send `None` (LangGraph), or the run's own id, to go on with a run: then its input stays as it "
    "is and what it recorded is replayed."
)
MAX_COMPARED = 5
"""More places are no pattern that `canonical=` could name."""

_MADE_UP = (
    ("a uuid", r"\b[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b"),
    ("a time", r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"),
    ("a date", r"\b\d{4}-\d\d-\d\d\b"),
    ("a time of day", r"\b\d?\d:\d\d(?::\d\d(?:[.,]\d+)?)?\b"),
    ("a random name", r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"),
    ("a number", r"\b\d+(?:\.\d+)?\b"),
)
"""What programs put into requests anew each time, and what finds it; the surest come first."""


def remedy(recorded: Any, asked: Any, *, effect: str) -> str | None:
    """Return what to do so that a request is replayed that differs each time, None if unknown."""
    places = differing(recorded, asked, MAX_COMPARED + 1)
    found = None if effect == "write" else _masking(places)
    if found is not None:
        names, patterns = zip(*found, strict=True)
        given = ", ".join(f"r'{pattern}'" for pattern in patterns)
        return (
            f"They differ only in what looks like {' and '.join(names)}. If your program makes it "
            f"up anew each time, give canonical=[{given}] to the journal or the saver: then it "
            "does not count."
        )
    if any(_is_changed_message(a, b) for a, b in _messages(recorded, asked)):
        return (
            "A message has the same id and other content: it was changed in place. A checkpoint "
            'that is saved meanwhile may hold either; run the graph with durability="sync", or '
            "return a new message."
        )
    return None


def is_input_again(recorded: Any, asked: Any) -> bool:
    """Return whether a request only has messages of the user more that the recorded one had, too.

    Whoever sends the input of a run that crashed once more appends it to what the thread holds.
    """
    places = differing(recorded, asked, MAX_COMPARED + 1)
    if not places or len(places) > MAX_COMPARED:
        return False
    known = [json.dumps(essence(message), sort_keys=True) for message in _of_user(recorded, 0)]
    return all(
        a is MISSING
        and path.endswith("]")
        and _is_of_user(b)
        and json.dumps(b, sort_keys=True) in known
        for path, a, b in places
    )


def _of_user(value: Any, depth: int) -> Iterator[Any]:
    """Yield the messages of the user in a request."""
    if _is_of_user(value):
        yield value
        return
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        inner = cast("Sequence[Any]", value)
    for item in inner if depth < MAX_DEPTH else ():
        yield from _of_user(item, depth + 1)


def _is_of_user(value: Any) -> bool:
    return isinstance(value, dict) and cast("dict[str, Any]", value).get("role") == "user"


def _masking(places: list[tuple[str, Any, Any]]) -> list[tuple[str, str]] | None:
    """Return the patterns without whose matches all the texts are the same."""
    texts = [(a, b) for _, a, b in places if isinstance(a, str) and isinstance(b, str)]
    if not places or len(texts) < len(places) or len(places) > MAX_COMPARED:
        return None
    used: list[tuple[str, str]] = []
    for name, pattern in _MADE_UP:
        masked = [(re.sub(pattern, "", a), re.sub(pattern, "", b)) for a, b in texts]
        if any(re.findall(pattern, a) != re.findall(pattern, b) for a, b in texts):
            used.append((name, pattern))
            texts = masked
        if all(a == b for a, b in texts):
            return used
    return None


def _messages(recorded: Any, asked: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(recorded, dict) or not isinstance(asked, dict):
        return
    first, second = cast("dict[str, Any]", recorded), cast("dict[str, Any]", asked)
    lefts: Any = first.get("messages")
    rights: Any = second.get("messages")
    if isinstance(lefts, list) and isinstance(rights, list):
        pairs = zip(cast("Sequence[Any]", lefts), cast("Sequence[Any]", rights), strict=False)
        yield from pairs


def _is_changed_message(a: Any, b: Any) -> bool:
    if not isinstance(a, dict) or not isinstance(b, dict):
        return False
    first, second = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
    same_id = first.get("id") is not None and first.get("id") == second.get("id")
    return same_id and first.get("content") != second.get("content")
