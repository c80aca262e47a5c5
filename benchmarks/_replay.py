"""Recorded steps handed back to a run that is continued."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import rowtrail
from benchmarks import _dbos
from benchmarks._dbos import DBOS
from benchmarks._progress import tell
from benchmarks._row import ROWTRAIL, Bar, Row
from benchmarks._scratch import remove_database
from benchmarks._size import Size
from benchmarks._text import Text

WORKLOAD = "replay"
BARE = "bare sqlite3, a SELECT a step"
OUTPUT_BYTES = 2048


def measure(size: Size, folder: Path) -> list[Row]:
    """Return the rows of replayed steps."""
    text = Text(seed=2)
    outputs = [text.of(OUTPUT_BYTES) for _ in range(size.replayed)]
    samples: dict[str, list[float]] = {ROWTRAIL: [], BARE: []}
    durable: list[float] = []
    for number in range(size.rounds):
        tell(f"replay: round {number + 1} of {size.rounds}, {size.replayed} steps each")
        replayed_s, closed_s = _rowtrail(folder / "replay.db", outputs)
        samples[ROWTRAIL].append(_per_step_us(replayed_s, size))
        durable.append(_per_step_us(closed_s, size))
        samples[BARE].append(_per_step_us(_bare(folder / "bare.db", outputs), size))
        if _dbos.is_installed():
            took = _per_step_us(_on_dbos(folder / "dbos.db", outputs), size)
            samples.setdefault(DBOS, []).append(took)
    missing = {} if DBOS in samples else {DBOS: _dbos.MISSING}
    return [
        Row(
            WORKLOAD,
            f"{size.replayed} recorded steps, per step",
            "us",
            samples,
            (Bar("at most", 60, any_size=True), Bar("at most", 1 / 8, of=DBOS)),
            missing,
            note="mean over the steps, the first of which reads them all",
        ),
        Row(
            WORKLOAD,
            f"{size.replayed} recorded steps, per step, opening and closing included",
            "us",
            {ROWTRAIL: durable, BARE: samples[BARE]},
            note="until the row of every replay is on disk",
        ),
    ]


def _per_step_us(seconds: float, size: Size) -> float:
    return seconds / size.replayed * 1e6


def _rowtrail(path: Path, outputs: list[str]) -> tuple[float, float]:
    """Return the seconds of the replayed steps, and those from opening to closing the journal."""

    @rowtrail.step(name="look_up", kind="tool")
    def look_up(number: int) -> str:
        return outputs[number]

    with rowtrail.Journal(path, durability="normal") as journal, journal.run("replay"):
        for number in range(len(outputs)):
            look_up(number)
    opened = time.perf_counter()
    with rowtrail.Journal(path) as journal, journal.run("replay"):
        started = time.perf_counter()
        found = [look_up(number) for number in range(len(outputs))]
        replayed_s = time.perf_counter() - started
    closed_s = time.perf_counter() - opened
    with closing(sqlite3.connect(path)) as connection:
        (replays,) = connection.execute("SELECT count(*) FROM replays").fetchone()
    if found != outputs or replays != len(outputs):
        raise RuntimeError(f"{replays} of {len(outputs)} steps were replayed")
    remove_database(path)
    return replayed_s, closed_s


def _bare(path: Path, outputs: list[str]) -> float:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE step (run TEXT, seq INTEGER, output TEXT)")
        connection.execute("CREATE UNIQUE INDEX step_key ON step (run, seq)")
        connection.executemany(
            "INSERT INTO step VALUES ('replay', ?, ?)",
            [(number, json.dumps(output)) for number, output in enumerate(outputs)],
        )
        connection.commit()
        query = "SELECT output FROM step WHERE run = ? AND seq = ?"
        started = time.perf_counter()
        found = [
            json.loads(connection.execute(query, ("replay", number)).fetchone()[0])
            for number in range(len(outputs))
        ]
        took = time.perf_counter() - started
    if found != outputs:
        raise RuntimeError("the plain table lost an output")
    remove_database(path)
    return took


def _on_dbos(path: Path, outputs: list[str]) -> float:
    with _dbos.launched(path, outputs) as workflows:
        workflow_id = workflows.run(0, len(outputs))
        took = workflows.replay(workflow_id, len(outputs))
        if len(workflows.step_s) != len(outputs):
            raise RuntimeError("DBOS did not replay every step")
    remove_database(path)
    return took
