"""`spend`: where tokens, money and time went, and what replay saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rowtrail._clock import iso_utc
from rowtrail.errors import UsageError
from rowtrail.history._page import DEFAULT_ROWS, Moment, check_limit, millis_of
from rowtrail.history._source import Row, Source, Tx, reader_of

SpendBy = Literal["model", "tool", "thread", "agent", "day"]

_STATEMENTS: dict[SpendBy, tuple[str, str | None]] = {
    "model": ("spend_by_model", "spend_of_days"),
    "day": ("spend_by_day", "spend_of_days"),
    "thread": ("spend_by_thread", "spend_of_runs"),
    "agent": ("spend_by_agent", "spend_of_runs"),
    "tool": ("spend_by_tool", None),
}
_SUMS = (
    *("calls", "failed", "duration_ms", "input_tokens", "output_tokens", "cost_usd"),
    *("replays", "saved_ms", "saved_tokens", "saved_usd"),
)


@dataclass(frozen=True)
class Spend:
    """What was spent, in groups.

    Attributes:
        rows: The groups, the dearest first (days: the newest); the first column names the group.
        total: The sums over all groups, also those that the limit left out.
        has_more: There are more groups.
    """

    rows: list[dict[str, Any]]
    total: dict[str, Any]
    has_more: bool


def spend(
    source: Source,
    by: SpendBy = "model",
    *,
    since: Moment | None = None,
    limit: int = DEFAULT_ROWS,
) -> Spend:
    """Return what was spent, by model, tool, thread, agent or UTC day.

    Models and days are counted by the whole days since `since`, threads and agents by the runs
    that began since, tools by their calls since. A cost that nobody knows is None.

    Args:
        source: The journal.
        by: What to add up by.
        since: Only what was spent then or later.
        limit: How many groups at most.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    if by not in _STATEMENTS:
        raise UsageError(f"by={by!r} is unknown: use one of {', '.join(_STATEMENTS)}")
    check_limit(limit)
    since_ms = millis_of("since", since)
    name, total_name = _STATEMENTS[by]
    day = None if since_ms is None else (iso_utc(since_ms) or "")[:10]

    def work(tx: Tx) -> tuple[list[Row], Row | None]:
        if by in ("model", "day"):
            times: dict[str, Any] = {"day": day}
        else:
            times = {"since": since_ms}
        # A tool has few names: all are read, and summed up here.
        rows = tx.all(name, limit=-1 if total_name is None else limit + 1, **times)
        return rows, None if total_name is None else tx.one(total_name, **times)

    rows, total = reader_of(source).read(work)
    groups = [dict(row) for row in rows]
    summed = _summed(groups) if total is None else dict(total)
    return Spend(groups[:limit], summed, len(groups) > limit)


def _summed(groups: list[dict[str, Any]]) -> dict[str, Any]:
    def total(column: str) -> Any:
        known = [group[column] for group in groups if group[column] is not None]
        return sum(known) if known else None

    return {column: total(column) for column in _SUMS}
