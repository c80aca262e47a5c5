"""`rowtrail repair`."""

from __future__ import annotations

import click

from rowtrail.cli._figures import counted
from rowtrail.cli._journal import json_option, open_journal
from rowtrail.cli._output import print_text
from rowtrail.cli._verify import tell_rows

SHOWN_LOSSES = 50
"""A person reads the first; `--json` has all."""


@click.command("repair", short_help="Build a sound journal of what a damaged one still holds.")
@click.argument("broken", metavar="BROKEN.db")
@click.argument("fixed", metavar="FIXED.db")
@click.option("--dry-run", is_flag=True, help="Keep nothing; say what would be saved and lost.")
@json_option
def command(broken: str, fixed: str, dry_run: bool, as_json: bool) -> None:
    """Copy what is sound in BROKEN.db into FIXED.db, a new file; BROKEN.db stays as it is.

    Rows that can be read are copied, indexes and counts are made anew, and the result is checked.
    What cannot be proved is left out and named: a call whose result was damaged is made again, a
    call with effect `write` is in doubt, and a thread goes on from its last whole checkpoint.

    \b
    Example:
      rowtrail repair agent.db fixed.db --dry-run
      rowtrail repair agent.db fixed.db
    """  # noqa: D301  (click reads the backspace)
    from rowtrail.history import json_text, visible
    from rowtrail.verify import repair

    open_journal(broken).close()
    built = repair(broken, fixed, dry_run=dry_run, progress=tell_rows)
    if as_json:
        click.echo(json_text(built.as_dict()))
        return
    for loss in built.losses[:SHOWN_LOSSES]:
        print_text(visible(f"{loss.row}: {loss.says}"))
    if built.loss_count > SHOWN_LOSSES:
        click.echo(f"... and {built.loss_count - SHOWN_LOSSES:,} more: --json has 1,000 of them")
    rows = ", ".join(counted(count, table) for table, count in built.copied.items() if count)
    kept = "would be saved" if dry_run else "saved"
    print_text(visible(f"{kept}: {rows or 'no rows'}; {counted(built.loss_count, 'loss')}"))
    if not dry_run:
        print_text(visible(f"{fixed} is sound; {broken} is as it was"))
