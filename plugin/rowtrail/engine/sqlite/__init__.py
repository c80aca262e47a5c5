"""The engine of a journal in one SQLite file: one thread that writes, readers that cannot.

The only room that imports sqlite3. Opening the same file twice in one process gives the same store.
"""

from __future__ import annotations

import os

from rowtrail.engine.sqlite._commits import is_alone
from rowtrail.engine.sqlite._dialect import dialect
from rowtrail.engine.sqlite._home import MEMORY
from rowtrail.engine.sqlite._reader import Reader
from rowtrail.engine.sqlite._registry import close_all, open_store
from rowtrail.engine.sqlite._store import SqliteStore
from rowtrail.engine.sqlite._tx import SqliteTx
from rowtrail.errors import ReadOnlyError

__all__ = [
    "SqliteStore",
    "SqliteTx",
    "absolute",
    "close_all",
    "dialect",
    "exists",
    "is_alone",
    "is_lasting",
    "open_reader",
    "open_store",
    "public_columns",
    "refuse_unusable",
]


def open_reader(target: str) -> Reader:
    """Return a reader of the file; it is opened at the first `read`."""
    return Reader(target)


def exists(target: str) -> bool:
    """Return whether there is something at the path."""
    return os.path.exists(target)


def is_lasting(target: str) -> bool:
    """Return whether the path is that of a file."""
    return target != MEMORY


def absolute(target: str) -> str:
    """Return the absolute path."""
    return target if target == MEMORY else os.path.abspath(target)


def refuse_unusable(target: str) -> None:
    """Report a wrong path early, as far as that needs no opening.

    Raises:
        ReadOnlyError: Its folder is missing.
    """
    folder = os.path.dirname(absolute(target))
    if target != MEMORY and not os.path.isdir(folder):
        raise ReadOnlyError(
            f"{absolute(target)!r} cannot be opened for writing: there is no folder {folder!r}, "
            "make it or give another path",
            path=absolute(target),
        )


def public_columns() -> dict[str, tuple[str, ...]]:
    """Return the columns of each public view."""
    from rowtrail.engine.sqlite._query import public_columns as of_views

    return of_views()
