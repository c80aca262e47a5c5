"""The connection on which the main thread writes what is one statement."""

from __future__ import annotations

import sqlite3
import threading

from rowtrail.engine._contract import Durability
from rowtrail.engine.sqlite._alone import Statement
from rowtrail.engine.sqlite._faults import DAMAGE, storage_error
from rowtrail.engine.sqlite._home import MEMORY
from rowtrail.engine.sqlite._open import open_second_writer, set_durability
from rowtrail.engine.sqlite._unsynced import Unsynced
from rowtrail.engine.sqlite._watch import Watch
from rowtrail.errors import ClosedError, ReplacedError

WAIT_S = 0.003
"""How long the writer thread waits for a statement of the main thread before it asks SQLite."""
CLOSE_S = 1.0
"""How long another thread waits for the main thread before it leaves the closing to that."""


class MainThread:
    """Writes beside the writer thread, on a connection of its own.

    A signal's handler may run between any two steps of what the main thread does, and may wait for
    a thread that writes. So the main thread holds nothing then that any writer needs: SQLite's lock
    of writers is taken and released inside one call of C code, where no handler runs. The lock
    here guards the connection alone; whoever else takes it waits a bounded time.
    """

    def __init__(self, path: str, watch: Watch, unsynced: Unsynced) -> None:
        self._path = path
        self._watch = watch
        self._unsynced = unsynced
        self._lock = threading.RLock()
        self._is_used = False
        self._is_closed = path == MEMORY  # whose connection is the only one
        self._level: Durability | None = None
        self.connection: sqlite3.Connection | None = None
        """None until the first statement."""

    def carry_out(self, statement: Statement, *, is_synced: bool) -> bool | None:
        """Carry out a statement, and return what it does, or None where it has to queue.

        Raises:
            StorageError: It could not be written.
        """
        with self._lock:
            if self._is_used or self._is_closed:  # this is a signal's handler, or comes after one
                return None
            # No call between these two lines: nothing may be raised there.
            self._is_used = True
            try:
                return self._carry_out(statement, is_synced=is_synced)
            finally:
                self._is_used = False
                self._close_if_left()

    def opened(self) -> sqlite3.Connection | None:
        """Return the connection, opened now if need be; None for a journal in memory, or closed."""
        with self._lock:
            return None if self._is_closed else self.connection or self._open()

    def wait(self) -> None:
        """Wait for the statement under way, if there is one, and not long."""
        if self._is_used and self._lock.acquire(timeout=WAIT_S):
            self._lock.release()

    def close(self) -> None:
        """Close the connection; what is under way on the main thread ends before, or is refused."""
        self._is_closed = True
        if self._lock.acquire(timeout=CLOSE_S):
            try:
                self._close()
            finally:
                self._lock.release()

    def _carry_out(self, statement: Statement, *, is_synced: bool) -> bool | None:
        changed = set[int]()
        before = self._unsynced.commits
        try:
            self._watch.check()
            connection = self.connection or self._open()
            self._set_level(connection, "full" if is_synced else "normal")
            return statement.carry_out(connection, changed)
        except ReplacedError:  # the next transaction says so, and saves what it can
            return None
        except (sqlite3.Error, *DAMAGE) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                return None
            raise self._named(error) from error
        finally:
            for step in changed:
                self._unsynced.note_apart(step, is_synced=is_synced, before=before)

    def _open(self) -> sqlite3.Connection:
        connection = open_second_writer(self._path)
        try:
            self._watch.check()  # it is the file that is open already
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        return connection

    def _set_level(self, connection: sqlite3.Connection, level: Durability) -> None:
        if level != self._level:
            self._level = None  # a signal's handler may raise between the two
            set_durability(connection, level)
            self._level = level

    def _named(self, error: Exception) -> Exception:
        if self._is_closed and isinstance(error, sqlite3.ProgrammingError):  # by a handler
            return ClosedError(
                f"{self._path!r} was closed before this call: open the journal again",
                path=self._path,
            )
        return storage_error(error, self._path) or error

    def _close_if_left(self) -> None:
        if self._is_closed:
            self._close()

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
