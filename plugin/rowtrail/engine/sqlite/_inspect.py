"""Facts about a journal's file and what it stands on, for a doctor."""

from __future__ import annotations

import os
import sqlite3
import sys
from dataclasses import dataclass
from typing import Any

from rowtrail.engine.sqlite._attached import JOURNAL, attach
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._home import wal_of

MAX_FAULTS = 20
"""A person reads the first; `rowtrail verify` has all."""

NETWORK_FILE_SYSTEMS = frozenset(
    (
        *("9p", "afs", "ceph", "cifs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs"),
        *("lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"),
    )
)
"""File systems whose locks or shared memory do not hold between machines."""

MEMORY_FILE_SYSTEMS = frozenset(("tmpfs", "ramfs"))

_WAL_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""From which version on, in each branch, SQLite is without its WAL-reset fault."""


@dataclass(frozen=True)
class FileFacts:
    """What SQLite says of a journal's file.

    Attributes:
        free_bytes: Room inside the file that new rows will use.
        faults: What the check found, at most 20 lines; None where it was not asked for.
    """

    schema_version: int
    journal_mode: str
    page_bytes: int
    file_bytes: int
    free_bytes: int
    wal_bytes: int
    faults: tuple[str, ...] | None


def inspect_file(path: str, *, check: str | None) -> FileFacts:
    """Return facts about a file; `check` is `quick`, `full` (reads every row) or None.

    Raises:
        StorageError: It cannot be read.
    """
    connection = sqlite3.connect(":memory:", uri=True, isolation_level=None)
    try:
        with named_errors(path):
            attach(connection, path, JOURNAL)
            page_bytes, pages, free = (
                _pragma(connection, name) for name in ("page_size", "page_count", "freelist_count")
            )
            return FileFacts(
                schema_version=_pragma(connection, "user_version"),
                journal_mode=str(
                    connection.execute(f"PRAGMA {JOURNAL}.journal_mode").fetchone()[0]
                ),
                page_bytes=page_bytes,
                file_bytes=page_bytes * pages,
                free_bytes=page_bytes * free,
                wal_bytes=_size(wal_of(path)),
                faults=None if check is None else _faults(connection, check),
            )
    finally:
        connection.close()


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    value: Any = connection.execute(f"PRAGMA {JOURNAL}.{name}").fetchone()[0]
    return value


def _faults(connection: sqlite3.Connection, check: str) -> tuple[str, ...]:
    name = "integrity_check" if check == "full" else "quick_check"
    try:
        rows = connection.execute(f"PRAGMA {JOURNAL}.{name}({MAX_FAULTS})").fetchall()
    except sqlite3.DatabaseError as error:  # so damaged that the check itself stops
        return (str(error),)
    return tuple(str(row[0]) for row in rows if row[0] != "ok")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def sqlite_version() -> str:
    """Return the version of the SQLite library that drives the journal."""
    return sqlite3.sqlite_version


def has_wal_reset_fault(version: str) -> bool:
    """Return whether SQLite may, rarely, lose commits when a checkpoint resets the WAL.

    Source: sqlite.org/wal.html, "the WAL-reset bug": 3.7.0 to 3.51.2, fixed also in 3.44.6 and
    3.50.7.
    """
    parts = tuple(int(part) for part in version.split("."))
    if parts >= _WAL_RESET_FIXED[-1]:
        return False
    return not any(parts[:2] == fixed[:2] and parts >= fixed for fixed in _WAL_RESET_FIXED)


def file_system_of(path: str) -> str | None:
    """Return the type of the file system that holds a path, None where it is not known."""
    if not sys.platform.startswith("linux"):
        return None
    wanted = os.path.realpath(path)
    best, found = -1, None
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                point = before.split()[4].replace("\\040", " ")
                inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= best:  # a later mount on the same folder hides it
                    best, found = len(point), after.split()[0]
    except (OSError, IndexError):
        return None
    return found
