"""Opening a journal's file: one connection, pragma by pragma."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from rowtrail import schema
from rowtrail.errors import (
    BusyError,
    DiskFullError,
    NewerSchemaError,
    NotAJournalError,
    ReadOnlyError,
    StorageError,
    UnsupportedError,
)

Durability = Literal["full", "normal"]

BUSY_TIMEOUT_MS = 30_000
PAGE_BYTES = 8192  # 2 KB rows waste half of a 4 KiB page (measured: 4,128 B against 2,777 B a row)
CACHE_KIB = 16_384
WAL_LIMIT_BYTES = 32 * 1024 * 1024  # a WAL that outgrew this is cut back at the next checkpoint
OLDEST_SQLITE = (3, 37, 0)
WAL_SWITCH_TRIES = 200
WAL_SWITCH_PAUSE_S = 0.02
MEMORY = ":memory:"


@contextlib.contextmanager
def named_errors(path: str) -> Iterator[None]:
    """Turn the errors of SQLite into rowtrail's, which say what happened and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _named(error, path) from error


def _named(error: sqlite3.Error, path: str) -> StorageError:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return NotAJournalError(
            f"{path!r} is not a readable rowtrail journal ({text}): give another path, "
            "or restore the file from a backup",
            path=path,
        )
    if "readonly" in text or "unable to open" in text:
        return ReadOnlyError(
            f"{path!r} cannot be opened for writing ({text}): check that its folder exists and "
            "that this user may write the file and the folder",
            path=path,
        )
    if "full" in text:
        return DiskFullError(
            f"{path!r} could not be written, the file system is full ({text}): nothing of this "
            "transaction was stored; free some space and run again, recorded steps are replayed",
            path=path,
        )
    if "locked" in text or "busy" in text:
        return BusyError(
            f"{path!r} stayed locked by another process for {BUSY_TIMEOUT_MS / 1000:g} s ({text}): "
            "end the transaction that holds it",
            path=path,
        )
    return StorageError(f"{path!r}: SQLite says {text!r}", path=path)


def check_sqlite_version() -> None:
    """Refuse a SQLite library without `STRICT` tables."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise UnsupportedError(
            f"Python's sqlite3 module uses SQLite {sqlite3.sqlite_version}, and rowtrail needs "
            f"{needed} or newer: use a Python that is built with a newer SQLite"
        )


def open_writer(path: str, durability: Durability, now_ms: int) -> sqlite3.Connection:
    """Open the connection that writes: create or migrate the file, and switch it to WAL.

    Raises:
        NotAJournalError: The file belongs to something else.
        NewerSchemaError: A newer rowtrail wrote the file.
        ReadOnlyError: The file or its folder cannot be written.
    """
    check_sqlite_version()
    _create_private(path)
    with named_errors(path):
        connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    try:
        with named_errors(path):
            _set_up(connection, path, durability, now_ms)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(
    connection: sqlite3.Connection, path: str, durability: Durability, now_ms: int
) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # only takes hold in a new file
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # the same: pruning gives pages back
    _refuse_foreign(connection, path)
    if path != MEMORY:
        _switch_to_wal(connection)
    # FULL syncs the WAL at every commit, so a power cut loses none; NORMAL at checkpoints only.
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync = 1")  # fsync alone leaves data in the drive's cache
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    _migrate(connection, path, now_ms)


def open_reader(path: str) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    with named_errors(path):
        connection = sqlite3.connect(
            f"file:{quote(str(Path(path).absolute()))}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _create_private(path: str) -> None:
    """Create the file readable by its owner only: it holds conversations."""
    if path == MEMORY:
        return
    with contextlib.suppress(FileExistsError, OSError):  # SQLite names the reason better
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == schema.APPLICATION_ID:
        if version > schema.VERSION:
            raise NewerSchemaError(
                f"{path!r} has schema version {version}, and this rowtrail reads up to "
                f"{schema.VERSION}: install the rowtrail that wrote it, or a newer one",
                path=path,
                found=version,
                supported=schema.VERSION,
            )
        return
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master LIMIT 5")]
    if tables or application or version:
        raise NotAJournalError(
            f"{path!r} is a SQLite file of another program (tables: {', '.join(tables)}): "
            "give rowtrail a file of its own",
            path=path,
        )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # The switch needs the file to itself for a moment and ignores busy_timeout: retry.
    for _ in range(WAL_SWITCH_TRIES):
        with contextlib.suppress(sqlite3.OperationalError):
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode == "wal":
                return
        time.sleep(WAL_SWITCH_PAUSE_S)
    connection.execute("PRAGMA journal_mode = WAL")


def _migrate(connection: sqlite3.Connection, path: str, now_ms: int) -> None:
    """Bring the file to the newest schema; several processes may try at once."""
    if _is_current(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _refuse_foreign(connection, path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number in range(version + 1, schema.VERSION + 1):
            for statement in schema.migration(number):
                connection.execute(statement)
        _recreate_views(connection)
        if version == 0:
            _write_facts(connection, now_ms)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # an I/O error has rolled back already
            connection.execute("ROLLBACK")
        raise


def _is_current(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != schema.VERSION:
        return False
    have = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
    return all(have.get(name) == text for name, text in schema.views().items())


def _recreate_views(connection: sqlite3.Connection) -> None:
    for name, text in schema.views().items():
        connection.execute(f"DROP VIEW IF EXISTS {name}")
        connection.execute(text)


def _write_facts(connection: sqlite3.Connection, now_ms: int) -> None:
    facts = {
        "journal_id": secrets.token_hex(16),
        "hash_key": secrets.token_hex(16),
        "created_at": str(now_ms),
        "generation": "0",
    }
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", facts.items())
