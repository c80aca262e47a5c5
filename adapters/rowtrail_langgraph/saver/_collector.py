"""No search for garbage while a long list of objects is made, none of which can be garbage yet.

Each search looks at what is new, and some look at everything: of the time to read 8,000 messages
they took three quarters.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Collector:
    """Python's garbage collector, which may be paused; there is one of this class.

    By its threshold: whoever asks `gc.isenabled()` meanwhile, to restore that, is not deceived.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._found: tuple[int, int, int] | None = None
        """What is to be restored, None while nothing is paused."""

    def paused(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; no thread collects garbage meanwhile.

        One pause is not prolonged by another, which is as long as it is itself.
        """
        turn = self._turn
        if not turn.acquire(blocking=False):
            return work()
        try:
            try:
                self._pause()
                return work()
            finally:
                self.restore()
        finally:  # also where a signal's handler raised just before
            self.restore()
            turn.release()

    def _pause(self) -> None:
        self._found = gc.get_threshold()
        gc.set_threshold(0, *self._found[1:])

    def restore(self) -> None:
        """End the pause, if there is one; what somebody else has set meanwhile stays."""
        if self._found is not None and gc.get_threshold()[0] == 0:
            gc.set_threshold(*self._found)
        self._found = None

    def restore_in_child(self) -> None:
        """End the pause, in a child that was forked meanwhile, whatever thread had begun it."""
        self.restore()
        self._turn = threading.Lock()


collector = Collector()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=collector.restore_in_child)
