"""Named operations: the only way in which the rooms above speak to the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from rowtrail import schema

Row = sqlite3.Row
"""One row: columns by name and by position."""


class Tx:
    """Runs the statements of `rowtrail/schema/statements` by name, inside one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._statements = schema.statements()

    def one(self, name: str, /, **params: Any) -> Row | None:
        """Return the first row of the named query, or None."""
        row: Row | None = self._connection.execute(self._statements[name], params).fetchone()
        return row

    def value(self, name: str, /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self._connection.execute(self._statements[name], params).fetchone()
        return None if row is None else row[0]

    def all(self, name: str, /, **params: Any) -> list[Row]:
        """Return every row of the named query."""
        return self._connection.execute(self._statements[name], params).fetchall()

    def run(self, name: str, /, **params: Any) -> int:
        """Run the named statement and return how many rows it changed."""
        return self._connection.execute(self._statements[name], params).rowcount

    def insert(self, name: str, /, **params: Any) -> int:
        """Run the named `INSERT` and return the id of the new row."""
        cursor = self._connection.execute(self._statements[name], params)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def many(self, name: str, /, rows: Iterable[dict[str, Any]]) -> None:
        """Run the named statement once for each row of parameters."""
        self._connection.executemany(self._statements[name], rows)
