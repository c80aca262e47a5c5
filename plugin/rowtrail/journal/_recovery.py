"""Crash detection: which attempts are gone, and writing down what they left open."""

from __future__ import annotations

from rowtrail.engine import Row, Tx
from rowtrail.journal._recorder import Recorder

DIED = "the process died before its answer was recorded"
LEFT = "left before its answer was recorded"


def record_crashes(tx: Tx, recorder: Recorder) -> int:
    """End the attempts whose owner is gone, and return how many there were.

    Their LLM calls in flight become `failed`, their tools and functions `in_doubt`.
    """
    dead = [row for row in tx.all("open_attempts") if not recorder.goes_on(row)]
    for row in dead:
        last_step_at = tx.value("attempt_last_step_at", attempt=row["id"])
        why = LEFT if row["process"] == recorder.store.process_row else DIED
        _record_crash(tx, row, max(row["last_seen_at"], last_step_at or 0), why)
    return len(dead)


def beat(tx: Tx, recorder: Recorder) -> None:
    """Do what is done with every heartbeat: write replays, and which attempts are gone.

    Of those of this process nobody else can say: a closed loop, or a run that nobody holds.
    """
    recorder.replays.write(tx)
    record_crashes(tx, recorder)


def record_abandoned(tx: Tx, recorder: Recorder) -> None:
    """End the attempts that this process leaves open as it closes the journal."""
    for row in tx.all("open_attempts"):
        if row["process"] == recorder.store.process_row:
            _record_crash(tx, row, tx.now_ms(), LEFT)


def _record_crash(tx: Tx, row: Row, at: int, why: str) -> None:
    for step in tx.all("steps_running", attempt=row["id"]):
        tx.run("step_crash", id=step["id"], attempt=row["id"], error=why)
    tx.run("attempt_crash", attempt=row["id"], at=at)
    if row["ended_at"] is None:
        tx.run("run_crash", run=row["run"], at=at)
