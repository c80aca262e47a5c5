"""`rowtrail search`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from rowtrail.cli._embedder import embedder_option
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import db_option, find_run, find_thread, json_option, open_journal
from rowtrail.cli._listing import MAX_ROWS, MAX_TOKENS
from rowtrail.cli._output import Cell, Column, json_rows, print_answer, print_table, say
from rowtrail.cli._when import since_option
from rowtrail.history import cell_text, newest_step

if TYPE_CHECKING:
    from rowtrail.history import Answer

COLUMNS = [
    Column("step_id", right=True),
    Column("run_id", width=36, is_flexible=True),
    Column("name", width=24, is_flexible=True),
    Column("where"),
    Column("snippet", width=240, is_flexible=True),
    Column("at"),
]


@click.command("search", short_help="Find words, or their meaning, in what was recorded.")
@click.argument("text")
@click.option("--kind", type=click.Choice(["llm", "tool", "function"]), help="Only such steps.")
@click.option("--thread", metavar="ID", help="Only this thread: its id, how it begins, or @last.")
@click.option("--run", metavar="RUN", help="Only this run: its id, how it begins, or @last.")
@since_option
@click.option(
    "--mode",
    type=click.Choice(["auto", "keyword", "semantic", "hybrid"]),
    default="auto",
    show_default=True,
    help="By words, by meaning (with --embedder), or both.",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_ROWS), default=10, show_default=True, metavar="N",
    help="How many rows at most.",
)  # fmt: skip
@click.option(
    "--max-tokens", type=click.IntRange(1, MAX_TOKENS), metavar="N",
    help="Cut the answer to what a model reads as N tokens.",
)  # fmt: skip
@embedder_option
@db_option
@json_option
def command(
    text: str,
    thread: str | None,
    run: str | None,
    since: datetime | None,
    max_tokens: int | None,
    db: str,
    as_json: bool,
    **how: Any,
) -> None:
    """Find TEXT in messages, tool arguments, results and errors; the best rows come first.

    Any text may be searched for; "words in quotes" are looked for side by side. The search index is
    a file `-search` beside the journal: it is filled first, and may be deleted at any time. Needs
    the extra `search`.

    \b
    Example:
      rowtrail search "payment refused" --kind tool --since 2d
      rowtrail search "who approved this" --embedder my_app:embeddings --json
    """  # noqa: D301  (click reads the backspace)
    from rowtrail.history.searching import search

    if how["mode"] in ("semantic", "hybrid") and how["embedder"] is None:
        raise click.UsageError(f"--mode {how['mode']} needs --embedder MODULE:ATTRIBUTE")
    with open_journal(db) as reader:
        run_id = None if run is None else find_run(reader, run)
        thread_id = None if thread is None else find_thread(reader, thread)
        answer = search(
            reader,
            text,
            thread_id=thread_id,
            run_id=run_id,
            since=since,
            max_tokens=max_tokens,
            **how,
        )
        if not answer.rows and newest_step(reader) is None:
            raise NotFound(f"the journal {db!r} holds no step yet: there is nothing to search")
    _print(answer, as_json=as_json, max_tokens=max_tokens)


def _print(answer: Answer, *, as_json: bool, max_tokens: int | None) -> None:
    if as_json:
        print_answer(answer, json_rows, max_tokens)
    elif max_tokens is not None:
        click.echo(answer.text())
        return
    else:
        lines = [[Cell(cell_text(row[column.title])) for column in COLUMNS] for row in answer]
        print_table(COLUMNS, [lines])
    if not answer.rows:
        say("nothing was found")
    if answer.note is not None:
        say(answer.note)
