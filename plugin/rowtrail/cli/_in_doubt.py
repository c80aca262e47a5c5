"""`rowtrail in-doubt`."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import (
    db_option,
    find_run,
    json_option,
    open_journal,
    record_dead,
)
from rowtrail.cli._listing import Listing, limit_option
from rowtrail.cli._output import (
    Cell,
    Column,
    confirm,
    print_fields,
    say,
    shorten,
)
from rowtrail.history import (
    Reader,
    fetch_step,
    find_step,
    is_unsettled,
    json_text,
    list_doubts,
    pages,
    unknown_step,
)
from rowtrail.history.rows import StepRow

PAGE_ROWS = 100
"""A read of some milliseconds, after which a writer may go on."""
SHOWN_CHARS = 100
"""Arguments on one line of a terminal."""

COLUMNS = (
    Column("step", right=True),
    Column("run", width=80, is_flexible=True, is_id=True),
    Column("thread", width=32, is_flexible=True, is_id=True, is_rare=True),
    Column("agent", width=24, is_flexible=True, is_rare=True, rank=2),
    Column("node", width=24, is_flexible=True, rank=3),
    Column("call", width=40, is_flexible=True),
    Column("effect", rank=4),
    Column("started", rank=1),
    Column("arguments", width=SHOWN_CHARS, is_flexible=True),
)
_ON_RESUME = {
    "read": "it is made again",
    "idempotent": "it is made again, with the same idempotency key",
    "write": "its `on_doubt` decides: fail (unless it says otherwise), ask, retry, or a function",
}


@click.command("in-doubt", short_help="List steps that may have happened, and settle them.")
@click.argument("step", metavar="[STEP]", required=False)
@click.option(
    "--result", metavar="JSON", help="It happened, and returned this; `-` reads it, with --yes."
)
@click.option("--text", metavar="TEXT", help="The same with a text, which needs no quotes.")
@click.option("--not-done", is_flag=True, help="It did not happen: it is made again on resume.")
@click.option("--run", metavar="RUN", help="List only steps of this run.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@limit_option(50)
@db_option
@json_option
@max_tokens_option
def command(
    step: str | None,
    result: str | None,
    text: str | None,
    not_done: bool,
    run: str | None,
    yes: bool,
    limit: int,
    db: str,
    as_json: bool,
) -> None:
    """List the steps in doubt, the newest first: begun by a process that died before their result
    was recorded, so that they may have happened; and each `write` that happened and whose result
    could not be stored. Without one, the exit code is 3.

    With STEP, an id or @last, show it, or settle it: say that it happened and what it returned, or
    that it did not. The next resume goes by that. With --json, rows of the view `steps`.

    \b
    Example:
      rowtrail in-doubt
      rowtrail in-doubt 17 --text "sent to a@example.org"
      rowtrail in-doubt 17 --result '{"id": 4711}' --yes
      rowtrail in-doubt 17 --not-done
    """  # noqa: D301  (click reads the backspace)
    if result == "-" and not yes:
        raise click.UsageError("--result - takes standard input, so nobody can be asked: add --yes")
    decisions = [option for option in (result, text, not_done or None) if option is not None]
    if len(decisions) > 1:
        raise click.UsageError("--result, --text and --not-done exclude each other")
    if step is None:
        if decisions:
            raise click.UsageError("name the STEP that is to be settled")
        _list(db, run, limit, as_json)
        return
    with open_journal(db) as reader:
        step = find_step(reader, step)
    if decisions:
        given = text if result is None else _parsed(result)
        _settle(db, step, happened=not not_done, result=given, yes=yes)
    _show(db, step, as_json)


def _list(db: str, run: str | None, limit: int, as_json: bool) -> None:
    with open_journal(db) as reader:
        record_dead(reader)
        run_id = None if run is None else find_run(reader, run)
        listing = partial(list_doubts, reader, run_id=run_id)
        found = Listing(pages(listing, limit=limit + 1, first=PAGE_ROWS), limit)
        has_rows = found.print(COLUMNS, _line, as_json=as_json)
    if not has_rows:
        where = "" if run_id is None else f" of the run {run_id!r}"
        raise NotFound(f"no step{where} is in doubt in {db!r}: nothing has to be settled")
    if found.has_more:
        say(f"only the newest {limit:,} steps: --limit N lists more")
    say("settle one with `rowtrail in-doubt STEP --result JSON`, `--text TEXT` or `--not-done`")


def _line(row: StepRow) -> tuple[Cell, ...]:
    return (
        show.text(row["step_id"]),
        show.text(row["run_id"]),
        show.text(row["thread_id"]),
        show.text(row["agent"]),
        show.text(row["node"] or row["scope"]),
        Cell(f"{row['kind']} {show.text(row['name']).text}"),
        show.text(row["effect"]),
        show.minute(row["started_at"]),
        Cell(shorten(show.text(row["input"]).text, SHOWN_CHARS)),
    )


def _fetch(reader: Reader, step_id: str) -> StepRow:
    row = fetch_step(reader, step_id)
    if row is None:
        raise unknown_step(step_id)
    return row


def _parsed(text: str) -> Any:
    given = sys.stdin.read() if text == "-" else text
    try:
        value = json.loads(given)
        json.dumps(value, allow_nan=False)  # Python reads NaN and 1e999; nothing can store them
        return value
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(
            f"{given!r} is not valid JSON ({error}): write a text with its quotes, or use --text",
            param_hint="--result",
        ) from error


def _settle(db: str, step: str, *, happened: bool, result: Any, yes: bool) -> None:
    from rowtrail.journal import Journal

    with open_journal(db) as reader:
        row = _fetch(reader, step)
    what = f"{row['kind']} {show.text(row['name']).text} (step {row['step_id']})"
    said = f"happened and returned {json_text(result)}" if happened else "did not happen"
    if not yes:
        say(f"{what} of run {row['run_id']}, called with {row['input'] or 'no arguments'}")
        confirm(f"Write down that it {said}?")
    with Journal(db) as journal:
        if happened:
            journal.settle(step, result=result)
        else:
            journal.settle(step, happened=False)
    say(f"settled: {what} {said}")


def _show(db: str, step: str, as_json: bool) -> None:
    with open_journal(db) as reader:
        record_dead(reader)
        row = _fetch(reader, step)
    if as_json:
        click.echo(json_text(row, indent=2))
        return
    fields = [
        ("step", show.text(row["step_id"])),
        ("run", show.text(row["run_id"])),
        ("call", Cell(f"{row['kind']} {show.text(row['name']).text}")),
        ("effect", show.text(row["effect"])),
        ("status", show.status(row["status"])),
        ("reason", show.text(row["reason"])),
        ("started", show.moment(row["started_at"])),
        ("key", show.text(row["idempotency_key"])),
        ("arguments", show.text(row["input"])),
        ("result", show.text(row["output"])),
    ]
    if is_unsettled(row):
        fields.append(("on resume", Cell(_ON_RESUME[row["effect"]])))
    print_fields(fields)
