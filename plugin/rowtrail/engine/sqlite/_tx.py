"""The transactions of SQLite: how one begins, its named statements, and which steps it changed."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from rowtrail import schema
from rowtrail._clock import Clock
from rowtrail.engine._contract import Row
from rowtrail.engine.sqlite._dialect import dialect
from rowtrail.engine.sqlite._faults import BUSY_TIMEOUT_MS, named_error
from rowtrail.schema import Change

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@cache
def _statements() -> tuple[dict[str, str], dict[str, Change]]:
    """Return every statement, and how those that are marked change steps.

    What changes any number of steps says which.
    """
    texts, changes = dict(schema.statements(dialect())), schema.step_changes(dialect())
    for name, change in changes.items():
        if change is Change.MANY:
            texts[name] += " RETURNING id"
    return texts, changes


class SqliteTx:
    """Keeps the contract of `rowtrail.engine.Tx` on one connection, whatever transaction it has.

    Args:
        connection: The connection that has the transaction.
        clock: What time it is.
        changed: Where the rows of steps are noted that it adds or changes.
    """

    last_id = b"\xff" * 17
    """Greater than every id: SQLite sorts bytes behind texts, and a UUID has 16."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Clock | None = None,
        changed: set[int] | None = None,
    ) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._changed = set[int]() if changed is None else changed
        self.committed: list[Callable[[], object]] = []
        """What is called once the transaction is committed."""
        self.undone: list[Callable[[], object]] = []
        """What is called when it is undone."""
        clock = clock or Clock()
        self.now_ms = clock.now_ms
        self.after_commit = self.committed.append
        self.after_rollback = self.undone.append
        self._statements, self._changes = _statements()

    def one(self, name: str, /, **params: Any) -> Row | None:
        """Return the first row of the named query, or None."""
        row: Row | None = self._execute(name, params).fetchone()
        return row

    def value(self, name: str, /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self._execute(name, params).fetchone()
        return None if row is None else row[0]

    def all(self, name: str, /, **params: Any) -> list[Row]:
        """Return every row of the named query."""
        return self._execute(name, params).fetchall()

    def iter(self, name: str, /, **params: Any) -> Iterator[Row]:
        """Yield the rows of the named query without collecting them; the snapshot stays open."""
        return iter(self._execute(name, params))

    def run(self, name: str, /, **params: Any) -> None:
        """Run the named statement."""
        cursor = self._execute(name, params)
        if name in self._changes:
            self._note(name, params, cursor)

    def changed(self, name: str, /, **params: Any) -> int:
        """Run the named statement and return how many rows it changed."""
        cursor = self._execute(name, params)
        return self._note(name, params, cursor) if name in self._changes else cursor.rowcount

    def insert(self, name: str, /, **params: Any) -> int:
        """Run the named `INSERT` and return the id of the new row."""
        cursor = self._execute(name, params)
        assert cursor.lastrowid is not None
        if name in self._changes:
            self._note(name, params, cursor)
        return cursor.lastrowid

    def insert_absent(self, name: str, /, **params: Any) -> int | None:
        """Run the named `INSERT ... DO NOTHING` and return the id of the new row, None without."""
        assert name not in self._changes, name
        cursor = self._execute(name, params)
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def many(self, name: str, /, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run the named statement once for each row of parameters; none that changes steps."""
        assert name not in self._changes, name
        taken: list[Mapping[str, Any]] = []
        source = iter(rows)
        left = _noting(source, taken)
        while True:
            try:
                self._connection.executemany(self._statements[name], left)
                return
            except UnicodeEncodeError:  # of the row taken last; those before it are written
                if not taken:
                    raise
                self._execute(name, taken.pop())
                left = _noting(source, taken)

    def array(self, values: Iterable[int | str], /) -> str:
        """Return a list as JSON text, which `json_each` reads."""
        return json.dumps(list(values))

    def id(self, text: str | None, /) -> bytes | str | None:
        """Return a UUID in 16 bytes, which sort as its text does; any other id as it is."""
        if text is not None and _UUID.fullmatch(text):
            return bytes.fromhex(text.replace("-", ""))
        return text

    def mark(self) -> tuple[int, int]:
        """Return where the work that begins now has its place, for `end_since`."""
        return len(self.committed), len(self.undone)

    def end_since(self, mark: tuple[int, int]) -> None:
        """Call what waits for the undoing of the work since `mark`, which was undone."""
        committed, undone = mark
        del self.committed[committed:]
        calls = self.undone[undone:]
        del self.undone[undone:]
        _call_all(calls)

    def end(self, *, committed: bool) -> None:
        """Call what waits for the end of the transaction."""
        if not (self.committed or self.undone):
            return
        calls = list(self.committed if committed else self.undone)
        self.committed.clear()
        self.undone.clear()
        _call_all(calls)

    def _execute(self, name: str, params: Mapping[str, Any]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(self._statements[name], params)
        except UnicodeEncodeError:  # half of a surrogate pair, in an id that a provider sent, say
            return self._connection.execute(self._statements[name], _encodable(params))

    def _note(self, name: str, params: Mapping[str, Any], cursor: sqlite3.Cursor) -> int:
        """Note which steps a statement has changed, and return how many rows it did."""
        change = self._changes[name]
        if change is Change.MANY:
            changed = [row[0] for row in cursor]  # of its RETURNING
            self._changed.update(changed)
            return len(changed)
        if change is Change.ONE:
            self._changed.add(params["id"])
        elif change is Change.ADDS and cursor.lastrowid is not None:
            self._changed.add(cursor.lastrowid)
        return cursor.rowcount


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:  # the transaction is over all the same, and the others wait too
            import logging

            logging.getLogger("rowtrail").exception("what waited for the end of a transaction")


def _noting(
    rows: Iterable[Mapping[str, Any]], taken: list[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Yield rows, and keep the one that was yielded last."""
    for row in rows:
        taken[:] = [row]
        yield row


def _encodable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with what UTF-8 cannot hold escaped."""
    return {name: encodable(value) for name, value in params.items()}


def encodable(value: Any) -> Any:
    """Return a parameter with what UTF-8 cannot hold escaped, the same way every time."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def begin(connection: sqlite3.Connection, path: str) -> None:
    """Begin a transaction that writes, as soon as no other process has one open.

    SQLite's own waiting pauses up to 100 ms at a time: of eight processes that write all the time,
    one then waited more than a second for its turn.

    Raises:
        BusyError: The file stayed locked.
    """
    until = None
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.Error as error:
            now = time.monotonic()
            until = until or now + BUSY_TIMEOUT_MS / 1000
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or now > until:
                raise named_error(error, path) from error
