"""Untrusted queries: one `SELECT` over the public views, and nothing else, within limits."""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import cache
from typing import Any, Protocol, TypeVar

from rowtrail import schema
from rowtrail.engine._asking import (
    EVERYTHING,
    MAX_CELL_CHARS,
    Found,
    Kind,
    Only,
    Params,
    UnansweredError,
)
from rowtrail.engine.sqlite._attached import attach, create_views, decode
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._functions import ALLOWED, LINEAR, MAX_VALUE_BYTES
from rowtrail.engine.sqlite._home import MEMORY
from rowtrail.engine.sqlite._memory import value_limit
from rowtrail.engine.sqlite._only import only_tables
from rowtrail.engine.sqlite._tx import SqliteTx

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Rows after these many bytes of text are left out."""

PROGRESS_STEPS = 200
"""How many steps of SQLite's machine lie between two looks at the clock: mostly 10 us, but a step
may build a value of megabytes."""

GRACE_S = 0.5
"""How long the caller still waits for a query that is out of time and does not stop."""

EXIT_WAIT_S = 2.0  # a single call of an SQL function: a stopped query runs no other

LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 80_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 128,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 250,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 128,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

T = TypeVar("T")

_REFUSED = (
    "ALTER_TABLE ANALYZE ATTACH CREATE_INDEX CREATE_TABLE CREATE_TEMP_INDEX CREATE_TEMP_TABLE "
    "CREATE_TEMP_TRIGGER CREATE_TEMP_VIEW CREATE_TRIGGER CREATE_VIEW CREATE_VTABLE DELETE DETACH "
    "DROP_INDEX DROP_TABLE DROP_TEMP_INDEX DROP_TEMP_TABLE DROP_TEMP_TRIGGER DROP_TEMP_VIEW "
    "DROP_TRIGGER DROP_VIEW DROP_VTABLE INSERT PRAGMA REINDEX SAVEPOINT TRANSACTION UPDATE"
)
_ACTIONS = {getattr(sqlite3, f"SQLITE_{a}"): a.replace("_", " ") for a in _REFUSED.split()}
# Eponymous virtual tables that show SQLite's insides; their authorizer is asked by these names.
_INSIDES = ("sqlite_", "pragma_", "dbstat", "bytecode", "tables_used", "fts", "completion")
_STORAGE_CODES = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
    )
)


class Source(Protocol):
    """A journal to ask: a `Store` or a `Reader`."""

    where: str

    def read(self, work: Callable[[SqliteTx], T]) -> T: ...


def ask(
    source: Source, sql: str, params: Params, *, rows: int, seconds: float, only: Only = EVERYTHING
) -> Found:
    """Answer one `SELECT` over the public views, on a connection of its own.

    It runs on a thread of its own: a single call of an SQL function cannot be interrupted, and
    the caller gets its answer in time all the same.

    Args:
        source: The journal.
        sql: Anything at all.
        params: Its parameters.
        rows: How many rows are wanted at most.
        seconds: After this time the query is stopped.
        only: What it may see.

    Raises:
        UnknownIdError: The journal knows nothing of what `only` names.
        UnansweredError: It is refused, wrong, or out of time; sqlite3's own error is its cause.
        StorageError: The journal cannot be read, is closed, or was opened before `fork()`.
    """
    image = source.read(_image if source.where == MEMORY else _nothing)
    asked = _Asked(source.where, sql, params, rows, seconds, only, image)
    thread = threading.Thread(target=asked.run, name="rowtrail-query", daemon=True)
    _running.add(thread)
    thread.start()
    try:
        return asked.done.result(timeout=seconds + GRACE_S)
    except TimeoutError as error:
        raise UnansweredError("timeout", "the query could not be interrupted") from error
    finally:
        asked.stop = True


_running: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def _await_queries() -> None:
    """Wait at the end of the process for queries that were stopped and are not out of SQLite yet.

    What they call back into must not be taken down under them: that ends a process by SIGSEGV.
    """
    until = time.monotonic() + EXIT_WAIT_S
    for thread in list(_running):
        if thread.is_alive():
            thread.join(max(until - time.monotonic(), 0))


atexit.register(_await_queries)


def _image(tx: SqliteTx) -> bytes:
    """Return a copy of a database in memory: its one connection is the writer's."""
    connection = tx._connection  # pyright: ignore[reportPrivateUsage]  # of this room
    return connection.serialize()


def _nothing(tx: SqliteTx) -> None:
    """Let the store refuse when it cannot be used."""


class _Asked:
    """One query, on the thread that asks it."""

    def __init__(
        self,
        path: str,
        sql: str,
        params: Params,
        rows: int,
        seconds: float,
        only: Only,
        image: bytes | None,
    ) -> None:
        self.path = path
        self.sql = sql
        self.params = params
        self.rows = rows
        self.seconds = seconds
        self.only = only
        self.image = image
        self.until = time.monotonic() + seconds  # real work takes real time, under any clock
        self.stop = False
        self.done: Future[Found] = Future()

    def run(self) -> None:
        try:
            found = self._answer()
        except BaseException as error:  # the caller's to see, whatever it is
            self.done.set_exception(error)
        else:
            self.done.set_result(found)

    def _answer(self) -> Found:
        with closing(
            sqlite3.connect(":memory:", uri=True, timeout=self.seconds, isolation_level=None)
        ) as connection:
            with named_errors(self.path):
                guard = self._prepare(connection)
            try:
                return self._fetch(connection)
            except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _STORAGE_CODES:
                    with named_errors(self.path):
                        raise
                raise guard.fault(error) from error

    def _prepare(self, connection: sqlite3.Connection) -> _Guard:
        secret = os.urandom(8).hex()
        journal = f"journal_{secret}"
        # A large sort goes to disk, not to memory. First, as it drops every temporary view.
        connection.execute("PRAGMA temp_store = FILE")
        if self.image is None:
            attach(connection, self.path, journal)
        else:
            connection.execute(f"ATTACH ':memory:' AS {journal}")
            connection.deserialize(self.image, name=journal)
        tables = only_tables(connection, journal, self.only)
        readers = create_views(connection, journal, suffix=f"_{secret}", tables=tables)
        for name in schema.PUBLIC_VIEWS:
            connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM temp.{name}_{secret}")
        # Their first use declares them, which the authorizer would take for a write.
        connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
        for (name, count), function in LINEAR.items():
            connection.create_function(name, count, function, deterministic=True)
        objects = connection.execute(f"SELECT name FROM {journal}.sqlite_master")
        guard = _Guard(secret, readers, objects)
        connection.execute("PRAGMA query_only = 1")
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_progress_handler(self._is_over, PROGRESS_STEPS)
        connection.set_authorizer(guard)
        return guard

    def _is_over(self) -> bool:
        return self.stop or time.monotonic() > self.until

    def _fetch(self, connection: sqlite3.Connection) -> Found:
        cut = size = 0

        def text(raw: bytes) -> str:
            nonlocal cut, size
            size += min(len(raw), 4 * MAX_CELL_CHARS)
            if len(raw) <= MAX_CELL_CHARS:
                return decode(raw)
            whole = decode(raw)
            if len(whole) <= MAX_CELL_CHARS:
                return whole
            cut += 1
            return f"{whole[:MAX_CELL_CHARS]}…"

        limit = value_limit(connection, self.sql, self.params)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
        connection.text_factory = text
        cursor = connection.execute(self.sql, self.params)
        if cursor.description is None:
            raise UnansweredError("wrong", "the query holds no SELECT")
        rows: list[tuple[Any, ...]] = []
        for row in cursor:
            if len(rows) == self.rows or size > MAX_ANSWER_BYTES:
                break
            blobs = sum(isinstance(cell, bytes) and len(cell) > MAX_CELL_CHARS for cell in row)
            if blobs:
                cut += blobs
                size += blobs * MAX_CELL_CHARS
                row = tuple(c[:MAX_CELL_CHARS] if isinstance(c, bytes) else c for c in row)
            rows.append(row)
        else:
            row = None
        return Found([column[0] for column in cursor.description], rows, row is not None, cut)


class _Guard:
    """The authorizer: base tables may be read through the public views, and nothing else done.

    SQLite tells it which view a table is read from, but takes the name of a CTE for that of a view
    (seen in 3.40 and 3.54: `WITH steps AS (SELECT * FROM step) ...` reads `step` "from steps"). So
    the views that read the tables, and the schema that holds the tables, have names that a query
    cannot know; the public views are wrappers around them.
    """

    def __init__(self, secret: str, inner: set[str], objects: sqlite3.Cursor) -> None:
        self._secret = secret
        self._journal = f"journal_{secret}"
        self._inner = inner
        self._private = {str(name).lower() for (name,) in objects} - set(schema.PUBLIC_VIEWS)
        self._refused: tuple[Kind, str] | None = None

    def __call__(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        source: str | None,
    ) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            table = first or ""
            return self._allow(self._reads(table, second, database, source), "read", table)
        if action == sqlite3.SQLITE_FUNCTION:
            function = second or ""
            allowed = function.lower() in ALLOWED or source in self._inner
            return self._allow(allowed, "function", function)
        if action == sqlite3.SQLITE_UPDATE and (first or "").startswith("sqlite_"):
            # the first use of a virtual table declares it: dbstat, pragma_table_info and the like
            return self._allow(False, "read", "a table of SQLite itself")
        return self._allow(False, "action", _ACTIONS.get(action, f"action {action}"))

    def _reads(
        self, table: str, column: str | None, database: str | None, source: str | None
    ) -> bool:
        if database == self._journal:
            # no column: a view was flattened into a query that only counts its rows
            return source in self._inner or not column
        if database == "temp":
            return table in schema.PUBLIC_VIEWS or table in self._inner
        if not column:  # a table or a CTE whose rows are counted, by the name in the query
            name = table.lower()
            return name not in self._private and not name.startswith(_INSIDES)
        return table in ("json_each", "json_tree")

    def _allow(self, allowed: bool, kind: Kind, name: str) -> int:
        if allowed:
            return sqlite3.SQLITE_OK
        self._refused = self._refused or (kind, self._without_secret(name))
        return sqlite3.SQLITE_DENY

    def _without_secret(self, text: str) -> str:
        return text.replace(f"{self._journal}.", "").replace(f"_{self._secret}", "")

    def fault(self, error: BaseException) -> UnansweredError:
        """Say why a query failed."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return UnansweredError("timeout", "the query was interrupted")
        if self._refused is not None:
            return UnansweredError(*self._refused)
        kind: Kind = "too_big" if code == sqlite3.SQLITE_TOOBIG else "wrong"
        if isinstance(error, OverflowError):  # an int that SQLite does not have
            kind = "parameters"
        return UnansweredError(kind, self._without_secret(str(error)))


@cache
def public_columns() -> dict[str, tuple[str, ...]]:
    """Return the columns of each public view."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for version in range(1, schema.VERSION + 1):
            for statement in schema.migration(version):
                connection.execute(statement)
        for statement in schema.views().values():
            connection.execute(statement)
        return {
            view: tuple(
                column[0] for column in connection.execute(f"SELECT * FROM {view}").description
            )
            for view in schema.PUBLIC_VIEWS
        }
