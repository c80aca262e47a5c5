"""`rowtrail tail`."""

from __future__ import annotations

import click

from rowtrail._clock import Clock
from rowtrail.cli import _figures as show
from rowtrail.cli._journal import (
    db_option,
    find_run,
    find_thread,
    json_option,
    open_journal,
    run_argument,
)
from rowtrail.cli._output import Cell, print_cells, say
from rowtrail.cli._when import MAX_SECONDS, Seconds
from rowtrail.history import Follower, Reader, fetch_run, json_text
from rowtrail.history.rows import Event

GOING_ON = "running"


@click.command("tail", short_help="Follow what agents do, as they do it.")
@run_argument("run", required=False)
@click.option("--thread", metavar="ID", help="Only what happens in this thread.")
@click.option(
    "--lines",
    type=click.IntRange(min=0, max=500),
    default=10,
    show_default=True,
    metavar="N",
    help="Begin with the last N steps.",
)
@click.option(
    "--interval",
    type=Seconds(0.05, MAX_SECONDS),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@db_option
@json_option
def command(
    run: str | None, thread: str | None, lines: int, interval: float, db: str, as_json: bool
) -> None:
    """Follow the steps of RUN, or of all runs, as they begin, end or are replayed.

    With RUN it ends when the run does; else Ctrl-C ends it. With --json, an object a line: `event`
    (begun, ended, replayed), `at`, `run_id`, `step_id`, `kind`, `name`, `status`, tokens and cost.

    \b
    Example:
      rowtrail tail
      rowtrail tail @last --lines 50
      rowtrail tail --thread report --json
    """  # noqa: D301  (click reads the backspace)
    clock = Clock()
    with open_journal(db) as reader:
        run_id = None if run is None else find_run(reader, run)
        thread_id = None if thread is None else find_thread(reader, thread)
        follower = Follower(reader, run_id=run_id, thread_id=thread_id, recent=lines)
        while True:
            # Asked before the news: what was recorded until the run ended is still printed.
            status = None if run_id is None else _status(reader, run_id)
            news = follower.news()
            for event in news:
                if as_json:
                    click.echo(json_text(event))
                else:
                    print_cells(_cells(event))
            if status is not None and status != GOING_ON and not news:
                say(f"run {run_id} is {status}")
                return
            if not news:
                clock.sleep(interval)


def _status(reader: Reader, run_id: str) -> str:
    row = fetch_run(reader, run_id)
    return "gone" if row is None else row["status"]


def _cells(event: Event) -> list[Cell]:
    state = show.status(event["status"])
    if event["event"] == "replayed":
        state = Cell("replayed", {"fg": "blue"})
    where = f"{show.text(event['node']).text}: " if event["node"] else ""
    cells = [
        Cell(show.moment(event["at"]).text[11:]),
        show.text(event["run_id"]),
        Cell(f"#{event['seq']}"),
        Cell(f"{where}{event['kind']} {show.text(event['name']).text}"),
        state,
    ]
    if event["duration_ms"] is not None:
        cells.append(show.duration(event["duration_ms"]))
    if event["input_tokens"] or event["output_tokens"]:
        taken = show.tokens(event["input_tokens"], event["output_tokens"])
        cells.append(Cell(f"{taken.text} tokens"))
    if event["cost_usd"] is not None:
        cells.append(show.money(event["cost_usd"]))
    if event["error"]:
        cells.append(show.text(event["error"]))
    return cells
