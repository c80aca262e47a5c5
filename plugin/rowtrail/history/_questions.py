"""Questions: what waits for a person."""

from __future__ import annotations

from rowtrail.history._page import DEFAULT_ROWS, Listing, Page
from rowtrail.history._source import Source
from rowtrail.history.rows import QuestionRow

AFTER_ALL = "~"
"""Sorts after every time."""


_QUESTIONS: Listing[QuestionRow] = Listing("questions", "questions_page", AFTER_ALL)


def list_questions(
    source: Source,
    *,
    run_id: str | None = None,
    thread_id: str | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[QuestionRow]:
    """Return a page of what waits for a person, the newest first.

    A run that waits has asked by an interrupt; a step in doubt may have happened, and somebody may
    say what became of it (`rowtrail.Journal.settle`).

    Args:
        source: The journal.
        run_id: Only questions of this run.
        thread_id: Only questions of this thread.
        limit: How many at most; a page has 1,000 at most.
        cursor: `next_cursor` of the page before; None for the first.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    return _QUESTIONS.page(source, limit=limit, cursor=cursor, run_id=run_id, thread_id=thread_id)
