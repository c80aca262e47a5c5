"""Reading a journal without owning it: nothing is created, written or migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from rowtrail._clock import Clock
from rowtrail.engine._asking import EVERYTHING, Found, Only, Params
from rowtrail.engine._contract import Row
from rowtrail.engine.sqlite._attached import JOURNAL, attach, create_views, decode
from rowtrail.engine.sqlite._faults import BUSY_TIMEOUT_MS, named_errors
from rowtrail.engine.sqlite._home import (
    beside_file,
)
from rowtrail.engine.sqlite._liveness import Liveness
from rowtrail.engine.sqlite._open import check_sqlite_version
from rowtrail.engine.sqlite._tx import SqliteTx
from rowtrail.engine.sqlite._watch import Watch

T = TypeVar("T")


class Reader:
    """A journal for programs that only look at it; opened at the first `read`.

    Works beside a live writer, on a read-only file system, and on views of another version: the
    views are this rowtrail's own, over the tables of the file. For one thread.
    """

    def __init__(self, path: str) -> None:
        self.where = path
        self._liveness = Liveness(Clock())
        self._connection: sqlite3.Connection | None = None
        self._watch: Watch | None = None

    def read(self, work: Callable[[SqliteTx], T]) -> T:
        """Run `work` over one consistent snapshot of the file.

        Raises:
            StorageError: The file cannot be read; the leaf and the message say why.
        """
        with named_errors(self.where):
            connection = self._opened()
            connection.execute("BEGIN")
            tx = SqliteTx(connection)
            try:
                result = work(tx)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                tx.end(committed=False)
                raise
        tx.end(committed=True)
        return result

    def ask(
        self, sql: str, params: Params, *, rows: int, seconds: float, only: Only = EVERYTHING
    ) -> Found:
        """Answer one `SELECT` of anybody over the public views, within limits."""
        from rowtrail.engine.sqlite._query import ask  # not for programs that do not ask

        return ask(self, sql, params, rows=rows, seconds=seconds, only=only)

    def is_alive(self, process: Row) -> bool:
        """Return whether the process in a row with the columns of `process` may still live."""
        return self._liveness.verdict_in_ms(process) != 0.0

    def beside(self, suffix: str) -> str | None:
        """Return the path of a file beside the journal."""
        return beside_file(self.where, suffix)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None or self._watch is None:
            self._connection = _open(self.where)
            self._watch = Watch(self.where)
        self._watch.check()
        return self._connection

    def close(self) -> None:
        """Close the file; a further `read` opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: str) -> sqlite3.Connection:
    check_sqlite_version()
    connection = sqlite3.connect(
        ":memory:", uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None
    )
    try:
        connection.text_factory = decode
        attach(connection, path, JOURNAL)
        create_views(connection, JOURNAL, suffix="")
        connection.execute("PRAGMA query_only = 1")
    except BaseException:  # Ctrl-C too: nobody else would close it
        connection.close()
        raise
    return connection
