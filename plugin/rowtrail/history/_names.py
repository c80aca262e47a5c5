"""What a person means by an id: an id, the beginning of one, or `@last`."""

from __future__ import annotations

from dataclasses import dataclass

from rowtrail.errors import UnknownIdError, UsageError
from rowtrail.history._source import Source, reader_of

LAST = "@last"
MAX_CANDIDATES = 10
"""As many ids as an error can name and stay readable."""
CUT = "…"
"""Stands in an id for its middle, in a table without room for all of it."""
BEYOND = "\U0010ffff"
"""Sorts after every character that an id begins with."""


@dataclass(frozen=True)
class FoundRun:
    """The run that a text means.

    Attributes:
        run_id: The run.
        note: What a person has to know about it, such as that the text is a thread; or None.
    """

    run_id: str
    note: str | None = None


def find_run(source: Source, text: str) -> str:
    """Return the id of the run that `text` means.

    It is an id, the beginning of one, its two ends as a narrow table shows them (`support…2026`),
    `@last`, or a thread, which means its last run.

    Raises:
        UnknownIdError: There is none.
        UsageError: Several ids begin so, or the text is empty.
    """
    return resolve_run(source, text).run_id


def resolve_run(source: Source, text: str) -> FoundRun:
    """Return the run that `text` means as `find_run` does, with a note where it is a thread.

    Raises:
        UnknownIdError: There is none.
        UsageError: Several ids begin so, or the text is empty.
    """
    try:
        return FoundRun(_find(source, "run", text, "run_newest", "run_ids_between"))
    except UnknownIdError:
        if text == LAST:
            raise
        try:
            thread = find_thread(source, text)
        except (UnknownIdError, UsageError):
            thread = None
        if thread is None:
            raise
    last = reader_of(source).read(lambda tx: tx.value("run_last_of_thread", thread_id=thread))
    if last is None:
        raise UnknownIdError(
            f"{text!r} is a thread without a run: `rowtrail runs` lists runs",
            kind="run",
            value=text,
        )
    return FoundRun(str(last), f"{thread!r} is a thread; its last run is {last}")


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
    """Return the ids that begin with `text`, in order: an id that is `text` itself is the first.

    A text with its middle cut is what an id begins and ends with, unless an id is just that.
    """
    head, is_cut, tail = text.partition(CUT)
    found = _ids(source, between, text, "")
    return _ids(source, between, head, tail) if is_cut and not found else found


def _ids(source: Source, between: str, head: str, tail: str) -> list[str]:
    most = MAX_CANDIDATES + 1
    rows = reader_of(source).read(
        lambda tx: tx.all(between, first=head, last=head + BEYOND, tail=tail, limit=most)
    )
    return [str(row[0]) for row in rows]
