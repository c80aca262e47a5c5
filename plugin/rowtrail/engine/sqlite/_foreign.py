"""Reading a SQLite file of another program: never written, whoever else has it open."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from rowtrail import schema
from rowtrail.engine.sqlite._faults import BUSY_TIMEOUT_MS
from rowtrail.engine.sqlite._open import check_sqlite_version
from rowtrail.errors import ImportSourceError

PAGE_ROWS = 200
"""Rows that `rows` fetches at once."""


class ForeignFile:
    """A SQLite file of another program, read over one snapshot from its opening to its close.

    A WAL beside the file is read, and neither of the two is written. May be used by one thread at
    a time, whichever. SQLite's own empty `-wal` and `-shm` may stay beside a file that nobody else
    has open; whoever opens it next removes them.

    Raises:
        ImportSourceError: There is no such file, it is no SQLite file, or it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        check_sqlite_version()
        # Not open(): closing a handle of our own would drop the locks that SQLite holds for others
        # in this process. Source: https://www.sqlite.org/howtocorrupt.html section 2.2.
        if not os.path.isfile(self.path):
            raise self._refused("there is no such file: check the path")
        with self._named():
            self._connection = sqlite3.connect(
                _read_only_uri(self.path),
                uri=True,
                timeout=BUSY_TIMEOUT_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._named():
                self._begin()
        except BaseException:  # Ctrl-C too: nobody else would close it
            self._connection.close()
            raise

    def _begin(self) -> None:
        self._connection.execute("PRAGMA query_only = 1")
        # Functions and virtual tables in a schema that somebody prepared are not to be trusted.
        self._connection.execute("PRAGMA trusted_schema = OFF")
        self._connection.execute("BEGIN")
        # The first read is what fixes the snapshot, and what finds that it is no SQLite file.
        (self._application,) = self._connection.execute("PRAGMA application_id").fetchone()
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    @property
    def is_journal(self) -> bool:
        """Return whether the file is a rowtrail journal."""
        return bool(self._application == schema.APPLICATION_ID)

    @property
    def size_bytes(self) -> int:
        """Return how large the file is, with what its WAL holds."""
        with self._named():
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(pages * page_bytes)

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; none where it is a view, virtual or missing."""
        with self._named():
            real = self._connection.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? AND rootpage > 0",
                (table,),
            ).fetchone()
            if real is None:
                return []
            found = self._connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
            return [name for (name,) in found]

    def rows(self, query: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, a page at a time."""
        with self._named():
            cursor = self._connection.execute(query, params)
        try:
            while True:
                with self._named():
                    page = cursor.fetchmany(PAGE_ROWS)
                if not page:
                    return
                yield from page
        finally:
            cursor.close()

    def check(self) -> None:
        """Read the whole file as SQLite's `quick_check` does.

        Raises:
            ImportSourceError: The file is damaged.
        """
        (found,) = next(self.rows("PRAGMA quick_check(1)"))
        if found != "ok":
            raise self._refused(f"it is damaged ({found}): {_REPAIR}")

    def close(self) -> None:
        """End the snapshot and close the file; further calls do nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _named(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._refused(f"{_advice(error)} (SQLite: {error})") from error

    def _refused(self, reason: str) -> ImportSourceError:
        return ImportSourceError(f"{self.path!r} cannot be imported from: {reason}", path=self.path)


_REPAIR = "repair a copy of it with `.recover` of the sqlite3 shell, or restore a backup"

_ADVICE = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite file",
    sqlite3.SQLITE_CORRUPT: f"it is damaged: {_REPAIR}",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that this user may read it; a file in WAL "
    "mode also needs a folder that can be written, so copy it, and its '-wal', to one",
    sqlite3.SQLITE_BUSY: "another process keeps it locked: end its transaction",
}


def _advice(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # errors of the Python module have none
    return _ADVICE.get(code, "it cannot be read")


def _read_only_uri(path: str) -> str:
    from urllib.parse import quote

    return f"file:{quote(os.fsencode(path))}?mode=ro"
