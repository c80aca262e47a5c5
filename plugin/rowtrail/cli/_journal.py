"""The journal that a command reads: its options, and finding a run in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from rowtrail._clock import Clock
from rowtrail.cli._group import NotFound
from rowtrail.engine import ProcessIdentity, Row, Tx
from rowtrail.engine.reading import Reader
from rowtrail.errors import RowtrailError, StorageError, UnknownIdError
from rowtrail.history import visible
from rowtrail.journal import DB_VARIABLE, DEFAULT_PATH, Journal

F = TypeVar("F", bound=Callable[..., Any])

LAST = "@last"
MAX_CANDIDATES = 10
FIRST_PAGE_ROWS = 50
MAX_PAGE_ROWS = 1_000
PAGE_CHARS = 4_000_000
BEYOND = "\U0010ffff"
"""Sorts after every character that an id begins with."""


def db_option(command: F) -> F:
    """Add `--db`."""
    return click.option(
        "--db",
        metavar="PATH",
        envvar=DB_VARIABLE,
        default=DEFAULT_PATH,
        show_default=True,
        show_envvar=True,
        help="The journal.",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def open_journal(path: str) -> Reader:
    """Return a reader of the journal; nothing is created or written.

    Raises:
        NotFound: There is no such file.
    """
    if path == ":memory:":
        raise click.BadParameter("a journal in memory ends with its process", param_hint="--db")
    if not os.path.exists(path):
        raise NotFound(
            f"there is no journal {path!r}: give its path with --db PATH or in $ROWTRAIL_DB; "
            "an agent makes one with RowtrailSaver(path) or rowtrail.Journal(path)"
        )
    return Reader(path)


def run_argument(name: str, *, required: bool = True) -> Callable[[F], F]:
    """Return what adds a RUN, whose ids the shell completes."""
    return click.argument(
        name,
        metavar="RUN" if required else "[RUN]",
        required=required,
        shell_complete=_complete_run,
    )


def _complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    path = ctx.params.get("db") or os.environ.get(DB_VARIABLE) or DEFAULT_PATH
    try:
        with open_journal(path) as reader:
            ids = _beginning_with(reader, incomplete, "run_ids_between")
    except (click.ClickException, RowtrailError):  # a shell that completes shows no errors
        return []
    return [*ids, *([LAST] if LAST.startswith(incomplete) else [])]


def record_dead(reader: Reader) -> None:
    """Write down which attempts have died, where there are any and the journal can be written.

    The views take a process for dead that was silent for 15 s; its identity tells it at once.
    """
    now_ms = Clock().now_ms()
    going_on = reader.read(lambda tx: tx.all("open_attempts"))
    alive = (
        ProcessIdentity.of_row(row).is_alive(last_seen_at=row["last_seen_at"], now_ms=now_ms)
        for row in going_on
    )
    if all(alive):
        return
    with contextlib.suppress(StorageError), Journal(reader.path) as journal:
        journal.recover()


def pages(reader: Reader, statement: str, key: str, **params: Any) -> Iterator[list[Row]]:
    """Yield the rows of a statement in pages; each is read for itself, and nothing is held between.

    The statement takes `:limit`, and in `:after` what the column `key` of the last row said. Pages
    grow as long as their texts are short.
    """

    def fetch(tx: Tx) -> list[Row]:
        return tx.all(statement, after=after, limit=size, **params)

    after, size = 0, FIRST_PAGE_ROWS
    while page := reader.read(fetch):
        yield page
        if len(page) < size:
            return
        after = page[-1][key]
        chars = sum(len(value) for row in page for value in row if isinstance(value, str))
        size = min(max(len(page) * PAGE_CHARS // (chars + 1), 1), 2 * size, MAX_PAGE_ROWS)


def find_run(reader: Reader, text: str) -> str:
    """Return the id of the run that `text` means: an id, the beginning of one id, or `@last`.

    Raises:
        UnknownIdError: There is none.
        UsageError: Several ids begin so, or the text is empty.
    """
    return _find(reader, "run", text, "run_newest", "run_ids_between")


def find_thread(reader: Reader, text: str) -> str:
    """Return the id of the thread that `text` means, as `find_run` does; `@last` is where the last
    run was.
    """
    return _find(reader, "thread", text, "thread_newest", "thread_ids_between")


def find_step(reader: Reader, text: str) -> str:
    """Return the id of the step that `text` means: an id, or `@last`.

    Raises:
        UnknownIdError: There is no step yet.
    """
    if text != LAST:
        return text
    newest = reader.read(lambda tx: tx.value("step_newest"))
    if newest is None:
        raise UnknownIdError("the journal holds no step yet", kind="step", value=text)
    return str(newest)


def _find(reader: Reader, kind: str, text: str, newest: str, between: str) -> str:
    if text == LAST:
        last = reader.read(lambda tx: tx.value(newest))
        if last is None:
            raise UnknownIdError(f"the journal holds no {kind} yet", kind=kind, value=text)
        return str(last)
    if not text:
        raise click.UsageError(f"the id of the {kind} is empty: give one, or {LAST}")
    ids = _beginning_with(reader, text, between)
    if text in ids or len(ids) == 1:
        return ids[0]
    if not ids:
        raise UnknownIdError(
            f"no {kind} has the id {text!r} or one that begins so: `rowtrail {kind}s` lists them",
            kind=kind,
            value=text,
        )
    listed = ", ".join(ids[:MAX_CANDIDATES]) + (", ..." if len(ids) > MAX_CANDIDATES else "")
    raise click.UsageError(visible(f"several {kind}s begin with {text!r}: {listed}"))


def _beginning_with(reader: Reader, text: str, between: str) -> list[str]:
    """Return the ids that begin with `text`, in order: an id that is `text` itself is the first."""
    rows = reader.read(
        lambda tx: tx.all(between, first=text, last=text + BEYOND, limit=MAX_CANDIDATES + 1)
    )
    return [str(row[0]) for row in rows]
