"""Runs and their attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_args

from rowtrail.errors import UnknownIdError, UsageError
from rowtrail.history._page import DEFAULT_ROWS, Listing, Moment, Page, millis_of, pages
from rowtrail.history._source import Only, Source, Tx, reader_of
from rowtrail.history.rows import AttemptRow, ListedRun, RunStatus

AFTER_ALL = 2**63 - 1
"""Above every row id."""

EVERYTHING = Only()

_RUNS: Listing[ListedRun] = Listing("runs", "runs_page", AFTER_ALL)
_IDS: Listing[str] = Listing("run-ids", "run_ids_page", 0, lambda tx, row: str(row["run_id"]))
_ATTEMPTS: Listing[AttemptRow] = Listing("attempts", "attempts_page", 0)


def list_runs(
    source: Source,
    *,
    status: RunStatus | None = None,
    thread_id: str | None = None,
    agent: str | None = None,
    since: Moment | None = None,
    before: Moment | None = None,
    urgent: bool | None = None,
    only: Only | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[ListedRun]:
    """Return a page of runs, the newest first.

    Runs that begin later are not on later pages, so that each run is on one page at most.

    Args:
        source: The journal.
        status: Only runs that have it now.
        thread_id: Only runs of this thread.
        agent: Only runs of this agent.
        since: Only runs that began then or later.
        before: Only runs that began earlier.
        urgent: True: only runs that crashed, were cancelled or have steps in doubt; False: only
            the others.
        only: The thread, run or agent beyond which nothing is to be seen.
        limit: How many at most; a page has 1,000 at most.
        cursor: `next_cursor` of the page before; None for the first.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    if status is not None and status not in get_args(RunStatus):
        raise UsageError(
            f"status={status!r} is unknown: use one of {', '.join(get_args(RunStatus))}"
        )
    seen = only or EVERYTHING
    if _clash(thread_id, seen.thread_id) or _clash(agent, seen.agent):
        return Page(())
    return _RUNS.page(
        source,
        limit=limit,
        cursor=cursor,
        run_id=seen.run_id,
        thread_id=thread_id if seen.thread_id is None else seen.thread_id,
        agent=agent if seen.agent is None else seen.agent,
        status=status,
        since=millis_of("since", since),
        before=millis_of("before", before),
        urgent=None if urgent is None else int(urgent),
    )


def _clash(asked: str | None, served: str | None) -> bool:
    return asked is not None and served is not None and asked != served


def urgent_runs_first(
    listing: Callable[..., Page[ListedRun]], *, limit: int | None = None, first: int = DEFAULT_ROWS
) -> Iterator[Page[ListedRun]]:
    """Yield pages of runs: what needs somebody's attention before the rest, each the newest first.

    Each run is yielded once, also where it crashes or goes on meanwhile: the ids of the urgent
    ones are kept in memory.

    Args:
        listing: `list_runs` with its filters, by `partial`.
        limit: How many runs at most; None for all.
        first: How many rows the first page has.
    """
    seen: set[str] = set()
    for page in pages(partial(listing, urgent=True), limit=limit, first=first):
        seen.update(run["run_id"] for run in page)
        yield page
    left = None if limit is None else limit - len(seen)
    if left == 0:
        return
    for page in pages(listing, first=first if left is None else min(first, left)):
        rows = tuple(run for run in page if run["run_id"] not in seen)[:left]
        if rows:
            yield Page(rows)
        left = None if left is None else left - len(rows)
        if left == 0:
            return


def list_run_ids(
    source: Source,
    *,
    thread_id: str | None = None,
    since: Moment | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[str]:
    """Return a page of the ids of runs, the oldest first.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    return _IDS.page(
        source,
        limit=limit,
        cursor=cursor,
        thread_id=thread_id,
        since=millis_of("since", since),
    )


def fetch_run(source: Source, run_id: str, *, only: Only | None = None) -> ListedRun | None:
    """Return a run, None where there is no such run, or none that may be seen."""

    def work(tx: Tx) -> ListedRun | None:
        if not is_within(tx, run_id, only):
            return None
        row = tx.one("run_shown", run_id=run_id)
        return None if row is None else cast("ListedRun", dict(row))

    return reader_of(source).read(work)


def list_attempts(
    source: Source, run_id: str, *, limit: int = DEFAULT_ROWS, cursor: str | None = None
) -> Page[AttemptRow]:
    """Return a page of the attempts of a run, the first attempt first.

    Raises:
        UnknownIdError: There is no such run.
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    page = _ATTEMPTS.page(source, limit=limit, cursor=cursor, run_id=run_id)
    if not page.rows and cursor is None:
        require_run(source, run_id)
    return page


def fetch_open_attempt(source: Source, run_id: str) -> AttemptRow | None:
    """Return the newest attempt of a run that has not ended: who works on it, if that one lives."""
    row = reader_of(source).read(lambda tx: tx.one("attempt_open", run_id=run_id))
    return None if row is None else cast("AttemptRow", dict(row))


@dataclass(frozen=True)
class Span:
    """When an attempt worked: from its first sign of life to its last, UTC ISO-8601 text."""

    attempt_id: str
    begin: str
    end: str


def timeline(source: Source, run_id: str) -> tuple[Span, ...]:
    """Return when each attempt of a run worked, the first attempt first: between are pauses.

    The times of its steps count too: what a heartbeat says may be 2 s old.
    """

    def work(tx: Tx) -> tuple[Span, ...]:
        steps = {row["attempt_id"]: row for row in tx.all("attempt_extents", run_id=run_id)}
        attempts = tx.all("attempts_page", run_id=run_id, cursor=0, limit=-1)
        return tuple(_span(dict(row), steps.get(row["attempt_id"])) for row in attempts)

    return reader_of(source).read(work)


def _span(attempt: dict[str, Any], steps: Any) -> Span:
    begin, end = attempt["started_at"], attempt["ended_at"] or attempt["last_seen_at"]
    if steps is not None:
        begin, end = min(begin, steps["first_at"]), max(end, steps["last_at"])
    return Span(attempt["attempt_id"], begin, end)


def is_within(tx: Tx, run_id: str, only: Only | None) -> bool:
    """Return whether there is such a run, and it may be seen."""
    seen = only or EVERYTHING
    found = tx.value(
        "run_within",
        run_id=run_id,
        only_run=seen.run_id,
        thread_id=seen.thread_id,
        agent=seen.agent,
    )
    return bool(found)


def require_run(source: Source, run_id: str, only: Only | None = None) -> None:
    """Refuse the id of a run that is not there, or may not be seen.

    Raises:
        UnknownIdError: It is so.
    """
    if not reader_of(source).read(lambda tx: is_within(tx, run_id, only)):
        raise UnknownIdError(
            f"no run has the id {run_id!r}: `rowtrail runs` lists them", kind="run", value=run_id
        )
