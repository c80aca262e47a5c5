"""Steps: of a run in their order, one of them, and those in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

from rowtrail._clock import iso_utc
from rowtrail.errors import UnknownIdError
from rowtrail.history._page import DEFAULT_ROWS, Listing, Page, pages
from rowtrail.history._runs import AFTER_ALL, is_within, require_run
from rowtrail.history._source import Only, Row, Source, Tx, reader_of
from rowtrail.history.rows import StepLine, StepPart, StepRow

SHORT_CHARS = 200
"""A line for each; `fetch_step` has the rest."""
PART_CHARS = 4_000
"""Bounds the memory of one answer; the next part goes on where it ends."""


def _line(tx: Tx, values: dict[str, Any]) -> StepLine:
    times = values.pop("replayed_ms")
    ordered = sorted(map(int, times.split(","))) if times else []
    return cast("StepLine", {**values, "replayed_at": [iso_utc(ms) for ms in ordered]})


def _whole(tx: Tx, values: dict[str, Any]) -> StepRow:
    row = step_row(tx, values["step_id"])
    assert row is not None, values  # of the same snapshot
    return row


_STEPS: Listing[StepRow] = Listing("steps", "steps_page", 0)
_LINES: Listing[StepLine] = Listing("steps", "step_lines_page", 0, _line)
_DOUBTS: Listing[StepRow] = Listing("doubts", "doubt_page", AFTER_ALL, _whole)


def list_steps(
    source: Source,
    run_id: str,
    *,
    after_seq: int = 0,
    only: Only | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[StepRow]:
    """Return a page of the steps of a run, with everything that was said, in their order.

    Steps that begin meanwhile come last. A page with long prompts is large: `list_step_lines` has
    the same in short.

    Args:
        source: The journal.
        run_id: The run.
        after_seq: Only steps whose `seq` is greater.
        only: The thread, run or agent beyond which nothing is to be seen.
        limit: How many at most; a page has 1,000 at most.
        cursor: `next_cursor` of the page before; None for the first.

    Raises:
        UnknownIdError: There is no such run, or it may not be seen.
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    return _of_run(_STEPS, source, run_id, after_seq, only, limit=limit, cursor=cursor)


def list_step_lines(
    source: Source,
    run_id: str,
    *,
    chars: int = SHORT_CHARS,
    after_seq: int = 0,
    only: Only | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[StepLine]:
    """Return a page of the steps of a run in short, in their order, as `list_steps` does.

    Args:
        source: The journal.
        run_id: The run.
        chars: To how many characters `input` and `output` are cut.
        after_seq: Only steps whose `seq` is greater.
        only: The thread, run or agent beyond which nothing is to be seen.
        limit: How many at most; a page has 1,000 at most.
        cursor: `next_cursor` of the page before; None for the first.

    Raises:
        UnknownIdError: There is no such run, or it may not be seen.
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    return _of_run(_LINES, source, run_id, after_seq, only, limit=limit, cursor=cursor, chars=chars)


def _of_run(
    listing: Listing[Any],
    source: Source,
    run_id: str,
    after_seq: int,
    only: Only | None,
    *,
    limit: int,
    cursor: str | None,
    **params: Any,
) -> Page[Any]:
    if only:
        require_run(source, run_id, only)
    page = listing.page(
        source, limit=limit, cursor=cursor, start=after_seq, run_id=run_id, **params
    )
    if not page.rows and cursor is None:
        require_run(source, run_id)
    return page


def iter_steps(source: Source, run_id: str) -> Iterator[StepRow]:
    """Yield the steps of a run in their order, reading a page at a time.

    Raises:
        UnknownIdError: There is no such run.
        StorageError: The journal cannot be read.
    """
    for page in pages(partial(list_steps, source, run_id)):
        yield from page


def fetch_step(
    source: Source, step_id: str, *, run_id: str | None = None, only: Only | None = None
) -> StepRow | None:
    """Return a step, None where there is no such step, or none that may be seen.

    Args:
        source: The journal.
        step_id: The step.
        run_id: Only if it is of this run.
        only: The thread, run or agent beyond which nothing is to be seen.
    """

    def work(tx: Tx) -> StepRow | None:
        found = _run_of(tx, step_id, only)
        if found is None or run_id not in (None, found):
            return None
        return _row(tx.one("step_shown", run_id=found, step_id=step_id))

    return reader_of(source).read(work)


def fetch_step_part(
    source: Source,
    step_id: str,
    *,
    start: int = 0,
    chars: int = PART_CHARS,
    only: Only | None = None,
) -> StepPart | None:
    """Return a step with a part of each long value, None without it, as `fetch_step` does.

    Args:
        source: The journal.
        step_id: The step.
        start: How many characters of each value are left out first.
        chars: How many characters a part has.
        only: The thread, run or agent beyond which nothing is to be seen.
    """

    def work(tx: Tx) -> StepPart | None:
        run_id = _run_of(tx, step_id, only)
        where = {"run_id": run_id, "step_id": step_id, "start": start, "chars": chars}
        row = None if run_id is None else tx.one("step_part", **where)
        return None if row is None else cast("StepPart", dict(row))

    return reader_of(source).read(work)


def list_doubts(
    source: Source,
    *,
    run_id: str | None = None,
    thread_id: str | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[StepRow]:
    """Return a page of the steps that a person may settle, the newest first.

    They are those in doubt, which may have happened, and each `write` that happened and whose
    result could not be stored.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    return _DOUBTS.page(source, limit=limit, cursor=cursor, run_id=run_id, thread_id=thread_id)


def is_unsettled(step: StepRow) -> bool:
    """Return whether `list_doubts` has the step: somebody may say what became of it."""
    is_lost = step["status"] == "done" and step["effect"] == "write" and step["output"] is None
    return step["status"] == "in_doubt" or is_lost


def step_row(tx: Tx, step_id: str) -> StepRow | None:
    """Return a step as the view `steps` shows it, None without it."""
    run_id = tx.value("step_run", step_id=step_id)
    return None if run_id is None else _row(tx.one("step_shown", run_id=run_id, step_id=step_id))


def unknown_step(step_id: str) -> UnknownIdError:
    """Return the error of an id that no step has."""
    return UnknownIdError(
        f"no step has the id {step_id!r}: `rowtrail show RUN` lists those of a run, in the "
        "column `step`",
        kind="step",
        value=step_id,
    )


def _run_of(tx: Tx, step_id: str, only: Only | None) -> str | None:
    """Return the run of a step, None where it is not there or may not be seen."""
    run_id: str | None = tx.value("step_run", step_id=step_id)
    return None if run_id is None or not is_within(tx, run_id, only) else run_id


def _row(row: Row | None) -> StepRow | None:
    return None if row is None else cast("StepRow", dict(row))
