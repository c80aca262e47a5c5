"""Who makes a call inside this process, and whether it still goes on.

A process that lives says nothing of one call in it: its event loop may be closed, its task gone,
its thread ended.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

GONE_AFTER_S = 15.0
"""A loop that stands still for so long on a thread of its own is taken for one that nobody runs."""


def running_loop() -> AbstractEventLoop | None:
    """Return the event loop that runs on this thread, without importing asyncio."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


class Owner:
    """The thread, and in a coroutine the loop and the task, that makes a call of an attempt."""

    __slots__ = ("_loop", "_still_since_s", "_task", "_thread", "attempt")

    def __init__(self, attempt: int) -> None:
        loop = running_loop()
        self.attempt = attempt
        self._thread = threading.current_thread()
        self._loop = loop
        self._task: weakref.ref[Task[Any]] | None = None
        self._still_since_s: float | None = None
        if loop is not None:
            task = sys.modules["asyncio"].current_task()
            self._task = None if task is None else weakref.ref(task)

    def is_gone(self, now_s: float, *, inside: bool = False) -> bool:
        """Return whether the call cannot go on any more.

        Args:
            now_s: A monotonic time, in seconds.
            inside: The code that asks runs inside that very call.
        """
        if not self._thread.is_alive():
            return True
        if self._loop is None:
            # Whoever asks on the thread of the call, and is not inside it, has left it.
            return self._thread is threading.current_thread() and not inside
        return self._is_left_by_loop(now_s) or self._is_left_by_task(inside)

    def _is_left_by_loop(self, now_s: float) -> bool:
        assert self._loop is not None
        if self._loop.is_closed():
            return True
        if self._loop.is_running():
            self._still_since_s = None
            return False
        if self._thread is threading.current_thread():
            return True  # this thread runs something else now
        self._still_since_s = now_s if self._still_since_s is None else self._still_since_s
        return now_s - self._still_since_s > GONE_AFTER_S

    def _is_left_by_task(self, inside: bool) -> bool:
        if self._task is None:
            return False
        task = self._task()
        if task is None or task.done():
            return True
        if running_loop() is not self._loop:
            return False
        return task is sys.modules["asyncio"].current_task() and not inside
