"""A listing: the first rows of many, read page by page, printed as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

import click

from rowtrail.cli._output import Cell, Column, json_rows, print_pieces, print_table
from rowtrail.history import Page

MAX_ROWS = 1_000_000
"""More is a copy, not a listing: `rowtrail backup` makes one."""
MAX_TOKENS = 1_000_000
"""No model reads more."""

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound=Mapping[str, object])


def limit_option(default: int) -> Callable[[F], F]:
    """Return what adds `--limit`."""
    return click.option(
        "--limit",
        type=click.IntRange(1, MAX_ROWS),
        default=default,
        show_default=True,
        metavar="N",
        help="How many at most.",
    )


class Listing(Generic[R]):
    """The first `limit` rows of pages; whoever reads them asks for one more.

    Attributes:
        has_more: There was at least one row after the last one.
    """

    def __init__(self, pages: Iterable[Page[R]], limit: int) -> None:
        self._pages = pages
        self._limit = limit
        self.has_more = False

    def print(
        self, columns: Sequence[Column], line: Callable[[R], Sequence[Cell]], *, as_json: bool
    ) -> bool:
        """Print the rows, and return whether there were any."""
        listed = self._first()
        first = next(listed, ())
        every = chain([first], listed)
        if as_json:
            print_pieces(json_rows(row for page in every for row in page))
        elif first:
            print_table(columns, ([line(row) for row in page] for page in every))
        return bool(first)

    def _first(self) -> Iterator[Sequence[R]]:
        left = self._limit
        for page in self._pages:
            if left and (kept := page.rows[:left]):
                yield kept
            if len(page) > left:
                self.has_more = True
                return
            left -= len(page)
