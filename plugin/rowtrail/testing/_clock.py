"""A clock that stands still until it is moved."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from rowtrail._clock import Clock

_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock(Clock):
    """A clock for tests: `Journal(path, clock=FakeClock())`.

    Its time moves when `advance` or `move_to` says so, and by a `sleep`, which does not block. Its
    ids are counted. The views call a run dead whose process was not heard of for 15 s by the
    system's clock: give `at` a time near to now where that matters.
    """

    def __init__(self, at: datetime = _START) -> None:
        self._lock = threading.Lock()
        self._us = _microseconds(at)
        self._elapsed_us = 0
        self._ids = 0

    def now_ms(self) -> int:
        """Return the time that the clock shows, in milliseconds since 1970-01-01 UTC."""
        return self._us // 1000

    def elapsed_s(self) -> float:
        """Return by how many seconds the clock was advanced; `move_to` does not count."""
        return self._elapsed_us / 1_000_000

    def sleep(self, seconds: float) -> None:
        """Advance the clock, and let other threads run."""
        self.advance(seconds)
        time.sleep(0)

    def new_id(self) -> str:
        """Return the next id: `id-0001`, `id-0002` and so on."""
        with self._lock:
            self._ids += 1
            return f"id-{self._ids:04d}"

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        with self._lock:
            self._us += round(seconds * 1_000_000)
            self._elapsed_us += round(seconds * 1_000_000)

    def move_to(self, at: datetime) -> None:
        """Set the wall clock, forward or back, as an administrator or NTP does."""
        with self._lock:
            self._us = _microseconds(at)


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
