"""When an adapter's journal is opened: at its first use in each process, on no event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from rowtrail.engine import absolute, refuse_unusable
from rowtrail.errors import ClosedError
from rowtrail.journal import Journal, journal_path

__all__ = ["Closable", "LazyJournal", "Opening", "OpensJournal", "run_in_thread"]


class Closable(Protocol):
    """Something that is closed at the end."""

    def close(self) -> None:
        """Close it."""


C = TypeVar("C", bound=Closable)
T = TypeVar("T")


class LazyJournal:
    """A journal that is opened by its first use; copies of what has one share it.

    A process that forks before that leaves nothing to its children, and each opens its own. One
    that was open stays its parent's: SQLite cannot open a file safely in a child whose parent had
    it open, and using it there raises `ForkedError`.

    Args:
        path: Of the journal; where it does not exist, its folder must.
        open_it: Opens the journal at a path.
    """

    def __init__(self, path: str, open_it: Callable[[str], Journal]) -> None:
        self._given = path
        self._path = path
        self._open_it = open_it
        self._opened: Journal | None = None
        self._is_closed = False
        self._locks: dict[int, threading.Lock] = {}
        if not _is_on_a_loop():  # which looking at folders would block
            self._path = absolute(path)
            refuse_unusable(path)

    @classmethod
    def around(cls, journal: Journal) -> LazyJournal:
        """Return one that is open, with a journal that is not its to close."""
        lazy = cls(journal.path, lambda _: journal)
        lazy._opened = journal
        return lazy

    def open(self) -> Journal:
        """Open the journal, unless it was; blocks while SQLite does it.

        Raises:
            StorageError: The file cannot be used; the leaf and the message say why.
        """
        if self._opened is not None:
            return self._opened
        # By process: a lock that another thread had at a `fork()` stays locked in the child.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            return self._open_once()

    def _open_once(self) -> Journal:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    async def aopen(self) -> Journal:
        """Async twin of `open`, on a thread of its own."""
        if self._opened is not None:
            return self._opened
        return await run_in_thread(self.open)

    def _open(self) -> Journal:
        if self._is_closed:
            raise ClosedError(f"{self._given!r} was closed: make a new one", path=self._given)
        # As it was given, for messages, unless the process has changed its folder since.
        is_there = self._path in (self._given, absolute(self._given))
        return self._open_it(self._given if is_there else self._path)

    def close(self) -> None:
        """Close the journal; if it was never opened, it cannot be any more."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            self._is_closed = True
        if self._opened is not None:
            self._opened.close()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class OpensJournal:
    """What has a journal that its first use opens, in `with` and `async with` its beginning."""

    lazy: LazyJournal
    owns_journal: bool

    def use_journal(
        self, path_or_journal: str | os.PathLike[str] | Journal | None, **options: Any
    ) -> None:
        """Take a journal that is open, or the path of one that the first use opens.

        Args:
            path_or_journal: When None, what $ROWTRAIL_DB says, else `./agent.db`.
            options: Of `Journal`, where a path is given.
        """
        self.owns_journal = not isinstance(path_or_journal, Journal)
        if isinstance(path_or_journal, Journal):
            self.lazy = LazyJournal.around(path_or_journal)
        else:
            self.lazy = LazyJournal(journal_path(path_or_journal), partial(Journal, **options))

    @property
    def journal(self) -> Journal:
        """Return the journal; opens it, and blocks meanwhile, if nothing has yet."""
        return self.lazy.open()

    def open(self) -> Journal:
        """Open the journal now, as its first use does, and return it.

        Raises:
            StorageError: The file cannot be used; the leaf and the message say why.
            ForkedError: It was open in the parent of this process when that forked.
        """
        return self.journal

    async def aopen(self) -> Journal:
        """Async twin of `open`: SQLite does not block the event loop."""
        return await self.lazy.aopen()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.aopen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await run_in_thread(self.close)

    def close(self) -> None:
        """Close the journal, if it was given as a path; further calls do nothing."""
        if self.owns_journal:
            self.lazy.close()


class Opening(Generic[C]):
    """A context manager, sync and async, that opens something and closes it at its end."""

    def __init__(self, make: Callable[[], C], open_it: Callable[[C], object]) -> None:
        self._make = make
        self._open_it = open_it
        self._opened: list[C] = []

    def _open(self) -> C:
        made = self._make()
        self._open_it(made)
        return made

    def __enter__(self) -> C:
        self._opened.append(self._open())
        return self._opened[-1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.pop().close()

    async def __aenter__(self) -> C:
        self._opened.append(await run_in_thread(self._open))
        return self._opened[-1]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await run_in_thread(self._opened.pop().close)


async def run_in_thread(work: Callable[[], T]) -> T:
    """Run `work` on a thread of its own: the loop's own ones may all be waiting for it."""
    pool = ThreadPoolExecutor(1, "rowtrail-opening")
    try:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, work))
    finally:
        pool.shutdown(wait=False)
