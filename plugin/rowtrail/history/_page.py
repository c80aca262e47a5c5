"""Pages: some rows of a listing at a time; nothing is open, locked or remembered between two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar, cast

from rowtrail.errors import UsageError
from rowtrail.history._source import Source, Tx, reader_of

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

DEFAULT_ROWS = 50
"""A screen or two, and a read of some milliseconds."""
MAX_ROWS = 1_000
"""Bounds the memory of a page, and how long its snapshot holds back checkpoints of the WAL."""
PAGE_CHARS = 4_000_000
"""Pages grow while their texts stay below this."""

Key = int | str


@dataclass(frozen=True)
class Page(Generic[R_co]):
    """Some rows of a listing, in its order. Iterating gives the rows.

    Attributes:
        rows: The rows; fewer than asked for where the listing ends.
        next_cursor: Text that asks for the rows behind these, as `cursor=` of the same function;
            None where there are none. It stays good for as long as the journal exists.
    """

    rows: tuple[R_co, ...]
    next_cursor: str | None = None
    _cursor_of: Callable[[int], str] = field(default=str, repr=False, compare=False)
    """Returns the cursor of what comes behind the row at an index."""

    def __iter__(self) -> Iterator[R_co]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Page[R_co]:
        """Return the page that ends after `count` of its rows, from 1."""
        if count >= len(self.rows):
            return self
        return Page(self.rows[:count], self._cursor_of(count - 1), self._cursor_of)


class Lists(Protocol[R_co]):
    """A function that returns the pages of a listing: one of this room, with `partial`."""

    def __call__(self, *, limit: int, cursor: str | None) -> Page[R_co]:
        """Return one page."""
        ...


@dataclass(frozen=True)
class Listing(Generic[R]):
    """A named statement whose rows are read in pages.

    The statement takes `:limit` and `:cursor`. Its column `page`, which is not shown, holds what
    the next page takes as `:cursor`: a number or text that no later write changes.

    Attributes:
        name: Begins its cursors, so that one of another listing is refused.
        statement: Its name.
        start: The `:cursor` of the first page.
        shown: Returns a row as it is shown, where that is not how it is read; may read more of the
            same snapshot.
    """

    name: str
    statement: str
    start: Key
    shown: Callable[[Tx, dict[str, Any]], R] | None = None

    def page(
        self,
        source: Source,
        *,
        limit: int,
        cursor: str | None,
        start: Key | None = None,
        **params: Any,
    ) -> Page[R]:
        """Read one page, in a snapshot of its own.

        Raises:
            UsageError: The limit gives no rows, or the cursor is not of this listing.
        """
        check_limit(limit)
        size = min(limit, MAX_ROWS)
        first = self.start if start is None else start
        key = first if cursor is None else self._key(cursor)

        def work(tx: Tx) -> tuple[list[R], list[Key], bool]:
            found = tx.all(self.statement, cursor=key, limit=size + 1, **params)
            rows = [dict(row) for row in found[:size]]
            keys = [row.pop("page") for row in rows]
            if self.shown is None:
                return cast("list[R]", rows), keys, len(found) > size
            return [self.shown(tx, row) for row in rows], keys, len(found) > size

        shown, keys, has_more = reader_of(source).read(work)

        def cursor_of(index: int) -> str:
            return f"{self.name}:{keys[index]}"

        return Page(tuple(shown), cursor_of(-1) if has_more else None, cursor_of)

    def _key(self, cursor: str) -> Key:
        name, colon, text = str(cursor).partition(":")
        if name == self.name and colon:
            if isinstance(self.start, str):
                return text
            if text.isascii() and text.isdecimal() and len(text) < len(str(2**63)):
                return int(text)
        raise wrong_cursor(cursor)


def pages(
    listing: Lists[R], *, limit: int | None = None, first: int = DEFAULT_ROWS
) -> Iterator[Page[R]]:
    """Yield the pages of a listing one after the other, without empty ones.

    `for page in pages(partial(list_runs, journal, status="failed")): ...` Each page is read when
    it is asked for. Pages grow as long as their texts are short.

    Args:
        listing: A function of this room, with everything but `limit` and `cursor`.
        limit: How many rows at most, in all pages together; None for all.
        first: How many rows the first page has.

    Raises:
        UsageError: A limit gives no rows.
    """
    check_limit(first)
    if limit is not None:
        check_limit(limit)
    cursor, size, left = None, first, limit
    while True:
        page = listing(limit=size if left is None else min(size, left), cursor=cursor)
        if page.rows:
            yield page
        cursor = page.next_cursor
        left = None if left is None else left - len(page)
        if cursor is None or left == 0:
            return
        size = min(max(_fitting(page, size), 1), 2 * size, MAX_ROWS)


def _fitting(page: Page[Any], size: int) -> int:
    """Return how many rows like those of a page have as much text as a page may have."""
    chars = sum(
        len(value)
        for row in page.rows
        for value in (cast("dict[str, Any]", row).values() if isinstance(row, dict) else (row,))
        if isinstance(value, str)
    )
    return max(len(page), 1) * PAGE_CHARS // (chars + 1)


def wrong_cursor(cursor: object) -> UsageError:
    """Return the error of a cursor that no page of a listing gave."""
    return UsageError(
        f"cursor={cursor!r} is not of this listing: give what `next_cursor` of its last page "
        "says, or None for the first page"
    )


def check_limit(limit: int) -> None:
    """Refuse a limit that gives no rows."""
    if limit < 1:
        raise UsageError(f"limit={limit!r} gives no rows: use 1 or more")


Moment = datetime | str
"""A time: a `datetime`, or UTC ISO-8601 text. Without a time zone it is UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis_of(name: str, moment: Moment | None) -> int | None:
    """Return a moment in milliseconds since 1970.

    Raises:
        UsageError: The text is not a time; `name` is the argument.
    """
    if moment is None:
        return None
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise UsageError(
                f"{name}={moment!r} is not a time: write UTC ISO-8601, such as 2026-11-22T09:30:00Z"
            ) from None
    at = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)  # exact, where timestamp() is a float
