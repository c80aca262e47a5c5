"""`rowtrail threads`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from rowtrail._clock import iso_utc
from rowtrail.cli import _figures as show
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._listing import Listing, limit_option
from rowtrail.cli._output import Cell, Column, say
from rowtrail.cli._when import since_option
from rowtrail.engine import Row, Tx
from rowtrail.engine.reading import Reader

PAGE_ROWS = 1_000
AFTER_ALL = "~"
"""Sorts after every time."""

COLUMNS = (
    Column("thread", width=80),
    Column("runs", right=True),
    Column("steps", right=True),
    Column("tokens in/out", right=True),
    Column("first"),
    Column("last"),
)


@click.command("threads", short_help="List threads, the last active first.")
@limit_option(20)
@since_option
@db_option
@json_option
def command(limit: int, since: int | None, db: str, as_json: bool) -> None:
    """List threads, the last active first. Without one, the exit code is 3.

    With --since, only those with activity since then. With --json, an array of rows of the view
    `threads`.

    \b
    Example:
      rowtrail threads
      rowtrail threads --since 7d --json
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        found = Listing(_pages(reader, iso_utc(since), limit + 1), limit)
        has_rows = found.print(COLUMNS, _line, as_json=as_json)
    if not has_rows:
        said = "holds no thread yet" if since is None else "has no thread with activity since then"
        raise NotFound(f"the journal {db!r} {said}")
    if found.has_more:
        say(f"only the last active {limit:,} threads: --limit N lists more, --since fewer")


def _pages(reader: Reader, since: str | None, limit: int) -> Iterator[list[Row]]:
    last_at, thread_id, left = AFTER_ALL, "", limit

    def fetch(tx: Tx) -> list[Row]:
        return tx.all(
            "threads_page",
            last_at=last_at,
            thread_id=thread_id,
            since=since,
            limit=min(left, PAGE_ROWS),
        )

    while left and (page := reader.read(fetch)):
        yield page
        last_at, thread_id = page[-1]["last_at"], page[-1]["thread_id"]
        left -= len(page)


def _line(row: Row) -> tuple[Cell, ...]:
    return (
        show.text(row["thread_id"]),
        show.number(row["runs"]),
        show.number(row["steps"]),
        show.tokens(row["input_tokens"], row["output_tokens"]),
        show.moment(row["first_at"]),
        show.moment(row["last_at"]),
    )
