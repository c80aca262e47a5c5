"""`rowtrail index`."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rowtrail.cli._embedder import embedder_option
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import print_text

if TYPE_CHECKING:
    from rowtrail.history.searching import EmbedderLike, Progress


@click.command("index", short_help="Fill the search index of a journal.")
@click.option("--rebuild", is_flag=True, help="Begin anew.")
@click.option("--slowly", is_flag=True, help="Leave half of the time to others; say nothing.")
@embedder_option
@db_option
@json_option
def command(
    rebuild: bool, slowly: bool, embedder: EmbedderLike | None, db: str, as_json: bool
) -> None:
    """Fill the search index, so that the next search need not.

    The index is a file `-search` beside the journal, which is not written. Only what is new is
    read; killed in the middle, the next call goes on from there. With --embedder every text gets a
    vector, once. It needs the extra `search`.

    \b
    Example:
      rowtrail index --db agent.db
      rowtrail index --embedder my_app:embeddings
    """  # noqa: D301  (click reads the backspace)
    from rowtrail.history.searching import build_index, fill_alone

    if slowly:
        with open_journal(db) as reader:
            fill_alone(reader)
        return
    with open_journal(db) as reader, shown_progress() as progress:
        found = build_index(reader, embedder=embedder, rebuild=rebuild, progress=progress)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
        return
    vectors = f", {found.vectors:,} vectors" if found.vectors else ""
    print_text(f"{found.texts:,} texts{vectors} in {found.path}")


@contextmanager
def shown_progress() -> Generator[Progress]:
    """Show a bar on a terminal for each thing that is done, on stderr."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield show
