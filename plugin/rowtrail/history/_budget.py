"""An answer within a number of tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rowtrail.errors import QueryError
from rowtrail.history._answer import Answer, line, title
from rowtrail.usage import count_tokens

MIN_CELL_CHARS = 24
"""Values are not cut shorter than this to fit one row."""


NARROW_QUERY = "name fewer columns, or narrow with WHERE"
SHORTER_VALUES = "use substr(), fewer columns"


def fit(
    answer: Answer,
    notes: list[str],
    max_tokens: int,
    sql: str,
    advice: tuple[str, str] = (NARROW_QUERY, SHORTER_VALUES),
) -> Answer:
    """Return the answer with as many of its first rows as fit, and a note on what was cut.

    Args:
        answer: All rows.
        notes: What limits left out before.
        max_tokens: How many tokens `Answer.text()` may have.
        sql: What was asked.
        advice: How to ask for less, where rows were cut and where values were.

    Raises:
        QueryError: Not even the names of the columns fit.
    """
    whole = replace(answer, truncated=bool(notes), note="; ".join(notes) or None)
    if _rows_that_fit(whole, max_tokens) == len(answer.rows) and fits(whole, max_tokens):
        return whole
    kept = min(_rows_that_fit(answer, max_tokens), len(answer.rows) - 1)
    while kept > 0:
        cut = _cut(answer, answer.rows[:kept], max_tokens, advice)
        if fits(cut, max_tokens):
            return cut
        kept -= max(1, kept // 16)
    found = _first_row(answer, max_tokens, advice)
    return found or _no_row(answer, max_tokens, sql, advice)


def fits(answer: Answer, max_tokens: int) -> bool:
    """Return whether an answer takes no more tokens than it may."""
    return count_tokens(answer.text(), None)[0] <= max_tokens


def _rows_that_fit(answer: Answer, max_tokens: int) -> int:
    """Return how many rows fit when counted one by one; a bound that costs no more than it."""
    left = max_tokens - count_tokens(title(answer.columns), None)[0]
    for index, row in enumerate(answer.rows):
        text = line(row)
        # No token is longer than 128 characters: a longer text need not be counted to be too long.
        left -= max_tokens + 1 if len(text) > 128 * max_tokens else count_tokens(text, None)[0]
        if left < 0:
            return index
    return len(answer.rows)


def _cut(
    answer: Answer,
    rows: list[tuple[Any, ...]],
    max_tokens: int,
    advice: tuple[str, str],
    cell: int = 0,
) -> Answer:
    shown = f"{len(rows):,} of {len(answer.rows):,} rows" if answer.rows else "no rows"
    note = f"{shown} in {max_tokens:,} tokens: {advice[0]}"
    if cell:
        note = f"{shown}, values cut to {cell} characters: {advice[1]}"
    return replace(answer, rows=rows, truncated=True, note=note)


def _first_row(answer: Answer, max_tokens: int, advice: tuple[str, str]) -> Answer | None:
    """Return the answer with its first row alone, whose values are cut until it fits."""
    width = max((len(str(cell)) for cell in answer.rows[0]), default=0) if answer.rows else 0
    width = min(width, 128 * max_tokens)
    while width > MIN_CELL_CHARS:
        width = max(width // 2, MIN_CELL_CHARS)
        row = tuple(_shortened(cell, width) for cell in answer.rows[0])
        cut = _cut(answer, [row], max_tokens, advice, width)
        if fits(cut, max_tokens):
            return cut
    return None


def _shortened(cell: Any, width: int) -> Any:
    if isinstance(cell, str) and len(cell) > width:
        return f"{cell[:width]}…"
    return cell[:width] if isinstance(cell, bytes) else cell


def _no_row(answer: Answer, max_tokens: int, sql: str, advice: tuple[str, str]) -> Answer:
    nothing = _cut(answer, [], max_tokens, advice)
    if fits(nothing, max_tokens):
        return nothing
    needed = count_tokens(nothing.text(), None)[0]
    remedy = "name the columns you need, or " if advice[0] == NARROW_QUERY else ""
    raise QueryError(
        f"not even the names of the {len(answer.columns)} columns fit into {max_tokens:,} tokens "
        f"({needed:,} are needed): {remedy}raise max_tokens",
        query=sql,
    )
