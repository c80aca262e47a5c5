"""What a question is asked of: an open journal, a reader of one, or a path.

The only file of this room that names the classes of the room below.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar

from rowtrail.engine import Row, Store, Tx
from rowtrail.engine.reading import Only, Reader
from rowtrail.errors import StorageError

__all__ = [
    "Only",
    "Opened",
    "Readable",
    "Reader",
    "Row",
    "Source",
    "Tx",
    "open_journal",
    "reader_of",
]

T = TypeVar("T")


class Opened(Protocol):
    """A journal that is open for writing: `rowtrail.Journal`."""

    @property
    def store(self) -> Store:
        """The store of its rows."""
        ...


Readable = Reader | Store
"""What reads a journal: of a reader, or of a store that is open for writing."""

Source = Readable | Opened | str | os.PathLike[str]
"""A `rowtrail.Journal`, what `open_journal` returns, or the path of a journal."""


class _ReadOnce(Reader):
    """A journal that is opened for each reading, so that nobody has to close it."""

    def read(self, work: Callable[[Tx], T]) -> T:
        """Open the journal, run `work` over one snapshot of it, and close it."""
        try:
            return super().read(work)
        finally:
            self.close()


def open_journal(path: str | os.PathLike[str]) -> Reader:
    """Return a reader of a journal, to be closed or used with `with`, for one thread.

    Nothing is created or written, and agents may go on writing. Each question sees one consistent
    snapshot; between two questions nothing is locked.

    Raises:
        StorageError: There is no such file, or the journal lives in memory.
    """
    return Reader(_existing(path))


def reader_of(source: Source) -> Readable:
    """Return what reads a source.

    Raises:
        StorageError: It is a path, and there is no such file.
    """
    if isinstance(source, Reader | Store):
        return source
    if isinstance(source, str | os.PathLike):
        return _ReadOnce(_existing(source))
    return source.store


def _existing(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if name == ":memory:":
        raise StorageError(
            f"{name!r} is in the memory of its process: give the `rowtrail.Journal` itself",
            path=name,
        )
    if not os.path.exists(name):
        raise StorageError(
            f"there is no journal {name!r}: give its path; an agent makes one with "
            "RowtrailSaver(path) or rowtrail.Journal(path)",
            path=name,
        )
    return name
