"""The attempts that are active in this process, and where each was begun."""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

from rowtrail.journal._attempt import Attempt, Warned

if TYPE_CHECKING:
    from asyncio import Task


class _Origin(NamedTuple):
    number: int
    around: frozenset[int]
    """Numbers of the attempts in whose code the attempt was begun."""
    thread: ref[threading.Thread]
    task: ref[Any] | None


MAX_NAMED = 100
"""How many functions are named whose calls are not recorded, for each attempt."""

_lock = threading.RLock()  # the garbage collector may end a run anywhere, also in here
_numbers = count(1)
_active: WeakKeyDictionary[Attempt, _Origin] = WeakKeyDictionary()


def note_begun(attempt: Attempt, around: Attempt | None) -> None:
    """Note that an attempt is active from here on, and which one it was begun in."""
    thread, task = _here()
    with _lock:
        outer = None if around is None else _active.get(around)
        numbers = frozenset[int]() if outer is None else outer.around | {outer.number}
        weak_task = None if task is None else ref(task)
        _active[attempt] = _Origin(next(_numbers), numbers, ref(thread), weak_task)


def note_ended(attempt: Attempt) -> None:
    """Note that an attempt has ended, or that nothing can record for it any more."""
    with _lock:
        _active.pop(attempt, None)


def active_attempts() -> list[Attempt]:
    """Return the active attempts of this process."""
    with _lock:
        return list(_active)


def is_another_active(than: Attempt) -> bool:
    """Return whether an attempt is active that was not begun around `than`.

    Those around wait for the code in them, so whatever that code's threads do is its own.
    """
    with _lock:
        mine = _active.get(than)
        allowed = frozenset[int]() if mine is None else mine.around | {mine.number}
        return any(other.number not in allowed for other in _active.values())


def is_begun_here() -> bool:
    """Return whether this thread or asyncio task began an attempt that is active still.

    Its code outside the run is known to be outside, such as the body of a loop over a stream.
    """
    thread, task = _here()
    with _lock:
        return any(
            task is origin.task() if origin.task is not None else thread is origin.thread()
            for origin in _active.values()
        )


def is_news(name: str, runs: list[Warned]) -> bool:
    """Return whether a function was not yet named in any of these runs; from now on it is."""
    with _lock:
        is_known = any(name in run.names or len(run.names) >= MAX_NAMED for run in runs)
        for run in runs:
            run.names.add(name)
        return not is_known


def _here() -> tuple[threading.Thread, Task[Any] | None]:
    asyncio = sys.modules.get("asyncio")  # 20 ms to import: not for code that has no tasks
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        task = None
    return threading.current_thread(), task


def _after_fork_in_child() -> None:
    """The attempts go on in the parent; here nothing records for them."""
    for attempt in _active:
        attempt.is_inherited = True
    _active.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork_in_child
    )
