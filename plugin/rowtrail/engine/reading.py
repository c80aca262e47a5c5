"""Reading a journal without owning it: for the command line, and for untrusted queries.

Apart from `rowtrail.engine`, so that programs that only record do not load it.
"""

from __future__ import annotations

from rowtrail.engine._asking import Found, Only, UnansweredError
from rowtrail.engine._contract import Reader
from rowtrail.engine._engines import open_reader

__all__ = [
    "Found",
    "Only",
    "Reader",
    "UnansweredError",
    "open_reader",
    "public_columns",
]


def public_columns() -> dict[str, tuple[str, ...]]:
    """Return the columns of each public view, which are the same on every engine."""
    from rowtrail.engine.sqlite import public_columns as of_views

    return of_views()
