"""The writer thread: whole transactions, several callers' in one commit."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rowtrail._clock import Clock
from rowtrail.engine._contract import Durability
from rowtrail.engine.sqlite._alone import Statement
from rowtrail.engine.sqlite._faults import storage_error
from rowtrail.engine.sqlite._jobs import Awaited, Job, WaitedFor, wake_all
from rowtrail.engine.sqlite._main_thread import MainThread
from rowtrail.engine.sqlite._open import set_durability
from rowtrail.engine.sqlite._tx import SqliteTx, begin
from rowtrail.engine.sqlite._unsynced import Unsynced
from rowtrail.engine.sqlite._watch import Watch
from rowtrail.errors import ClosedError, ReplacedError, StorageError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

MAX_GROUP = 256  # transactions in one commit; bounds what one failed commit takes with it


@dataclass(frozen=True)
class Order:
    """Something that the writer thread does between two commits."""

    carry_out: Callable[[], None]


Entry = Job | Order | None
"""What queues for the writer thread; None is the end."""


class Writer:
    """Owns the connection that writes, and the thread that uses it.

    A job either commits whole or leaves nothing. Jobs that wait while a commit runs share the next
    one: the price of a durable commit is one sync of the disk, however many jobs it holds. Where
    nobody else has work, a caller that would wait commits on its own thread: two changes of
    threads cost a sixth of a durable step. On the main thread only what is one statement: there a
    signal's handler may raise, or close the journal, in the middle of a transaction of several.
    """

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        *,
        durability: Durability,
        clock: Clock,
        watch: Watch,
        beat: Callable[[SqliteTx], None],
        beat_every_s: float,
    ) -> None:
        self.connection = connection
        self._path = path
        self.unsynced = Unsynced(path)
        self._tx = SqliteTx(connection, clock, self.unsynced.changed)
        self._durability: Durability = durability
        self._level: Durability = durability  # what the connection is set to
        self._watch = watch
        self.main = MainThread(path, watch, self.unsynced)
        self._beat = beat
        self._beat_every_s = beat_every_s
        self._beat_at = time.monotonic()
        self.beats = 0
        """How many heartbeats there were."""
        self._queue: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._lock = threading.RLock()  # a signal's handler may close what it interrupts
        self._is_closed = False
        self._pending = 0  # jobs that were queued and have not ended
        self._turn = threading.Lock()  # whoever holds it uses the connection
        self._holder = 0  # the thread that commits a job of its own
        self._thread = threading.Thread(target=self._loop, name="rowtrail-writer", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[SqliteTx], Any], *, synced: bool | None = None) -> Any:
        """Run a transaction and return its result once it is committed.

        Args:
            work: The transaction.
            synced: As the contract has it (`Store.write`).

        Raises:
            ClosedError: The store was closed.
        """
        if not self._pending and not self._turn.locked() and not is_main_thread():
            job = Job(work, synced=synced)
            if self._commit_here(job):
                return job.outcome()
        waited = WaitedFor(work, synced=synced)
        self.put(waited)
        return waited.wait()

    def write_alone(self, statement: Statement) -> bool:
        """Carry out a statement that is a transaction of its own, and return what it does.

        Raises:
            ClosedError: The store was closed.
        """
        done: bool | None = None
        if not self._pending and not self._turn.locked():
            if is_main_thread():
                done = self.main.carry_out(statement, is_synced=self._is_synced(statement.synced))
            else:
                done = self._carry_out_here(statement)
        return (
            self.write(self.as_work(statement), synced=statement.synced) if done is None else done
        )

    def as_work(self, statement: Statement) -> Callable[[SqliteTx], bool]:
        """Return a transaction that carries out one statement."""
        return lambda _: statement.carry_out(self.connection, self.unsynced.changed)

    def _carry_out_here(self, statement: Statement) -> bool | None:
        """Carry out a statement on this thread, and return None where it has to queue."""
        with self._turn:
            if self._pending or self._is_closed:
                return None
            self._holder = threading.get_ident()
            try:
                self._watch.check()
                self.main.wait()
                self._set_level(is_synced=self._is_synced(statement.synced))
                done = statement.carry_out(self.connection, self.unsynced.changed)
                if done:
                    self.unsynced.note(is_synced=self._level == "full")
                return done
            except ReplacedError:  # the next transaction says so, and saves what it can
                return None
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                    return None
                raise self._named(error) from error
            finally:
                self._holder = 0

    def _commit_here(self, job: Job) -> bool:
        """Commit a job on this thread, and return False where it has to queue."""
        with self._turn:
            if self._pending or self._is_closed:
                return False
            self._holder = threading.get_ident()
            try:
                self._commit([job])
            finally:
                self._holder = 0
        return True

    def put(self, job: Job) -> None:
        """Queue a transaction; its job is settled when it is committed.

        Raises:
            ClosedError: The store was closed.
        """
        with self._lock:
            if self._is_closed:
                raise ClosedError(
                    f"{self._path!r} was closed before this call: open the journal again",
                    path=self._path,
                )
            self._pending += 1
            self._queue.put(job)

    def order(self, carry_out: Callable[[], None]) -> None:
        """Let the writer thread call a function, between two commits.

        Takes no lock, so that a finalizer may call it wherever the garbage collector runs.
        """
        self._queue.put(Order(carry_out))

    def set_durability(self, durability: Durability) -> None:
        """Change when the disk is synced, from the next commit on."""
        self._durability = durability  # no lock: the writer may be waiting for the caller

    @property
    def is_current_thread(self) -> bool:
        """Return whether the caller runs on the writer thread itself."""
        return threading.current_thread() is self._thread

    @property
    def has_ended(self) -> bool:
        """Return whether the writer thread is gone, and the connection with it."""
        return not self._thread.is_alive()

    @property
    def is_in_transaction(self) -> bool:
        """Return whether the caller is itself the work of a transaction."""
        return threading.get_ident() in (self._thread.ident, self._holder)

    def close(self, last: Callable[[SqliteTx], Any]) -> None:
        """Commit what is queued, then `last`, and close; further calls wait for the first."""
        self.main.close()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._pending += 1
                self._queue.put(Job(last, synced=True))
                self._queue.put(None)
        if not self.is_current_thread:
            self._thread.join()

    def _loop(self) -> None:
        while self._next():
            pass
        with self._turn:
            self.connection.close()

    def _next(self) -> bool:
        """Commit what is queued, and return False at the end; keeps nothing while it waits."""
        try:
            first = [self._queue.get(timeout=self._beat_every_s)]
        except queue.Empty:
            first = []
        with self._turn:
            batch, order, more = self._take(first)
            with self._lock:
                self._pending -= len(batch)
            if time.monotonic() - self._beat_at > self._beat_every_s:
                self._beat_at = time.monotonic()
                with contextlib.suppress(StorageError):  # the commit says it
                    self._watch.look_inside()
                self._commit([*batch, Job(self._beat, synced=False)])
                self.beats += 1
            elif batch:
                self._commit(batch)
            if order is not None:
                self._obey(order)
        return more

    def _take(self, first: list[Entry]) -> tuple[list[Job], Order | None, bool]:
        """Return the jobs that queued behind the first, up to an order; False at the end."""
        batch: list[Job] = []
        try:
            while len(batch) < MAX_GROUP:
                entry = first.pop() if first else self._queue.get_nowait()
                if not isinstance(entry, Job):
                    return batch, entry, entry is not None
                batch.append(entry)
        except queue.Empty:  # nobody else waits: the commit need not
            pass
        return batch, None, True

    def _obey(self, order: Order) -> None:
        try:
            order.carry_out()
        except Exception:  # nobody waits for it, and the thread must live on
            import logging

            logging.getLogger("rowtrail").exception("the writer of %r failed", self._path)

    def _commit(self, batch: list[Job]) -> None:
        batch = [job for job in batch if job.claim()]
        if not batch:
            return
        if len(batch) > 1 and self._commit_plainly(batch):
            self._settle(batch)
            return
        try:
            self._watch.check()
            self._transact(batch)
        except BaseException as error:  # the batch is lost as a whole, and says so to every caller
            self._roll_back()
            if isinstance(error, ReplacedError) and self._watch.is_elsewhere:
                self._leave_whole()
            why = self._named(error)
            for job in batch:
                job.error = job.error or why
        self._settle(batch)

    def _commit_plainly(self, batch: list[Job]) -> bool:
        """Commit jobs without a savepoint each, and return False where one of them failed.

        Nothing of them is left then, and they run once more, each in a savepoint. Savepoints for
        all cost a sixth of the rate (32 coroutines: 7,000 checkpoints a second, not 8,200).
        """
        try:
            self._watch.check()
            self.main.wait()
            self._set_level(is_synced=self._any_synced(batch))
            changes = self.connection.total_changes
            begin(self.connection, self._path)
            for job in batch:
                job.result = job.work(self._tx)
            self.connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            return False
        self._committed(changes)
        return True

    def _transact(self, batch: list[Job]) -> None:
        self.main.wait()
        self._set_level(is_synced=self._any_synced(batch))
        changes = self.connection.total_changes
        begin(self.connection, self._path)
        for job in batch:
            self._run(job, alone=len(batch) == 1)
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")
        self._committed(changes)

    def _committed(self, changes: int) -> None:
        if self.connection.total_changes > changes:  # what changes nothing syncs nothing
            self.unsynced.note(is_synced=self._level == "full")
        self._tx.end(committed=True)

    def _is_synced(self, synced: bool | None) -> bool:
        return self._durability == "full" if synced is None else synced

    def _any_synced(self, batch: list[Job]) -> bool:
        """Return whether a commit holds a job that asks for a sync."""
        return any(self._is_synced(job.synced) for job in batch)

    def _set_level(self, *, is_synced: bool) -> None:
        """Have the next commit synced or not; SQLite changes this between commits only."""
        self.unsynced.begin()
        level: Durability = "full" if is_synced else "normal"
        if level != self._level:
            set_durability(self.connection, level)
            self._level = level

    def _settle(self, batch: list[Job]) -> None:
        awaited: dict[AbstractEventLoop, list[Awaited]] = {}
        for job in batch:
            if isinstance(job, Awaited):
                awaited.setdefault(job.loop, []).append(job)
            else:
                job.settle()
        # One wake-up for each loop: it costs a system call, and the loop a turn.
        for loop, jobs in awaited.items():
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(wake_all, jobs)

    def _run(self, job: Job, *, alone: bool) -> None:
        """Run one job, so that its failure undoes its own work only."""
        mark = (0, 0)
        if not alone:
            mark = self._tx.mark()
            self.connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._tx)
        except BaseException as error:
            job.error = self._named(error)
            self._undo(job.error, mark, alone=alone)
        else:
            if not alone:
                self.connection.execute("RELEASE job")

    def _named(self, error: BaseException) -> BaseException:
        named = storage_error(error, self._path)
        if named is None:
            return error
        named.__cause__ = error
        return named

    def _undo(self, error: BaseException, mark: tuple[int, int], *, alone: bool) -> None:
        if not self.connection.in_transaction:
            raise error  # a full disk or a failing one: SQLite has ended the whole transaction
        if alone:
            self._roll_back()
        else:
            self.connection.execute("ROLLBACK TO job")
            self.connection.execute("RELEASE job")
            self._tx.end_since(mark)

    def _roll_back(self) -> None:
        # Where this fails too, the next BEGIN does, and says so: the thread must live on.
        with contextlib.suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        self._tx.end(committed=False)

    def _leave_whole(self) -> None:
        """Put into a file that was renamed what its WAL holds, which kept the old name."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def is_main_thread() -> bool:
    """Return whether the caller is the main thread, on which signals are handled."""
    return threading.get_ident() == threading.main_thread().ident


def leak(connection: sqlite3.Connection) -> None:
    """Keep a connection inherited through `fork()` from ever being closed in the child.

    Closing it could checkpoint and delete the WAL under the parent.
    Source: https://www.sqlite.org/howtocorrupt.html section 2.6.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
