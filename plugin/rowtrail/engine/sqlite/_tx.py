"""Named operations: the only way in which the rooms above speak to the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rowtrail import schema
from rowtrail.schema import Change

Row = sqlite3.Row
"""One row: columns by name and by position."""


class Tx:
    """Runs the statements of `rowtrail/schema/statements` by name, inside one transaction.

    Args:
        connection: The connection that has the transaction.
        changed: Where the rows of steps are noted that it adds or changes.
    """

    def __init__(self, connection: sqlite3.Connection, changed: set[int] | None = None) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._changed = set[int]() if changed is None else changed
        self._statements = schema.statements()
        self._changes = schema.step_changes()

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

    def run(self, name: str, /, **params: Any) -> int:
        """Run the named statement and return how many rows it changed."""
        change = self._changes.get(name, Change.NONE)
        if change is Change.MANY:
            return self._change_steps(name, params)
        cursor = self._execute(name, params)
        if change is Change.ONE:
            self._changed.add(params["id"])
        elif change is Change.ADDS and cursor.lastrowid is not None:
            self._changed.add(cursor.lastrowid)
        return cursor.rowcount

    def _change_steps(self, name: str, params: Mapping[str, Any]) -> int:
        """Run a statement that changes any number of steps, and note which."""
        rows = self._run(f"{self._statements[name]} RETURNING id", params).fetchall()
        self._changed.update(row[0] for row in rows)
        return len(rows)

    def insert(self, name: str, /, **params: Any) -> int:
        """Run the named `INSERT` and return the id of the new row."""
        cursor = self._execute(name, params)
        assert cursor.lastrowid is not None
        if self._changes.get(name) is Change.ADDS:
            self._changed.add(cursor.lastrowid)
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

    def _execute(self, name: str, params: Mapping[str, Any]) -> sqlite3.Cursor:
        return self._run(self._statements[name], params)

    def _run(self, statement: str, params: Mapping[str, Any]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, params)
        except UnicodeEncodeError:  # half of a surrogate pair, in an id that a provider sent, say
            return self._connection.execute(statement, _encodable(params))


def _noting(
    rows: Iterable[Mapping[str, Any]], taken: list[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Yield rows, and keep the one that was yielded last."""
    for row in rows:
        taken[:] = [row]
        yield row


def _encodable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with what UTF-8 cannot hold escaped, the same way every time."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str)
        else value
        for name, value in params.items()
    }
