"""A new journal that is built beside its final name, and gets it when it is whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from types import TracebackType
from typing import Any, Self

from rowtrail._clock import Clock
from rowtrail.errors import StorageError
from rowtrail.store._faults import named_errors
from rowtrail.store._open import PAGE_BYTES, apply_schema, check_sqlite_version
from rowtrail.store._tx import Tx


class NewFile:
    """A journal under construction, in one transaction, in a file of mode 0600.

    It is removed in the end unless it was given its name.

    Raises:
        StorageError: The target exists, or its folder cannot be written.
    """

    def __init__(self, target: str) -> None:
        check_sqlite_version()
        self.target = target
        for suffix in ("", "-wal", "-shm", "-journal"):
            if os.path.lexists(target + suffix):
                raise StorageError(
                    f"{target + suffix!r} exists: give the path of a new file", path=target
                )
        self.path = f"{target}.{os.getpid()}.part"
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise StorageError(
                f"{target!r} cannot be written ({error.strerror}): check that its folder exists "
                "and may be written",
                path=target,
            ) from error
        try:
            with named_errors(self.path):
                self._connection = sqlite3.connect(self.path, isolation_level=None)
                self._begin()
        except BaseException:
            self._remove()
            raise
        self.tx = Tx(self._connection)

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
        """Commit the rows, and put them on disk."""
        with named_errors(self.path):
            self._connection.execute("COMMIT")
            self._connection.close()
        handle = os.open(self.path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def give_name(self) -> None:
        """Put the file under its name, never over another one.

        Raises:
            StorageError: A file of this name was made meanwhile.
        """
        try:
            os.link(self.path, self.target)
        except FileExistsError as error:
            raise StorageError(
                f"{self.target!r} exists: give the path of a new file", path=self.target
            ) from error
        except OSError:  # a file system without links
            os.rename(self.path, self.target)
        with contextlib.suppress(OSError):  # Windows opens no folders
            folder = os.open(os.path.dirname(os.path.abspath(self.target)), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(self.path + suffix)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._remove()
