"""The journal that a command reads: its options, and finding a run in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from rowtrail import history
from rowtrail.cli._group import Failure, NotFound
from rowtrail.cli._output import say
from rowtrail.errors import RowtrailError, StorageError, UsageError
from rowtrail.history import LAST, Reader, exists, is_lasting, visible
from rowtrail.journal import DB_VARIABLE, DEFAULT_PATH, Journal

PARAMETER = "db"
"""Its name, before the command and behind it."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def db_option(command: F) -> F:
    """Add `--db`: without it, the command takes the one before it, `rowtrail --db PATH runs`."""
    return click.option(
        "--db",
        metavar="PATH",
        envvar=DB_VARIABLE,
        default=DEFAULT_PATH,
        show_default=True,
        show_envvar=True,
        callback=_given_before,
        help="The journal.",
    )(command)


def _given_before(ctx: click.Context, param: click.Parameter, value: str) -> str:
    before: str | None = ctx.find_root().params.get(PARAMETER)
    is_own = ctx.get_parameter_source(PARAMETER) is ParameterSource.COMMANDLINE
    if before is None or ctx.parent is None:
        return value
    if is_own and value != before:
        raise click.UsageError(f"--db names two journals, {before!r} and {value!r}: give one")
    return before


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def open_journal(path: str) -> Reader:
    """Return a reader of the journal; nothing is created or written.

    Raises:
        NotFound: There is no such file.
        Failure: It is a folder.
    """
    if not is_lasting(path):
        raise click.BadParameter("a journal in memory ends with its process", param_hint="--db")
    if not exists(path):
        raise NotFound(
            f"there is no journal {path!r}: give its path with --db PATH or in $ROWTRAIL_DB; "
            "an agent makes one with RowtrailSaver(path) or rowtrail.Journal(path)"
        )
    if os.path.isdir(path):
        raise Failure(f"{path!r} is a folder: give the path of the journal in it")
    return history.open_journal(path)


def run_argument(name: str, *, required: bool = True) -> Callable[[F], F]:
    """Return what adds a RUN, whose ids the shell completes."""
    return click.argument(
        name,
        metavar="RUN" if required else "[RUN]",
        required=required,
        shell_complete=_complete_run,
    )


def _complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    path = (
        ctx.params.get("db")
        or ctx.find_root().params.get(PARAMETER)
        or os.environ.get(DB_VARIABLE)
        or DEFAULT_PATH
    )
    try:
        with open_journal(path) as reader:
            ids = history.run_ids_beginning_with(reader, incomplete)
    except (click.ClickException, RowtrailError):  # a shell that completes shows no errors
        return []
    return [*ids, *([LAST] if LAST.startswith(incomplete) else [])]


def record_dead(reader: Reader) -> None:
    """Write down which attempts have died, where there are any and the journal can be written."""
    if history.has_dead_attempts(reader):
        with contextlib.suppress(StorageError), Journal(reader.where) as journal:
            journal.recover()


def find_run(reader: Reader, text: str) -> str:
    """Return the id of the run that `text` means; a text that means none is a wrong argument."""
    found = _found(history.resolve_run, reader, text)
    if found.note is not None:
        say(found.note)
    return found.run_id


def find_thread(reader: Reader, text: str) -> str:
    """Return the id of the thread that `text` means, as `find_run` does."""
    return _found(history.find_thread, reader, text)


def _found(find: Callable[[Reader, str], T], reader: Reader, text: str) -> T:
    try:
        return find(reader, text)
    except UsageError as error:
        raise click.UsageError(visible(str(error))) from error
