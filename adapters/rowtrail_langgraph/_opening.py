"""Opening a saver in `with` and in `async with`, without SQLite on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Something that is closed at the end."""

    def close(self) -> None:
        """Close it."""


C = TypeVar("C", bound=Closable)
T = TypeVar("T")


class Opening(Generic[C]):
    """A context manager, sync and async, that opens something and closes it at its end."""

    def __init__(self, open_it: Callable[[], C]) -> None:
        self._open = open_it
        self._opened: list[C] = []

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
