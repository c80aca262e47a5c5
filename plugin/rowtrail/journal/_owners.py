"""Who makes a call inside this process, and whether it still goes on.

A process that lives says nothing of one call in it: its event loop may be closed, its task gone,
its thread ended.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

GONE_AFTER_S = 15.0
"""A loop that stands still for so long on a thread of its own is taken for one that nobody runs."""


unmade_here: ContextVar[weakref.ref[Owner] | None] = ContextVar("rowtrail_unmade", default=None)
"""The owner of the call that the running code asked for last."""


def give_back_unmade(attempt: int) -> None:
    """Give back the call of an attempt that this very code was about to make.

    It was interrupted. A context may be shared by tasks, and a run may end anywhere, by the
    collector of garbage too: what others are about to make is theirs.
    """
    found = unmade_here.get()
    owner = None if found is None else found()
    if owner is not None and owner.is_unmade and owner.is_by_same_code(Owner(attempt)):
        owner.forgo()


def running_loop() -> AbstractEventLoop | None:
    """Return the event loop that runs on this thread, without importing asyncio."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


class Holder:
    """What keeps an attempt going: its event loop, where it has one, and that somebody holds it."""

    has_ended = False
    """Whether the attempt is over."""

    def __init__(self, loop: AbstractEventLoop | None = None) -> None:
        self._loop = None if loop is None else weakref.ref(loop)

    @property
    def is_left(self) -> bool:
        """Return whether nobody can go on with the attempt: its event loop is closed.

        One that has ended writes so itself; one that nobody holds any more is gone altogether.
        """
        if self.has_ended or self._loop is None:
            return False
        loop = self._loop()
        return loop is None or loop.is_closed()


class Owner:
    """The thread, and in a coroutine the loop and the task, that makes a call of an attempt.

    Whoever makes the call holds it. Where Ctrl-C comes before the call is made, nobody does any
    more, and the call is given back.
    """

    __slots__ = (
        "__weakref__",
        "_give_back",
        "_is_inside",
        "_loop",
        "_still_since_s",
        "_task",
        "_thread",
        "attempt",
        "is_given_back",
    )

    def __init__(
        self,
        attempt: int,
        give_back: Callable[[], None] | None = None,
        *,
        is_inside: Callable[[int], bool] | None = None,
    ) -> None:
        """Create the owner of a call that the running code makes, or asks about.

        Args:
            attempt: The row of the attempt.
            give_back: What is done where the call is never made; it waits for nothing.
            is_inside: Returns whether the running code is part of the step of a row; None outside
                steps.
        """
        self._give_back = give_back
        self.is_given_back = False
        loop = running_loop()
        self.attempt = attempt
        self._is_inside = is_inside
        self._thread = threading.current_thread()
        self._loop = loop
        self._task: weakref.ref[Task[Any]] | None = None
        self._still_since_s: float | None = None
        if loop is not None:
            task = sys.modules["asyncio"].current_task()
            self._task = None if task is None else weakref.ref(task)
        if give_back is not None:
            unmade_here.set(weakref.ref(self))

    def __del__(self) -> None:
        # without attributes it was interrupted as it was made; at the very end nobody can write
        if hasattr(self, "is_given_back") and not sys.is_finalizing():
            self.forgo()

    @property
    def is_unmade(self) -> bool:
        """Return whether the call can still be given back."""
        return self._give_back is not None

    def is_by_same_code(self, other: Owner) -> bool:
        """Return whether both are of one attempt, thread, loop and task."""
        mine = None if self._task is None else self._task()
        theirs = None if other._task is None else other._task()
        return (
            self.attempt == other.attempt
            and self._thread is other._thread
            and self._loop is other._loop
            and mine is theirs
        )

    def forgo(self) -> bool:
        """Give the call back if it is not made yet, and return whether that was so."""
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            return False
        self.is_given_back = True
        give_back()
        return True

    def keep(self) -> None:
        """Note that the call is made from here on, and cannot be given back."""
        self._give_back = None

    def is_gone(self, now_s: float, step: int, asker: Owner | None) -> bool:
        """Return whether the call cannot go on any more.

        Args:
            now_s: A monotonic time, in seconds.
            step: The row of the call.
            asker: The code that asks, where that is known: its transaction may run elsewhere.
        """
        if not self._thread.is_alive():
            return True
        if self._loop is None:
            # Whoever asks on the thread of the call, and is not inside it, has left it.
            return asker is not None and asker._has_left(step, self)
        return self._is_left_by_loop(now_s, asker) or self._is_left_by_task(step, asker)

    def _has_left(self, step: int, owner: Owner) -> bool:
        inside = self._is_inside is not None and self._is_inside(step)
        return self._thread is owner._thread and not inside

    def _is_left_by_loop(self, now_s: float, asker: Owner | None) -> bool:
        assert self._loop is not None
        if self._loop.is_closed():
            return True
        if self._loop.is_running():
            self._still_since_s = None
            return False
        if asker is not None and asker._thread is self._thread:
            return True  # this thread runs something else now
        self._still_since_s = now_s if self._still_since_s is None else self._still_since_s
        return now_s - self._still_since_s > GONE_AFTER_S

    def _is_left_by_task(self, step: int, asker: Owner | None) -> bool:
        if self._task is None:
            return False
        task = self._task()
        if task is None or task.done():
            return True
        if asker is None or asker._task is None or asker._task() is not task:
            return False
        return asker._has_left(step, self)
