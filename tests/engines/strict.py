"""A second engine, stricter than a database is: what runs on it needs no more than the contract.

- Ids come from one counter that leaves gaps; they are not SQLite's row numbers, and an id of a
  checkpoint is its text.
- A statement gets its own parameters and no others, of plain types; a list comes from `array`.
- A transaction is carried out twice: once to be undone, as a database does with one that is in the
  way of another, and then for good. Nobody may remember what the first one found.
- Transactions of other keys run on other threads.
- A transaction that is over runs nothing more, and one that reads writes nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from rowtrail import schema
from rowtrail._clock import Clock
from rowtrail.engine import (
    Durability,
    NewResult,
    NewStep,
    NoteResult,
    NoteStep,
    ProcessIdentity,
    Row,
    Tx,
    WriteKey,
    current_process,
)
from rowtrail.engine._asking import EVERYTHING
from rowtrail.engine.reading import Found, Only
from rowtrail.errors import ClosedError

T = TypeVar("T")

LANES = 3
SCHEME = "strict"
PLAIN = (int, float, str, bytes, type(None))
PARAMETER = re.compile(r"(?<!:):(\w+)")

DIALECT = schema.Dialect(
    folder="sqlite",  # what looks into JSON: this one keeps its rows as SQLite does
    macros={
        "each": "SELECT value FROM json_each(members({0}))",
        "negated": "SELECT -value FROM json_each(members({0}))",
        "quoted": "json_quote({0})",
        "doubt": schema.DOUBT,
        "same": "coalesce({0} = {1}, {0} IS NULL AND {1} IS NULL)",
        "greatest": "greatest({*})",
        "find": "find({0}, {1})",
        "cross": "JOIN",
        "plain": "{0}",
        "number": "number({0})",
        "bytes": "bytes({0})",
        "day": "day({0})",
        "next": "next_id()",
        "text": schema.text_for_people(),
    },
)


class Array(str):
    """A list as a parameter: what no other code can make."""

    __slots__ = ()


class StrictRow:
    """Columns by name and by position, and nothing else."""

    def __init__(self, names: list[str], values: tuple[Any, ...]) -> None:
        self._names = names
        self._values = values

    def __getitem__(self, key: str | int, /) -> Any:
        return self._values[self._names.index(key) if isinstance(key, str) else key]

    def keys(self) -> list[str]:
        return list(self._names)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)


class StrictTx:
    """One transaction, which refuses what the contract does not promise."""

    last_id = "\U0010ffff"

    def __init__(self, database: Database, clock: Clock, *, writes: bool) -> None:
        self._database = database
        self._clock = clock
        self._writes = writes
        self._statements = schema.statements(DIALECT)
        self._changes = schema.step_changes(DIALECT)
        self.is_over = False
        self.committed: list[Callable[[], object]] = []
        self.undone: list[Callable[[], object]] = []

    def one(self, name: str, /, **params: Any) -> Row | None:
        return next(iter(self.all(name, **params)), None)

    def value(self, name: str, /, **params: Any) -> Any:
        row = self.one(name, **params)
        return None if row is None else row[0]

    def all(self, name: str, /, **params: Any) -> list[Row]:
        cursor = self._execute(name, params)
        names = [column[0] for column in cursor.description]
        return [StrictRow(names, row) for row in cursor]

    def iter(self, name: str, /, **params: Any) -> Iterator[Row]:
        yield from self.all(name, **params)

    def run(self, name: str, /, **params: Any) -> None:
        self._execute(name, params)

    def changed(self, name: str, /, **params: Any) -> int:
        return self._execute(name, params).rowcount

    def insert(self, name: str, /, **params: Any) -> int:
        row = self.insert_absent(name, **params)
        assert row is not None, name
        return row

    def insert_absent(self, name: str, /, **params: Any) -> int | None:
        rows = self._execute(name, params, " RETURNING id").fetchall()
        assert len(rows) <= 1, name
        return rows[0][0] if rows else None

    def many(self, name: str, /, rows: Iterable[Mapping[str, Any]]) -> None:
        assert name not in self._changes, name
        for row in rows:
            self._execute(name, row)

    def array(self, values: Iterable[int | str], /) -> object:
        import json

        listed = list(values)
        assert all(type(value) in (int, str) for value in listed), listed
        return Array(json.dumps(listed))

    def id(self, text: str | None, /) -> object:
        return text

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def after_commit(self, call: Callable[[], object], /) -> None:
        assert not self.is_over
        self.committed.append(call)

    def after_rollback(self, call: Callable[[], object], /) -> None:
        assert not self.is_over
        self.undone.append(call)

    def end(self, *, committed: bool) -> None:
        """Call what waits for the end; nothing is asked of the transaction any more."""
        self.is_over = True
        for call in self.committed if committed else self.undone:
            call()

    def _execute(self, name: str, params: Mapping[str, Any], more: str = "") -> sqlite3.Cursor:
        assert not self.is_over, f"{name} is run after the end of its transaction"
        statement = self._statements[name] + more
        wanted = set(PARAMETER.findall(re.sub(r"'[^']*'", "", statement)))
        assert params.keys() == wanted, (name, sorted(params.keys() ^ wanted))
        given = {key: _plain(name, key, value) for key, value in params.items()}
        connection = self._database.connection
        before = connection.total_changes
        cursor = connection.execute(statement, given)
        assert self._writes or connection.total_changes == before, f"{name} writes in a read"
        return cursor


def _plain(name: str, key: str, value: object) -> object:
    if isinstance(value, Array):
        return f"members of {value}"
    assert isinstance(value, PLAIN), f"{name}: {key} is of type {type(value)}"
    assert not isinstance(value, bool), f"{name}: {key} is a bool"
    if isinstance(value, str):
        return str.__str__(value).encode("utf-8", "backslashreplace").decode()
    return value


def _members(listed: object) -> str:
    assert isinstance(listed, str), listed
    assert listed.startswith("members of "), f"a list that `array` did not make: {listed!r}"
    return listed.removeprefix("members of ")


def _number(text: object) -> int:
    return int(str(text)) if re.fullmatch(r"\d{1,18}", str(text)) else -1


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


class Database:
    """The rows of one journal, which stay when it is closed."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lock = threading.RLock()
        self.store: StrictStore | None = None
        ids = itertools.count(1_000, 7)
        self.connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=512
        )
        functions: dict[str, tuple[int, Callable[..., Any]]] = {
            "next_id": (0, lambda: next(ids)),
            "members": (1, _members),
            "greatest": (-1, lambda *values: None if None in values else max(values)),
            "find": (2, lambda text, part: None if text is None else text.find(part) + 1),
            "number": (1, _number),
            "bytes": (1, lambda text: None if text is None else len(text.encode())),
            "day": (1, _day),
        }
        for name, (count, function) in functions.items():
            self.connection.create_function(name, count, function)
        self._create()

    def _create(self) -> None:
        self.connection.execute("BEGIN")
        for version in range(1, schema.VERSION + 1):
            for statement in schema.migration(version):
                of_its_own = re.sub(
                    r"\bid\s+INTEGER PRIMARY KEY( AUTOINCREMENT)?",
                    "id INT PRIMARY KEY NOT NULL DEFAULT (next_id())",
                    statement,
                )
                self.connection.execute(of_its_own)
        for view in schema.views().values():
            self.connection.execute(view)
        facts = {"journal_id": os.urandom(16).hex(), "hash_key": os.urandom(16).hex()}
        facts |= {"created_at": "0", "generation": "0"}
        self.connection.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
        self.connection.execute("COMMIT")


class Lane:
    """One thread that carries out the transactions of some keys, one after the other."""

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def put(self, job: Callable[[], None] | None) -> None:
        self._queue.put(job)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job()
            del job  # nothing of a transaction is kept alive until the next one


class StrictStore:
    """Keeps the contract of `rowtrail.engine.Store`, and no more."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.where = database.where
        self.clock = clock
        self.owners = 0
        self.shared: object | None = None
        self.on_heartbeat: Callable[[Tx], object] | None = None
        self.on_close: Callable[[Tx], object] | None = None
        self._database = database
        self._lanes = [Lane(f"strict-{n}") for n in range(LANES)]
        self._turn = itertools.count()
        self._holder = 0
        self._is_closed = False
        self.process_row, self.journal_id, self.hash_key = self.write(self._introduce)

    def _introduce(self, tx: Tx) -> tuple[int, str, bytes]:
        me = current_process()
        row = tx.insert(
            "process_insert",
            pid=me.pid,
            pid_start=me.pid_start,
            boot_id=me.boot_id,
            pid_space=me.pid_space,
            host=me.host,
            now=tx.now_ms(),
        )
        key = bytes.fromhex(tx.value("meta_value", key="hash_key"))
        return row, tx.value("meta_value", key="journal_id"), key

    def write(
        self, work: Callable[[Tx], T], *, key: WriteKey | None = None, synced: bool | None = None
    ) -> T:
        if self.is_in_transaction:
            raise RuntimeError("a transaction cannot wait for another one")
        return self.submit(work, key=key).result()

    async def awrite(
        self, work: Callable[[Tx], T], *, key: WriteKey | None = None, synced: bool | None = None
    ) -> T:
        return await asyncio.shield(asyncio.wrap_future(self.submit(work, key=key)))

    def begin_step(self, step: NewStep, note: NoteStep, *, key: WriteKey | None = None) -> bool:
        return self.write(lambda tx: _begin_step(tx, step, note), key=key)

    async def abegin_step(
        self, step: NewStep, note: NoteStep, *, key: WriteKey | None = None
    ) -> bool:
        return await self.awrite(lambda tx: _begin_step(tx, step, note), key=key)

    def complete_step(
        self, result: NewResult, note: NoteResult, *, key: WriteKey | None = None
    ) -> bool:
        try:
            self.write(lambda tx: _complete_step(tx, result, note), key=key)
        except RefusedError:
            return False
        return True

    async def acomplete_step(
        self, result: NewResult, note: NoteResult, *, key: WriteKey | None = None
    ) -> bool:
        try:
            await self.awrite(lambda tx: _complete_step(tx, result, note), key=key)
        except RefusedError:
            return False
        return True

    def submit(self, work: Callable[[Tx], T], *, key: WriteKey | None = None) -> Future[T]:
        if self._is_closed:
            raise ClosedError(f"{self.where!r} was closed", path=self.where)
        done: Future[T] = Future()

        def job() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                result = self._transact(work)
            except BaseException as error:  # whoever waits raises it
                done.set_exception(error)
            else:
                done.set_result(result)

        lane = next(self._turn) if key is None else hash(key)
        self._lanes[lane % LANES].put(job)
        return done

    def _transact(self, work: Callable[[Tx], T]) -> T:
        with self._database.lock:
            self._holder = threading.get_ident()
            try:
                self._once(work, "ROLLBACK")
                return self._once(work, "COMMIT")
            finally:
                self._holder = 0

    def _once(self, work: Callable[[Tx], T], end: str) -> T:
        connection = self._database.connection
        connection.execute("BEGIN")
        tx = StrictTx(self._database, self.clock, writes=True)
        try:
            result = work(tx)
        except BaseException:
            connection.execute("ROLLBACK")
            tx.end(committed=False)
            raise
        connection.execute(end)
        tx.end(committed=end == "COMMIT")
        return result

    def read(self, work: Callable[[Tx], T]) -> T:
        assert not self.is_in_transaction, "a transaction reads by itself"
        if self._is_closed:
            raise ClosedError(f"{self.where!r} was closed", path=self.where)
        with self._database.lock:
            tx = StrictTx(self._database, self.clock, writes=False)
            result = work(tx)
            tx.end(committed=True)
        return result

    async def aread(self, work: Callable[[Tx], T]) -> T:
        return await asyncio.to_thread(self.read, work)

    @property
    def is_in_transaction(self) -> bool:
        return self._holder == threading.get_ident()

    def is_alive(self, process: Row) -> bool:
        return self.verdict_in_s(process) != 0.0

    def verdict_in_s(self, process: Row) -> float | None:
        who = ProcessIdentity.of_row(process)
        now = self.clock.now_ms()
        is_alive = who.is_alive(last_seen_at=process["last_seen_at"], now_ms=now)
        return None if is_alive or process["process"] == self.process_row else 0.0

    @property
    def is_in_memory(self) -> bool:
        return True

    def file(self) -> str | None:
        return None

    def beside(self, suffix: str) -> str | None:
        return None

    def unsynced_steps(self) -> frozenset[int]:
        return frozenset()

    def size(self) -> int:
        return 0

    def shrink(self) -> None:
        """Give nothing back."""

    def ask(
        self, sql: str, params: Any, *, rows: int, seconds: float, only: Only = EVERYTHING
    ) -> Found:
        assert not only
        with self._database.lock:
            cursor = self._database.connection.execute(sql, params)
            found = cursor.fetchmany(rows + 1)
        names = [column[0] for column in cursor.description]
        return Found(names, found[:rows], len(found) > rows, 0)

    def tables(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the base tables, as another program would."""
        with self._database.lock:
            return self._database.connection.execute(query).fetchall()

    def beat(self) -> None:
        """Do what every heartbeat does."""
        if self.on_heartbeat is not None:
            self.write(self.on_heartbeat)

    def close(self) -> None:
        self.owners -= 1
        if self.owners == 0:
            self.beat()
            if self.on_close is not None:
                self.write(self.on_close)
            self._is_closed = True
            self._database.store = None
            for lane in self._lanes:
                lane.put(None)

    def close_unowned(self) -> bool:
        return not self._is_closed


class RefusedError(Exception):
    """A result is not written: a transaction has to decide."""


def _begin_step(tx: Tx, step: NewStep, note: NoteStep) -> bool:
    now = tx.now_ms()
    try:
        row = tx.insert("step_begin", now=now, **step._asdict())
    except sqlite3.IntegrityError:
        return False
    tx.value("run_count_step", run=step.run, kind=step.kind)
    note(row, now)
    return True


def _complete_step(tx: Tx, result: NewResult, note: NoteResult) -> None:
    value = {name: getattr(result, name) for name in ("digest", "type", "text", "data")}
    item = tx.insert_absent("item_insert", **value)
    changed = tx.changed(
        "step_complete",
        **dict.fromkeys(SPENT),
        id=result.step,
        attempt=result.attempt,
        duration_us=result.duration_us,
        output=item or tx.value("item_by_digest", digest=result.digest),
        seal=result.seal,
        interrupts=result.interrupts,
    )
    if not changed or tx.all("step_twins", id=result.step):
        raise RefusedError
    note()


SPENT = (
    *("reason_code", "reason", "model", "provider", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "tokens_source", "cost_usd"),
)
"""What a call that uses no model has none of."""


class StrictReader:
    """Reads what the store of the same name has."""

    def __init__(self, database: Database) -> None:
        self.where = database.where
        self._database = database

    def read(self, work: Callable[[Tx], T]) -> T:
        with self._database.lock:
            return work(StrictTx(self._database, Clock(), writes=False))

    def ask(
        self, sql: str, params: Any, *, rows: int, seconds: float, only: Only = EVERYTHING
    ) -> Found:
        raise NotImplementedError

    def is_alive(self, process: Row) -> bool:
        return True

    def beside(self, suffix: str) -> str | None:
        return None

    def close(self) -> None:
        """Leave the rows where they are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class StrictEngine:
    """What `rowtrail.engine` asks of the module of an engine."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}

    def _database(self, target: str) -> Database:
        if target not in self.databases:
            self.databases[target] = Database(target)
        return self.databases[target]

    def open_store(self, target: str, durability: Durability, clock: Clock) -> StrictStore:
        database = self._database(target)
        store = database.store
        if store is None:
            store = database.store = StrictStore(database, clock)
        store.owners += 1
        return store

    def close_all(self) -> None:
        """Leave everything: it ends with the process."""

    def open_reader(self, target: str) -> StrictReader:
        return StrictReader(self._database(target))

    def exists(self, target: str) -> bool:
        return target in self.databases

    def is_lasting(self, target: str) -> bool:
        return False

    def absolute(self, target: str) -> str:
        return target

    def refuse_unusable(self, target: str) -> None:
        """Refuse nothing."""
