"""The connections of a store that only read, and the threads that coroutines read on."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rowtrail._clock import Clock
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._open import open_reader
from rowtrail.engine.sqlite._tx import SqliteTx
from rowtrail.errors import ClosedError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

MAX_IDLE_READERS = 8
"""A file handle and a cache each; more readers at once are closed after use."""
READ_THREADS = 4
"""Reads of coroutines wait for the disk, not for each other; SQLite reads side by side."""

T = TypeVar("T")


class ReaderPool:
    """Reads over a snapshot each, on connections that are kept for the next ones."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self.is_closed = False

    def read(self, work: Callable[[SqliteTx], T]) -> T:
        """Run `work` on a connection that cannot write, over one consistent snapshot."""
        connection = self._take()
        tx = SqliteTx(connection, self._clock)
        try:
            with named_errors(self._path):
                connection.execute("BEGIN")
                result = work(tx)
                connection.execute("COMMIT")
        except BaseException:  # Ctrl-C too: its snapshot would keep the WAL from being cut
            connection.close()
            tx.end(committed=False)
            raise
        self._give_back(connection)
        tx.end(committed=True)
        return result

    def threads(self) -> ThreadPoolExecutor:
        """Return the threads that coroutines read on."""
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            self.refuse_closed()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(READ_THREADS, "rowtrail-reader")
            return self._threads

    def refuse_closed(self) -> None:
        """Refuse to go on after the store was closed.

        Raises:
            ClosedError: So it is.
        """
        if self.is_closed:
            raise ClosedError(
                f"{self._path!r} was closed before this call: open the journal again",
                path=self._path,
            )

    def retire(self) -> None:
        """Take no new reader."""
        with self._lock:
            self.is_closed = True

    def close(self) -> None:
        """Wait for those who read, and close the connections."""
        if self._threads is not None:
            self._threads.shutdown()
        for connection in self.idle():
            connection.close()

    def idle(self) -> list[sqlite3.Connection]:
        """Take out and return the connections that nobody uses."""
        found: list[sqlite3.Connection] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._idle.get_nowait())
        return found

    def _take(self) -> sqlite3.Connection:
        self.refuse_closed()
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return open_reader(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self.is_closed and self._idle.qsize() < MAX_IDLE_READERS:
                self._idle.put(connection)
                return
        connection.close()
