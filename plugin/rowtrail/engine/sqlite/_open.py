"""Opening a journal's file: one connection, pragma by pragma."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import time

from rowtrail import schema
from rowtrail.engine._contract import Durability
from rowtrail.engine.sqlite._alone import prepare_writer
from rowtrail.engine.sqlite._faults import BUSY_TIMEOUT_MS, named_errors
from rowtrail.engine.sqlite._form import is_current, take_over
from rowtrail.engine.sqlite._home import HOME, MEMORY, Home, move_home, recorded_home, wal_of
from rowtrail.engine.sqlite._tx import begin
from rowtrail.engine.sqlite._watch import SMALLEST_FILE_BYTES, Watch
from rowtrail.errors import (
    NewerSchemaError,
    NotAJournalError,
    ReadOnlyError,
    StorageError,
    UnsupportedError,
)

PAGE_BYTES = 8192  # 2 KB rows waste half of a 4 KiB page (measured: 4,128 B against 2,777 B a row)
CACHE_KIB = 16_384
"""Inner pages of the tables stay in memory."""
WAL_LIMIT_BYTES = 32 * 1024 * 1024  # a WAL that outgrew this is cut back at the next checkpoint
OLDEST_SQLITE = (3, 37, 0)
WAL_SWITCH_PAUSE_S = 0.02  # whoever opens the file at the same moment needs milliseconds
PATIENCE_MS = 3  # SQLite tries again after 1 ms and after 2 ms more, and then `begin` does
LEFT = ".left"
"""What the name of a WAL ends with that a file left which was removed or renamed."""
LOCK_BEGIN, LOCK_BYTES = 0x4000_0000, 512
"""What SQLite locks of a file. Source: os.h, PENDING_BYTE to the end of the shared range."""
ATTEMPTS = 5  # to open a file that others open, move or replace at the same moment


def check_sqlite_version() -> None:
    """Refuse a SQLite library without `STRICT` tables."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise UnsupportedError(
            f"Python's sqlite3 module uses SQLite {sqlite3.sqlite_version}, and rowtrail needs "
            f"{needed} or newer: use a Python that is built with a newer SQLite"
        )


def open_writer(path: str, durability: Durability, now_ms: int) -> tuple[sqlite3.Connection, Watch]:
    """Open the connection that writes: create or migrate the file, and switch it to WAL.

    Returns:
        The connection, and what finds out whether the path still names its file.

    Raises:
        NotAJournalError: The file belongs to something else.
        NewerSchemaError: A newer rowtrail wrote the file.
        ReadOnlyError: The file or its folder cannot be written.
        SecondNameError: The file is in use under another name.
        UnsupportedError: This SQLite is too old, or the file system cannot hold a WAL.
    """
    check_sqlite_version()
    for _ in range(ATTEMPTS):
        if path != MEMORY:
            _create_private(path)
            _refuse_unusable(path)
        opened = _try_to_open(path, durability, now_ms)
        if opened is not None:
            return opened
    raise StorageError(
        f"{path!r} was moved or replaced again and again while it was opened: leave it in its "
        "place, then open it again",
        path=path,
    )


def _try_to_open(
    path: str, durability: Durability, now_ms: int
) -> tuple[sqlite3.Connection, Watch] | None:
    """Return None where the file was replaced meanwhile, or had another name and has this now."""
    with named_errors(path):
        before = _watch(path)
        connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    try:
        with named_errors(path):
            is_at_home = _set_up(connection, path, durability, now_ms)
            watch = _watch(path)
            is_same = watch is not None and before is not None and watch.file == before.file
            if is_at_home and is_same and watch is not None:
                connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
                prepare_writer(connection)
                return connection, watch
    except BaseException:  # Ctrl-C too: nobody else would close it
        connection.close()
        raise
    connection.close()
    if not is_at_home:
        move_home(path)
    return None


def _watch(path: str) -> Watch | None:
    try:
        return Watch(path)
    except OSError:  # SQLite names the reason better
        return None


def _set_up(connection: sqlite3.Connection, path: str, durability: Durability, now_ms: int) -> bool:
    """Bring the file into form, and return whether its WAL is the one of this path.

    The connection locks the file itself from here on: nobody can make it another name's.
    """
    if _refuse_foreign(connection, path):
        if not _is_at_home(connection, path):
            return False  # before anything is written beside this name
    else:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # pruning gives pages back
    set_durability(connection, durability)
    _tune(connection)
    # Before the switch: what a new file is, and whose, stands in the file itself, not in a WAL.
    _migrate(connection, path, now_ms)
    if path != MEMORY:
        _switch_to_wal(connection, path)
    return _is_at_home(connection, path)


def _tune(connection: sqlite3.Connection) -> None:
    """Set what each connection that writes has for itself."""
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync = 1")  # fsync alone leaves data in the drive's cache
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")


def _is_at_home(connection: sqlite3.Connection, path: str) -> bool:
    if path == MEMORY:
        return True
    recorded = recorded_home(connection)
    return recorded is not None and recorded.is_same(Home.of(path))


def set_durability(connection: sqlite3.Connection, durability: Durability) -> None:
    """Say when the WAL is synced; SQLite takes it outside transactions only."""
    # FULL syncs the WAL at every commit, so a power cut loses none; NORMAL at checkpoints only.
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")


def open_reader(path: str) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    with named_errors(path):
        connection = _open_existing(path, "ro", BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def open_second_writer(path: str) -> sqlite3.Connection:
    """Open another connection that writes to a journal that is open, and waits for no other."""
    connection = _open_existing(path, "rw", 0)
    try:
        _tune(connection)
        prepare_writer(connection)
    except BaseException:  # Ctrl-C too: nobody else would close it
        connection.close()
        raise
    return connection


def _open_existing(path: str, mode: str, wait_ms: int) -> sqlite3.Connection:
    from urllib.parse import quote

    return sqlite3.connect(
        f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode={mode}",
        uri=True,
        timeout=wait_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _create_private(path: str) -> None:
    """Create the file readable by its owner only: it holds conversations."""
    real = os.path.realpath(path)  # not through a link: O_EXCL follows none
    with contextlib.suppress(OSError):  # it is there already, or SQLite names the reason better
        handle = os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            _set_leftovers_aside(handle, real)
        finally:
            os.close(handle)


def _set_leftovers_aside(handle: int, real: str) -> None:
    """Part a new file from the WAL, and the memory of it, of one that was removed or renamed.

    Whoever still has that one open would share both with it. Its WAL is kept: its file may be
    elsewhere, without its newest rows.
    """
    try:
        import fcntl  # Windows has none, and there files that are open keep their names
    except ImportError:
        return
    # As SQLite locks a file exclusively: fails where somebody has begun to use the new one.
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCK_BYTES, LOCK_BEGIN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{real}-shm")
    wal = wal_of(real)
    if os.path.exists(wal) and os.path.getsize(wal):
        os.replace(wal, wal + LEFT)
        import logging

        logging.getLogger("rowtrail").warning(
            "%r is new; the WAL of the file that had this name is kept as %r: delete it, if that "
            "file was deleted",
            real,
            wal + LEFT,
        )


def _refuse_unusable(path: str) -> None:
    """Refuse what is not a file, and a short file, over which SQLite would write."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(
                f"{path!r} is a symbolic link that leads back to itself: give the path of a file",
                path=path,
            ) from error
    if os.path.isdir(path):
        raise ReadOnlyError(
            f"{path!r} cannot be opened, it is a folder: give the path of a file in it", path=path
        )
    # Not read: closing a handle of our own would drop the locks that SQLite holds in this process.
    if os.path.isfile(path) and 0 < os.path.getsize(path) < SMALLEST_FILE_BYTES:
        raise NotAJournalError(
            f"{path!r} is not a rowtrail journal, it is too short: give another path", path=path
        )


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> bool:
    """Refuse the file of another program; return whether it is a journal, and not a new file."""
    # The id last: another process may be creating the tables, and its commit sets the id with them.
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master LIMIT 5")]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application == schema.APPLICATION_ID:
        if version > schema.VERSION:
            raise NewerSchemaError(
                f"{path!r} has schema version {version}, and this rowtrail reads up to "
                f"{schema.VERSION}: install the rowtrail that wrote it, or a newer one",
                path=path,
                found=version,
                supported=schema.VERSION,
            )
        return True
    if tables or application or version:
        raise NotAJournalError(
            f"{path!r} is a SQLite file of another program (tables: {', '.join(tables)}): "
            "give rowtrail a file of its own",
            path=path,
        )
    return False


def _switch_to_wal(connection: sqlite3.Connection, path: str) -> None:
    # The switch needs the file to itself for a moment and ignores busy_timeout: retry.
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(WAL_SWITCH_PAUSE_S)
            continue
        if mode != "wal":
            raise UnsupportedError(
                f"{path!r} is on a file system without the shared memory that SQLite's WAL needs "
                f"(it stays in mode {mode!r}): put the journal on a local disk"
            )
        return


def _migrate(connection: sqlite3.Connection, path: str, now_ms: int) -> None:
    """Bring the file to the newest schema; several processes may try at once."""
    if _is_current(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_current(connection):  # another process may have been first
            apply_schema(connection, path, now_ms)
        connection.execute("COMMIT")
    except BaseException:  # Ctrl-C too: the lock must not stay taken
        if connection.in_transaction:  # an I/O error has rolled back already
            connection.execute("ROLLBACK")
        raise


def apply_schema(connection: sqlite3.Connection, path: str, now_ms: int) -> None:
    """Bring the file to the newest schema, inside a transaction."""
    _refuse_foreign(connection, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == schema.VERSION:
        take_over(connection, path)
    for number in range(version + 1, schema.VERSION + 1):
        for statement in schema.migration(number):
            connection.execute(statement)
    for name, text in schema.views().items():
        connection.execute(f"DROP VIEW IF EXISTS {name}")
        connection.execute(text)
    if version == 0:
        _write_facts(connection, path, now_ms)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _is_current(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != schema.VERSION or not is_current(connection):
        return False
    have = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
    return all(have.get(name) == text for name, text in schema.views().items())


def _write_facts(connection: sqlite3.Connection, path: str, now_ms: int) -> None:
    facts = {
        "journal_id": os.urandom(16).hex(),
        "hash_key": os.urandom(16).hex(),
        "created_at": str(now_ms),
        "generation": "0",
    }
    if path != MEMORY:
        facts[HOME] = Home.of(path).as_text()
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", facts.items())


def free_pages(connection: sqlite3.Connection, path: str, pages: int) -> int:
    """Cut up to `pages` free pages from the file, and return how many are left."""
    begin(connection, path)
    try:
        connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
        connection.execute("COMMIT")
    except BaseException:  # Ctrl-C too: the lock must not stay taken
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    left: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return left


def checkpoint_wal(connection: sqlite3.Connection) -> bool:
    """Move the WAL into the file as far as no reader is in the way, which also cuts the file.

    Returns:
        Whether all of it was: then all that was committed is on disk.
    """
    busy, frames, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and frames == moved
