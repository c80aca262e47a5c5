"""Time and random ids: the only source of both, so that tests can replace it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


class Clock:
    """The system's clock and random numbers."""

    def now_ms(self) -> int:
        """Return the wall clock, in milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def elapsed_s(self) -> float:
        """Return a monotonic reading, in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for `seconds`."""
        time.sleep(seconds)

    def new_id(self) -> str:
        """Return a new id of 16 hex digits: all of chance, so that a few of them tell it apart."""
        return os.urandom(8).hex()


def iso_utc(ms: int | None) -> str | None:
    """Return `ms` as UTC ISO-8601 text with milliseconds, the form that the views show."""
    if ms is None:
        return None
    moment = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{ms % 1000:03d}Z"
