"""Recorded steps that are handed back to a run that is continued."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import rowtrail
from benchmarks import _dbos
from benchmarks._contenders import Contender, Work, in_turns, opened, with_other
from benchmarks._dbos import DBOS
from benchmarks._progress import tell
from benchmarks._row import Bar, Row
from benchmarks._size import Size
from benchmarks._step_contenders import OUTPUT_BYTES, Outputs, timed

BARE = "SELECT and json.loads of the row"


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the rows of replayed steps."""
    replayed: dict[str, list[float]] = {}
    reopened: dict[str, list[float]] = {}
    contenders = {
        **{("each", each.name): each for each in with_other(f"{__name__}:replays", against)},
        **{("whole", each.name): each for each in with_other(f"{__name__}:reopens", against)},
        ("each", BARE): Contender(BARE, f"{__name__}:selects"),
    }
    if _dbos.is_installed():
        contenders["each", DBOS] = Contender(DBOS, f"{__name__}:dbos_replays")
    count = size.replayed
    with opened(contenders, folder, size) as workers:
        for number in range(size.rounds):
            tell(f"replay: round {number + 1} of {size.rounds}, {count} steps each")
            in_turns(workers, count, count)  # every other turn records
            for (kind, name), each in in_turns(workers, count, count).items():
                samples = replayed if kind == "each" else reopened
                samples.setdefault(name, []).append(sum(each) / count * 1e6)
    missing = {} if DBOS in replayed else {DBOS: _dbos.MISSING}
    reopened[BARE] = replayed[BARE]
    return [
        Row("replay", f"a replayed step of {count}", "us", replayed,
            (Bar("at most", 6, of=BARE, any_size=True),
             Bar("at most", 1 / 8, of=DBOS, any_size=True)),
            missing, note="mean over the steps, the first of which reads them all"),
        Row("replay", "the same, opening and closing the journal included", "us", reopened,
            note="until the row of every replay is on disk"),
    ]  # fmt: skip


class _Recorder:
    """Records a run in every other turn; the turn after it replays that run.

    Attributes:
        run_id: The run that was recorded last.
    """

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._outputs = Outputs(number, OUTPUT_BYTES)
        self._runs = 0
        self._made = 0
        self.run_id = ""

        @rowtrail.step(name="look_up", kind="tool")
        def look_up(number: int) -> str:
            self._made += 1
            return self._outputs.of(number)

        self.look_up = look_up

    def records(self, first: int, count: int) -> bool:
        """Return whether this turn is one to record in, when that is done."""
        if self.run_id:
            return False
        self._runs += 1
        self.run_id = f"replay-{self._runs}"
        self._made = 0
        self._outputs.make(first + count)
        journal = rowtrail.Journal(self._path, durability="normal")
        with journal, journal.run(self.run_id):
            for number in range(first, first + count):
                self.look_up(number)
        return True

    def replayed(self, count: int) -> None:
        """End a turn; refuse figures of steps that were made again."""
        if self._made != count:
            raise RuntimeError(f"{self._made - count} of {count} steps were made again")
        self.run_id = ""


@contextmanager
def replays(path: Path, number: int) -> Generator[Work]:
    """Replay each step once, in a run that is open already."""
    recorder = _Recorder(path, number)
    with ExitStack() as stack:

        def work(first: int, count: int) -> list[float]:
            if recorder.records(first, count):
                journal = stack.enter_context(rowtrail.Journal(path))
                stack.enter_context(journal.run(recorder.run_id))
                return []
            seconds = timed(recorder.look_up)(first, count)
            recorder.replayed(count)
            stack.close()
            return seconds

        yield work


@contextmanager
def reopens(path: Path, number: int) -> Generator[Work]:
    """Open the journal, replay all steps and close it."""
    recorder = _Recorder(path, number)

    def work(first: int, count: int) -> list[float]:
        if recorder.records(first, count):
            return []
        started = time.perf_counter()
        with rowtrail.Journal(path) as journal, journal.run(recorder.run_id):
            for number in range(first, first + count):
                recorder.look_up(number)
        took = time.perf_counter() - started
        recorder.replayed(count)
        return [took]

    yield work


@contextmanager
def selects(path: Path, number: int) -> Generator[Work]:
    """Read the output of each step from a plain table."""
    outputs = Outputs(number, OUTPUT_BYTES)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE step (run TEXT, seq INTEGER, output TEXT)")
        connection.execute("CREATE UNIQUE INDEX step_key ON step (run, seq)")
        query = "SELECT output FROM step WHERE run = ? AND seq = ?"

        def select(number: int) -> object:
            return json.loads(connection.execute(query, ("replay", number)).fetchone()[0])

        def work(first: int, count: int) -> list[float]:
            if connection.execute("SELECT 1 FROM step").fetchone():
                return timed(select)(first, count)
            outputs.make(first + count)
            rows = [(n, json.dumps(outputs.of(n))) for n in range(first, first + count)]
            connection.executemany("INSERT INTO step VALUES ('replay', ?, ?)", rows)
            connection.commit()
            return []

        yield work


@contextmanager
def dbos_replays(path: Path, number: int) -> Generator[Work]:
    """Run a workflow of DBOS again on its recorded steps."""
    outputs = Outputs(number, OUTPUT_BYTES)
    with _dbos.launched(path, outputs.of) as workflows:
        recorded: list[str] = []

        def work(first: int, count: int) -> list[float]:
            if not recorded:
                outputs.make(first + count)
                recorded.append(workflows.run(first, count))
                return []
            seconds = workflows.replay(recorded.pop(), count)
            if len(seconds) != count:
                raise RuntimeError("DBOS did not replay every step")
            return seconds

        yield work
