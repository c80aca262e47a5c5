"""The form of a file's tables: whether it is the one that this rowtrail writes.

The schema has no release yet, and grows without a number of its own. A file that only lacks tables,
indexes and columns is brought to the form of today; any other is refused.
"""

from __future__ import annotations

import sqlite3
from functools import cache

from rowtrail import schema
from rowtrail.errors import ReadOnlyError, StorageError

Columns = dict[str, dict[str, str]]
"""By table, the definition of each column by its name."""


def is_current(connection: sqlite3.Connection, database: str = "main") -> bool:
    """Return whether a file has all tables, columns and indexes of this rowtrail."""
    found = connection.execute(f"SELECT name, sql FROM {database}.sqlite_master")
    have: dict[str, str | None] = dict(found)
    wanted = schema.tables()
    if not wanted.keys() <= have.keys():
        return False
    changed = {name for name, text in wanted.items() if have[name] != text}
    if not changed:
        return True
    there, ours = _columns(connection, database), _own_columns()
    return all(there[name].keys() == ours[name].keys() for name in changed if name in ours)


def take_over(connection: sqlite3.Connection, path: str) -> None:
    """Add what a file of an earlier form lacks, inside a transaction.

    Raises:
        StorageError: It has columns that this rowtrail does not know, or lacks some that need a
            value.
    """
    there = _columns(connection, "main")
    for table, columns in _own_columns().items():
        if table not in there:
            continue
        unknown = sorted(there[table].keys() - columns.keys())
        lacking = columns.keys() - there[table].keys()
        barred = sorted(name for name in lacking if _needs_value(columns[name]))
        if unknown or barred:
            says = f"has {', '.join(unknown)}" if unknown else f"lacks {', '.join(barred)}"
            raise StorageError(
                f"{path!r} was written by an unreleased rowtrail with other tables ({table} "
                f"{says}): read it with the rowtrail that wrote it, and begin a new journal",
                path=path,
            )
        for name in [each for each in columns if each in lacking]:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {columns[name]}")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for name, text in schema.tables().items():
        if name not in names:
            connection.execute(text)


def refuse_other_form(connection: sqlite3.Connection, path: str, database: str) -> None:
    """Refuse to read a file of another form through the views of this rowtrail.

    Raises:
        ReadOnlyError: It is of another form.
    """
    if not is_current(connection, database):
        raise ReadOnlyError(
            f"{path!r} was written by an unreleased rowtrail with other tables, and is brought to "
            f"those of this one when it is opened for writing: run rowtrail.Journal({path!r})"
            ".close() once",
            path=path,
        )


def _columns(connection: sqlite3.Connection, database: str) -> Columns:
    found: Columns = {}
    rows = connection.execute(
        'SELECT m.name, p.name, p.type, p."notnull", p.dflt_value '
        f"FROM {database}.sqlite_master m, pragma_table_info(m.name, '{database}') p "
        "WHERE m.type = 'table' ORDER BY m.name, p.cid"
    )
    for table, name, kind, is_required, default in rows:
        definition = f"{name} {kind}" + (" NOT NULL" if is_required else "")
        if default is not None:
            definition += f" DEFAULT {default}"
        found.setdefault(table, {})[name] = definition
    return found


def _needs_value(definition: str) -> bool:
    return " NOT NULL" in definition and " DEFAULT " not in definition


@cache
def _own_columns() -> Columns:
    connection = sqlite3.connect(":memory:")
    try:
        for text in schema.tables().values():
            connection.execute(text)
        found = _columns(connection, "main")
    finally:
        connection.close()
    return {name: columns for name, columns in found.items() if not name.startswith("sqlite_")}
