"""The store: one SQLite file, one writer thread, readers that cannot write.

The only room that imports sqlite3. Opening the same file twice in one process gives the same store.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from rowtrail._clock import Clock
from rowtrail.errors import ClosedError, ForkedError
from rowtrail.store._open import MEMORY, Durability, named_errors, open_reader, open_writer
from rowtrail.store._process import ProcessIdentity, current_process
from rowtrail.store._tx import Row, Tx
from rowtrail.store._writer import Writer, leak

__all__ = [
    "Connection",
    "Durability",
    "ProcessIdentity",
    "Row",
    "Store",
    "Tx",
    "current_process",
    "open_reader",
    "open_store",
    "warn_unclosed",
]

T = TypeVar("T")
Connection = sqlite3.Connection

HEARTBEAT_S = 2.0
MAX_IDLE_READERS = 8
READ_THREADS = 4


class Store:
    """One open journal file.

    `write` commits before it returns; `awrite` is its twin for coroutines and never blocks the
    event loop. A transaction is a function of a `Tx`; it may be called on another thread.
    """

    def __init__(self, path: str, durability: Durability, clock: Clock) -> None:
        self.path = path
        self.durability = durability
        self.clock = clock
        self.epoch = 0
        """Grows whenever work was rolled back: what was cached from it is void."""
        self.companion: object | None = None
        """What the room above keeps once per store."""
        self._pid = os.getpid()
        self._owners = 0
        self._closing = threading.Lock()
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._connection = open_writer(path, durability, clock.now_ms())
        self._writer = Writer(
            path,
            self._connection,
            on_rollback=self._forget,
            beat=self._beat,
            beat_every_s=HEARTBEAT_S,
        )
        self._read_pool: ThreadPoolExecutor | None = None
        try:
            facts = self.write(self._introduce)
        except BaseException:
            self._writer.close()
            raise
        self.process_row: int = facts[0]
        self.journal_id: str = facts[1]
        self.hash_key: bytes = bytes.fromhex(facts[2])

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction and return its result once it is committed."""
        if self._writer.is_current_thread:
            raise RuntimeError("a transaction cannot wait for another one")
        result: T = self.submit(work).result()
        return result

    async def awrite(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction; committed also when the awaiting task is cancelled."""
        result: T = await asyncio.shield(asyncio.wrap_future(self.submit(work)))
        return result

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue `work` as a transaction and return at once."""
        self._refuse_child()
        return self._writer.submit(work)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a connection that cannot write, over one consistent snapshot."""
        self._refuse_child()
        if self.path == MEMORY:
            return self.write(work)
        connection = self._take_reader()
        try:
            with named_errors(self.path):
                connection.execute("BEGIN")
                result = work(Tx(connection))
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return result

    async def aread(self, work: Callable[[Tx], T]) -> T:
        """Run `read` on one of the store's own threads."""
        if self.path == MEMORY:
            return await self.awrite(work)
        if self._read_pool is None:
            self._read_pool = ThreadPoolExecutor(READ_THREADS, "rowtrail-reader")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._read_pool, self.read, work)

    def close(self) -> None:
        """Release one owner; the last one commits what is queued and closes the file."""
        with _registry_lock:
            self._owners -= 1
            if self._owners > 0:
                return
            _forget_store(self)
        self._shut()

    @property
    def is_open(self) -> bool:
        """Tell whether the store still takes transactions."""
        return self._owners > 0

    def _shut(self) -> None:
        with self._closing:
            if os.getpid() != self._pid:
                return  # the parent's file: not ours to close
            with contextlib.suppress(ClosedError):
                self._writer.submit(self._say_goodbye)
            self._writer.close()
            if self._read_pool is not None:
                self._read_pool.shutdown()
            with contextlib.suppress(queue.Empty):
                while True:
                    self._readers.get_nowait().close()

    def _take_reader(self) -> sqlite3.Connection:
        if not self.is_open:
            raise ClosedError(f"{self.path!r} was closed before this call", path=self.path)
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return open_reader(self.path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self.is_open and self._readers.qsize() < MAX_IDLE_READERS:
            self._readers.put(connection)
        else:
            connection.close()

    def _refuse_child(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(
                f"{self.path!r} was opened in process {self._pid} before fork(): SQLite "
                f"connections do not survive that; open the journal again in process {os.getpid()}",
                path=self.path,
            )

    def _forget(self) -> None:
        self.epoch += 1

    def _introduce(self, tx: Tx) -> tuple[int, str, str]:
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
        return row, tx.value("meta_value", key="journal_id"), tx.value("meta_value", key="hash_key")

    def _beat(self, tx: Tx) -> None:
        """Tell other hosts, and the views, that this process lives while it has work open."""
        tx.run("process_beat", id=self.process_row, now=self.clock.now_ms())

    def _say_goodbye(self, tx: Tx) -> None:
        tx.run("process_forget", id=self.process_row)


_registry: dict[object, Store] = {}
_registry_lock = threading.RLock()


def open_store(path: str, durability: Durability, clock: Clock) -> Store:
    """Open the file, or share the store that this process has open on it.

    Raises:
        StorageError: The file cannot be opened; the leaf and the message say why.
    """
    with _registry_lock:
        store = _registry.get(_key(path))
        if store is None or not store.is_open:
            store = Store(path, durability, clock)
            _registry[_key(path) if path != MEMORY else store] = store
        store._owners += 1
        return store


def _key(path: str) -> object:
    if path == MEMORY:
        return object()  # each one is a database of its own
    try:
        found = os.stat(path)
    except OSError:
        return str(Path(path).absolute())
    return (found.st_dev, found.st_ino)


def _forget_store(store: Store) -> None:
    for key in [key for key, kept in _registry.items() if kept is store]:
        del _registry[key]


@atexit.register
def _close_left_open() -> None:
    for store in list(_registry.values()):
        store._shut()


def _after_fork_in_child() -> None:
    for store in _registry.values():
        leak(store._connection)
        with contextlib.suppress(queue.Empty):
            while True:
                leak(store._readers.get_nowait())
    _registry.clear()
    # Whatever thread held the lock does not exist here.
    globals()["_registry_lock"] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def warn_unclosed(owner: object, store: Store) -> weakref.finalize[..., object]:
    """Warn when `owner` is collected without `close()`; what it wrote is safe either way."""
    return weakref.finalize(owner, _warn_and_close, store)


def _warn_and_close(store: Store) -> None:
    if os.getpid() == store._pid and store.is_open:
        warnings.warn(
            f"the journal {store.path!r} was not closed: use it in a `with` block or call close()",
            ResourceWarning,
            stacklevel=2,
        )
        store.close()
