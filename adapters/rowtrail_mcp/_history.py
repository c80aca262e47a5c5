"""The journal as MCP clients see it: questions to texts, errors to what a model can mend."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

from rowtrail.errors import RowtrailError, UnknownIdError
from rowtrail.history import (
    Answer,
    Only,
    Page,
    Reader,
    cell_text,
    fetch_run,
    fetch_step_part,
    fit,
    list_runs,
    list_step_lines,
    open_journal,
    query,
    visible,
)
from rowtrail.history.rows import RunRow, RunStatus, StepLine
from rowtrail.usage import count_tokens
from rowtrail_mcp._sdk import ResourceError, ResourceNotFoundError, ToolError

DEFAULT_TOKENS = 1_000
"""An answer that a model reads in passing."""
MAX_TOKENS = 20_000
"""No question about history is worth more of a model's context."""
PART_CHARS = 20_000
"""Longest part of a value: what one cell of an answer may have."""

HEAD_CHARS = 200
"""A longer value of a run's own row is cut."""

GO_ON_TOKENS = 20
"""What the line takes that says how to go on."""
RUNS_AT_ONCE = 50
"""Rows that are read at once; the budget of tokens cuts further."""
STEPS_AT_ONCE = 500
"""Rows that are read at once; the budget of tokens cuts further."""
SHORT_CHARS = 200
"""A line for each: `fetch_step` has the rest."""

_RUN_COLUMNS = (
    *("run_id", "thread_id", "agent", "status", "waiting_for", "started_at", "ended_at"),
    *("attempts", "steps", "in_doubt", "input_tokens", "output_tokens", "saved_tokens"),
    *("cost_usd", "error"),
)
_STEP_COLUMNS = (
    *("seq", "step_id", "node", "kind", "name", "status", "ms", "input_tokens", "output_tokens"),
    *("replays", "outcome"),
)
_ADVICE = ("go on, or raise max_tokens", "get_run has the whole row")
_VALUES = ("input", "output", "error")


class History:
    """A journal's file, opened anew by each question: questions come on any thread."""

    def __init__(self, path: str, only: Only) -> None:
        self._path = path
        self._only = only

    def query(self, sql: str, params: dict[str, Any], max_tokens: int) -> str:
        """Answer a query."""
        with self._reader() as reader:
            return _text(query(reader, sql, params, max_tokens=max_tokens, only=self._only))

    def search(
        self,
        text: str,
        kind: Literal["llm", "tool", "function"] | None,
        thread_id: str | None,
        run_id: str | None,
        *,
        since: str | None,
        until: str | None,
        limit: int,
        max_tokens: int,
    ) -> str:
        """Find words, within what is served."""
        from rowtrail.history.searching import search

        with self._reader() as reader:
            found = search(
                reader,
                text,
                kind=kind,
                thread_id=self._within("thread", self._only.thread_id, thread_id),
                run_id=self._within("run", self._only.run_id, run_id),
                since=since,
                until=until,
                limit=limit,
                max_tokens=max_tokens,
            )
        return _text(found)

    def runs(
        self,
        status: RunStatus | None,
        thread_id: str | None,
        agent: str | None,
        *,
        before: str | None,
        cursor: str | None,
        max_tokens: int,
    ) -> str:
        """List runs, the newest first."""
        with self._reader() as reader:
            page = list_runs(
                reader,
                status=status,
                thread_id=thread_id,
                agent=agent,
                before=before,
                only=self._only,
                limit=RUNS_AT_ONCE,
                cursor=cursor,
            )
            answer = Answer(_RUN_COLUMNS, [_run_cells(run) for run in page])
            left = max(max_tokens - GO_ON_TOKENS, GO_ON_TOKENS)
            kept = fit(answer, [], left, "list_runs", _ADVICE)
        behind = _behind(page, kept)
        return _text(kept) if behind is None else f"{_text(kept)}\n(go on with cursor={behind!r})"

    def run(self, run_id: str, after_seq: int, max_tokens: int) -> str:
        """Show a run and its steps."""
        with self._reader() as reader:
            return self._run(reader, run_id, after_seq, max_tokens)

    def run_resource(self, run_id: str) -> str:
        """Show a run and its steps, for a resource."""
        try:
            with open_journal(self._path) as reader:
                return self._run(reader, run_id, 0, MAX_TOKENS)
        except UnknownIdError as error:
            raise ResourceNotFoundError(str(error)) from error
        except RowtrailError as error:
            raise ResourceError(str(error)) from error

    def step(self, step_id: str, value: str | None, offset: int, chars: int) -> str:
        """Show a step, or a part of one of its values."""
        with self._reader() as reader:
            found = fetch_step_part(reader, step_id, start=offset, chars=chars, only=self._only)
            if found is None:
                raise UnknownIdError(
                    f"no step has the id {step_id!r}: get_run lists those of a run",
                    kind="step",
                    value=step_id,
                )
        row: dict[str, Any] = {**found}
        parts = [_part(row, name, offset) for name in _VALUES if value in (None, name)]
        if value is not None:
            return "\n".join(parts)
        plain = [
            f"{column}: {cell_text(cell)}"
            for column, cell in row.items()
            if cell is not None and not column.startswith(_VALUES)
        ]
        counts = ((column, row[column]) for column in ("input_tokens", "output_tokens"))
        named = [f"{column}: {count}" for column, count in counts if count is not None]
        return "\n".join([*plain, *named, *(part for part in parts if part)])

    def _run(self, reader: Reader, run_id: str, after_seq: int, max_tokens: int) -> str:
        run = fetch_run(reader, run_id, only=self._only)
        if run is None:
            raise UnknownIdError(
                f"no run has the id {run_id!r}: list_runs has those there are",
                kind="run",
                value=run_id,
            )
        head = _head({**run}, max_tokens // 2)
        left = max(max_tokens - count_tokens(head, None)[0] - GO_ON_TOKENS, GO_ON_TOKENS)
        page = list_step_lines(
            reader,
            run_id,
            chars=SHORT_CHARS,
            after_seq=after_seq,
            only=self._only,
            limit=STEPS_AT_ONCE,
        )
        steps = Answer(_STEP_COLUMNS, [_step_cells(step) for step in page])
        kept = fit(steps, [], left, "get_run")
        more = ""
        if kept.rows and _behind(page, kept) is not None:
            more = f"\n(go on with after_seq={kept.rows[-1][0]})"
        return f"{head}\n\n{_text(kept)}{more}"

    def _within(self, kind: str, served: str | None, asked: str | None) -> str | None:
        if served is not None and asked not in (None, served):
            raise UnknownIdError(f"only the {kind} {served!r} is served", kind=kind, value=served)
        return served if served is not None else asked

    @contextmanager
    def _reader(self) -> Generator[Reader]:
        """Open the journal for one question; errors of rowtrail are answered with what is wrong."""
        try:
            with open_journal(self._path) as reader:
                yield reader
        except RowtrailError as error:
            raise ToolError(visible(str(error), keep="\n")) from error


def _run_cells(run: RunRow) -> tuple[object, ...]:
    cells: dict[str, object] = {**run}
    for column in ("waiting_for", "error"):
        text = cells[column]
        cells[column] = text[:SHORT_CHARS] if isinstance(text, str) else None
    return tuple(cells[column] for column in _RUN_COLUMNS)


def _step_cells(step: StepLine) -> tuple[object, ...]:
    cells: dict[str, object] = {**step}
    ms = step["duration_ms"]
    cells["ms"] = None if ms is None else float(int(ms + 0.5))
    cells["outcome"] = step["output"]
    return tuple(cells[column] for column in _STEP_COLUMNS)


def _behind(page: Page[Any], kept: Answer) -> str | None:
    """Return the cursor of what comes behind the rows of a page that were kept."""
    return page.first(len(kept.rows)).next_cursor if kept.rows else None


def _text(answer: Answer) -> str:
    return answer.text() if answer.rows else f"{answer.text()}\n(no rows)"


def _head(run: dict[str, Any], max_tokens: int) -> str:
    """Return the row of a run, a column a line, long ones cut, as far as the budget goes."""
    lines: list[str] = []
    left = max_tokens - GO_ON_TOKENS
    for column, cell in run.items():
        if cell is None:
            continue
        text = cell_text(cell)
        if len(text) > HEAD_CHARS:
            text = f"{text[:HEAD_CHARS]}… (whole: SELECT {column} FROM runs WHERE run_id = ...)"
        line = f"{column}: {text}"
        left -= count_tokens(f"{line}\n", None)[0]
        if left < 0 and lines:
            lines.append("(more columns: raise max_tokens)")
            break
        lines.append(line)
    return "\n".join(lines)


def _part(row: dict[str, Any], name: str, offset: int) -> str:
    """Return a value of a step with where it begins and how to read on; empty where it is NULL."""
    text, length = row[name], row[f"{name}_chars"]
    if text is None:
        return ""
    end = offset + len(text)
    title = f"{name}, {length:,} characters"
    if (offset, end) != (0, length):
        title += f", from {offset:,} to {end:,}"
    if end < length:
        title += f" (go on with value={name!r}, offset={end})"
    return f"{title}:\n{visible(text, keep=chr(10))}"
