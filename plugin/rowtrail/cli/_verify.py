"""`rowtrail verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._figures import counted
from rowtrail.cli._group import Failure
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import print_text, say

if TYPE_CHECKING:
    from rowtrail.verify import Fault, Verification

WORTH_TELLING_ROWS = 20_000
"""Tables with fewer rows are read before anybody wonders."""

SHOWN_FAULTS = 50
"""A person reads the first; `--json` has all."""


class Unsound(Failure):
    """The journal did not pass."""

    exit_code = 4


@click.command("verify", short_help="Check that the journal is whole.")
@click.option("--quick", is_flag=True, help="Leave out hashes and what nothing refers to.")
@db_option
@json_option
@max_tokens_option
def command(quick: bool, db: str, as_json: bool) -> None:
    """Check that the journal is whole, and say what is wrong, where, and what can be saved.

    SQLite's own check, references between rows, the hash of each stored value, whether it is read
    back as what it was, lists, checkpoints, statuses, and what is counted as it happens. Nothing is
    written, and agents may go on meanwhile.
    The exit code is 4 where something is wrong.

    \b
    Example:
      rowtrail verify
      rowtrail verify --quick --json
    """  # noqa: D301  (click reads the backspace)
    from rowtrail.verify import verify

    open_journal(db).close()
    found = verify(db, quick=quick, progress=tell_rows)
    if as_json:
        from rowtrail.history import json_text

        click.echo(json_text(found.as_dict()))
    else:
        print_verification(found)
    if not found.ok and all(fault.check == "value" for fault in found.faults):
        raise Unsound(
            f"{found.fault_count:,} values are not read back as what they were; the threads that "
            "hold them are read and go on, and there is nothing to repair"
        )
    if not found.ok and all(fault.check == "file" for fault in found.faults):
        raise Unsound(f"{db!r} cannot be read as a journal, and not repaired")
    if not found.ok:
        raise Unsound(
            f"{counted(found.fault_count, 'fault')}: keep the file as it is, and build a "
            f"sound one of it with `rowtrail repair {db} FIXED.db`"
        )


def tell_rows(what: str, done: int, total: int) -> None:
    """Tell on stderr how far the reading of a large table is."""
    if total > WORTH_TELLING_ROWS:
        say(f"{what}: {done:,} of {total:,}")


def print_verification(found: Verification) -> None:
    """Print what a check found."""
    from rowtrail.history import visible

    for fault in found.faults[:SHOWN_FAULTS]:
        for line in _lines(fault):
            print_text(visible(line))
    if found.fault_count > SHOWN_FAULTS:
        print_text(f"... and {found.fault_count - SHOWN_FAULTS:,} more: --json has 1,000 of them")
    for note in found.notes:
        print_text(visible(f"note: {note}"))
    if found.orphans is not None and any(found.orphans.values()):
        print_text(
            f"note: nothing refers to {found.orphans['items']:,} items with "
            f"{found.orphans['bytes']:,} bytes and to {found.orphans['lists']:,} lists: "
            "`rowtrail prune` deletes them"
        )
    rows = ", ".join(counted(count, table) for table, count in found.rows.items() if count)
    verdict = "sound" if found.ok else "NOT SOUND"
    without = ", without hashes" if found.quick else ""
    print_text(f"{verdict}: {rows or 'no rows'}{without}")


def _lines(fault: Fault) -> Iterator[str]:
    yield f"{fault.check}: {fault.row}: {fault.says}"
    for affected in fault.affects:
        yield f"  concerns {affected}"
    yield f"  {fault.saves}"
