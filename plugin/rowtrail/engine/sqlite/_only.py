"""A part of a journal as views: the rows of one thread, one run or one agent."""

from __future__ import annotations

import sqlite3

from rowtrail import schema
from rowtrail.engine._asking import Only
from rowtrail.errors import UnknownIdError


def only_tables(connection: sqlite3.Connection, journal: str, only: Only) -> dict[str, str]:
    """Return, by base table, the query that finds the rows of `only` in the attached `journal`.

    Raises:
        UnknownIdError: The journal knows no such thread, run or agent.
    """
    if not only:
        return {}
    thread = run = None
    if only.thread_id is not None:
        thread = _row_of(connection, journal, "thread", "thread_id", only.thread_id)
    if only.run_id is not None:
        run = _row_of(connection, journal, "run", "run_id", only.run_id)
    if only.agent is not None:
        _row_of(connection, journal, "run", "agent", only.agent)
    # Numbers and hex: nothing that somebody chose is part of the text.
    of_run = _all_of(
        thread is not None and f"thread = {thread}",
        run is not None and f"id = {run}",
        only.agent is not None and f"agent = CAST(x'{_hex(only.agent)}' AS TEXT)",
    )
    if run is None and only.agent is None:
        conditions = {"run": of_run, "thread": f"id = {thread}", "checkpoint": f"thread = {thread}"}
    else:
        runs = f"FROM run WHERE {of_run}"
        conditions = {
            "run": of_run,
            "thread": f"id IN (SELECT thread {runs})",
            "checkpoint": f"thread IN (SELECT thread {runs})"
            f" AND (run IN (SELECT id {runs}) OR run_id IN (SELECT run_id {runs}))",
        }
    return schema.only(conditions)


def _all_of(*conditions: str | bool) -> str:
    return " AND ".join(str(condition) for condition in conditions if condition)


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def _row_of(
    connection: sqlite3.Connection, journal: str, table: str, column: str, value: str
) -> int:
    # As bytes: an id with half a character, which no row has, cannot be bound as text.
    found = connection.execute(
        f"SELECT id FROM {journal}.{table} WHERE {column} = CAST(? AS TEXT) LIMIT 1",
        (value.encode("utf-8", "surrogatepass"),),
    ).fetchone()
    if found is None:
        kind = column.removesuffix("_id")
        raise UnknownIdError(
            f"the journal knows no {kind} {value!r}: the views runs and threads list what it has",
            kind=kind,
            value=value,
        )
    return int(found[0])
