"""Telling the dead from the living, and writing down what the dead left open."""

from __future__ import annotations

from rowtrail.store import ProcessIdentity, Row, Store, Tx


def is_process_alive(row: Row, store: Store) -> bool:
    """Tell whether the process in a row of `process` lives."""
    if row["process"] == store.process_row:
        return True
    identity = ProcessIdentity(
        row["pid"], row["pid_start"], row["boot_id"], row["pid_space"], row["host"]
    )
    return identity.is_alive(last_seen_at=row["last_seen_at"], now_ms=store.clock.now_ms())


def record_crashes(tx: Tx, store: Store) -> int:
    """End the attempts whose process died, and return how many there were.

    Their LLM calls in flight become `failed`, their tools and functions `in_doubt`.
    """
    dead = [row for row in tx.all("open_attempts") if not is_process_alive(row, store)]
    for row in dead:
        tx.run("steps_crash", attempt=row["id"])
        tx.run("attempt_crash", attempt=row["id"], at=row["last_seen_at"])
        tx.run("run_crash", run=row["run"], at=row["last_seen_at"])
    return len(dead)
