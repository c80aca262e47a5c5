"""`rowtrail spend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast, get_args

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._group import NotFound
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._listing import limit_option
from rowtrail.cli._output import Cell, Column, print_table, say
from rowtrail.cli._when import since_option
from rowtrail.history import Spend, SpendBy, json_text, spend

_FIGURES: tuple[tuple[str, str, int, Callable[[Mapping[str, Any]], Cell]], ...] = (
    ("runs", "runs", 5, lambda row: show.number(row["runs"])),
    ("calls", "calls", 2, lambda row: show.number(row["calls"])),
    ("failed", "failed", 4, lambda row: show.number(row["failed"])),
    ("duration", "duration_ms", 3, lambda row: show.duration(row["duration_ms"])),
    (
        "tokens in/out",
        "input_tokens",
        1,
        lambda row: show.tokens(row["input_tokens"], row["output_tokens"]),
    ),
    ("cost", "cost_usd", 0, lambda row: show.money(row["cost_usd"])),
    ("replays", "replays", 6, lambda row: show.number(row["replays"])),
    ("saved time", "saved_ms", 9, lambda row: show.duration(row["saved_ms"] or None)),
    ("saved tokens", "saved_tokens", 7, lambda row: show.rounded(row["saved_tokens"])),
    ("saved", "saved_usd", 8, lambda row: show.money(row["saved_usd"])),
)
"""Title, column that must be there, rank and text of each figure."""


@click.command("spend", short_help="Say where tokens and money went, and what replay saved.")
@click.option(
    "--by",
    type=click.Choice(get_args(SpendBy)),
    default="model",
    show_default=True,
    help="What to add up by.",
)
@since_option
@limit_option(50)
@db_option
@json_option
@max_tokens_option
def command(by: str, since: datetime | None, limit: int, db: str, as_json: bool) -> None:
    """Say where tokens and money went, and what replay saved: by model, agent, node, tool, thread
    or day.

    The dearest first; days the newest first, whole ones in UTC. An unknown cost is `-` (prices need
    the extra `cost`). An agent and a node have the LLM calls that they made themselves, a tool
    those made inside it. With --json, one object with exact numbers: `by`, `rows`, `total`.

    \b
    Example:
      rowtrail spend
      rowtrail spend --by day --since 30d --json
      rowtrail spend --by agent
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        found = spend(reader, cast("SpendBy", by), since=since, limit=limit)
    if as_json:
        click.echo(json_text({"by": by, "rows": found.rows, "total": found.total}, indent=2))
    elif found.rows:
        _print(by, found)
    if not found.rows:
        when = "" if since is None else " since then"
        raise NotFound(f"nothing was spent{when} in {db!r}: `rowtrail runs` lists what is recorded")
    if found.next_cursor is not None:
        say(f"only the first {limit:,} of them, the total is that of all: --limit N lists more")


def _print(by: str, found: Spend) -> None:
    figures = [figure for figure in _FIGURES if figure[1] in found.rows[0]]
    columns = [Column(by, width=60, is_flexible=True, is_id=by == "thread")]
    columns += [Column(title, right=True, rank=rank) for title, _, rank, _ in figures]
    rows = [
        (show.text(row.get(by)), *(text(row) for _, _, _, text in figures)) for row in found.rows
    ]
    total = (Cell("total", {"bold": True}), *(text(found.total) for _, _, _, text in figures))
    print_table(columns, [[*rows, total]])
