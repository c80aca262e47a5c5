"""Reading a journal that may be damaged: all that can be read, and the names of what cannot."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from rowtrail import schema
from rowtrail.engine._contract import Row
from rowtrail.engine.sqlite._attached import check_version, decode
from rowtrail.engine.sqlite._dialect import dialect
from rowtrail.engine.sqlite._faults import BUSY_TIMEOUT_MS, named_error
from rowtrail.engine.sqlite._home import (
    has_wal,
    home_if_sound,
    refuse_second_name_here,
    refuse_wal_elsewhere,
)
from rowtrail.engine.sqlite._open import CACHE_KIB, check_sqlite_version
from rowtrail.engine.sqlite._tx import SqliteTx
from rowtrail.errors import DamagedError, StorageError

MAX_KEY = 2**63 - 1
"""The largest key that SQLite has."""

MAX_PROBES = 200_000
"""How often a stretch that cannot be read is looked into, some microseconds each."""

MAX_MESSAGES = 200
"""SQLite stops at 100 by itself; one damaged page can give several."""

_CLOSED_LIST = re.compile(
    r"\s+CHECK \((\w+) (?:IN \('\w+'(?:, '\w+')*\)|= '\w+'(?:\s+OR \1 = '\w+')+)\)"
)
_SPACES = re.compile(r"\s+")

_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_ERROR,  # the statements are right: an index or a column is missing
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_TOOBIG,
)


@dataclass(frozen=True)
class Hole:
    """Keys of a table that cannot be read, from the first to the last; None: nobody knows."""

    table: str
    first: int
    last: int | None
    why: str

    def __str__(self) -> str:
        if self.last is None:
            return f"{self.table} from {self.first} on"
        span = str(self.first) if self.last == self.first else f"{self.first} to {self.last}"
        return f"{self.table} {span}"


class DamagedFile:
    """A journal's file, read over one snapshot from its opening to its close, whatever its state.

    Nothing is written, and others may write meanwhile. For one thread.

    Raises:
        StorageError: It is missing, cannot be read, or is of another version.
        NotAJournalError: It is something else, or its first page is destroyed.
        DamagedError: Not even its schema can be read.
    """

    def __init__(self, path: str) -> None:
        check_sqlite_version()
        self.path = path
        self.holes: list[Hole] = []
        if not os.path.isfile(path):
            raise StorageError(f"there is no journal {path!r}: check the path", path=path)
        self._connection = _connect(path)
        try:
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            check_version(self._connection, path, "main")
            self.tables = self._sound_tables()
        except sqlite3.Error as error:
            self._connection.close()
            raise named_error(error, path) from error
        except BaseException:  # Ctrl-C too: nobody else would close it
            self._connection.close()
            raise
        self._tx = SqliteTx(self._connection)

    def _sound_tables(self) -> frozenset[str]:
        """Return the tables that are what rowtrail made: any other could run code of its own."""
        wanted = _layout()
        found = self._objects()
        return frozenset(
            name for name, text in found.items() if name in wanted and _is_same(text, wanted[name])
        )

    def _objects(self) -> dict[str, str | None]:
        found = self._connection.execute("SELECT name, sql FROM sqlite_master")
        return {str(name): text for name, text in found}

    def layout_faults(self) -> tuple[list[str], list[str]]:
        """Return what is missing or changed in the schema, and what is not rowtrail's own."""
        have, wanted, views = self._objects(), _layout(), schema.views()
        wrong = [
            f"{name} is {'changed' if name in have else 'missing'}"
            for name, text in wanted.items()
            if name not in have or not _is_same(have[name], text)
        ]
        return wrong, sorted(have.keys() - wanted.keys() - views.keys())

    def integrity(self, *, quick: bool) -> list[str]:
        """Return what SQLite's own check finds wrong, at most 200 lines."""
        name = "quick_check" if quick else "integrity_check"
        try:
            rows = self._connection.execute(f"PRAGMA {name}({MAX_MESSAGES})").fetchall()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise named_error(error, self.path) from error
            return [f"the check itself stops: {error}"]
        return [line for (text,) in rows for line in str(text).splitlines() if line != "ok"]

    def all(self, name: str, /, **params: Any) -> list[Row]:
        """Return every row of the named query.

        Raises:
            DamagedError: Some of it cannot be read, or a table is not what rowtrail made.
        """
        self._refuse_strange(name)
        try:
            return self._tx.all(name, **params)
        except (sqlite3.Error, MemoryError) as error:
            raise self._named(error) from error

    def _refuse_strange(self, name: str) -> None:
        """Refuse to ask what somebody put in the place of a table: a view may never end."""
        words = set(re.findall(r"\w+", schema.statements(dialect())[name]))
        strange = sorted((_tables() - self.tables) & words)
        if strange:
            raise DamagedError(
                f"{self.path!r} has no sound table {', '.join(strange)}", path=self.path
            )

    @property
    def tx(self) -> SqliteTx:
        """Return the transaction, for what is only asked of a file that is whole."""
        return self._tx

    def scan(
        self, table: str, name: str, /, *, label: str | None = None, **params: Any
    ) -> Iterator[Row]:
        """Yield the rows of a table in the order of their keys; what cannot be read is a hole.

        The statement takes `:after` and `:until`, and its first column is the key, in order. Rows
        of one key come together or not at all. A hole is named after `label`.
        """
        place = label or table
        if table not in self.tables:
            self.holes.append(Hole(place, 0, None, "the table is missing or is not rowtrail's"))
            return
        after = -1
        while True:
            reading = _Reading(self._tx, name, params)
            try:
                yield from reading.rows(after, MAX_KEY)
                return
            except (sqlite3.Error, MemoryError) as error:
                self._named(error)  # what is no damage is raised
                after = max(after, reading.last)
                why = str(error)
            beyond = self._beyond(name, params, after)
            if beyond is None:
                self.holes.append(Hole(place, after + 1, None, why))
                return
            yield from self._between(place, _Reading(self._tx, name, params), after, beyond, why)
            after = beyond

    def _beyond(self, name: str, params: dict[str, Any], after: int) -> int | None:
        """Return a key behind the damage: nearby if there is one, so that little is skipped."""
        step = 1
        while after + step < MAX_KEY:
            try:
                next(_Reading(self._tx, name, params).rows(after + step, MAX_KEY), None)
            except (sqlite3.Error, MemoryError) as error:
                self._named(error)
                step *= 2
            else:
                return after + step
        return None

    def _between(
        self, table: str, reading: _Reading, first: int, last: int, why: str
    ) -> Iterator[Row]:
        """Yield what can be read behind `first` and up to `last`, by halving."""
        probes, lost = 0, list[tuple[int, int]]()
        waiting = [(first, last)]
        while waiting:
            low, high = waiting.pop()
            probes += 1
            try:
                found = list(reading.rows(low, high))
            except (sqlite3.Error, MemoryError) as error:
                self._named(error)
                if high - low == 1 or probes > MAX_PROBES:
                    lost.append((low + 1, high))
                else:
                    middle = (low + high) // 2
                    waiting += [(middle, high), (low, middle)]
            else:
                yield from found
        self.holes.extend(Hole(table, low, high, why) for low, high in _joined(lost))

    def _named(self, error: BaseException) -> DamagedError:
        if isinstance(error, sqlite3.Error) and not _is_damage(error):
            raise named_error(error, self.path) from error
        return DamagedError(f"{self.path!r} cannot be read in full ({error})", path=self.path)

    def close(self) -> None:
        """End the snapshot and close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Reading:
    """Rows of one statement, and the last key of which all were given."""

    def __init__(self, tx: SqliteTx, name: str, params: dict[str, Any]) -> None:
        self._tx, self._name, self._params = tx, name, params
        self.last = -1

    def rows(self, after: int, until: int) -> Iterator[Row]:
        waiting: list[Row] = []
        for row in self._tx.iter(self._name, after=after, until=until, **self._params):
            if waiting and row[0] != waiting[0][0]:
                yield from waiting
                self.last = waiting[0][0]
                waiting.clear()
            waiting.append(row)
        yield from waiting


def _joined(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first = last = None
    for low, high in sorted(spans):
        if first is not None and last is not None and low == last + 1:
            last = high
            continue
        if first is not None and last is not None:
            yield first, last
        first, last = low, high
    if first is not None and last is not None:
        yield first, last


def _is_damage(error: sqlite3.Error) -> bool:
    # What the module itself raises over bytes that make no sense has no code.
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE


def _connect(path: str) -> sqlite3.Connection:
    refuse_second_name_here(path)
    connection = _connect_somehow(path)
    try:
        refuse_wal_elsewhere(path, home_if_sound(connection))
    except BaseException:  # Ctrl-C too: nobody else would close it
        connection.close()
        raise
    return connection


def _connect_somehow(path: str) -> sqlite3.Connection:
    try:
        try:
            return _opened(path, "mode=ro")
        except sqlite3.OperationalError as error:
            # As `attach`: a closed journal in a folder that cannot be written.
            if has_wal(path) or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN:
                raise
            return _opened(path, "immutable=1")
    except sqlite3.Error as error:
        raise named_error(error, path) from error


def _opened(path: str, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(os.path.abspath(path)))}?{how}",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
    )
    try:
        connection.text_factory = decode
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA trusted_schema = OFF")
        # A file that was cut short is read as far as it goes.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # fixes the snapshot
    except BaseException:  # Ctrl-C too: nobody else would close it
        connection.close()
        raise
    return connection


def _is_same(found: str | None, wanted: str | None) -> bool:
    """Return whether two definitions are the same, whatever the closed lists of their columns."""
    return found == wanted or _without_lists(found) == _without_lists(wanted)


def _without_lists(text: str | None) -> str:
    # Files that are older than the chains of OR have `x IN (...)`; neither form can run any code.
    return _SPACES.sub(" ", _CLOSED_LIST.sub("", text or ""))


@cache
def _tables() -> frozenset[str]:
    """Return the names of the tables of a journal."""
    return frozenset(
        name for name, text in _layout().items() if (text or "").startswith("CREATE TABLE")
    )


@cache
def _layout() -> dict[str, str | None]:
    """Return the definitions of the tables and indexes of a new journal, by name."""
    connection = sqlite3.connect(":memory:")
    try:
        for number in range(1, schema.VERSION + 1):
            for statement in schema.migration(number):
                connection.execute(statement)
        found = connection.execute("SELECT name, sql FROM sqlite_master")
        return {str(name): text for name, text in found}
    finally:
        connection.close()
