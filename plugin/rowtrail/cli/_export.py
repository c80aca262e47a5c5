"""`rowtrail export`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

import click

from rowtrail.cli._figures import counted
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import (
    db_option,
    find_run,
    find_thread,
    json_option,
    open_journal,
    run_argument,
)
from rowtrail.cli._out import Write, writing
from rowtrail.cli._output import csv_pieces, say
from rowtrail.cli._when import since_option
from rowtrail.errors import UnknownIdError
from rowtrail.history import (
    Reader,
    fetch_run,
    iter_steps,
    json_text,
    list_attempts,
    list_run_ids,
    pages,
    view_columns,
)
from rowtrail.history.rows import StepRow

FORMATS = ("jsonl", "csv")


@click.command("export", short_help="Write one run, or all, as JSON lines or CSV.")
@run_argument("run", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="jsonl",
    show_default=True,
    help="JSON lines of runs, attempts and steps, or CSV of the steps alone.",
)
@click.option("--out", metavar="FILE", type=click.Path(), help="Write there, not to stdout.")
@click.option("--thread", metavar="ID", help="Only runs of this thread.")
@since_option
@db_option
@json_option
def command(
    run: str | None,
    form: str,
    out: str | None,
    thread: str | None,
    since: datetime | None,
    db: str,
    as_json: bool,
) -> None:
    """Write RUN, or all runs from the oldest on, with everything that was said.

    Each JSON line is {"run": ...}, {"attempt": ...} or {"step": ...}, with the columns of the views
    `runs`, `attempts` and `steps`; CSV has a line of columns and one for each step. It is read and
    written in pages. FILE is private, and appears when it is whole.

    \b
    Example:
      rowtrail export @last
      rowtrail export --since 7d --out week.jsonl
      rowtrail export report-42 --format csv --out steps.csv
    """  # noqa: D301  (click reads the backspace)
    if as_json and form == "csv":
        raise click.UsageError("--json and --format csv exclude each other")
    if run is not None and (thread is not None or since is not None):
        raise click.UsageError("RUN names one run: leave out --thread and --since")
    with open_journal(db) as reader:
        if run is not None:
            ids = iter([find_run(reader, run)])
        else:
            thread_id = None if thread is None else find_thread(reader, thread)
            listing = partial(list_run_ids, reader, thread_id=thread_id, since=since)
            ids = (run_id for page in pages(listing) for run_id in page)
        first = next(ids, None)
        if first is None:
            if run is None and thread is None and since is None:
                raise NotFound(f"the journal {db!r} holds no run yet")
            raise NotFound(f"there is no such run in {db!r}: `rowtrail runs` lists them")
        with writing(out, db) as write:
            export = _as_csv if form == "csv" else _as_json_lines
            count = export(reader, chain([first], ids), write)
    if out is not None:
        say(f"wrote {counted(count, 'run')} to {out}")


def _steps(reader: Reader, run_id: str) -> Iterator[StepRow]:
    with contextlib.suppress(UnknownIdError):  # deleted meanwhile
        yield from iter_steps(reader, run_id)


def _as_json_lines(reader: Reader, ids: Iterator[str], write: Write) -> int:
    count = 0
    for run_id in ids:
        run = fetch_run(reader, run_id)
        if run is None:  # deleted meanwhile
            continue
        count += 1
        write(_json_line("run", run))
        with contextlib.suppress(UnknownIdError):
            for page in pages(partial(list_attempts, reader, run_id)):
                for attempt in page:
                    write(_json_line("attempt", attempt))
        for step in _steps(reader, run_id):
            write(_json_line("step", step))
    return count


def _json_line(what: str, row: Mapping[str, object]) -> str:
    return f"{json_text({what: row})}\n"


def _as_csv(reader: Reader, ids: Iterator[str], write: Write) -> int:
    count = 0

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal count
        for run_id in ids:
            count += 1
            yield from (tuple(step.values()) for step in _steps(reader, run_id))

    for piece in csv_pieces(view_columns("steps"), rows()):
        write(piece)
    return count
