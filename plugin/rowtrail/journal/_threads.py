"""Work that a run gives to threads belongs to it, as its tasks do.

Context variables do not cross into threads by themselves, and a step that is silently not recorded
would be paid for twice. So, once a run was entered in this process, `ThreadPoolExecutor.submit`
hands on the run and the step around it, `Thread.start` lends them, and nothing else crosses.
Outside runs both do what they always did.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from rowtrail.journal._active import enter, here, leave, own_run, run_scope
from rowtrail.journal._current import Lent, Marker, carriers, current_frame, lent
from rowtrail.journal._live import active_attempts

Held = tuple[tuple[ContextVar[Any], Any], ...]

_lock = threading.Lock()
_originals: list[Callable[..., Any]] = []
_hooks: list[Callable[..., Any]] = []
_starts_for_others: ContextVar[bool] = ContextVar("rowtrail_starts_for_others", default=False)
"""Set while a pool starts a thread: it serves others after the one who submits now."""


def hand_on_to_threads() -> None:
    """Begin to hand on runs to threads; further calls do nothing."""
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if _originals:
            return
        _originals[:] = [threading.Thread.start, ThreadPoolExecutor.submit]
        _hooks[:] = [_start(_originals[0]), _submit(_originals[1])]
        threading.Thread.start, ThreadPoolExecutor.submit = _hooks  # type: ignore[method-assign]


def stop_handing_on() -> None:
    """Undo `hand_on_to_threads`, unless an active run needs it or others have wrapped it since."""
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        in_place = [threading.Thread.start, ThreadPoolExecutor.submit]
        if not _originals or in_place != _hooks or active_attempts():
            return
        threading.Thread.start, ThreadPoolExecutor.submit = _originals  # type: ignore[method-assign]
        _originals.clear()
        _hooks.clear()


def _markers() -> list[tuple[ContextVar[Any], Marker | None]]:
    return [(carrier.variable, carrier.marker()) for carrier in carriers]


def _handed_on() -> Held | None:
    """Return what code here hands on to work that it submits, None outside runs."""
    scope, frame, borrowed, markers = run_scope.get(), current_frame.get(), lent.get(), _markers()
    values = (scope, frame, borrowed, *(marker for _, marker in markers))
    if all(value is None for value in values):
        return None
    return (
        (run_scope, scope),
        (own_run, own_run.get()),
        (current_frame, frame),
        (lent, borrowed),
        *markers,
    )


def _lent() -> Lent | None:
    """Return what code here lends to a thread that it starts, None outside runs."""
    if _starts_for_others.get():
        return None
    frame, borrowed = current_frame.get(), lent.get()
    markers = {variable: marker for variable, marker in _markers() if marker is not None}
    if run_scope.get() is None and frame is None and not markers:
        return borrowed
    scope = here().scope
    return None if scope is None else Lent(scope, frame, markers)


def _start(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        borrowed = _lent()
        if borrowed is None:
            original(self)
            return
        run, own = self.run, vars(self).get("run")
        self.run = _run(self, run, own, borrowed)  # type: ignore[method-assign]
        try:
            original(self)
        except BaseException:  # it was started before, or there is no room for another thread
            _give_back(self, own)
            raise

    return start


def _run(
    thread: threading.Thread, run: Callable[[], None], own: Any, borrowed: Lent
) -> Callable[[], None]:
    def inside() -> None:
        _give_back(thread, own)  # nothing is kept alive through the thread
        lent.set(borrowed)
        run()

    return inside


def _give_back(thread: threading.Thread, own: Any) -> None:
    """Give a thread back the `run` of its own, or that of its class."""
    vars(thread).pop("run", None)
    if own is not None:
        thread.run = own  # type: ignore[method-assign]


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        held = _handed_on()
        if held is None:
            return original(self, fn, *args, **kwargs)
        entered = enter((_starts_for_others, True))
        try:
            return original(self, _call, held, fn, args, kwargs)
        finally:
            leave(entered)

    return submit


def _call(held: Held, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    entered = enter(*held)
    try:
        return fn(*args, **kwargs)
    finally:
        leave(entered)
