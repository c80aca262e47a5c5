"""Threads: conversations, with totals of their runs."""

from __future__ import annotations

from rowtrail._clock import iso_utc
from rowtrail.history._page import DEFAULT_ROWS, Listing, Moment, Page, millis_of
from rowtrail.history._source import Source
from rowtrail.history.rows import ThreadRow

AFTER_ALL = "~"
"""Sorts after every time."""

_THREADS: Listing[ThreadRow] = Listing("threads", "threads_page", AFTER_ALL)


def list_threads(
    source: Source,
    *,
    since: Moment | None = None,
    limit: int = DEFAULT_ROWS,
    cursor: str | None = None,
) -> Page[ThreadRow]:
    """Return a page of threads, the last active first.

    A thread that is active meanwhile moves to the front: it may then be on no later page. Each
    page adds up all threads, so that large pages cost less.

    Args:
        source: The journal.
        since: Only threads with activity then or later.
        limit: How many at most; a page has 1,000 at most.
        cursor: `next_cursor` of the page before; None for the first.

    Raises:
        UsageError: An argument has no meaning.
        StorageError: The journal cannot be read.
    """
    begun = iso_utc(millis_of("since", since))
    return _THREADS.page(source, limit=limit, cursor=cursor, since=begun)
