"""Filling the search index while nobody waits for it: on a thread, or in another process."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time

from rowtrail._clock import Clock
from rowtrail.errors import RowtrailError
from rowtrail.history._filling import fill
from rowtrail.history._index_file import IndexFile, with_index
from rowtrail.history._source import Readable, reader_of

MOST_PAUSE_S = 0.5
"""A page that took long is not waited for as long again."""
ALONE_S = 5.0
"""A process that read a page so recently goes on by itself: another one would do the same."""


class _StoppedError(Exception):
    """The process ends."""


class _Filler(threading.Thread):
    """Reads what an index lacks, and leaves the lock to others for as long as it takes a page."""

    def __init__(self, path: str) -> None:
        super().__init__(name=f"rowtrail-index-{path}", daemon=True)
        self.path = path
        self.end = threading.Event()

    def run(self) -> None:
        try:
            _fill_slowly(reader_of(self.path), self.end)
        except (RowtrailError, OSError, _StoppedError):
            pass  # the next search fills what is missing, and names what is wrong
        finally:
            with _lock:
                if _fillers.get(self.path) is self:
                    del _fillers[self.path]


_fillers: dict[str, _Filler] = {}
_lock = threading.Lock()


def fill_alone(source: Readable) -> None:
    """Bring the index to what the journal holds now, slowly; return where another process does so.

    Raises:
        StorageError: The journal or the index cannot be used.
    """

    def work(index: IndexFile) -> bool:
        with index.transaction():
            state = index.state()
            seen_at = state.get("filled_at", 0)
            now = Clock().now_ms()
            is_first = not 0 <= now - seen_at < ALONE_S * 1000
            if is_first and state:  # an empty one is begun by who fills it
                index.set_state(filled_at=now)
            return is_first

    if with_index(source, work):
        _fill_slowly(source, threading.Event(), is_noted=True)


def _fill_slowly(source: Readable, end: threading.Event, *, is_noted: bool = False) -> None:
    """Fill the index, with a pause after each page, until all is read or `end` is set."""

    def work(index: IndexFile) -> None:
        read_at = time.monotonic()

        def pause(what: str, done: int, total: int) -> None:
            nonlocal read_at
            if is_noted:
                with index.transaction():
                    index.set_state(filled_at=Clock().now_ms())
            if end.wait(min(time.monotonic() - read_at, MOST_PAUSE_S)):
                raise _StoppedError
            read_at = time.monotonic()

        fill(index, source, pause)

    with_index(source, work)


def go_on_filling(path: str) -> None:
    """Fill the index of a journal on a thread of this process, which has one for each journal."""
    with _lock:
        if path in _fillers:
            return
        filler = _fillers[path] = _Filler(path)
    with contextlib.suppress(RuntimeError):  # the interpreter ends: nobody searches any more
        filler.start()


def is_filling(path: str) -> bool:
    """Return whether a thread of this process fills the index of a journal."""
    with _lock:
        return path in _fillers


def stop_filling(path: str | None = None) -> None:
    """Stop the threads that fill, or that of one journal, and wait for the page they read."""
    with _lock:
        stopped = [filler for key, filler in _fillers.items() if path in (None, key)]
    for filler in stopped:
        filler.end.set()
    for filler in stopped:
        if filler.is_alive():
            filler.join()


def _forget() -> None:
    """Forget the threads of the parent: a fork has none of them."""
    global _lock  # noqa: PLW0603  (it may be locked by a thread that is not here)
    _lock = threading.Lock()
    _fillers.clear()


# A thread inside SQLite while the interpreter goes takes the process down with it.
atexit.register(stop_filling)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
