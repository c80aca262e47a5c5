"""`rowtrail threads`."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._listing import Listing, limit_option
from rowtrail.cli._output import Cell, Column, say
from rowtrail.cli._when import since_option
from rowtrail.history import list_threads, pages
from rowtrail.history.rows import ThreadRow

PAGE_ROWS = 1_000
"""A read of some milliseconds, after which a writer may go on."""

COLUMNS = (
    Column("thread", width=80, is_flexible=True, is_id=True),
    Column("runs", right=True),
    Column("steps", right=True, rank=1),
    Column("tokens in/out", right=True, rank=2),
    Column("first", rank=3),
    Column("last"),
)


@click.command("threads", short_help="List threads, the last active first.")
@limit_option(20)
@since_option
@db_option
@json_option
@max_tokens_option
def command(limit: int, since: datetime | None, db: str, as_json: bool) -> None:
    """List threads, the last active first. Without one, the exit code is 3.

    With --since, only those with activity since then. With --json, an array of rows of the view
    `threads`.

    \b
    Example:
      rowtrail threads
      rowtrail threads --since 7d --json
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        listing = partial(list_threads, reader, since=since)
        found = Listing(pages(listing, limit=limit + 1, first=PAGE_ROWS), limit)
        has_rows = found.print(COLUMNS, _line, as_json=as_json)
    if not has_rows:
        said = "holds no thread yet" if since is None else "has no thread with activity since then"
        raise NotFound(f"the journal {db!r} {said}")
    if found.has_more:
        say(f"only the last active {limit:,} threads: --limit N lists more, --since fewer")


def _line(row: ThreadRow) -> tuple[Cell, ...]:
    return (
        show.text(row["thread_id"]),
        show.number(row["runs"]),
        show.number(row["steps"]),
        show.tokens(row["input_tokens"], row["output_tokens"]),
        show.minute(row["first_at"]),
        show.minute(row["last_at"]),
    )
