"""`rowtrail runs`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from rowtrail._clock import Clock
from rowtrail.cli import _figures as show
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import Cell, Column, json_rows, print_pieces, print_table
from rowtrail.store import Row, Tx
from rowtrail.store.reading import Reader

PAGE_ROWS = 200
BEFORE_ALL = 2**63 - 1

STATUSES = ("running", "done", "failed", "waiting", "crashed")
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


@click.command("runs", short_help="List runs, the newest first.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N")
@click.option("--thread", metavar="ID", help="Only runs of this thread.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@db_option
@json_option
def command(limit: int, thread: str | None, status: str | None, db: str, as_json: bool) -> None:
    """List runs, the newest first. Without one, the exit code is 3.

    `saved` are the tokens that replay saved; an unknown cost is `-`. With --json, an array of rows
    of the view `runs`.

    \b
    Example:
      rowtrail runs
      rowtrail runs --status crashed --json
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        found = runs(reader, limit, thread, status)
        nothing: list[Row] = []
        first = next(found, nothing)
        every = chain([first], found)
        if as_json:
            print_pieces(json_rows(_public(row) for page in every for row in page))
        elif first:
            print_table(COLUMNS, ([_line(row) for row in page] for page in every))
    if not first:
        raise NotFound(_nothing(db, thread, status))


def runs(reader: Reader, limit: int, thread: str | None, status: str | None) -> Iterator[list[Row]]:
    """Yield the newest runs in pages."""
    before, left = BEFORE_ALL, limit

    def fetch(tx: Tx) -> list[Row]:
        size = min(left, PAGE_ROWS)
        return tx.all("runs_page", before=before, thread_id=thread, status=status, limit=size)

    while left and (page := reader.read(fetch)):
        yield page
        before, left = page[-1]["page"], left - len(page)


def _public(row: Row) -> dict[str, Any]:
    """Return a row of the view, without the key of the page."""
    return {name: row[name] for name in row.keys() if name != "page"}  # noqa: SIM118  (sqlite3.Row)


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


def _nothing(db: str, thread: str | None, status: str | None) -> str:
    wanted = [f"the thread {thread!r}"] if thread else []
    wanted += [f"the status {status!r}"] if status else []
    if not wanted:
        return f"the journal {db!r} holds no run yet"
    return f"no run in {db!r} has {' and '.join(wanted)}: `rowtrail runs` lists all"
