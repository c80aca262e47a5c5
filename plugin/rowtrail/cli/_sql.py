"""`rowtrail sql`."""

from __future__ import annotations

import sys

import click

from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import Cell, Column, csv_pieces, json_rows, print_pieces, print_table, say
from rowtrail.history import Answer, cell_text, query

MAX_COLUMN_CHARS = 80


@click.command("sql", short_help="Answer one SELECT over the journal's views.")
@click.argument("query_text", metavar="QUERY")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    metavar="N",
    help="How many rows at most.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop the query after this time.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cut the answer to what a model reads as N tokens.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@db_option
@json_option
def command(
    query_text: str,
    limit: int,
    timeout: float,
    max_tokens: int | None,
    as_csv: bool,
    db: str,
    as_json: bool,
) -> None:
    """Answer one SELECT over the views of the journal; `-` reads it from standard input.

    The views: threads, runs, attempts, steps, llm_calls, tool_calls, messages, replays,
    checkpoints, state, spend. Nothing can be written. With --json, an array of objects. What was
    left out is said on stderr.

    \b
    Example:
      rowtrail sql "select name, status, count(*) from tool_calls group by 1, 2"
      rowtrail sql "select day, sum(cost_usd) from spend group by day" --csv
    """  # noqa: D301  (click reads the backspace)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if query_text == "-":
        query_text = sys.stdin.read()
    with open_journal(db) as reader:
        answer = query(reader, query_text, limit=limit, timeout=timeout, max_tokens=max_tokens)
    if as_json:
        print_pieces(json_rows(answer))
    elif as_csv:
        print_pieces(csv_pieces(answer.columns, answer.rows), end="")
    elif max_tokens is not None:
        click.echo(answer.text())
        return
    elif _print_table(answer):
        say("values were cut to fit the terminal: --json and --csv print them whole")
    if answer.note is not None:
        say(answer.note)


def _print_table(answer: Answer) -> bool:
    numeric = [
        all(row[i] is None or isinstance(row[i], int | float) for row in answer.rows)
        for i in range(len(answer.columns))
    ]
    columns = [
        Column(cell_text(name), right=right, width=MAX_COLUMN_CHARS, is_flexible=not right)
        for name, right in zip(answer.columns, numeric, strict=True)
    ]
    return print_table(columns, [[[Cell(cell_text(cell)) for cell in row] for row in answer.rows]])
