"""The rows of replays: written late, with what is written anyway."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from rowtrail.engine import Store, Tx

UNKNOWN_MODEL = "unknown"
"""The model that tokens and money of a call count for which names none."""

MAX_WAITING = 4_096
"""Bounds memory, and how long the transaction takes that writes them."""

_Replay = tuple[int, int, int, int]
"""Rows of the run, of the attempt that replayed and of the step, and when: UTC milliseconds."""


class Replays:
    """Remembers the replays of this process until their rows are committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Replay] = deque()

    def add(self, run: int, attempt: int, step: int) -> None:
        """Remember a replay: its row is written with the next step, or after `HEARTBEAT_S`.

        Losing it in a crash costs nothing but the row; a transaction of its own would cost more
        than the replay.
        """
        self._waiting.append((run, attempt, step, self._store.clock.now_ms()))
        if len(self._waiting) == MAX_WAITING:
            self._store.submit(self.write)

    @property
    def are_waiting(self) -> bool:
        """Return whether a row of a replay is to be written yet."""
        return bool(self._waiting)

    def write(self, tx: Tx) -> None:
        """Write the rows of the replays so far; they wait again if the transaction is undone."""
        if not self._waiting:
            return
        taken: list[_Replay] = []
        tx.after_rollback(lambda: self._waiting.extendleft(reversed(taken)))
        for _ in range(len(self._waiting)):
            taken.append(self._waiting.popleft())
            self._insert_replay(tx, *taken[-1])

    def _insert_replay(self, tx: Tx, run: int, attempt: int, step: int, now: int) -> None:
        """Write the row of a replay; nothing where its run is there no more."""
        saved = tx.all("saved_by_step", step=step)
        costs = [row["cost_usd"] for row in saved if row["cost_usd"] is not None]
        total = sum(costs) if costs else None
        tokens_in = sum(row["input_tokens"] or 0 for row in saved)
        tokens_out = sum(row["output_tokens"] or 0 for row in saved)
        row = tx.insert_absent(
            "replay_insert",
            step=step,
            attempt=attempt,
            now=now,
            input_tokens=tokens_in if saved else None,
            output_tokens=tokens_out if saved else None,
            usd=total,
        )
        if not saved or row is None:
            return
        tx.run("run_add_saved", run=run, tokens=tokens_in + tokens_out, usd=total)
        for each in saved:
            tx.run(
                "spend_add",
                day=utc_day(now),
                model=each["model"] or UNKNOWN_MODEL,
                calls=0,
                input_tokens=0,
                output_tokens=0,
                cost_usd=None,
                saved_tokens=(each["input_tokens"] or 0) + (each["output_tokens"] or 0),
                saved_usd=each["cost_usd"],
            )


def utc_day(ms: int) -> str:
    """Return the UTC day of a time, as YYYY-MM-DD."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
