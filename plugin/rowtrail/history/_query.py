"""`query`: one `SELECT` of anybody, answered within limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rowtrail.engine.reading import Found, UnansweredError
from rowtrail.errors import QueryError, UsageError
from rowtrail.history import _statement
from rowtrail.history._answer import Answer, unique
from rowtrail.history._budget import fit, fits
from rowtrail.history._named import resolved, usage_of
from rowtrail.history._page import check_limit
from rowtrail.history._source import Only, Source, reader_of
from rowtrail.history._wording import misquoted, worded

_PARAMS: tuple[type, ...] = (Sequence, dict)


def query(
    source: Source,
    sql: str,
    params: Sequence[Any] | dict[str, Any] = (),
    *,
    limit: int = 200,
    timeout: float = 2.0,
    max_tokens: int | None = None,
    only: Only | None = None,
) -> Answer:
    """Answer one `SELECT` over the public views; whatever else the text contains is refused.

    A query reads the views of the documentation and `json_each`, calls harmless functions, and may
    use CTEs, also recursive ones. It cannot write, attach, see base tables or load code. A value
    of more than 4 MiB cannot be read; one of more than 20,000 characters is cut in the answer.

    Args:
        source: The journal.
        sql: The query, or the name of one of `named_queries()`, such as `@failures`.
        params: Values for its placeholders: a sequence for `?`, a dict for `:name`. Those of a
            named query may be left out.
        limit: How many rows are returned at most.
        timeout: Seconds after which the query is stopped.
        max_tokens: How many tokens `Answer.text()` may have; rows are cut from the end.
        only: The thread, run or agent whose rows the query sees, in every view: to it there are
            no others. Totals (`threads`, `spend`) are those of its rows.

    Raises:
        QueryError: The query is refused, wrong, or out of time; the message says what to change.
        UsageError: A limit makes no sense.
        UnknownIdError: The journal knows nothing of what `only` names.
        StorageError: The journal cannot be read.
    """
    _check_limits(limit, timeout, max_tokens)
    if not isinstance(sql, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # from anybody
        raise UsageError(f"sql={sql!r} is not text: write the query as a str")
    asked = sql
    sql, params = resolved(sql, params)
    _statement.check(sql)
    _check_params(sql, params)
    wrong = misquoted(sql)
    if wrong is not None:
        raise QueryError(wrong, query=asked)
    try:
        found = reader_of(source).ask(sql, params, rows=limit, seconds=timeout, only=only or Only())
    except UnansweredError as fault:
        raise QueryError(worded(fault, sql, timeout), query=asked) from fault.__cause__
    answer = Answer(unique(found.columns), found.rows)
    notes = _notes(found, limit)
    usage = None if found.rows else usage_of(asked)
    told = replace(answer, note=usage)
    if usage is not None and (max_tokens is None or fits(told, max_tokens)):
        return told
    if max_tokens is not None:
        return fit(answer, notes, max_tokens, sql)
    if not notes:
        return answer
    return replace(answer, truncated=True, note="; ".join(notes))


def _check_limits(limit: int, timeout: float, max_tokens: int | None) -> None:
    check_limit(limit)
    if not (timeout > 0 and math.isfinite(timeout)):
        raise UsageError(f"timeout={timeout!r} gives no time: use seconds, more than 0")
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"max_tokens={max_tokens!r} leaves no room: use 1 or more")


def _check_params(sql: str, params: Sequence[Any] | dict[str, Any]) -> None:
    if isinstance(params, str | bytes) or not isinstance(params, _PARAMS):
        raise UsageError(f"params={params!r}: give a list for `?`, a dict for `:name`")
    if params and not isinstance(params, dict) and _statement.has_named_placeholders(sql):
        raise QueryError(
            "the query names its placeholders, and the parameters are a sequence: give a dict with "
            "every `:name`, or write `?`",
            query=sql,
        )
    for value in params.values() if isinstance(params, dict) else params:
        if value is not None and not isinstance(value, int | float | str | bytes):
            raise QueryError(
                f"the parameter {value!r} is of type {type(value).__name__}, which SQLite does not "
                "have: give a str, int, float, bytes or None, and times as UTC ISO-8601 text",
                query=sql,
            )


def _notes(found: Found, limit: int) -> list[str]:
    """Say what the limits left out."""
    notes: list[str] = []
    if found.has_more:
        is_large = len(found.rows) < limit
        notes.append(
            f"only the first {len(found.rows):,} rows{', which are large' if is_large else ''}: "
            "narrow the query with WHERE, count with GROUP BY, or "
            + ("name fewer columns" if is_large else "raise the limit")
        )
    if found.cut:
        values = "1 value is" if found.cut == 1 else f"{found.cut:,} values are"
        notes.append(
            f"{values} cut to {found.max_chars:,} characters: ask for a part with "
            "substr(column, start, length)"
        )
    return notes
