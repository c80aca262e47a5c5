"""`spend`: where tokens, money and time went, and what replay saved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, cast

from rowtrail._clock import iso_utc
from rowtrail.errors import UsageError
from rowtrail.history._page import DEFAULT_ROWS, Moment, check_limit, millis_of, wrong_cursor
from rowtrail.history._source import Source, Tx, reader_of
from rowtrail.history.rows import SpendRow

SpendBy = Literal["model", "agent", "node", "tool", "thread", "day"]

_STATEMENTS: dict[SpendBy, tuple[str, str | None]] = {
    "model": ("spend_by_model", "spend_of_days"),
    "day": ("spend_by_day", "spend_of_days"),
    "thread": ("spend_by_thread", "spend_of_runs"),
    "agent": ("spend_by_agent", "spend_of_calls"),
    "node": ("spend_by_node", "spend_of_calls"),
    "tool": ("spend_by_tool", None),
}
_SUMS = (
    *("calls", "failed", "duration_ms", "input_tokens", "output_tokens", "cost_usd"),
    *("replays", "saved_ms", "saved_tokens", "saved_usd"),
)
_ALL = -1
"""`LIMIT -1`: no limit."""


@dataclass(frozen=True)
class Spend:
    """What was spent, in groups.

    Attributes:
        rows: The groups, the dearest first (days: the newest); the first column names the group.
        total: The sums over all groups, also those of other pages.
        next_cursor: Text that asks for the groups behind these; None where there are none.
    """

    rows: tuple[SpendRow, ...]
    total: SpendRow
    next_cursor: str | None


def spend(
    source: Source,
    by: SpendBy = "model",
    *,
    since: Moment | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Spend:
    """Return what was spent, by model, agent, node, tool, thread or UTC day.

    Models and days are counted by the whole days since `since`, threads by the runs that began
    since, agents, nodes and tools by their calls since. A group that grows between two pages may
    move to the front, and is then on no later page; none is on two.

    Args:
        source: The journal.
        by: What to add up by.
        since: Only what was spent then or later.
        limit: How many groups at most.
        cursor: `next_cursor` of the page before; None for the first.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    if by not in _STATEMENTS:
        raise UsageError(f"by={by!r} is unknown: use one of {', '.join(_STATEMENTS)}")
    check_limit(limit)
    last = None if cursor is None else _place(by, cursor)
    since_ms = millis_of("since", since)
    total_name = _STATEMENTS[by][1]
    times: dict[str, Any] = {"since": since_ms}
    if by in ("model", "day"):
        times = {"day": (iso_utc(since_ms) or "")[:10] or None}

    def work(tx: Tx) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        groups = _groups(tx, by, last, limit + 1, times)
        if total_name is None:
            return groups, _summed(groups)
        total = tx.one(total_name, **times)
        assert total is not None
        return groups, dict(total)

    groups, total = reader_of(source).read(work)
    if by == "tool":
        groups = _behind(groups, last)
    kept = groups[:limit]
    cursors = [_cursor(by, group) for group in kept]
    rows = tuple(cast("SpendRow", group) for group in kept)
    return Spend(rows, cast("SpendRow", total), cursors[-1] if len(groups) > limit else None)


@dataclass(frozen=True)
class _Place:
    """Where a group stands: behind those with a greater `amount`, then with more `tokens`."""

    amount: float
    tokens: int
    name: str


def _groups(
    tx: Tx, by: SpendBy, last: _Place | None, limit: int, times: dict[str, Any]
) -> list[dict[str, Any]]:
    if by == "tool":  # a tool has few names: all are read, and summed up here
        rows = tx.all("spend_by_tool", limit=_ALL, **times)
    else:
        place = last or _Place(0.0, 0, "")
        behind: dict[str, Any] = {"is_next": int(last is not None), "name": place.name}
        if by != "day":
            behind |= {"cost": place.amount, "tokens": place.tokens}
        rows = tx.all(_STATEMENTS[by][0], limit=limit, **behind, **times)
    return [dict(row) for row in rows]


def _behind(tools: list[dict[str, Any]], last: _Place | None) -> list[dict[str, Any]]:
    """Return the tools behind a place: the slowest come first."""
    if last is None:
        return tools
    place = (-last.amount, last.name)
    return [tool for tool in tools if (-_amount("tool", tool), tool["page"]) > place]


def _amount(by: SpendBy, group: dict[str, Any]) -> float:
    """Return what groups are ordered by, -1 where it is unknown: those come last."""
    found = group["duration_ms" if by == "tool" else "cost_usd"]
    return -1.0 if found is None else float(found)


def _cursor(by: SpendBy, group: dict[str, Any]) -> str:
    """Return the cursor of what comes behind a group, and leave out its column `page`."""
    tokens = group["input_tokens"] + group["output_tokens"]
    place = [_amount(by, group), tokens, group.pop("page")]
    return f"spend-{by}:{json.dumps(place)}"


def _place(by: SpendBy, cursor: str) -> _Place:
    name, _, text = str(cursor).partition(":")
    try:
        amount, tokens, group = json.loads(text if name == f"spend-{by}" else "")
        return _Place(float(amount), int(tokens), str(group))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise wrong_cursor(cursor) from error


def _summed(groups: list[dict[str, Any]]) -> dict[str, Any]:
    def total(column: str) -> Any:
        known = [group[column] for group in groups if group[column] is not None]
        return sum(known) if known else None

    return {column: total(column) for column in _SUMS}
