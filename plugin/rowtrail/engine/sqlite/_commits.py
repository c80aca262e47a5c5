"""Who watches the commits of a process: tests kill it right before one, and right after."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial


def watch_commits(
    connections: Iterable[sqlite3.Connection],
    before: Callable[[], object],
    after: Callable[[], object],
) -> None:
    """Call functions right before each commit, and as the next transaction begins.

    Args:
        connections: Those that write.
        before: Called before each commit, on the thread that commits.
        after: Called as a transaction begins: what was committed before is.
    """
    for connection in connections:
        connection.set_trace_callback(partial(_look, connection, before, after))


def is_alone(connection: sqlite3.Connection, statement: str) -> bool:
    """Return whether a statement that begins is a whole transaction that writes."""
    return statement.startswith("INSERT") and not connection.in_transaction


def _look(
    connection: sqlite3.Connection,
    before: Callable[[], object],
    after: Callable[[], object],
    statement: str,
) -> None:
    begins = is_alone(connection, statement)
    if begins or statement.startswith("BEGIN"):
        after()
    if begins or statement.startswith("COMMIT"):
        before()
