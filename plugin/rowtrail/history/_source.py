"""What a question is asked of: an open journal, a reader of one, or a path.

The only file of this room that names the classes of the room below.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from rowtrail.engine import Row, Store, Tx, absolute, exists, is_lasting
from rowtrail.engine import Source as Readable
from rowtrail.engine.reading import Found, Only, Reader, open_reader
from rowtrail.errors import StorageError

__all__ = [
    "Only",
    "Opened",
    "Readable",
    "Reader",
    "Row",
    "Source",
    "Tx",
    "absolute",
    "exists",
    "is_lasting",
    "open_journal",
    "reader_of",
]

T = TypeVar("T")


@runtime_checkable
class Opened(Protocol):
    """A journal that is open for writing: `rowtrail.Journal`."""

    @property
    def store(self) -> Store:
        """The store of its rows."""
        ...


Source = Readable | Opened | str | os.PathLike[str]
"""A `rowtrail.Journal`, what `open_journal` returns, or the path of a journal."""


_EVERYTHING = Only()


class _ReadOnce:
    """A journal that is opened for each reading, so that nobody has to close it."""

    def __init__(self, path: str) -> None:
        self.where = path
        self._reader = open_reader(path)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Open the journal, run `work` over one snapshot of it, and close it."""
        with self._reader:
            return self._reader.read(work)

    def ask(
        self, sql: str, params: Any, *, rows: int, seconds: float, only: Only = _EVERYTHING
    ) -> Found:
        """Open the journal, answer one `SELECT` of anybody, and close it."""
        with self._reader:
            return self._reader.ask(sql, params, rows=rows, seconds=seconds, only=only)

    def is_alive(self, process: Row) -> bool:
        """Return whether the process in a row of `process` may still live."""
        return self._reader.is_alive(process)

    def beside(self, suffix: str) -> str | None:
        """Return the path of a file that goes with the journal."""
        return self._reader.beside(suffix)


def open_journal(path: str | os.PathLike[str]) -> Reader:
    """Return a reader of a journal, to be closed or used with `with`, for one thread.

    Nothing is created or written, and agents may go on writing. Each question sees one consistent
    snapshot; between two questions nothing is locked.

    Raises:
        StorageError: There is no such file, or the journal lives in memory.
    """
    return open_reader(_existing(path))


def reader_of(source: Source) -> Readable:
    """Return what reads a source.

    Raises:
        StorageError: It is a path, and there is no such file.
    """
    if isinstance(source, str | os.PathLike):
        return _ReadOnce(_existing(source))
    return source.store if isinstance(source, Opened) else source


def _existing(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not is_lasting(name):
        raise StorageError(
            f"{name!r} is in the memory of its process: give the `rowtrail.Journal` itself",
            path=name,
        )
    if not exists(name):
        raise StorageError(
            f"there is no journal {name!r}: give its path; an agent makes one with "
            "RowtrailSaver(path) or rowtrail.Journal(path)",
            path=name,
        )
    return name
