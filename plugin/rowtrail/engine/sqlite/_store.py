"""One open journal file: its writer, its readers, its heartbeat."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rowtrail._clock import Clock
from rowtrail.engine._asking import EVERYTHING, Found, Only, Params
from rowtrail.engine._contract import NORMAL, Durability, Row, Tx, WriteKey
from rowtrail.engine._process import HEARTBEATS_UNTIL_STALE, STALE_AFTER_MS, current_process
from rowtrail.engine._steps import NewResult, NewStep, NoteResult, NoteStep
from rowtrail.engine.sqlite._alone import BeginStep, CompleteStep, Statement
from rowtrail.engine.sqlite._commits import watch_commits
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._home import MEMORY, beside_file, note_closed, note_open
from rowtrail.engine.sqlite._jobs import Awaited, Job, Promised
from rowtrail.engine.sqlite._liveness import Liveness
from rowtrail.engine.sqlite._open import checkpoint_wal, free_pages, open_writer
from rowtrail.engine.sqlite._reader_pool import ReaderPool
from rowtrail.engine.sqlite._tx import SqliteTx
from rowtrail.engine.sqlite._writer import Writer, is_main_thread, leak
from rowtrail.errors import ClosedError, DamagedError, ForkedError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

# Seven may be late before a process counts as dead, and one at work pays a commit in 2 s for them.
HEARTBEAT_S = min(2.0, STALE_AFTER_MS / 1000 / HEARTBEATS_UNTIL_STALE)
HASH_KEY_BYTES = 16
"""128 bits: as long as the digests that it keys."""
PAGES_AT_ONCE = 256  # given back in one transaction: 2 MiB


class SqliteStore:
    """One open journal file: keeps the contract of `rowtrail.engine.Store`.

    One thread writes, so that the keys of transactions need no looking at.

    Args:
        release: Called by `close`: drops an owner, and shuts the store behind the last one.
    """

    def __init__(
        self,
        path: str,
        durability: Durability,
        clock: Clock,
        *,
        release: Callable[[SqliteStore], None],
    ) -> None:
        self.path = path
        self.where = path
        self._release = release
        self.durability = durability
        self.clock = clock
        self.pid = os.getpid()
        self.owners = 0
        """How many journals share the store; the last one to go closes it."""
        self.shared: object | None = None
        self.on_heartbeat: Callable[[Tx], object] | None = None
        self.on_close: Callable[[Tx], object] | None = None
        self._liveness = Liveness(clock)
        self._readers = ReaderPool(path, clock)
        connection, self._watch = open_writer(path, durability, clock.now_ms())
        self._open_name = note_open(path)
        self.writer = Writer(
            path,
            connection,
            durability=durability,
            watch=self._watch,
            clock=clock,
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

    def write(
        self,
        work: Callable[[SqliteTx], T],
        *,
        key: WriteKey | None = None,
        synced: bool | None = None,
    ) -> T:
        """Run `work` in a transaction and return its result once it is committed."""
        if self.writer.is_in_transaction:
            raise RuntimeError("a transaction cannot wait for another one")
        self._refuse_child()
        result: T = self.writer.write(work, synced=synced)
        return result

    def begin_step(self, step: NewStep, note: NoteStep, *, key: WriteKey | None = None) -> bool:
        """Write the row of a step where nothing recorded stands against it."""
        return self._write_alone(BeginStep(step, note, self.clock.now_ms))

    async def abegin_step(
        self, step: NewStep, note: NoteStep, *, key: WriteKey | None = None
    ) -> bool:
        """As `begin_step`, for coroutines."""
        return await self._awrite_alone(BeginStep(step, note, self.clock.now_ms))

    def complete_step(
        self, result: NewResult, note: NoteResult, *, key: WriteKey | None = None
    ) -> bool:
        """Write what a step returned, where nobody has decided about it."""
        return self._write_alone(CompleteStep(result, note))

    async def acomplete_step(
        self, result: NewResult, note: NoteResult, *, key: WriteKey | None = None
    ) -> bool:
        """As `complete_step`, for coroutines."""
        return await self._awrite_alone(CompleteStep(result, note))

    def _write_alone(self, statement: Statement) -> bool:
        if self.writer.is_in_transaction:
            raise RuntimeError("a transaction cannot wait for another one")
        self._refuse_child()
        return self.writer.write_alone(statement)

    async def _awrite_alone(self, statement: Statement) -> bool:
        # Not on the thread of the event loop: a sync of the disk would hold up every coroutine.
        return await self.awrite(self.writer.as_work(statement), synced=statement.synced)

    @property
    def is_in_transaction(self) -> bool:
        """Return whether the caller runs inside a transaction of this store."""
        return self.writer.is_in_transaction

    async def awrite(
        self,
        work: Callable[[SqliteTx], T],
        *,
        key: WriteKey | None = None,
        synced: bool | None = None,
    ) -> T:
        """As `write`, for coroutines; committed also when the awaiting task is cancelled."""
        import asyncio  # not for `import rowtrail`

        job = Awaited(work, asyncio.get_running_loop(), synced=synced)
        self._put(job)
        result: T = await job.future  # cancelled or not, the job runs
        return result

    def submit(self, work: Callable[[SqliteTx], T], *, key: WriteKey | None = None) -> Future[T]:
        """Queue `work` as a transaction and return at once."""
        job = Promised(work)
        self._put(job)
        return job.future

    def _put(self, job: Job) -> None:
        self._refuse_child()
        self.writer.put(job)

    def read(self, work: Callable[[SqliteTx], T]) -> T:
        """Run `work` on a connection that cannot write, over one consistent snapshot."""
        self.refuse_replaced()
        if self.path == MEMORY:
            return self.write(work)
        return self._readers.read(work)

    async def aread(self, work: Callable[[SqliteTx], T]) -> T:
        """Run `read` on one of the store's own threads."""
        import asyncio

        self._refuse_child()
        if self.path == MEMORY:
            return await self.awrite(work)
        try:
            threads = self._readers.threads()
            reading = asyncio.get_running_loop().run_in_executor(threads, self.read, work)
        except RuntimeError:
            self._readers.refuse_closed()  # its threads were ended meanwhile
            raise
        return await reading

    def ask(
        self, sql: str, params: Params, *, rows: int, seconds: float, only: Only = EVERYTHING
    ) -> Found:
        """Answer one `SELECT` of anybody over the public views, within limits."""
        from rowtrail.engine.sqlite._query import ask  # not for programs that do not ask

        self.refuse_replaced()  # it asks by the path
        return ask(self, sql, params, rows=rows, seconds=seconds, only=only)

    @property
    def is_in_memory(self) -> bool:
        """Return whether the journal ends with this process."""
        return self.path == MEMORY

    def file(self) -> str | None:
        """Return the path of the file, as long as it is the one that is open."""
        if self.path == MEMORY:
            return None
        self.refuse_replaced()
        return self.path

    def beside(self, suffix: str) -> str | None:
        """Return the path of a file beside the journal."""
        return beside_file(self.path, suffix)

    def unsynced_steps(self) -> frozenset[int]:
        """Return the steps whose newest change by this process may not be on disk yet."""
        return self.writer.unsynced.steps()

    def size(self) -> int:
        """Return the bytes of the file, without its WAL."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0  # a journal in memory

    @property
    def is_open(self) -> bool:
        """Return whether the store still takes transactions."""
        return not self._readers.is_closed

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
        """Return whether the process in a row of `process` is not known to be dead."""
        return self.verdict_in_s(process) != 0.0

    def verdict_in_s(self, process: Row) -> float | None:
        """Return in how many seconds a process counts as dead if it stays silent, 0.0 when it is.

        None when it lives for certain: it is known by its identity on this host, or its
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

    def shrink(self) -> None:
        """Give free pages back to the file system, a little at a time between other commits."""
        left = -1
        while left and left != (
            left := self._between_commits(lambda c: free_pages(c, self.path, PAGES_AT_ONCE))
        ):
            pass
        self._between_commits(self._checkpoint)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        self.writer.unsynced.begin()
        if checkpoint_wal(connection):
            self.writer.unsynced.note(is_synced=True)

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
        self._readers.refuse_closed()
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

    def watch_commits(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        """Call functions right before each commit, and as the next transaction begins.

        For tests, which kill the process there. The main thread calls this, if it makes steps.
        """
        main = self.writer.main.opened() if is_main_thread() else None
        watch_commits([self.connection, *([] if main is None else [main])], before, after)

    def close(self) -> None:
        """Release one owner; the last one commits what is queued and closes the file."""
        self._release(self)

    def close_unowned(self) -> bool:
        """As `close`, for a finalizer, which may run on any thread, in the middle of anything."""
        if os.getpid() != self.pid or not self.is_open:
            return False
        self.writer.order(self.close)
        return True

    def retire(self) -> None:
        """Take no new owner and no new reader; what is queued is still committed."""
        self._readers.retire()

    def shut(self) -> None:
        """Commit what is queued and close the file, whoever still owns the store."""
        if os.getpid() != self.pid:
            return  # the parent's file: not ours to close
        self.retire()
        # Before the writer's: the last connection to close empties and deletes the WAL.
        self._readers.close()
        self.writer.close(last=self._end)
        open_name, self._open_name = self._open_name, None
        note_closed(open_name)

    def disown(self) -> None:
        """Give up, in a child process, the connections inherited from its parent."""
        for connection in (self.connection, self.writer.main.connection, *self._readers.idle()):
            if connection is not None:
                leak(connection)

    def _refuse_child(self) -> None:
        if os.getpid() != self.pid:
            raise forked(self.path, self.pid)

    def _introduce(self, tx: SqliteTx) -> tuple[int, str, bytes]:
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

    def _hash_key(self, tx: SqliteTx) -> bytes:
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

    def _beat(self, tx: SqliteTx) -> None:
        """Tell other hosts, and the views, that this process lives while it has work open."""
        tx.run("process_beat", id=self.process_row, now=self.clock.now_ms())
        if self.on_heartbeat is not None:
            self.on_heartbeat(tx)

    def _end(self, tx: SqliteTx) -> None:
        if self.on_heartbeat is not None:
            self.on_heartbeat(tx)
        if self.on_close is not None:
            self.on_close(tx)
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
