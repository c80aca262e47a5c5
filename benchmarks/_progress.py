"""Progress on stderr."""

from __future__ import annotations

import sys
import time

_started = time.monotonic()


def tell(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - _started:5.0f} s] {text}", file=sys.stderr, flush=True)


def elapsed_s() -> float:
    """Return the seconds since the start."""
    return time.monotonic() - _started
