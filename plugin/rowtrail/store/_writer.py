"""The writer thread: whole transactions, several callers' in one commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from rowtrail.errors import ClosedError, StorageError
from rowtrail.store._open import named_errors
from rowtrail.store._tx import Tx

MAX_GROUP = 256  # transactions in one commit; bounds what one failed commit takes with it


@dataclass
class Job:
    """One caller's transaction, and where its outcome goes."""

    work: Callable[[Tx], Any]
    done: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Hand the outcome to the caller."""
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class Writer:
    """Owns the connection that writes, and the thread that uses it.

    A job either commits whole or leaves nothing. Jobs that wait while a commit runs share the next
    one: the price of a durable commit is one sync of the disk, however many jobs it holds.
    """

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        *,
        on_rollback: Callable[[], None],
        beat: Callable[[Tx], None],
        beat_every_s: float,
    ) -> None:
        self._path = path
        self._connection = connection
        self._tx = Tx(connection)
        self._on_rollback = on_rollback
        self._beat = beat
        self._beat_every_s = beat_every_s
        self._beat_at = time.monotonic()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="rowtrail-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Tx], Any]) -> Future[Any]:
        """Queue a transaction; the future resolves when it is committed."""
        job = Job(work)
        with self._lock:
            if self._closed:
                raise ClosedError(
                    f"{self._path!r} was closed before this call: open the journal again",
                    path=self._path,
                )
            self._jobs.put(job)
        return job.done

    @property
    def is_current_thread(self) -> bool:
        """Tell whether the caller runs on the writer thread itself."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Commit what is queued, then close the connection; further calls do nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        if not self.is_current_thread:
            self._thread.join()

    def _loop(self) -> None:
        more = True
        while more:
            batch, more = self._take()
            if time.monotonic() - self._beat_at > self._beat_every_s:
                self._beat_at = time.monotonic()
                batch.append(Job(self._beat))
            if batch:
                self._commit(batch)
        self._connection.close()

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for a job and take those that queued behind it; False after the last."""
        batch: list[Job] = []
        try:
            job = self._jobs.get(timeout=self._beat_every_s)
            while True:
                if job is None:
                    return batch, False
                batch.append(job)
                if len(batch) == MAX_GROUP:
                    return batch, True
                job = self._jobs.get_nowait()
        except queue.Empty:
            return batch, True

    def _commit(self, batch: list[Job]) -> None:
        try:
            with named_errors(self._path):
                self._connection.execute("BEGIN IMMEDIATE")
                for job in batch:
                    self._run(job, alone=len(batch) == 1)
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")
        except BaseException as error:  # the batch is lost as a whole, and says so to every caller
            self._roll_back()
            for job in batch:
                job.error = job.error or error
        for job in batch:
            job.settle()

    def _run(self, job: Job, *, alone: bool) -> None:
        """Run one job, so that its failure undoes its own work only."""
        if not alone:
            self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._tx)
        except BaseException as error:
            job.error = error
            self._undo(error, alone=alone)
        else:
            if not alone:
                self._connection.execute("RELEASE job")

    def _undo(self, error: BaseException, *, alone: bool) -> None:
        self._on_rollback()
        if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
            raise error  # a full disk or a failing one: SQLite may have ended the transaction
        if alone:
            self._roll_back()
        else:
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")

    def _roll_back(self) -> None:
        self._on_rollback()
        if not self._connection.in_transaction:
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StorageError(f"{self._path!r}: rollback failed: {error}", path=self._path) from error


def leak(connection: sqlite3.Connection) -> None:
    """Keep a connection inherited through `fork()` from ever being closed in the child.

    Closing it could checkpoint and delete the WAL under the parent.
    Source: https://www.sqlite.org/howtocorrupt.html section 2.6.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
