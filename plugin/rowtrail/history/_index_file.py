"""The search index's file, which only apsw opens: the journal's SQLite never touches it.

Two SQLite libraries on one file in one process lose committed rows, so the index is a file of its
own, and the journal's rows come to it through the store. Whatever is wrong with the file, it is
made anew: nothing in it is not in the journal too.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from rowtrail import schema
from rowtrail.errors import BusyError, DiskFullError, ReadOnlyError, StorageError, UnsupportedError
from rowtrail.extras import Package, needed

if TYPE_CHECKING:
    from rowtrail.history._source import Readable

T = TypeVar("T")

APSW = Package("apsw", "3.51.3.0", extra="search")
SQLITE_VEC = Package("sqlite-vec", "0.1.6", extra="search")
SUFFIX = "-search"
MEMORY = ":memory:"
BUSY_TIMEOUT_MS = 30_000  # that of the journal: a long fill of another process holds the lock
WAL_SWITCH_PAUSE_S = 0.02  # the switch takes milliseconds, of whoever does it
PAGE_BYTES = 8192
"""As the journal's: two messages or a node of the FTS index fit."""
CACHE_KIB = 32_768
"""Filling an index visits many pages again and again."""
MERGED_PAGES = 500
"""Pages of the index of words that are merged in one transaction, in some 20 ms."""
TRIES = 8
"""A file that is damaged, or was deleted meanwhile, is made anew so often in one call: once is
enough unless several processes find it damaged together and delete each other's."""
RETRY_PAUSE_S = 0.01
"""Lets the other one, which is making it, come first."""


class Cursor(Protocol):
    """The part of `apsw.Cursor` that is used here."""

    def fetchall(self) -> list[tuple[Any, ...]]: ...

    def fetchone(self) -> tuple[Any, ...] | None: ...


class Connection(Protocol):
    """The part of `apsw.Connection` that is used here; its own types need Python 3.12."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statements: str, bindings: Mapping[str, Any] | None = None, /) -> Cursor: ...

    def total_changes(self) -> int: ...

    def set_busy_timeout(self, milliseconds: int, /) -> None: ...

    def enable_load_extension(self, enable: bool, /) -> None: ...

    def load_extension(self, filename: str, /) -> None: ...

    def close(self) -> None: ...


class UnusableError(Exception):
    """The file is damaged, of another version, or no longer the one at its path: begin anew."""


class IndexFile:
    """One open search index; runs the statements of `schema/search_statements.sql` by name."""

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._inode = _inode(path)
        self._statements = schema.search_statements()
        self._can_compare = False

    def all(self, name: str, /, **params: Any) -> list[tuple[Any, ...]]:
        """Return every row of the named query."""
        return self._connection.execute(self._statements[name], params).fetchall()

    def value(self, name: str, /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self._connection.execute(self._statements[name], params).fetchone()
        return None if row is None else row[0]

    def run(self, name: str, /, **params: Any) -> None:
        """Run the named statement."""
        self._connection.execute(self._statements[name], params)

    def state(self) -> dict[str, Any]:
        """Return the facts about the index by their names."""
        return dict(self.all("state_all"))

    def set_state(self, **facts: Any) -> None:
        """Store facts about the index."""
        for key, value in facts.items():
            self.run("state_set", key=key, value=value)

    def begin_anew(self) -> NoReturn:
        """Delete the file; whoever has it open, here or elsewhere, begins with an empty one.

        Raises:
            UnusableError: Always.
        """
        _in_memory.clear()
        if self._path != MEMORY:
            discard(self._path)
        raise UnusableError(f"{self._path!r} is made anew")

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Hold the write lock; commits at the end, and undoes everything on an error.

        Raises:
            UnusableError: Somebody deleted the file, or put another in its place.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if not self.is_in_place:
                raise UnusableError(f"{self._path!r} was deleted or replaced")
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def snapshot(self) -> Generator[None]:
        """Let several queries see one state of the index."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def load_vectors(self) -> None:
        """Load sqlite-vec, which compares vectors.

        Raises:
            MissingPackageError: It is not installed.
            UnsupportedError: It cannot be loaded.
        """
        if self._can_compare:
            return
        with needed(SQLITE_VEC, by="searching by meaning"):
            import sqlite_vec  # pyright: ignore[reportMissingTypeStubs]
        try:
            self._connection.enable_load_extension(True)
            self._connection.load_extension(sqlite_vec.loadable_path())
        except Exception as error:  # it may be built for another system
            raise UnsupportedError(
                f"searching by meaning needs sqlite-vec, which cannot be loaded ({error}): install "
                "it anew, or search with mode='keyword'"
            ) from error
        self._connection.enable_load_extension(False)
        self._can_compare = True

    def compact(self) -> None:
        """Merge the index of words into as little as it takes, and give back what is free."""
        pages = -MERGED_PAGES  # below zero: begin to merge all
        is_done = False
        while not is_done:
            with self.transaction():
                before = self._connection.total_changes()
                self.run("text_merge", pages=pages)
                # Source: https://sqlite.org/fts5.html, "The 'merge' Command": 2 where it did some.
                is_done = self._connection.total_changes() - before < 2
            pages = MERGED_PAGES
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def is_in_place(self) -> bool:
        """Return whether the file at the path is still this one."""
        return self._path == MEMORY or _inode(self._path) == self._inode


_in_memory: weakref.WeakKeyDictionary[object, IndexFile] = weakref.WeakKeyDictionary()
_memory_lock = threading.RLock()


def check_can_search(needed_by: str) -> None:
    """Import what every search needs.

    Raises:
        MissingPackageError: The extra `search` is not installed.
    """
    with needed(APSW, by=needed_by):
        import apsw  # noqa: F401  # pyright: ignore[reportUnusedImport]


def index_path(source: Readable) -> str:
    """Return the path of a journal's search index."""
    return source.beside(SUFFIX) or MEMORY


def with_index(source: Readable, work: Callable[[IndexFile], T]) -> T:
    """Run `work` on the index of a journal; one that is missing or damaged is made anew.

    Raises:
        MissingPackageError: apsw is not installed.
        StorageError: The index cannot be read or written; the leaf and the message say why.
    """
    check_can_search("searching")
    import apsw

    path = index_path(source)
    with _named_errors(path):
        if path == MEMORY:
            with _memory_lock:
                return work(_index_in_memory(source))
        for tried in range(1, TRIES):
            try:
                return _try(path, work)
            except (UnusableError, apsw.IOError, apsw.CantOpenError):
                time.sleep(RETRY_PAUSE_S * tried)
        return _try(path, work)


def _try(path: str, work: Callable[[IndexFile], T]) -> T:
    """Run `work` once; an index that turns out to be damaged is deleted.

    Raises:
        UnusableError: It was deleted, here or elsewhere: try again.
    """
    import apsw

    index: IndexFile | None = None
    try:
        with contextlib.closing(_open(path)) as index:
            return work(index)
    except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
        # Where another file is in its place by now, that one is not the damaged one.
        if index is None or index.is_in_place:
            discard(path)
        raise UnusableError(f"{path!r} was damaged ({error})") from error
    except apsw.ReadOnlyError as error:
        if getattr(error, "extendedresult", None) != apsw.SQLITE_READONLY_DBMOVED:
            raise
        # Of two that find no file, the later one deletes what the other has just created.
        raise UnusableError(f"{path!r} was deleted or replaced ({error})") from error


def discard(path: str) -> None:
    """Delete the file of an index, and what SQLite keeps beside it.

    Raises:
        ReadOnlyError: It cannot be deleted.
    """
    for suffix in ("", "-wal", "-shm"):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:  # it is as wanted
            pass
        except OSError as error:
            raise _named(error, path) from error


def _index_in_memory(owner: object) -> IndexFile:
    import apsw

    index = _in_memory.get(owner)
    if index is None:
        connection: Any = apsw.Connection(MEMORY)
        _create(connection)
        index = _in_memory[owner] = IndexFile(connection, MEMORY)
    return index


def _open(path: str) -> IndexFile:
    import apsw

    if not os.path.exists(path):
        # What a deleted index left: another process may still hold it, and goes its own way.
        discard(path)
        with contextlib.suppress(OSError):  # another process was first, or SQLite says it better
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection: Any = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # only takes hold in a new file
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # likewise
        _refuse_foreign(connection, path)
        _switch_to_wal(connection)
        # A power cut may take the last pages of the index; the next search reads the journal again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        index = IndexFile(connection, path)
        if not _is_current(connection):
            with index.transaction():
                if not _is_current(connection):  # another process may have been first
                    _create(connection)
    except BaseException:  # Ctrl-C too: nobody else would close it
        connection.close()
        raise
    return index


def _refuse_foreign(connection: Connection, path: str) -> None:
    connection.execute("BEGIN")  # another process may be making the tables
    (application, version), tables = _marks(connection), _tables(connection)
    connection.execute("COMMIT")
    if application == schema.SEARCH_APPLICATION_ID:
        if version != schema.SEARCH_VERSION:
            discard(path)
            raise UnusableError(f"{path!r} has version {version}")
    elif application or version or tables:
        raise StorageError(
            f"{path!r} is where the search index goes, and is a file of another program: move it",
            path=path,
        )


def _tables(connection: Connection) -> int:
    found: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()[0][0]
    return found


def _switch_to_wal(connection: Connection) -> None:
    # The switch needs the file to itself for a moment and ignores the busy timeout: retry.
    import apsw

    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(WAL_SWITCH_PAUSE_S)
        else:
            return


def _is_current(connection: Connection) -> bool:
    return _marks(connection) == (schema.SEARCH_APPLICATION_ID, schema.SEARCH_VERSION)


def _marks(connection: Connection) -> tuple[int, int]:
    names = ("application_id", "user_version")
    rows = [connection.execute(f"PRAGMA {name}").fetchall() for name in names]
    return rows[0][0][0], rows[1][0][0]


def _create(connection: Connection) -> None:
    for statement in schema.search_tables():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.SEARCH_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.SEARCH_VERSION}")


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _named_errors(path: str) -> Generator[None]:
    """Turn the errors of apsw into rowtrail's."""
    import apsw

    try:
        yield
    except (apsw.Error, UnusableError) as error:
        raise _named(error, path) from error


def _named(error: Exception, path: str) -> StorageError:
    import apsw

    about, reason = f"the search index {path!r}", f"({type(error).__name__}: {error})"
    if isinstance(error, apsw.FullError):
        return DiskFullError(
            f"{about} has no space on its file system: free some {reason}", path=path
        )
    if isinstance(error, UnusableError):
        return BusyError(
            f"{about} was deleted or damaged again and again while it was used: try again {reason}",
            path=path,
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return BusyError(f"{about} stayed locked by another process: try again {reason}", path=path)
    if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError | OSError):
        return ReadOnlyError(
            f"{about} cannot be written: check that this user may write the file and its folder "
            f"{reason}",
            path=path,
        )
    return StorageError(f"{about} cannot be used: delete it, it is made anew {reason}", path=path)
