"""Statements that are a transaction each: a step begins, and its result is written.

One statement is carried out by one call of C code, inside which no signal's handler runs: it comes
before the statement, or after it is committed. So the main thread may carry it out too, and no
handler finds a transaction under way. (Not so where a program has given `sqlite3` an adapter of
`str` or `int` that is Python code.)
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

from rowtrail import schema
from rowtrail.engine._steps import NewResult, NewStep, NoteResult, NoteStep
from rowtrail.engine.sqlite._dialect import dialect
from rowtrail.engine.sqlite._tx import encodable

_STEP_PLACES = {name: place for place, name in enumerate((*NewStep._fields, "now"))}
_OPTIONAL = NewStep._fields.index("parent")
"""The first of the values that a step may lack."""

_PARAMETER = re.compile(r"(?<!:):(\w+)")


class Statement(Protocol):
    """A write of one statement."""

    synced: bool | None
    """As `Store.write` has it."""

    def carry_out(self, connection: sqlite3.Connection, changed: set[int]) -> bool:
        """Carry it out, and return False where the database has refused it.

        Args:
            connection: The one that writes.
            changed: Where the step is noted that it changes.
        """
        ...


def prepare_writer(connection: sqlite3.Connection) -> None:
    """Make what the statements need in the temporary schema of the connection."""
    for statement in schema.of_the_writer(dialect()):
        connection.execute(statement)


class BeginStep:
    """The row of a step."""

    __slots__ = ("_note", "_now_ms", "_step", "synced")

    def __init__(self, step: NewStep, note: NoteStep, now_ms: Callable[[], int]) -> None:
        self._step = step
        self._note = note
        self._now_ms = now_ms
        # No power cut may take the row of a call that changes the world, once it is made.
        self.synced: bool | None = step.effect != "read"

    def carry_out(self, connection: sqlite3.Connection, changed: set[int]) -> bool:
        """Insert the row, unless something stands against it."""
        now = self._now_ms()
        sql, places = _step_statement(tuple([value is None for value in self._step[_OPTIONAL:]]))
        values = [*self._step, now]
        cursor = connection.cursor()
        try:
            bound = [_bound(values[place]) for place in places]
            return _execute(cursor, sql, bound, refused=sqlite3.SQLITE_CONSTRAINT_NOTNULL)
        finally:
            # Also where a signal's handler has raised since: the row is there.
            row = cursor.lastrowid
            if row is not None:
                changed.add(row)
                self._note(row, now)


class CompleteStep:
    """The result of a step."""

    __slots__ = ("_note", "_result", "synced")

    def __init__(self, result: NewResult, note: NoteResult) -> None:
        self._result = result
        self._note = note
        self.synced: bool | None = None

    def carry_out(self, connection: sqlite3.Connection, changed: set[int]) -> bool:
        """Insert the value, unless it is stored, and update the step, unless that is decided."""
        sql, places = _result_statement(self._result.text is None, self._result.data is None)
        cursor = connection.cursor()
        try:
            bound = [_bound(self._result[place]) for place in places]
            return _execute(cursor, sql, bound, refused=sqlite3.SQLITE_CONSTRAINT_TRIGGER)
        finally:
            if cursor.lastrowid is not None:  # likewise
                changed.add(self._result.step)
                self._note()


def _execute(cursor: sqlite3.Cursor, sql: str, values: Sequence[Any], *, refused: int) -> bool:
    """Carry out a statement, and return False where it fails with the code `refused`."""
    try:
        try:
            cursor.execute(sql, values)
        except UnicodeEncodeError:
            cursor.execute(sql, [encodable(value) for value in values])
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == refused:
            return False
        # The traceback keeps the cursor, whose statement would keep the file open.
        with contextlib.suppress(sqlite3.ProgrammingError):
            cursor.close()
        raise
    return True


def _bound(value: Any) -> Any:
    """Return a value as it is bound fastest: sqlite3 asks its adapters about `bytes`."""
    return bytearray(value) if type(value) is bytes else value


@cache
def _step_statement(lacks: tuple[bool, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the statement of steps that lack these values, and which values it takes in order.

    What is lacking is NULL in its text: sqlite3 asks its adapters about None, too.
    """
    lacking = {name for name, lack in zip(NewStep._fields[_OPTIONAL:], lacks, strict=True) if lack}
    places: list[str] = []

    def place(match: re.Match[str]) -> str:
        name = match[1]
        if name in lacking:
            return "NULL"
        if name not in places:
            places.append(name)
        return f"?{places.index(name) + 1}"

    sql = _PARAMETER.sub(place, schema.statements(dialect())["step_begin"])
    return sql, tuple(_STEP_PLACES[name] for name in places)


@cache
def _result_statement(lacks_text: bool, lacks_data: bool) -> tuple[str, tuple[int, ...]]:
    lacking = {"text"} if lacks_text else set[str]()
    lacking |= {"data"} if lacks_data else set()
    names = [name for name in NewResult._fields if name not in lacking]
    sql = f"INSERT INTO step_result ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    return sql, tuple(NewResult._fields.index(name) for name in names)
