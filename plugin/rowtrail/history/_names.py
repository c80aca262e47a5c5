"""What a person means by an id: an id, the beginning of one, or `@last`."""

from __future__ import annotations

from rowtrail.errors import UnknownIdError, UsageError
from rowtrail.history._source import Source, reader_of

LAST = "@last"
MAX_CANDIDATES = 10
"""As many ids as an error can name and stay readable."""
BEYOND = "\U0010ffff"
"""Sorts after every character that an id begins with."""


def find_run(source: Source, text: str) -> str:
    """Return the id of the run that `text` means: an id, the beginning of one id, or `@last`.

    Raises:
        UnknownIdError: There is none.
        UsageError: Several ids begin so, or the text is empty.
    """
    return _find(source, "run", text, "run_newest", "run_ids_between")


def find_thread(source: Source, text: str) -> str:
    """Return the id of the thread that `text` means, as `find_run` does.

    `@last` is where the last run was.
    """
    return _find(source, "thread", text, "thread_newest", "thread_ids_between")


def find_step(source: Source, text: str, *, run_id: str | None = None) -> str:
    """Return the id of the step that `text` means: an id, or `@last`, of all or of a run.

    An id is given back as it is.

    Raises:
        UnknownIdError: There is no step yet.
    """
    if text != LAST:
        return text
    newest = newest_step(source, run_id=run_id)
    if newest is None:
        of = "journal" if run_id is None else f"run {run_id!r}"
        raise UnknownIdError(f"the {of} holds no step yet", kind="step", value=text)
    return newest


def newest_step(source: Source, *, run_id: str | None = None) -> str | None:
    """Return the id of the newest step, of all or of a run; None where there is no step yet."""
    reader = reader_of(source)
    if run_id is None:
        newest = reader.read(lambda tx: tx.value("step_newest"))
    else:
        newest = reader.read(lambda tx: tx.value("run_last_steps", run_id=run_id, limit=1))
    return None if newest is None else str(newest)


def run_ids_beginning_with(source: Source, text: str) -> list[str]:
    """Return the first few ids of runs that begin with `text`, in order."""
    return _beginning_with(source, text, "run_ids_between")


def _find(source: Source, kind: str, text: str, newest: str, between: str) -> str:
    if text == LAST:
        last = reader_of(source).read(lambda tx: tx.value(newest))
        if last is None:
            raise UnknownIdError(f"the journal holds no {kind} yet", kind=kind, value=text)
        return str(last)
    if not text:
        raise UsageError(f"the id of the {kind} is empty: give one, or {LAST}")
    ids = _beginning_with(source, text, between)
    if text in ids or len(ids) == 1:
        return ids[0]
    if not ids:
        raise UnknownIdError(
            f"no {kind} has the id {text!r} or one that begins so: `rowtrail {kind}s` lists them",
            kind=kind,
            value=text,
        )
    listed = ", ".join(ids[:MAX_CANDIDATES]) + (", ..." if len(ids) > MAX_CANDIDATES else "")
    raise UsageError(f"several {kind}s begin with {text!r}: {listed}")


def _beginning_with(source: Source, text: str, between: str) -> list[str]:
    """Return the ids that begin with `text`, in order: an id that is `text` itself is the first."""
    rows = reader_of(source).read(
        lambda tx: tx.all(between, first=text, last=text + BEYOND, limit=MAX_CANDIDATES + 1)
    )
    return [str(row[0]) for row in rows]
