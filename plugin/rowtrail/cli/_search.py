"""`rowtrail search`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click

from rowtrail.cli._embedder import embedder_option
from rowtrail.cli._group import NotFound
from rowtrail.cli._index import shown_progress
from rowtrail.cli._journal import db_option, find_run, find_thread, json_option, open_journal
from rowtrail.cli._listing import MAX_ROWS, MAX_TOKENS
from rowtrail.cli._output import (
    WHOLE,
    Cell,
    Column,
    json_rows,
    print_answer,
    print_table,
    say,
    shorten,
    terminal_columns,
    wrapped,
)
from rowtrail.cli._when import since_option, until_option
from rowtrail.history import cell_text, newest_step, visible

if TYPE_CHECKING:
    from rowtrail.history import Answer

SHOWN = ("step_id", "run_id", "thread_id", "agent", "name", "where", "at", "snippet")
COLUMNS = [Column(name.removesuffix("_id"), right=name == "step_id", width=WHOLE) for name in SHOWN]
INDENT = "    "
MIN_CHARS, MAX_CHARS = 40, 4_000
"""What `rowtrail.history.searching` takes, which is loaded later."""
DETACHED = 0x00000008  # DETACHED_PROCESS of Windows, which other systems have no name for


@click.command("search", short_help="Find words, or their meaning, in what was recorded.")
@click.argument("text")
@click.option("--kind", type=click.Choice(["llm", "tool", "function"]), help="Only such steps.")
@click.option("--thread", metavar="ID", help="Only this thread: its id, how it begins, or @last.")
@click.option("--run", metavar="RUN", help="Only this run: its id, how it begins, or @last.")
@since_option
@until_option
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
    "--chars", type=click.IntRange(MIN_CHARS, MAX_CHARS), default=240, show_default=True,
    metavar="N", help="How much of a text is shown, around what was found.",
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
    max_tokens: int | None,
    db: str,
    as_json: bool,
    **how: Any,
) -> None:
    """Find TEXT in messages, tool arguments, results, errors and questions; the best come first.

    Any text may be searched for; "words in quotes" are looked for side by side. Case, accents,
    English endings and groups of digits make no difference, words such as "the" count for nothing,
    and scripts without blanks between words are found by their parts. The search index is a file
    `-search` beside the journal: it is filled first, the newest steps before others, and may be
    deleted at any time. Needs the extra `search`.

    \b
    Example:
      rowtrail search "payment refused" --kind tool --since 2d
      rowtrail search "who approved this" --embedder my_app:embeddings --json
    """  # noqa: D301  (click reads the backspace)
    from rowtrail.history.searching import search

    if how["mode"] in ("semantic", "hybrid") and how["embedder"] is None:
        raise click.UsageError(f"--mode {how['mode']} needs --embedder MODULE:ATTRIBUTE")
    with open_journal(db) as reader, shown_progress() as progress:
        run_id = None if run is None else find_run(reader, run)
        thread_id = None if thread is None else find_thread(reader, thread)
        answer = search(
            reader,
            text,
            thread_id=thread_id,
            run_id=run_id,
            max_tokens=max_tokens,
            progress=progress,
            go_on=_go_on,
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
    elif sys.stdout.isatty():
        for hit in answer:
            _print_hit(hit)
    elif answer.rows:
        lines = [[Cell(cell_text(row[name])) for name in SHOWN] for row in answer]
        print_table(COLUMNS, [lines])
    notes = [note for note in (None if answer.rows else "nothing was found", answer.note) if note]
    if notes:
        say(": ".join(notes))


def _print_hit(hit: dict[str, Any]) -> None:
    """Print where a text was found on one line of the terminal, and the text below it."""
    columns = terminal_columns()
    who = "/".join(dict.fromkeys(name for name in (hit["agent"], hit["node"]) if name))
    where = f"step {hit['step_id']}  " if hit["step_id"] else ""
    place = f"{hit['kind']} {hit['name']} {hit['where']}"
    ids = f"run {hit['run_id']}" + (f"  thread {hit['thread_id']}" if hit["thread_id"] else "")
    title = "  ".join(filter(None, [f"{where}{place}", who, hit["at"][:16], ids]))
    click.echo(click.style(shorten(visible(title), columns), bold=True))
    for line in wrapped(visible(hit["snippet"]), columns - len(INDENT)):
        click.echo(f"{INDENT}{line}")


def _go_on(path: str) -> None:
    """Let a process of its own read the rest into the index: this one ends now."""
    own: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        own = {"creationflags": DETACHED}
    with contextlib.suppress(OSError):  # the next search goes on
        subprocess.Popen(
            [sys.executable, "-m", "rowtrail", "index", "--slowly", "--db", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **own,
        )
