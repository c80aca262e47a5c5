"""One journaled tool step: its intent on disk before the call, its result before it returns."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import rowtrail
from benchmarks import _dbos
from benchmarks._dbos import DBOS
from benchmarks._progress import tell
from benchmarks._row import ROWTRAIL, Bar, Row
from benchmarks._scratch import committed_bytes, remove_database
from benchmarks._size import Size
from benchmarks._text import Text

WORKLOAD = "steps"
BARE = "bare sqlite3, 2 commits"
OUTPUT_BYTES = 2048
CHUNK = 25
"""Contenders take turns this often, so that all see the same moods of the machine."""

Steps = Callable[[int, int], list[float]]
"""Makes `count` steps from number `first` on, and returns the seconds of each."""


@dataclass
class Round:
    """What one contender took in one round."""

    seconds: list[float] = field(default_factory=list)
    bytes_per_step: float = 0.0


def measure(size: Size, folder: Path) -> list[Row]:
    """Return the rows of journaled steps."""
    rounds: dict[str, list[Round]] = {}
    for number in range(size.rounds):
        tell(f"steps: round {number + 1} of {size.rounds}, {size.steps} steps each")
        for name, done in _round(number, size.steps, folder).items():
            rounds.setdefault(name, []).append(done)
    missing = {} if DBOS in rounds else {DBOS: _dbos.MISSING}
    return [
        Row(
            WORKLOAD,
            "a tool step with 2 KB of output, p50",
            "us",
            {name: [median(one.seconds) * 1e6 for one in done] for name, done in rounds.items()},
            (Bar("at most", 1.6, of=BARE, any_size=True), Bar("at most", 1 / 3, of=DBOS)),
            missing,
            note="intent and result both durable",
        ),
        Row(
            WORKLOAD,
            "bytes per step with 2 KB of text output",
            "bytes",
            {name: [one.bytes_per_step for one in done] for name, done in rounds.items()},
            (Bar("at most", 2600),),
            missing,
            note="growth of the file over the steps, divided by their number",
        ),
    ]


def _round(number: int, steps: int, folder: Path) -> dict[str, Round]:
    text = Text(seed=number)
    outputs = [text.of(OUTPUT_BYTES) for _ in range(steps)]
    paths = {name: folder / f"steps-{i}.db" for i, name in enumerate((ROWTRAIL, BARE, DBOS))}
    took: dict[str, Round] = {}
    with ExitStack() as stack:
        contenders: dict[str, Steps] = {
            ROWTRAIL: stack.enter_context(_rowtrail_steps(paths[ROWTRAIL], outputs)),
            BARE: stack.enter_context(_bare_steps(paths[BARE], outputs)),
        }
        if _dbos.is_installed():
            contenders[DBOS] = stack.enter_context(_dbos_steps(paths[DBOS], outputs))
        before = {name: committed_bytes(paths[name]) for name in contenders}
        took = {name: Round() for name in contenders}
        for first in range(0, steps, CHUNK):
            for name, make in contenders.items():
                took[name].seconds += make(first, min(CHUNK, steps - first))
        for name in contenders:
            grown = committed_bytes(paths[name]) - before[name]
            took[name].bytes_per_step = grown / steps
    for path in paths.values():
        remove_database(path)
    return took


@contextmanager
def _rowtrail_steps(path: Path, outputs: list[str]) -> Generator[Steps]:
    @rowtrail.step(name="look_up", kind="tool", effect="write")
    def look_up(number: int) -> str:
        return outputs[number]

    def make(first: int, count: int) -> list[float]:
        seconds = []
        for number in range(first, first + count):
            started = time.perf_counter()
            look_up(number)
            seconds.append(time.perf_counter() - started)
        return seconds

    with rowtrail.Journal(path) as journal, journal.run("steps"):
        yield make


@contextmanager
def _bare_steps(path: Path, outputs: list[str]) -> Generator[Steps]:
    """Write the same bytes with nothing around: one row, its intent and its result committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE step (id INTEGER PRIMARY KEY, name TEXT, status TEXT, input TEXT,"
            " output TEXT)"
        )

        def make(first: int, count: int) -> list[float]:
            seconds = []
            for number in range(first, first + count):
                asked, answered = json.dumps({"number": number}), json.dumps(outputs[number])
                started = time.perf_counter()
                _bare_step(connection, asked, answered)
                seconds.append(time.perf_counter() - started)
            return seconds

        yield make


def _bare_step(connection: sqlite3.Connection, asked: str, answered: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    row = connection.execute(
        "INSERT INTO step (name, status, input) VALUES ('look_up', 'running', ?)", (asked,)
    ).lastrowid
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE step SET status = 'done', output = ? WHERE id = ?", (answered, row))
    connection.execute("COMMIT")


@contextmanager
def _dbos_steps(path: Path, outputs: list[str]) -> Generator[Steps]:
    with _dbos.launched(path, outputs) as workflows:

        def make(first: int, count: int) -> list[float]:
            workflows.step_s.clear()
            workflows.run(first, count)
            return list(workflows.step_s)

        yield make
