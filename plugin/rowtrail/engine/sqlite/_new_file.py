"""A new journal that is built beside its final name, and gets it when it is whole."""

from __future__ import annotations

import contextlib
import sqlite3
from types import TracebackType
from typing import Any, Self

from rowtrail._clock import Clock
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._open import PAGE_BYTES, apply_schema, check_sqlite_version
from rowtrail.engine.sqlite._tx import SqliteTx
from rowtrail.engine.sqlite._whole_file import SIDE_FILES, beside, give_name, refuse_existing


class NewFile:
    """A journal under construction, in one transaction, in a file of mode 0600.

    It is removed in the end unless it was given its name.

    Raises:
        StorageError: The target exists, or its folder cannot be written.
    """

    def __init__(self, target: str) -> None:
        check_sqlite_version()
        self.target = target
        refuse_existing(target, SIDE_FILES)
        with contextlib.ExitStack() as stack:
            self.path = stack.enter_context(beside(target))
            with named_errors(self.path):
                self._connection = sqlite3.connect(self.path, isolation_level=None)
                stack.callback(self._connection.close)
                self._begin()
            self._stack = stack.pop_all()
        self.tx = SqliteTx(self._connection)

    def _begin(self) -> None:
        # What is half built is thrown away: nothing is to be rolled back, and one sync does.
        for pragma in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("PRAGMA journal_mode = MEMORY")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("BEGIN")
        apply_schema(self._connection, self.path, Clock().now_ms())

    def add(self, statement: str, row: dict[str, Any]) -> bool:
        """Insert a row, and return False where it breaks a rule of its table."""
        try:
            self.tx.run(statement, **row)
        except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError):
            return False
        return True

    def commit(self) -> None:
        """Commit the rows; they are on disk once the file has its name."""
        with named_errors(self.path):
            self._connection.execute("COMMIT")
            self._connection.close()

    def give_name(self) -> None:
        """Put the file under its name, and both on disk.

        Raises:
            StorageError: A file of this name was made meanwhile.
        """
        give_name(self.path, self.target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
