"""A thread started inside `with journal.run(...)` belongs to the run, as a task does.

Context variables do not cross into threads by themselves, and a step that is silently not recorded
would be paid for twice. So, once a run was entered in this process, `Thread.start` and
`ThreadPoolExecutor.submit` hand on the run and the step around them, and nothing else. Outside runs
they do what they always did.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rowtrail.journal._active import run_scope
from rowtrail.journal._current import Frame, current_frame

if TYPE_CHECKING:
    from rowtrail.journal._scope import Scope

Held = tuple["Scope | None", "Frame | None"]

_NOTHING: Held = (None, None)
_lock = threading.Lock()
_originals: dict[str, Callable[..., Any]] = {}


def hand_on_to_threads() -> None:
    """Begin to hand on runs to threads; further calls do nothing."""
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if not _originals:
            _originals["start"] = threading.Thread.start
            _originals["submit"] = ThreadPoolExecutor.submit
            threading.Thread.start = _start(threading.Thread.start)  # type: ignore[method-assign]
            ThreadPoolExecutor.submit = _submit(ThreadPoolExecutor.submit)  # type: ignore[method-assign]


def stop_handing_on() -> None:
    """Undo `hand_on_to_threads`."""
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if _originals:
            threading.Thread.start = _originals.pop("start")  # type: ignore[method-assign]
            ThreadPoolExecutor.submit = _originals.pop("submit")  # type: ignore[method-assign]


def _held() -> Held:
    return run_scope.get(), current_frame.get()


@contextmanager
def _holding(held: Held) -> Generator[None]:
    scope, frame = run_scope.set(held[0]), current_frame.set(held[1])
    try:
        yield
    finally:
        current_frame.reset(frame)
        run_scope.reset(scope)


def _start(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        held = _held()
        if held != _NOTHING:
            self.run = _run(self, self.run, held)  # type: ignore[method-assign]
        original(self)

    return start


def _run(thread: threading.Thread, run: Callable[[], None], held: Held) -> Callable[[], None]:
    def inside() -> None:
        del thread.run  # the class's again: nothing is kept alive through the thread
        with _holding(held):
            run()

    return inside


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        held = _held()
        if held == _NOTHING:
            return original(self, fn, *args, **kwargs)
        with _holding(_NOTHING):  # the pool's own threads serve others after this run
            return original(self, _call, held, fn, args, kwargs)

    return submit


def _call(held: Held, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with _holding(held):
        return fn(*args, **kwargs)
