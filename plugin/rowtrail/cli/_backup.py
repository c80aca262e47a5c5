"""`rowtrail backup`."""

from __future__ import annotations

import os
import sys

import click

from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import say
from rowtrail.engine.files import back_up
from rowtrail.history import json_text


@click.command("backup", short_help="Copy the journal into a new file, while agents go on.")
@click.argument("target", metavar="FILE", type=click.Path())
@db_option
@json_option
def command(target: str, db: str, as_json: bool) -> None:
    """Copy the journal into FILE, which must not exist, while agents go on writing.

    FILE is one snapshot, checked by SQLite, readable by its owner only, and a journal like any
    other; it appears when it is whole. With --json, one object: `path`, `bytes`.

    \b
    Example:
      rowtrail backup agent-2026-11-22.db
      rowtrail backup /mnt/backups/agent.db --json
    """  # noqa: D301  (click reads the backspace)
    open_journal(db).close()
    if sys.stderr.isatty():
        size = _with_bar(db, target)
    else:
        size = back_up(db, target, lambda done, total: None)
    if as_json:
        click.echo(json_text({"path": os.path.abspath(target), "bytes": size}))
    else:
        say(f"copied and checked: {target}, {size:,} bytes")


def _with_bar(db: str, target: str) -> int:
    copied = 0
    with click.progressbar(length=1, label="copying", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            nonlocal copied
            bar.length = total
            bar.update(done - copied)
            copied = done

        return back_up(db, target, progress)
