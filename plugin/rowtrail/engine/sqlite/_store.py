"""One open journal file: its writer, its readers, its heartbeat."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rowtrail._clock import Clock
from rowtrail.engine._process import HEARTBEATS_UNTIL_STALE, STALE_AFTER_MS, current_process
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._home import MEMORY, note_closed, note_open
from rowtrail.engine.sqlite._jobs import Awaited, Job, Promised
from rowtrail.engine.sqlite._liveness import Liveness
from rowtrail.engine.sqlite._open import (
    Durability,
    checkpoint_wal,
    free_pages,
    open_reader,
    open_writer,
)
from rowtrail.engine.sqlite._tx import Row, Tx
from rowtrail.engine.sqlite._writer import Writer, leak
from rowtrail.errors import ClosedError, DamagedError, ForkedError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

# Seven may be late before a process counts as dead, and one at work pays a commit in 2 s for them.
HEARTBEAT_S = min(2.0, STALE_AFTER_MS / 1000 / HEARTBEATS_UNTIL_STALE)
HASH_KEY_BYTES = 16
MAX_IDLE_READERS = 8
READ_THREADS = 4
NORMAL = "normal/"
"""In `meta`, before the row of a process that has the file open with `durability="normal"`."""


class Store:
    """One open journal file.

    `write` commits before it returns; `awrite` is its twin for coroutines and never blocks the
    event loop. A transaction is a function of a `Tx`; it may be called on another thread.
    """

    def __init__(self, path: str, durability: Durability, clock: Clock) -> None:
        self.path = path
        self.durability = durability
        self.clock = clock
        self.pid = os.getpid()
        self.owners = 0
        """How many journals share the store; the last one to go closes it."""
        self.epoch = 0
        """Grows whenever work was rolled back: what was cached from it is void."""
        self.companion: object | None = None
        """What the room above keeps once per store."""
        self.chore: Callable[[Tx], object] | None = None
        """What is done with every heartbeat, and before the store closes."""
        self.farewell: Callable[[Tx], object] | None = None
        """The last work of the store, run when it closes."""
        self._liveness = Liveness(clock)
        self._is_shut = False
        self._lock = threading.Lock()
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._read_pool: ThreadPoolExecutor | None = None
        connection, self._watch = open_writer(path, durability, clock.now_ms())
        self._open_name = note_open(path)
        self.writer = Writer(
            path,
            connection,
            durability=durability,
            watch=self._watch,
            on_rollback=self._forget,
            beat=self._beat,
            beat_every_s=HEARTBEAT_S,
        )
        try:
            facts = self.write(self._introduce)
        except BaseException:  # Ctrl-C too: its thread would go on
            self.shut()
            raise
        self.process_row: int = facts[0]
        self.journal_id: str = facts[1]
        self.hash_key: bytes = facts[2]

    def write(self, work: Callable[[Tx], T], *, synced: bool = False) -> T:
        """Run `work` in a transaction and return its result once it is committed.

        Args:
            work: The transaction.
            synced: Have it on disk before this returns, also with `durability="normal"`.
        """
        if self.is_in_transaction:
            raise RuntimeError("a transaction cannot wait for another one")
        self._refuse_child()
        result: T = self.writer.write(work, synced=synced)
        return result

    @property
    def is_in_transaction(self) -> bool:
        """Tell whether the caller runs inside a transaction of this store."""
        return self.writer.is_in_transaction

    async def awrite(self, work: Callable[[Tx], T], *, synced: bool = False) -> T:
        """Run `work` in a transaction; committed also when the awaiting task is cancelled.

        `synced` as for `write`.
        """
        import asyncio  # not for `import rowtrail`

        job = Awaited(work, asyncio.get_running_loop(), synced=synced)
        self._put(job)
        result: T = await job.future  # cancelled or not, the job runs
        return result

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue `work` as a transaction and return at once.

        Raises:
            ClosedError: The store was closed.
            ForkedError: It was opened before a `fork()`.
        """
        job = Promised(work)
        self._put(job)
        return job.future

    def _put(self, job: Job) -> None:
        self._refuse_child()
        self.writer.put(job)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a connection that cannot write, over one consistent snapshot."""
        self.refuse_replaced()
        if self.path == MEMORY:
            return self.write(work)
        connection = self._take_reader()
        try:
            with named_errors(self.path):
                connection.execute("BEGIN")
                result = work(Tx(connection))
                connection.execute("COMMIT")
        except BaseException:  # Ctrl-C too: its snapshot would keep the WAL from being cut
            connection.close()
            raise
        self._give_back(connection)
        return result

    async def aread(self, work: Callable[[Tx], T]) -> T:
        """Run `read` on one of the store's own threads."""
        import asyncio

        self._refuse_child()
        if self.path == MEMORY:
            return await self.awrite(work)
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._pool(), self.read, work)
        except RuntimeError:
            self._refuse_shut()  # the pool was shut down meanwhile
            raise
        return await reading

    @property
    def is_open(self) -> bool:
        """Tell whether the store still takes transactions."""
        return not self._is_shut

    @property
    def has_lost_its_file(self) -> bool:
        """Return whether the path was found to name another file than the one that is open."""
        return self._watch.has_lost

    def refuse_replaced(self) -> None:
        """Refuse to go on with a file that is not at its path any more.

        Raises:
            ReplacedError: It was removed, renamed or replaced; also ever after.
            ForkedError: It was opened before a `fork()`.
        """
        self._refuse_child()
        self._watch.check()

    def is_alive(self, process: Row) -> bool:
        """Return whether the process in a row with the columns of `process` is not told dead."""
        return self.verdict_in_s(process) != 0.0

    def verdict_in_s(self, process: Row) -> float | None:
        """Return in how many seconds a process is told dead if it stays silent, 0.0 when it is.

        None when it is told alive for certain: it is known by its identity on this host, or its
        heartbeat was seen to change lately.
        """
        if process["process"] == self.process_row:
            return None
        verdict_ms = self._liveness.verdict_in_ms(process)
        if verdict_ms is None or verdict_ms == 0.0:
            return verdict_ms
        kept = self._liveness.silence_to_keep(process)
        if kept is not None:
            key, value = kept
            # Apart from the transaction under way, which a busy run may roll back.
            with contextlib.suppress(ClosedError):
                self.submit(lambda tx: tx.run("meta_set", key=key, value=value))
        return verdict_ms / 1000

    def shrink(self, pages: int) -> None:
        """Give free pages back to the file system, `pages` at a time between other commits."""
        left = -1
        while left and left != (
            left := self._between_commits(lambda c: free_pages(c, self.path, pages))
        ):
            pass
        self._between_commits(checkpoint_wal)

    def _between_commits(self, work: Callable[[sqlite3.Connection], T]) -> T:
        from concurrent.futures import Future

        done: Future[T] = Future()

        def carry_out() -> None:
            try:
                self._watch.check()
                with named_errors(self.path):
                    done.set_result(work(self.connection))
            except BaseException as error:  # whoever waits raises it
                done.set_exception(error)

        self._refuse_child()
        self._refuse_shut()
        self.writer.order(carry_out)
        return done.result()

    def require(self, durability: Durability) -> None:
        """Make commits as durable as this owner asks for; what another asked for stays."""
        if durability == "full" and self.durability == "normal":
            self.durability = durability
            self.writer.set_durability(durability)

    @property
    def connection(self) -> sqlite3.Connection:
        """Return the connection that writes; only its own thread may use it."""
        return self.writer.connection

    def retire(self) -> None:
        """Take no new owner and no new reader; what is queued is still committed."""
        with self._lock:
            self._is_shut = True

    def shut(self) -> None:
        """Commit what is queued and close the file, whoever still owns the store."""
        if os.getpid() != self.pid:
            return  # the parent's file: not ours to close
        self.retire()
        if self._read_pool is not None:
            self._read_pool.shutdown()
        # Before the writer's: the last connection to close empties and deletes the WAL.
        for connection in self._idle_readers():
            connection.close()
        self.writer.close(last=self._say_goodbye)
        open_name, self._open_name = self._open_name, None
        note_closed(open_name)

    def disown(self) -> None:
        """Give up, in a child process, the connections inherited from its parent."""
        for connection in (self.connection, *self._idle_readers()):
            leak(connection)

    def _idle_readers(self) -> list[sqlite3.Connection]:
        found: list[sqlite3.Connection] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._readers.get_nowait())
        return found

    def _pool(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            self._refuse_shut()
            if self._read_pool is None:
                self._read_pool = ThreadPoolExecutor(READ_THREADS, "rowtrail-reader")
            return self._read_pool

    def _take_reader(self) -> sqlite3.Connection:
        self._refuse_shut()
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return open_reader(self.path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._is_shut and self._readers.qsize() < MAX_IDLE_READERS:
                self._readers.put(connection)
                return
        connection.close()

    def _refuse_shut(self) -> None:
        if self._is_shut:
            raise ClosedError(
                f"{self.path!r} was closed before this call: open the journal again",
                path=self.path,
            )

    def _refuse_child(self) -> None:
        if os.getpid() != self.pid:
            raise forked(self.path, self.pid)

    def _forget(self) -> None:
        self.epoch += 1

    def _introduce(self, tx: Tx) -> tuple[int, str, bytes]:
        me = current_process()
        row = tx.insert(
            "process_insert",
            pid=me.pid,
            pid_start=me.pid_start,
            boot_id=me.boot_id,
            pid_space=me.pid_space,
            host=me.host,
            now=self.clock.now_ms(),
        )
        self._liveness.load(tx.all("silences"))
        tx.run("silences_forget")
        if self.durability == "normal":  # others cannot see what is synced, and go by this
            tx.run("meta_set", key=f"{NORMAL}{row}", value="1")
        return row, tx.value("meta_value", key="journal_id"), self._hash_key(tx)

    def _hash_key(self, tx: Tx) -> bytes:
        """Return the secret of the file, without which nothing in it can be recognised."""
        text = str(tx.value("meta_value", key="hash_key") or "")
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != HASH_KEY_BYTES:
            raise DamagedError(
                f"{self.path!r} has lost its hash key: keep the file, and restore a backup",
                path=self.path,
            )
        return key

    def _beat(self, tx: Tx) -> None:
        """Tell other hosts, and the views, that this process lives while it has work open."""
        tx.run("process_beat", id=self.process_row, now=self.clock.now_ms())
        if self.chore is not None:
            self.chore(tx)

    def _say_goodbye(self, tx: Tx) -> None:
        if self.chore is not None:
            self.chore(tx)
        if self.farewell is not None:
            self.farewell(tx)
        tx.run("meta_delete", key=f"{NORMAL}{self.process_row}")
        tx.run("process_forget", id=self.process_row)


def forked(path: str, pid: int) -> ForkedError:
    """Return the error of using, in a child process, a file that its parent had open."""
    return ForkedError(
        f"{path!r} was open in process {pid} when it forked process {os.getpid()}: SQLite cannot "
        "tell the two apart, and a commit could be lost; open the journal in the child only "
        "(after the fork), or start processes with 'spawn' or 'forkserver'",
        path=path,
    )
