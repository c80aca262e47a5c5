"""The rows of replays: written late, with what is written anyway."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from rowtrail.engine import Store, Tx

UNKNOWN_MODEL = "unknown"
"""The model that tokens and money of a call count for which names none."""

MAX_WAITING = 4_096
KEPT_S = 10.0
"""No transaction takes longer: what was written before is committed."""

_Replay = tuple[int, int, int, int]
"""Rows of the run, of the attempt that replayed and of the step, and when: UTC milliseconds."""

_Written = tuple[float, int, _Replay]
"""When the row of a replay was written, and its id."""


class Replays:
    """Remembers the replays of this process until their rows are committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Replay] = deque()
        self._written: deque[_Written] = deque()
        """The last ones: they may be rolled back yet."""
        self._epoch = store.epoch

    def add(self, run: int, attempt: int, step: int) -> None:
        """Remember a replay: its row is written with the next step, or after `HEARTBEAT_S`.

        Losing it in a crash costs nothing but the row; a transaction of its own would cost more
        than the replay.
        """
        self._waiting.append((run, attempt, step, self._store.clock.now_ms()))
        if len(self._waiting) == MAX_WAITING:
            self._store.submit(self.write)

    def write(self, tx: Tx) -> None:
        """Write the rows of the replays so far."""
        self._take_back(tx)
        for _ in range(len(self._waiting)):
            row = self._insert_replay(tx, *self._waiting[0])
            replay = self._waiting.popleft()
            if row is not None:
                self._written.append((self._store.clock.elapsed_s(), row, replay))

    def _take_back(self, tx: Tx) -> None:
        """Take replays back whose rows were rolled back, with the work of another caller, say."""
        if self._epoch != self._store.epoch:
            self._epoch = self._store.epoch
            kept: deque[_Written] = deque()
            lost: list[_Replay] = []
            for each in self._written:
                _, row, (_, attempt, step, now) = each
                if tx.one("replay_row", id=row, step=step, attempt=attempt, now=now):
                    kept.append(each)
                else:
                    lost.append(each[2])
            self._written = kept
            self._waiting.extendleft(reversed(lost))
        while self._written and self._written[0][0] < self._store.clock.elapsed_s() - KEPT_S:
            self._written.popleft()

    def _insert_replay(self, tx: Tx, run: int, attempt: int, step: int, now: int) -> int | None:
        """Write the row of a replay and return it; None where its run is there no more."""
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
            return row
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
        return row


def utc_day(ms: int) -> str:
    """Return the UTC day of a time, as YYYY-MM-DD."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
