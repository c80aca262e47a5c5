"""`rowtrail sql`."""

from __future__ import annotations

import sys
from typing import Any

import click

from rowtrail.cli._journal import db_option, find_run, find_thread, json_option, open_journal
from rowtrail.cli._listing import MAX_ROWS, MAX_TOKENS
from rowtrail.cli._output import (
    Cell,
    Column,
    csv_pieces,
    json_rows,
    print_answer,
    print_pieces,
    print_table,
    say,
)
from rowtrail.cli._when import MAX_SECONDS, Seconds
from rowtrail.history import (
    Answer,
    Only,
    cell_text,
    describe_schema,
    named_queries,
    query,
    rounded,
)

MAX_COLUMN_CHARS = 80
"""Several columns fit a terminal; `--json` and `--csv` cut nothing."""


@click.command("sql", short_help="Answer one SELECT over the journal's views.")
@click.argument("query_text", metavar="QUERY", required=False)
@click.option("--list", "is_list", is_flag=True, help="List the named queries, and ask nothing.")
@click.option(
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="A value for `:NAME` in the query; may be given several times.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ROWS),
    default=200,
    show_default=True,
    metavar="N",
    help="How many rows at most.",
)
@click.option(
    "--timeout",
    type=Seconds(0, MAX_SECONDS, min_open=True),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop the query after this time.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1, MAX_TOKENS),
    metavar="N",
    help="Cut the answer to what a model reads as N tokens.",
)
@click.option(
    "--thread", metavar="ID", help="See the rows of this thread only; @last is the newest."
)
@click.option("--run", metavar="ID", help="See the rows of this run only; @last is the newest.")
@click.option("--agent", metavar="NAME", help="See the rows of this agent only.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@db_option
@json_option
def command(
    query_text: str | None,
    is_list: bool,
    params: tuple[str, ...],
    limit: int,
    timeout: float,
    max_tokens: int | None,
    thread: str | None,
    run: str | None,
    agent: str | None,
    as_csv: bool,
    db: str,
    as_json: bool,
) -> None:
    """Answer one SELECT over the views of the journal; `-` reads it from standard input.

    `rowtrail schema` prints the views. Nothing can be written. Queries that are asked often have
    names, such as @failures, and --list lists them. With --json, an array of objects. What was
    left out is said on stderr. With --thread, --run or --agent, the query sees no other rows,
    whatever it contains.

    \b
    Example:
      rowtrail sql "select name, status, count(*) from tool_calls group by 1, 2"
      rowtrail sql "select day, sum(cost_usd) from spend group by day" --csv
      rowtrail sql @failures
      rowtrail sql @tried --param tool=fetch --param args=example.org
      rowtrail sql --run @last --max-tokens 500 "select seq, name, status, error from steps"
    """  # noqa: D301  (click reads the backspace)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if is_list:
        _print_named(as_json)
        return
    if query_text is None:
        raise click.UsageError("give a QUERY, `-` to read it from standard input, or --list")
    values = _values(params)
    sql = sys.stdin.read() if query_text == "-" else query_text
    with open_journal(db) as reader:
        thread_id = None if thread is None else find_thread(reader, thread)
        only = Only(thread_id, None if run is None else find_run(reader, run), agent)
        answer = query(
            reader,
            sql,
            values,
            limit=limit,
            timeout=timeout,
            max_tokens=max_tokens,
            only=only,
        )
    _print(answer, as_json=as_json, as_csv=as_csv, max_tokens=max_tokens)


def _print(answer: Answer, *, as_json: bool, as_csv: bool, max_tokens: int | None) -> None:
    if as_json:
        print_answer(answer, json_rows, max_tokens)
    elif as_csv:
        print_answer(answer, lambda a: csv_pieces(a.columns, a.rows), max_tokens, end="")
    elif max_tokens is not None:
        click.echo(answer.text())
        return
    elif _print_table(answer):
        say("values were cut to fit the terminal: --json and --csv print them whole")
    if answer.note is not None:
        say(answer.note)


def _values(params: tuple[str, ...]) -> dict[str, str]:
    pairs = [param.partition("=") for param in params]
    for param, (name, sign, _) in zip(params, pairs, strict=True):
        if not (name and sign):
            raise click.BadParameter(f"{param!r} is not NAME=VALUE", param_hint="--param")
    return {name.removeprefix(":"): value for name, _, value in pairs}


def _print_named(as_json: bool) -> None:
    queries = list(named_queries().values())
    if as_json:
        print_pieces(json_rows(describe_schema()["named_queries"]))
        return
    columns = (Column("name"), Column("finds", width=80), Column("parameters", width=80))
    lines = [[Cell(query.name), Cell(query.about), Cell(query.usage)] for query in queries]
    print_table(columns, [lines])


def _print_table(answer: Answer) -> bool:
    numeric = [
        all(row[i] is None or isinstance(row[i], int | float) for row in answer.rows)
        for i in range(len(answer.columns))
    ]
    columns = [
        Column(cell_text(name), right=right, width=MAX_COLUMN_CHARS, is_flexible=not right)
        for name, right in zip(answer.columns, numeric, strict=True)
    ]
    return print_table(columns, [[[_cell(value) for value in row] for row in answer.rows]])


def _cell(value: Any) -> Cell:
    return Cell("NULL", {"dim": True}) if value is None else Cell(cell_text(rounded(value)))
