"""`rowtrail runs`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import cast, get_args

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import (
    db_option,
    find_thread,
    json_option,
    open_journal,
    record_dead,
)
from rowtrail.cli._listing import Listing, limit_option
from rowtrail.cli._output import Cell, Column, say
from rowtrail.cli._when import iso, since_option
from rowtrail.history import cell_text, list_runs, pages, urgent_runs_first
from rowtrail.history.rows import ListedRun, RunStatus

PAGE_ROWS = 200
"""A read of some milliseconds, after which a writer may go on."""

STATUSES = get_args(RunStatus)
COLUMNS = (
    Column("run", width=80, is_flexible=True, is_id=True),
    Column("thread", width=32, is_flexible=True, is_id=True),
    Column("agent", width=24, is_flexible=True, rank=1),
    Column("status"),
    Column("waiting for", width=60, is_flexible=True, is_rare=True),
    Column("started"),
    Column("duration", right=True, rank=3),
    Column("attempts", right=True, rank=8),
    Column("steps", right=True, rank=5),
    Column("llm", right=True, rank=7),
    Column("tools", right=True, rank=7),
    Column("in doubt", right=True, rank=6),
    Column("tokens in/out", right=True, rank=2),
    Column("saved", right=True, rank=9),
    Column("cost", right=True, rank=4),
)


@click.command("runs", short_help="List runs: crashed and in doubt first, then the newest.")
@limit_option(20)
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@click.option("--thread", metavar="ID", help="Only runs of this thread, a prefix of one or @last.")
@click.option("--agent", metavar="NAME", help="Only runs of this agent.")
@since_option
@click.option("--newest", is_flag=True, help="By time alone, also where runs crashed.")
@db_option
@json_option
@max_tokens_option
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

    A run whose process is found dead is written down as crashed. `duration` is what its processes
    worked, without the time between them; `saved` are the tokens that replay saved; an unknown cost
    is `-`. Large numbers are rounded, and a narrow terminal gets fewer columns; with --json, an
    array of exact rows of the view `runs`.

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
        has_rows = found.print(COLUMNS, _line, as_json=as_json)
    if not has_rows:
        filters = {"thread": named, "agent": agent, "status": status}
        raise NotFound(_nothing(db, filters, since))
    if found.has_more:
        say(f"only the first {limit:,} runs: --limit N lists more, the filters fewer")


def _line(row: ListedRun) -> tuple[Cell, ...]:
    return (
        show.text(row["run_id"]),
        show.text(row["thread_id"]),
        show.text(row["agent"]),
        show.status(row["status"]),
        Cell(cell_text(row["waiting_for"])),
        show.minute(row["started_at"]),
        show.duration(row["worked_ms"]),
        show.number(row["attempts"]),
        show.number(row["steps"]),
        show.number(row["llm_calls"]),
        show.number(row["tool_calls"]),
        show.number(row["in_doubt"]),
        show.tokens(row["input_tokens"], row["output_tokens"]),
        show.rounded(row["saved_tokens"]),
        show.money(row["cost_usd"]),
    )


def _nothing(db: str, filters: dict[str, str | None], since: datetime | None) -> str:
    words = [f"the {name} {value!r}" for name, value in filters.items() if value is not None]
    if since is not None:
        words.append(f"begun since {iso(since)}")
    if not words:
        return f"the journal {db!r} holds no run yet"
    return f"no run in {db!r} has {' and '.join(words)}: `rowtrail runs` lists all"
