"""`rowtrail show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import click

from rowtrail._clock import Clock
from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._journal import (
    db_option,
    find_run,
    json_option,
    open_journal,
    record_dead,
    run_argument,
)
from rowtrail.cli._output import (
    GAP,
    Cell,
    Column,
    json_rows,
    print_cells,
    print_fields,
    print_pieces,
    print_table,
    print_text,
    shorten,
    terminal_columns,
)
from rowtrail.cli._timeline import MAX_CELLS, MIN_CELLS, Axis, millis, tree_order
from rowtrail.cli._tree import print_tree
from rowtrail.errors import UnknownIdError
from rowtrail.history import (
    LAST,
    Page,
    Reader,
    cell_text,
    fetch_run,
    fetch_step,
    iter_steps,
    json_text,
    list_attempts,
    list_step_lines,
    newest_step,
    pages,
    timeline,
    visible,
)
from rowtrail.history.rows import AttemptRow, ListedRun, StepLine, StepRow

LINE_CHARS = 100
"""The width at which text is read easily."""

ATTEMPTS = (
    Column("attempt", right=True),
    Column("pid", right=True),
    Column("host"),
    Column("started"),
    Column("duration", right=True),
    Column("outcome"),
)
STEPS = (
    Column("#", right=True),
    Column("step", right=True),
    Column("node", width=24, is_flexible=True),
    Column("kind"),
    Column("name", width=28, is_flexible=True),
    Column("status"),
    Column("replays", right=True),
    Column("duration", right=True),
    Column("tokens in/out", right=True),
    Column("input", width=LINE_CHARS, is_flexible=True),
    Column("output", width=LINE_CHARS, is_flexible=True),
)
JSON_COLUMNS = frozenset(("input", "output"))
VIEWS = ("tree", "timeline", "table")
MAX_ATTEMPTS = 5
"""More are counted."""
MUCH_LONGER = 1.2
"""A run whose processes worked most of its time is not said to have waited."""
MAX_DEPTH = 8
"""Deeper indentation leaves no room for the text."""
WIDE_COLUMNS = 110
"""A terminal this wide has room for the ids and the nodes beside the timeline."""


@click.command("show", short_help="Show a run, its attempts and its steps.")
@run_argument("run")
@click.option("--step", metavar="ID", help="Show one step in full; @last is the newest.")
@click.option(
    "--view",
    type=click.Choice(VIEWS),
    default="tree",
    show_default=True,
    help="Who called what, a bar over time for each step, or what went in and came out.",
)
@click.option("--all", "with_all", is_flag=True, help="A line for each step of the tree.")
@db_option
@json_option
@max_tokens_option
def command(run: str, step: str | None, view: str, with_all: bool, db: str, as_json: bool) -> None:
    """Show RUN, its attempts, and its steps: a tree by agent, a timeline, or a table.

    RUN is an id, the beginning of one, a thread (its last run), or @last. The tree fits a screen:
    calls that look alike are one line, of tools with the argument that differs, and branches are
    folded with a count; what failed, runs or is in doubt keeps its line. In the timeline, pauses
    between attempts are left out and bars of replayed steps are hollow. In the table, of a prompt
    the last message is shown. `!` marks what failed, `?` what is in doubt or asked, `~` what was
    superseded. With --json, one object: `run`, `attempts`, `steps`, with the columns of the views;
    with --step, the step alone.

    \b
    Example:
      rowtrail show @last
      rowtrail show report-42 --all
      rowtrail show report-42 --view timeline
      rowtrail show report-42 --step 17
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        record_dead(reader)
        run_id = find_run(reader, run)
        if step is not None:
            _print_step(_fetch_step(reader, run_id, step), as_json)
        elif as_json:
            print_pieces(_as_json(reader, run_id))
        else:
            _print_run(reader, run_id, view, with_all=with_all)


def _fetch_run(reader: Reader, run_id: str) -> ListedRun:
    row = fetch_run(reader, run_id)
    if row is None:  # deleted since it was found
        raise UnknownIdError(f"the run {run_id!r} is gone", kind="run", value=run_id)
    return row


def _fetch_step(reader: Reader, run_id: str, text: str) -> StepRow:
    step_id = (newest_step(reader, run_id=run_id) or text) if text == LAST else text
    row = fetch_step(reader, step_id, run_id=run_id)
    if row is None:
        raise UnknownIdError(
            f"the run {run_id!r} has no step {step_id!r}: `rowtrail show {run_id}` lists them, "
            "with their ids in the column `step`",
            kind="step",
            value=step_id,
        )
    return row


def _as_json(reader: Reader, run_id: str) -> Iterator[str]:
    """Yield the pieces of one JSON object; the steps come page by page."""
    attempts = pages(partial(list_attempts, reader, run_id))
    yield f'{{"run": {json_text(_fetch_run(reader, run_id))},\n"attempts": '
    yield from json_rows(row for page in attempts for row in page)
    yield ',\n"steps": '
    yield from json_rows(iter_steps(reader, run_id))
    yield "}"


def _print_run(reader: Reader, run_id: str, view: str, *, with_all: bool) -> None:
    row = _fetch_run(reader, run_id)
    attempts = pages(partial(list_attempts, reader, run_id))
    if view == "tree":
        print_tree(reader, run_id, used_lines=_print_short(row, attempts), with_all=with_all)
        return
    print_fields(_header(row))
    click.echo()
    print_table(ATTEMPTS, ([_attempt_line(attempt) for attempt in page] for page in attempts))
    steps = pages(partial(list_step_lines, reader, run_id, chars=LINE_CHARS))
    first = next(steps, None)
    click.echo()
    if first is None:
        click.echo("no steps")
    elif view == "timeline":
        _print_timeline(_axis(reader, run_id), chain([first], steps))
    else:
        print_table(STEPS, ([_step_line(step) for step in page] for page in chain([first], steps)))


def _print_short(row: ListedRun, attempts: Iterator[Page[AttemptRow]]) -> int:
    """Print a run and its attempts in few lines, and return how many."""
    fields = [
        ("run", show.text(row["run_id"])),
        ("thread", show.text(row["thread_id"])),
        ("agent", show.text(row["agent"])),
        ("status", show.status(row["status"])),
        ("began", show.moment(row["started_at"])),
        ("worked", Cell(_worked(row))),
        ("calls", Cell(_calls(row))),
        ("waits for", show.text(row["waiting_for"])),
        ("error", show.text(row["error"])),
    ]
    shown = [field for field in fields if field[1].text != show.UNKNOWN]
    lines = print_fields(shown)
    if row["attempts"] > 1:
        first = next(attempts, Page(())).rows[:MAX_ATTEMPTS]
        for attempt in first:
            print_cells(_attempt_cells(attempt))
        lines += len(first)
        if row["attempts"] > len(first):
            click.echo(f"  ... {row['attempts'] - len(first):,} more attempts")
            lines += 1
    click.echo()
    return lines + 1


def _worked(row: ListedRun) -> str:
    elapsed = show.between_ms(row["started_at"], row["ended_at"], Clock())
    worked = show.duration_text(row["worked_ms"])
    if elapsed is None or elapsed < MUCH_LONGER * row["worked_ms"] + 1000:
        return worked
    return f"{worked} of {show.duration_text(elapsed)}"


def _calls(row: ListedRun) -> str:
    parts = [
        f"{row['llm_calls']:,} llm",
        show.counted(row["tool_calls"], "tool"),
        f"tokens {show.tokens(row['input_tokens'], row['output_tokens']).text}",
    ]
    if row["saved_tokens"]:
        parts.append(f"saved {show.rounded(row['saved_tokens']).text}")
    if row["cost_usd"] is not None:
        parts.append(show.money(row["cost_usd"]).text)
    if row["in_doubt"]:
        parts.append(f"{row['in_doubt']:,} in doubt")
    return ", ".join(parts)


def _attempt_cells(row: AttemptRow) -> tuple[Cell, ...]:
    worked = show.between_ms(row["started_at"], row["last_seen_at"], Clock())
    return (
        Cell(f"  try {row['n']}"),
        Cell(f"{show.moment(row['started_at']).text}, {show.duration(worked).text}"),
        show.status(row["outcome"]) if row["outcome"] else Cell("running"),
        Cell(f"pid {row['pid']} on {show.text(row['host']).text}"),
    )


def _axis(reader: Reader, run_id: str) -> Axis:
    """Return the time of a run, in as many cells as the terminal leaves beside the figures."""
    spans = [(millis(span.begin), millis(span.end)) for span in timeline(reader, run_id)]
    room = terminal_columns()
    taken = sum(_MIN_WIDTHS[column.title] + len(GAP) for column in _timeline_columns(room, 0))
    return Axis(spans, min(max(room - taken, MIN_CELLS), MAX_CELLS))


_MIN_WIDTHS = {
    "#": 4,
    "step": 7,
    "node": 14,
    "what": 18,
    "status": 10,
    "time": -len(GAP),
    "duration": 8,
    "tokens in/out": 13,
    "cost": 8,
}


def _timeline_columns(room: int, cells: int) -> list[Column]:
    columns = [
        Column("#", right=True),
        Column("step", right=True),
        Column("node", width=24, is_flexible=True),
        Column("what", width=40, is_flexible=True),
        Column("status"),
        Column("time", width=cells),
        Column("duration", right=True),
        Column("tokens in/out", right=True),
        Column("cost", right=True),
    ]
    hidden = () if room >= WIDE_COLUMNS else ("step", "node")
    return [column for column in columns if column.title not in hidden]


def _print_timeline(axis: Axis, steps: Iterator[Page[StepLine]]) -> None:
    room, now_ms = terminal_columns(), Clock().now_ms()
    columns = _timeline_columns(room, axis.cells)

    def line(depth: int, step: StepLine) -> tuple[Cell, ...]:
        mark = "" if depth == 0 else f"{'  ' * (min(depth, MAX_DEPTH) - 1)}└ "
        state = show.status(step["status"])
        cells = {
            "#": show.number(step["seq"]),
            "step": show.text(step["step_id"]),
            "node": show.text(step["node"] or step["scope"]),
            "what": Cell(f"{mark}{show.text(step['name']).text}"),
            "status": state,
            "time": Cell(axis.bar(step, now_ms), state.style),
            "duration": show.duration(step["duration_ms"]),
            "tokens in/out": show.tokens(step["input_tokens"], step["output_tokens"]),
            "cost": show.money(step["cost_usd"]),
        }
        return tuple(cells[column.title] for column in columns)

    print_table(columns, ([line(*placed) for placed in tree_order(page.rows)] for page in steps))
    click.echo()
    print_text(axis.glyphs.legend())


def _header(row: ListedRun) -> list[tuple[str, Cell]]:
    elapsed = show.between_ms(row["started_at"], row["ended_at"], Clock())
    fields = [
        ("run", show.text(row["run_id"])),
        ("thread", show.text(row["thread_id"])),
        ("agent", show.text(row["agent"])),
        ("status", show.status(row["status"])),
        ("started", show.moment(row["started_at"])),
        ("duration", show.duration(elapsed)),
        ("llm calls", show.number(row["llm_calls"])),
        ("tool calls", show.number(row["tool_calls"])),
        ("in doubt", show.number(row["in_doubt"])),
        ("tokens", show.tokens(row["input_tokens"], row["output_tokens"])),
        ("saved", show.number(row["saved_tokens"])),
        ("cost", show.money(row["cost_usd"])),
        ("error", show.text(row["error"])),
    ]
    return [field for field in fields if field[1].text != show.UNKNOWN]


def _attempt_line(row: AttemptRow) -> tuple[Cell, ...]:
    return (
        show.number(row["n"]),
        Cell(str(row["pid"])),
        show.text(row["host"]),
        show.moment(row["started_at"]),
        show.duration(show.between_ms(row["started_at"], row["last_seen_at"], Clock())),
        show.status(row["outcome"]) if row["outcome"] else Cell("-"),
    )


def _step_line(row: StepLine) -> tuple[Cell, ...]:
    name = f"{'└ ' if row['parent_id'] else ''}{row['name']}"
    return (
        show.number(row["seq"]),
        show.text(row["step_id"]),
        show.text(row["node"] or row["scope"]),
        show.text(row["kind"]),
        show.text(name),
        show.status(row["status"]),
        show.number(row["replays"]),
        show.duration(row["duration_ms"]),
        show.tokens(row["input_tokens"], row["output_tokens"]),
        _short(row["input"]),
        _short(row["output"]),
    )


def _short(value: Any) -> Cell:
    return Cell(shorten(show.text(value).text, LINE_CHARS))


def _print_step(row: StepRow, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(row, indent=2))
        return
    values = dict(row)
    fields = [
        (name, show.status(str(value)) if name == "status" else Cell(cell_text(value)))
        for name, value in values.items()
        if value is not None and name not in JSON_COLUMNS
    ]
    print_fields(fields)
    for name in sorted(JSON_COLUMNS):
        if values[name] is not None:
            click.echo()
            print_text(name, style={"bold": True})
            for line in _pretty(values[name]).split("\n"):
                print_text(line)


def _pretty(value: Any) -> str:
    """Return recorded JSON with its structure, other text as it is."""
    try:
        return json_text(json.loads(value), indent=2)
    except (TypeError, ValueError, RecursionError):
        return visible(str(value), keep="\n")
