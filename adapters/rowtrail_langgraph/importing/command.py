"""`rowtrail import`: take over what other programs stored."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from rowtrail_langgraph.importing._threads import ImportProgress, ImportReport

__all__ = ["command"]

DEFAULT_PATH = "./agent.db"
MISMATCH = 4
"""Exit code: what was imported is not what the file holds. 1 to 3 have other meanings."""
LINE_EVERY_S = 5.0
"""Without a terminal: a log wants a sign of life, not each thread."""

_DOING = {"check": "checking", "import": "importing", "verify": "comparing"}
_KB = 1000
"""Of file sizes, as disks and `ls -h --si` count."""


class _Mismatch(click.ClickException):
    exit_code = MISMATCH


def _given_before(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Take the journal that is named before the command where none is named behind it."""
    is_own = ctx.get_parameter_source("db") is ParameterSource.COMMANDLINE
    before: str | None = ctx.find_root().params.get("db")
    return value if is_own or before is None or ctx.parent is None else before


@click.group("import", short_help="Take over what other programs stored.")
def command() -> None:
    """Take over what other programs stored into a journal.

    \b
    Example:
      rowtrail import langgraph old.db --db agent.db
    """  # noqa: D301  (click reads the backspace)


@command.command("langgraph", short_help="Take over a file of LangGraph's SqliteSaver.")
@click.argument("source", metavar="OLD.db", type=click.Path(dir_okay=False))
@click.option(
    "--db",
    metavar="PATH",
    envvar="ROWTRAIL_DB",
    default=DEFAULT_PATH,
    show_default=True,
    show_envvar=True,
    callback=_given_before,
    help="The journal; made if it does not exist.",
)
@click.option("--thread", "thread_ids", metavar="ID", multiple=True, help="Only this thread.")
@click.option("--skip-existing", is_flag=True, help="Leave out threads that the journal has.")
@click.option("--dry-run", is_flag=True, help="Check the file, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def langgraph(
    source: str,
    db: str,
    thread_ids: tuple[str, ...],
    skip_existing: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over the threads of a file of SqliteSaver or AsyncSqliteSaver.

    They can be resumed afterwards with a RowtrailSaver on the journal. OLD.db is only read, also
    while others use it. All of it is checked before anything is written, and each thread is kept
    only if every checkpoint reads back as it was. It needs the extra `langgraph`.

    \b
    Example:
      rowtrail import langgraph checkpoints.sqlite --dry-run
      rowtrail import langgraph checkpoints.sqlite --db agent.db
    """  # noqa: D301  (click reads the backspace)
    if db == ":memory:":
        raise click.BadParameter("a journal in memory ends with its process", param_hint="--db")
    from rowtrail.errors import ImportMismatchError
    from rowtrail_langgraph.importing._into_file import import_file

    with _progress() as progress:
        try:
            report = import_file(
                source,
                db,
                thread_ids=thread_ids or None,
                skip_existing=skip_existing,
                dry_run=dry_run,
                progress=progress,
            )
        except ImportMismatchError as error:
            raise _Mismatch(str(error)) from error
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print(report)


def _print(report: ImportReport) -> None:
    did = "would be imported" if report.dry_run else "imported, each read back as it was"
    click.echo(
        f"{_count(len(report.threads), 'thread')}, {_count(report.checkpoints, 'checkpoint')}, "
        f"{_count(report.writes, 'pending write')}: {did}"
    )
    click.echo(f"from  {report.source!r}  {_size(report.source_bytes)}")
    before = (
        f" (before: {_size(report.journal_bytes_before)})" if report.journal_bytes_before else ""
    )
    click.echo(f"to    {report.journal!r}  {_size(report.journal_bytes)}{before}")
    if report.skipped:
        left_out = _count(len(report.skipped), "thread")
        click.echo(f"{left_out} left out: in the journal already", err=True)
    if report.orphan_writes:
        left_out = _count(report.orphan_writes, "pending write")
        click.echo(f"{left_out} left out: of checkpoints that never arrived", err=True)
    if report.kept_types:
        click.echo(
            "objects that cannot be rebuilt here were kept as they were stored, of the classes "
            + ", ".join(map(repr, report.kept_types)),
            err=True,
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < _KB:
            return f"{count:.3g} {unit}"
        count /= _KB
    return f"{count:.1f} GB"


@contextlib.contextmanager
def _progress() -> Generator[Callable[[ImportProgress], None]]:
    """Show on stderr how far it is: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {
            phase: bar.add_task(text, start=False, visible=False) for phase, text in _DOING.items()
        }

        def show(progress: ImportProgress) -> None:
            task = tasks[progress.phase]
            bar.start_task(task)
            bar.update(task, completed=progress.done, total=progress.total, visible=True)

        yield show


class _Lines:
    """Progress as lines of text: at the beginning and the end of a phase, and every few seconds."""

    def __init__(self) -> None:
        self._phases: set[str] = set()
        self._said_at = time.monotonic()

    def show(self, progress: ImportProgress) -> None:
        """Say how far the import is, if it is time to."""
        now = time.monotonic()
        is_new = progress.phase not in self._phases
        if not is_new and progress.done < progress.total and now - self._said_at < LINE_EVERY_S:
            return
        self._phases.add(progress.phase)
        self._said_at = now
        doing = _DOING[progress.phase]
        click.echo(f"{doing}: {progress.done} of {progress.total} checkpoints", err=True)
