"""`rowtrail prune`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from rowtrail.cli._figures import counted
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._listing import MAX_ROWS
from rowtrail.cli._output import confirm, print_text
from rowtrail.cli._when import age

if TYPE_CHECKING:
    from datetime import timedelta

    from rowtrail.retention import Pruned


@click.command("prune", short_help="Delete old threads or checkpoints.")
@click.option(
    "--older-than",
    callback=age,
    metavar="AGE",
    help="Without activity (or, with --keep, made) so long ago.",
)
@click.option(
    "--thread", "threads", multiple=True, metavar="ID", help="Only this thread; repeatable."
)
@click.option(
    "--keep",
    type=click.IntRange(1, MAX_ROWS),
    metavar="N",
    help="Keep the threads, and the newest N checkpoints of each.",
)
@click.option(
    "--keep-journal",
    is_flag=True,
    help="Keep the runs and steps of deleted threads; cancel what waits for a person there.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@db_option
@json_option
def command(
    older_than: timedelta | None,
    threads: tuple[str, ...],
    keep: int | None,
    keep_journal: bool,
    dry_run: bool,
    yes: bool,
    db: str,
    as_json: bool,
) -> None:
    """Delete threads, or with --keep only their old checkpoints, and give the space back.

    Agents may go on meanwhile; what a live process works on is left alone. There is no undo: look
    with --dry-run first.

    \b
    Example:
      rowtrail prune --older-than 30d --dry-run
      rowtrail prune --keep 20 --yes
    """  # noqa: D301  (click reads the backspace)
    from rowtrail.history import check_readable
    from rowtrail.journal import Journal

    if older_than is None and not threads and keep is None:
        raise click.UsageError("say what to delete: --older-than AGE, --thread ID or --keep N")
    with open_journal(db) as reader:
        check_readable(reader)  # a Journal would make one of an empty file
    with Journal(db) as journal:

        def prune(dry_run: bool) -> Pruned:
            return journal.prune(
                older_than=older_than,
                thread_ids=threads or None,
                keep=keep,
                keep_journal=keep_journal,
                dry_run=dry_run,
                progress=_progress,
            )

        planned = prune(dry_run=True)
        if dry_run:
            _print(planned, "would go", as_json)
            return
        if not yes:
            confirm(f"{_counts(planned)} will be deleted. Go on?")
        _print(prune(dry_run=False), "deleted", as_json)


def _progress(what: str, done: int, total: int) -> None:
    if done % 5000 == 0 and total > 1:
        click.echo(f"{what}: {done} of {total}", err=True)


def _counts(report: Pruned) -> str:
    parts = {
        "thread": report.threads,
        "checkpoint": report.checkpoints,
        "run": report.runs,
        "step": report.steps,
        "item": report.items,
    }
    counts = ", ".join(counted(count, noun) for noun, count in parts.items())
    return f"{counts} with {counted(report.bytes, 'byte')}"


def _print(report: Pruned, verb: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return
    print_text(f"{verb}: {_counts(report)}")
    if report.file_bytes_after != report.file_bytes_before:
        print_text(f"file: {report.file_bytes_before:,} -> {report.file_bytes_after:,} bytes")
