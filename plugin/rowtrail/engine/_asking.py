"""What an untrusted query may see, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rowtrail.errors import UsageError

MAX_CELL_CHARS = 20_000
"""A longer text, or a blob of more bytes, is cut in the answer."""

Kind = Literal["read", "function", "action", "timeout", "too_big", "parameters", "wrong"]
Params = Sequence[Any] | dict[str, Any]


@dataclass(frozen=True)
class Only:
    """What a query may see: rows of this thread, this run and this agent; None is any.

    Raises:
        UsageError: One of them is not a text.
    """

    thread_id: str | None = None
    run_id: str | None = None
    agent: str | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not isinstance(value, str):
                raise UsageError(f"{name}={value!r} is no text: give an id or a name as a str")

    def __bool__(self) -> bool:
        return (self.thread_id, self.run_id, self.agent) != (None, None, None)


EVERYTHING = Only()


class UnansweredError(Exception):
    """Why a query got no answer, for the room that words it.

    Attributes:
        kind: What happened.
        detail: The table, function, action, or the database's message.
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class Found(NamedTuple):
    """What a query found.

    Attributes:
        has_more: There are more rows than were asked for.
        cut: How many values were cut to `max_chars`, which is also the limit of a blob in bytes.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    has_more: bool
    cut: int
    max_chars: int = MAX_CELL_CHARS
