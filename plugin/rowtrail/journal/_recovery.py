"""Telling the dead from the living, and writing down what the dead left open."""

from __future__ import annotations

from rowtrail.store import Row, Store, Tx


def record_crashes(tx: Tx, store: Store) -> int:
    """End the attempts whose process died, and return how many there were.

    Their LLM calls in flight become `failed`, their tools and functions `in_doubt`.
    """
    dead = [row for row in tx.all("open_attempts") if not store.is_alive(row)]
    for row in dead:
        last_step_at = tx.value("attempt_last_step_at", attempt=row["id"])
        _record_crash(tx, row, max(row["last_seen_at"], last_step_at or 0))
    return len(dead)


def record_abandoned(tx: Tx, store: Store) -> None:
    """End the attempts that this process leaves open as it closes the journal."""
    for row in tx.all("open_attempts"):
        if row["process"] == store.process_row:
            _record_crash(tx, row, store.clock.now_ms())


def _record_crash(tx: Tx, row: Row, at: int) -> None:
    for step in tx.all("steps_running", attempt=row["id"]):
        tx.run("step_crash", id=step["id"], attempt=row["id"])
    tx.run("attempt_crash", attempt=row["id"], at=at)
    tx.run("run_crash", run=row["run"], at=at)
