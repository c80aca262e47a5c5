"""What is recorded of a scope, read once where it is executed again."""

from __future__ import annotations

from collections import Counter, defaultdict

from rowtrail.engine import Row, Tx
from rowtrail.journal._request import Key, Request

MAX_PREFETCHED = 5_000
"""Of a scope with more recorded steps each is looked up by itself: results need memory."""


class Prefetched:
    """The recorded steps of a scope by what they are found by.

    Attributes:
        rows: By key, oldest first.
        last_seq: By attempt, the number of its newest step.
    """

    def __init__(self, tx: Tx, run: int, name: str) -> None:
        self.rows: dict[Key, list[Row]] = defaultdict(list)
        self.last_seq: Counter[int] = Counter()
        self._masked: dict[bytes, list[Row]] = defaultdict(list)
        self._asked: Counter[bytes] = Counter()
        row = tx.value("scope_row", run=run, name=name)
        if row is not None:
            self._fill(tx, row)

    def _fill(self, tx: Tx, scope: int) -> None:
        steps = tx.all("scope_steps", scope=scope, limit=MAX_PREFETCHED + 1)
        if len(steps) > MAX_PREFETCHED:
            return
        for step in steps:
            self.rows[step["fingerprint"], step["tool_call_id"], step["n"]].append(step)
            attempt = step["attempt"]
            self.last_seq[attempt] = max(self.last_seq[attempt], step["seq"])
            if step["masked"] is not None:
                self._masked[step["masked"]].append(step)

    def of(self, key: Key, request: Request) -> list[Row]:
        """Return the rows of a request; where there is none, that of the n-th masked like it."""
        masked = request.masked_fingerprint
        if masked is None:
            return self.rows.get(key, [])
        n = self._asked[masked]
        self._asked[masked] += 1
        found = self.rows.get(key, [])
        return found or self._masked.get(masked, [])[n : n + 1]
