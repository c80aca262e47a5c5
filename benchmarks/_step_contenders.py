"""Who makes steps: rowtrail, two bare commits, and DBOS."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import rowtrail
from benchmarks import _dbos
from benchmarks._contenders import Work
from benchmarks._text import Text

OUTPUT_BYTES = 2048
SHORT_BYTES = 200


def timed(make: Callable[[int], object]) -> Work:
    """Return the work that makes steps one by one, and times each."""

    def work(first: int, count: int) -> list[float]:
        seconds: list[float] = []
        for number in range(first, first + count):
            started = time.perf_counter()
            make(number)
            seconds.append(time.perf_counter() - started)
        return seconds

    return work


class Outputs:
    """What the steps of a round return: random characters, made before they are asked for."""

    def __init__(self, number: int, length: int) -> None:
        self._text = Text(seed=number)
        self._length = length
        self._made: list[str] = []

    def make(self, count: int) -> None:
        """Make outputs until there are `count`."""
        while len(self._made) < count:
            self._made.append(self._text.ascii(self._length))

    def of(self, number: int) -> str:
        """Return the output of a step."""
        return self._made[number]


def _made_before(outputs: Outputs, work: Work) -> Work:
    def made(first: int, count: int) -> list[float]:
        outputs.make(first + count)
        return work(first, count)

    return made


@contextmanager
def _write_steps(length: int, path: Path, number: int) -> Generator[Work]:
    """Make steps that change the world: intent and result durable."""
    outputs = Outputs(number, length)

    @rowtrail.step(name="look_up", kind="tool", effect="write")
    def look_up(number: int) -> str:
        return outputs.of(number)

    with rowtrail.Journal(path) as journal, journal.run("steps"):
        yield _made_before(outputs, timed(look_up))


@contextmanager
def _read_steps(length: int, path: Path, number: int) -> Generator[Work]:
    """Make steps of a function that only reads."""
    outputs = Outputs(number, length)

    @rowtrail.step
    def look_up(number: int) -> str:
        return outputs.of(number)

    with rowtrail.Journal(path) as journal, journal.run("steps"):
        yield _made_before(outputs, timed(look_up))


@contextmanager
def _bare_commits(length: int, path: Path, number: int) -> Generator[Work]:
    """Write the same bytes with nothing around: one row, its intent and its result committed."""
    outputs = Outputs(number, length)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE step (id INTEGER PRIMARY KEY, name TEXT, status TEXT, input TEXT,"
            " output TEXT)"
        )
        yield _made_before(outputs, timed(lambda number: _bare(connection, number, outputs)))


def _bare(connection: sqlite3.Connection, number: int, outputs: Outputs) -> None:
    asked, answered = json.dumps({"number": number}), json.dumps(outputs.of(number))
    connection.execute("BEGIN IMMEDIATE")
    row = connection.execute(
        "INSERT INTO step (name, status, input) VALUES ('look_up', 'running', ?)", (asked,)
    ).lastrowid
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE step SET status = 'done', output = ? WHERE id = ?", (answered, row))
    connection.execute("COMMIT")


@contextmanager
def dbos_steps(path: Path, number: int) -> Generator[Work]:
    """Make steps of a DBOS workflow: one for each turn."""
    outputs = Outputs(number, OUTPUT_BYTES)
    with _dbos.launched(path, outputs.of) as workflows:

        def work(first: int, count: int) -> list[float]:
            workflows.step_s.clear()
            workflows.run(first, count)
            return list(workflows.step_s)

        yield _made_before(outputs, work)


write_steps = partial(_write_steps, OUTPUT_BYTES)
read_steps = partial(_read_steps, OUTPUT_BYTES)
bare_commits = partial(_bare_commits, OUTPUT_BYTES)
short_write_steps = partial(_write_steps, SHORT_BYTES)
short_read_steps = partial(_read_steps, SHORT_BYTES)
short_bare_commits = partial(_bare_commits, SHORT_BYTES)
