"""Whether the owner of an attempt lives, where only its heartbeat can tell."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from rowtrail._clock import Clock
from rowtrail.engine._contract import Row
from rowtrail.engine._process import STALE_AFTER_MS, Identity, ProcessIdentity, current_process

SILENT = "silent/"
"""In `meta`, before the row of a process whose heartbeat lies in the future: `AT SINCE`, when it
was seen to be AT for the first time."""

FUTURE_MS = 1_000
"""How far ahead of ours a heartbeat may be before it counts as set by another clock."""

MAX_OBSERVED = 10_000
"""Processes that ever wrote a journal; forgetting one costs one more wait."""


@dataclass
class _Observed:
    """What was seen of one process: its heartbeat, when that was first seen, when it last changed.

    Readings are of the monotonic clock of this process, in milliseconds.
    """

    last_seen_at: int
    since_ms: float
    changed_ms: float | None = None


class Liveness:
    """Finds out which processes have died, whatever the wall clocks do.

    A heartbeat is a time by its writer's wall clock, which may be set back or forward at any time.
    So beside its age counts for how long, by the monotonic clock, it was seen to stand still, and
    the age counts only as far as this process did not see the clock jump ahead.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms = self._wall_ahead_ms()
        self._observed: dict[int, _Observed] = {}
        self._recorded: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def load(self, silences: Iterable[Row]) -> None:
        """Take over what other processes saw of heartbeats that lie in the future."""
        for row in silences:
            at, _, since = str(row["value"]).partition(" ")
            process = str(row["key"]).removeprefix(SILENT)
            if at.isdecimal() and since.isdecimal() and process.isdecimal():
                self._recorded[int(process)] = (int(at), int(since))

    def verdict_in_ms(self, row: Row) -> float | None:
        """Return after how many ms of silence a process counts as dead, 0 when it does.

        None when it lives for certain: by its identity on this host, or because its
        heartbeat was seen to change lately.
        """
        identity = ProcessIdentity.of_row(row)
        # The same: this process before an `exec`, or with a second copy of rowtrail.
        known = Identity.UNKNOWN if identity == current_process() else identity.known
        if known is not Identity.UNKNOWN:
            return None if known is Identity.ALIVE else 0.0
        with self._lock:
            now_ms = self._clock.elapsed_s() * 1000
            seen = self._observe(row["process"], row["last_seen_at"], now_ms)
            if seen.changed_ms is not None and now_ms - seen.changed_ms < STALE_AFTER_MS:
                return None
            silent_ms = max(now_ms - seen.since_ms, self._age_ms(row))
            return max(STALE_AFTER_MS - silent_ms, 0.0)

    def silence_to_keep(self, row: Row) -> tuple[str, str] | None:
        """Return key and value of what `meta` is to keep of a heartbeat, if it is to.

        Where a clock was set back, a heartbeat may lie an hour ahead, and a process that ends at
        once, and the next one, could not wait for its age.
        """
        now, at = self._clock.now_ms(), row["last_seen_at"]
        with self._lock:
            recorded = self._recorded.get(row["process"])
            if at - now <= FUTURE_MS or (
                recorded is not None and recorded[0] == at and recorded[1] <= now
            ):
                return None
            self._recorded[row["process"]] = (at, now)
        return f"{SILENT}{row['process']}", f"{at} {now}"

    def _observe(self, process: int, last_seen_at: int, now_ms: float) -> _Observed:
        seen = self._observed.get(process)
        if seen is None or last_seen_at < seen.last_seen_at:  # its clock was set back
            if len(self._observed) >= MAX_OBSERVED:
                self._observed.pop(next(iter(self._observed)))
            seen = self._observed[process] = _Observed(last_seen_at, now_ms)
        elif last_seen_at > seen.last_seen_at:
            seen.last_seen_at, seen.since_ms, seen.changed_ms = last_seen_at, now_ms, now_ms
        return seen

    def _age_ms(self, row: Row) -> float:
        """Return how old a heartbeat is by the wall clock, as far as that can be believed."""
        at, now = row["last_seen_at"], self._clock.now_ms()
        recorded = self._recorded.get(row["process"])
        if at > now and recorded is not None and recorded[0] == at:
            at = recorded[1]
        jumped_ms = max(self._wall_ahead_ms() - self._ahead_ms, 0.0)
        return max(float(now - at) - jumped_ms, 0.0)

    def _wall_ahead_ms(self) -> float:
        return self._clock.now_ms() - self._clock.elapsed_s() * 1000
