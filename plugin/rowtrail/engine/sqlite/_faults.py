"""The errors of SQLite as rowtrail's: what happened, and what to do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator

from rowtrail.errors import (
    BusyError,
    DamagedError,
    DiskFullError,
    NotAJournalError,
    ReadOnlyError,
    StorageError,
)

BUSY_TIMEOUT_MS = 30_000
"""Longer than a transaction of rowtrail's should take: another program holds the lock."""
FULL_BELOW_BYTES = 64 * 1024
"""A file system with less room than this is full: SQLite grows its files by pages and regions."""

_NO_COLUMN = "No item with that key"
"""What `sqlite3.Row` says when a statement gave no column of this name."""

DAMAGE = (UnicodeDecodeError, IndexError)
"""Bytes that are no text, in a row or in a message of SQLite; a column that lost its name."""

_PRIMARY = 0xFF
"""The low byte of an extended result code is the primary one."""


@contextlib.contextmanager
def named_errors(path: str) -> Generator[None]:
    """Turn the errors of SQLite into rowtrail's."""
    try:
        yield
    except (sqlite3.Error, *DAMAGE) as error:
        named = storage_error(error, path)
        if named is None:
            raise
        raise named from error


def storage_error(error: BaseException, path: str) -> StorageError | None:
    """Return rowtrail's error for one of SQLite or of a damaged row, None for any other."""
    if isinstance(error, sqlite3.Error):
        return named_error(error, path)
    is_damage = isinstance(error, DAMAGE) and (
        isinstance(error, UnicodeDecodeError) or str(error) == _NO_COLUMN
    )
    return _leaf(sqlite3.SQLITE_CORRUPT, path, error) if is_damage else None


def named_error(error: sqlite3.Error, path: str) -> StorageError:
    """Return rowtrail's error for one of SQLite."""
    # By code: the text of a message may quote anything. Errors of the Python module have none.
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        code = sqlite3.SQLITE_FULL
    return _leaf(code, path, error)


def _leaf(code: int, path: str, error: BaseException) -> StorageError:
    leaf, advice = _LEAVES.get(code, (StorageError, "look at the message of SQLite"))
    return leaf(f"{path!r} {advice} (SQLite: {error})", path=path)


_LEAVES: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_NOTADB: (
        NotAJournalError,
        "is not a rowtrail journal: give another path",
    ),
    sqlite3.SQLITE_CORRUPT: (
        DamagedError,
        (
            "is damaged: keep the file as it is, see `rowtrail verify`, and build a sound one with "
            "`rowtrail repair`, or restore a backup"
        ),
    ),
    sqlite3.SQLITE_FULL: (
        DiskFullError,
        (
            "could not be written, its file system is full: nothing of this transaction was "
            "stored; free some space and run again, recorded steps are replayed"
        ),
    ),
    sqlite3.SQLITE_IOERR: (
        StorageError,
        "could not be read or written: look at the system's log for the disk",
    ),
    **dict.fromkeys(
        (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        (
            BusyError,
            (
                f"stayed locked by another process for {BUSY_TIMEOUT_MS / 1000:g} s: end the "
                "transaction that holds it"
            ),
        ),
    ),
    **dict.fromkeys(
        (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
        (
            ReadOnlyError,
            (
                "cannot be opened for writing: check that its folder exists, that this user may "
                "write the file and the folder, and that the process may open more files"
            ),
        ),
    ),
}


def _is_full(path: str) -> bool:
    """Return whether an I/O error is a lack of space: SQLite says so only where `write` says it."""
    try:
        system = os.statvfs(os.path.dirname(path) or ".")
    except (AttributeError, OSError):  # Windows has no statvfs
        return False
    return system.f_bavail * system.f_frsize < FULL_BELOW_BYTES
