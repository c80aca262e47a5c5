"""`rowtrail runs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from rowtrail._clock import Clock, iso_utc
from rowtrail.cli import _figures as show
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import (
    db_option,
    find_thread,
    json_option,
    open_journal,
    record_dead,
)
from rowtrail.cli._listing import Listing, limit_option
from rowtrail.cli._output import Cell, Column, say, terminal_columns
from rowtrail.cli._when import since_option
from rowtrail.engine import Row, Tx
from rowtrail.engine.reading import Reader

PAGE_ROWS = 200
BEFORE_ALL = 2**63 - 1

STATUSES = ("running", "done", "failed", "waiting", "cancelled", "crashed")
COLUMNS = (
    Column("run", width=80),
    Column("thread", width=24, is_flexible=True),
    Column("agent", width=20, is_flexible=True),
    Column("status"),
    Column("started"),
    Column("duration", right=True),
    Column("attempts", right=True),
    Column("steps", right=True),
    Column("llm", right=True),
    Column("tools", right=True),
    Column("in doubt", right=True),
    Column("tokens in/out", right=True),
    Column("saved", right=True),
    Column("cost", right=True),
)

WIDE_COLUMNS = 110
ONLY_IF_WIDE = ("attempts", "steps", "saved")


@dataclass(frozen=True)
class Wanted:
    """Which runs are listed; None leaves a filter out."""

    thread: str | None = None
    agent: str | None = None
    status: str | None = None
    since: int | None = None

    def words(self) -> list[str]:
        """Return what the filters say."""
        given = (("thread", self.thread), ("agent", self.agent), ("status", self.status))
        said = [f"the {name} {value!r}" for name, value in given if value is not None]
        return [*said, f"begun since {iso_utc(self.since)}"] if self.since is not None else said


@click.command("runs", short_help="List runs: crashed and in doubt first, then the newest.")
@limit_option(20)
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@click.option("--thread", metavar="ID", help="Only runs of this thread, a prefix of one or @last.")
@click.option("--agent", metavar="NAME", help="Only runs of this agent.")
@since_option
@click.option("--newest", is_flag=True, help="By time alone, also where runs crashed.")
@db_option
@json_option
def command(
    limit: int,
    status: str | None,
    thread: str | None,
    agent: str | None,
    since: int | None,
    newest: bool,
    db: str,
    as_json: bool,
) -> None:
    """List runs: those that crashed or have steps in doubt first, then the others, each the newest
    first. Without one, the exit code is 3.

    A run whose process is found dead is written down as crashed. `saved` are the tokens that replay
    saved; an unknown cost is `-`. With --json, an array of rows of the view `runs`.

    \b
    Example:
      rowtrail runs
      rowtrail runs --status crashed --since 2d --json
      rowtrail runs --thread @last --newest --limit 100
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        record_dead(reader)
        named = None if thread is None else find_thread(reader, thread)
        wanted = Wanted(named, agent, status, since)
        found = Listing(runs(reader, limit + 1, wanted, newest=newest), limit)
        shown = _shown()
        has_rows = found.print(
            [COLUMNS[i] for i in shown],
            lambda row: [_line(row)[i] for i in shown],
            as_json=as_json,
            hidden="page",
        )
    if not has_rows:
        raise NotFound(_nothing(db, wanted))
    if found.has_more:
        say(f"only the first {limit:,} runs: --limit N lists more, the filters fewer")


def runs(reader: Reader, limit: int, wanted: Wanted, *, newest: bool) -> Iterator[list[Row]]:
    """Yield runs in pages: what needs somebody's attention before the rest, unless `newest`."""
    left = limit
    for urgent in (None,) if newest else (1, 0):
        for page in _pages(reader, left, wanted, urgent):
            yield page
            left -= len(page)


def _pages(reader: Reader, limit: int, wanted: Wanted, urgent: int | None) -> Iterator[list[Row]]:
    before, left = BEFORE_ALL, limit

    def fetch(tx: Tx) -> list[Row]:
        return tx.all(
            "runs_page",
            before=before,
            urgent=urgent,
            thread_id=wanted.thread,
            agent=wanted.agent,
            status=wanted.status,
            since=wanted.since,
            limit=min(left, PAGE_ROWS),
        )

    while left and (page := reader.read(fetch)):
        yield page
        before, left = page[-1]["page"], left - len(page)


def _shown() -> list[int]:
    """Return which columns there is room for; a file or a pipe has room for all."""
    is_narrow = sys.stdout.isatty() and terminal_columns() < WIDE_COLUMNS
    return [
        i for i, column in enumerate(COLUMNS) if not (is_narrow and column.title in ONLY_IF_WIDE)
    ]


def _line(row: Row) -> tuple[Cell, ...]:
    return (
        show.text(row["run_id"]),
        show.text(row["thread_id"]),
        show.text(row["agent"]),
        show.status(row["status"]),
        show.moment(row["started_at"]),
        show.duration(show.between_ms(row["started_at"], row["ended_at"], Clock())),
        show.number(row["attempts"]),
        show.number(row["steps"]),
        show.number(row["llm_calls"]),
        show.number(row["tool_calls"]),
        show.number(row["in_doubt"]),
        show.tokens(row["input_tokens"], row["output_tokens"]),
        show.number(row["saved_tokens"]),
        show.money(row["cost_usd"]),
    )


def _nothing(db: str, wanted: Wanted) -> str:
    words = wanted.words()
    if not words:
        return f"the journal {db!r} holds no run yet"
    return f"no run in {db!r} has {' and '.join(words)}: `rowtrail runs` lists all"
