"""A journal's file attached to a connection, read-only, and the views over it."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Collection, Generator, Mapping

from rowtrail import schema
from rowtrail.engine.sqlite._form import refuse_other_form
from rowtrail.engine.sqlite._home import (
    Home,
    has_wal,
    home_if_sound,
    in_use,
    is_in_use,
    may_have_other_names,
    refuse_second_name_here,
    refuse_wal_elsewhere,
)
from rowtrail.engine.sqlite._open import CACHE_KIB
from rowtrail.errors import NewerSchemaError, NotAJournalError, ReadOnlyError, StorageError

JOURNAL = "journal"
"""Under which name a reader's connection has the file."""

_SOURCE = re.compile(r"\b(FROM|JOIN)\s+(\w+)")
_CTE = re.compile(r"\b(\w+) \([\w, ]+\) AS \(")
_TABLE_FUNCTIONS = ("json_each", "json_tree")


def decode(raw: bytes) -> str:
    """Decode text of the file, where somebody may have written bytes that are not UTF-8."""
    return raw.decode("utf-8", "replace")


def attach(connection: sqlite3.Connection, path: str, name: str) -> None:
    """Attach a journal's file, read-only, under `name`.

    Raises:
        StorageError: It is missing, cannot be read, or is of another version.
        SecondNameError: It is in use under another name, and its newest rows are there.
        NotAJournalError: It is something else.
    """
    if not os.path.exists(path):
        raise StorageError(f"there is no journal {path!r}: check the path", path=path)
    refuse_second_name_here(path)
    _attach_somehow(connection, path, name)
    check_version(connection, path, name)
    refuse_other_form(connection, path, name)
    recorded = home_if_sound(connection, name)
    if recorded is not None and not recorded.is_same(Home.of(path)):
        refuse_wal_elsewhere(path, recorded)
        if may_have_other_names(path, recorded) and not has_wal(path):
            connection.execute(f"DETACH {name}")  # it counts as a use itself
            if is_in_use(path):
                raise in_use(path, recorded.path)
            _attach_somehow(connection, path, name)


def _attach_somehow(connection: sqlite3.Connection, path: str, name: str) -> None:
    with _named_for_readers(path):
        try:
            _attach(connection, path, name, "mode=ro")
        except sqlite3.OperationalError:
            # A closed journal in a folder that cannot be written: SQLite cannot make the shared
            # memory that it locks readers with. Without a WAL there is nothing to lock either.
            if has_wal(path):
                raise
            _attach(connection, path, name, "immutable=1")
    connection.execute(f"PRAGMA {name}.cache_size = -{CACHE_KIB}")


def _attach(connection: sqlite3.Connection, path: str, name: str, how: str) -> None:
    from urllib.parse import quote

    uri = f"file:{quote(os.fsencode(os.path.abspath(path)))}?{how}"
    connection.execute(f"ATTACH ? AS {name}", (uri,))


@contextlib.contextmanager
def _named_for_readers(path: str) -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        raise StorageError(
            f"{path!r} cannot be read ({error}): check that it is a file and that this user may "
            "read it; while it has a file '-wal' beside it, also that its folder can be written",
            path=path,
        ) from error


def check_version(connection: sqlite3.Connection, path: str, name: str) -> None:
    """Refuse what is not a journal of this version, attached as `name`."""
    (application,) = connection.execute(f"PRAGMA {name}.application_id").fetchone()
    (version,) = connection.execute(f"PRAGMA {name}.user_version").fetchone()
    if application != schema.APPLICATION_ID:
        raise NotAJournalError(
            f"{path!r} is not a rowtrail journal, or nothing was ever recorded in it: "
            "give the path that the agent's journal has",
            path=path,
        )
    if version > schema.VERSION:
        raise NewerSchemaError(
            f"{path!r} has schema version {version}, and this rowtrail reads up to "
            f"{schema.VERSION}: install the rowtrail that wrote it, or a newer one",
            path=path,
            found=version,
            supported=schema.VERSION,
        )
    if version < schema.VERSION:
        raise ReadOnlyError(
            f"{path!r} has schema version {version}, and is brought to {schema.VERSION} when it "
            f"is opened for writing: run rowtrail.Journal({path!r}).close() once",
            path=path,
        )


def create_views(
    connection: sqlite3.Connection,
    journal: str,
    *,
    suffix: str,
    tables: Mapping[str, str] | None = None,
) -> set[str]:
    """Create the views as temporary ones, over the tables of the attached `journal` alone.

    Args:
        connection: Has the journal attached.
        journal: Under which name.
        suffix: What the names of the views, and of the CTEs in them, end with.
        tables: Views that the others read in place of base tables of these names.

    Returns:
        Those names: what SQLite calls the one who reads a base table.
    """
    views, tables = schema.views(), tables or {}
    readers: set[str] = set()
    connection.execute("BEGIN")
    for name, text in (*tables.items(), *views.items()):
        temporary = {*views, *tables} if name in views else set[str]()
        body = text.split(maxsplit=4)[4]  # after CREATE VIEW name AS
        ctes = set(_CTE.findall(body))
        body = _qualified(body, journal, suffix, temporary, ctes)
        connection.execute(f"CREATE TEMP VIEW {name}{suffix} AS {body}")
        readers |= {f"{reader}{suffix}" for reader in (name, *ctes)}
    connection.execute("COMMIT")
    return readers


def _qualified(
    body: str, journal: str, suffix: str, temporary: Collection[str], ctes: Collection[str]
) -> str:
    """Return the text of a view whose sources are named in full."""

    def qualified(match: re.Match[str]) -> str:
        word, name = match.groups()
        if name in temporary:
            return f"{word} temp.{name}{suffix}"
        own = name in ctes or name in _TABLE_FUNCTIONS
        return match.group() if own else f"{word} {journal}.{name}"

    body = _SOURCE.sub(qualified, body)
    for cte in ctes:
        body = re.sub(rf"\b{cte}\b", f"{cte}{suffix}", body)
    return body
