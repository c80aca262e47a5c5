"""`rowtrail runs`."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from typing import cast, get_args

import click

from rowtrail._clock import Clock
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
from rowtrail.cli._when import iso, since_option
from rowtrail.history import list_runs, pages, urgent_runs_first
from rowtrail.history.rows import RunRow, RunStatus

PAGE_ROWS = 200
"""A read of some milliseconds, after which a writer may go on."""

STATUSES = get_args(RunStatus)
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
"""What the widest of the columns take that are always there."""
ONLY_IF_WIDE = ("attempts", "steps", "saved")


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
    since: datetime | None,
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
        listing = partial(
            list_runs,
            reader,
            status=cast("RunStatus | None", status),
            thread_id=named,
            agent=agent,
            since=since,
        )
        every = pages if newest else urgent_runs_first
        found = Listing(every(listing, limit=limit + 1, first=PAGE_ROWS), limit)
        shown = _shown()
        has_rows = found.print(
            [COLUMNS[i] for i in shown],
            lambda row: [_line(row)[i] for i in shown],
            as_json=as_json,
        )
    if not has_rows:
        filters = {"thread": named, "agent": agent, "status": status}
        raise NotFound(_nothing(db, filters, since))
    if found.has_more:
        say(f"only the first {limit:,} runs: --limit N lists more, the filters fewer")


def _shown() -> list[int]:
    """Return which columns there is room for; a file or a pipe has room for all."""
    is_narrow = sys.stdout.isatty() and terminal_columns() < WIDE_COLUMNS
    return [
        i for i, column in enumerate(COLUMNS) if not (is_narrow and column.title in ONLY_IF_WIDE)
    ]


def _line(row: RunRow) -> tuple[Cell, ...]:
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


def _nothing(db: str, filters: dict[str, str | None], since: datetime | None) -> str:
    words = [f"the {name} {value!r}" for name, value in filters.items() if value is not None]
    if since is not None:
        words.append(f"begun since {iso(since)}")
    if not words:
        return f"the journal {db!r} holds no run yet"
    return f"no run in {db!r} has {' and '.join(words)}: `rowtrail runs` lists all"
