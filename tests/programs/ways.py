"""The ways to hand work to a thread or a task, for tests of whose calls they make.

A way begins a body at once, and the body waits at its gate. Bodies are plain functions in threads
and coroutines in tasks; both are waited for from coroutines.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

WAYS = (
    "Thread",
    "submit",
    "map",
    "run_in_executor",
    "to_thread",
    "create_task",
    "TaskGroup",
    "gather",
)

SYNC_WAYS = WAYS[:3]
"""Ways that need no event loop."""

TASK_WAYS = WAYS[5:]

Call = Callable[[], Any]
"""Makes one call; returns an awaitable where the function that is called is a coroutine one."""


@dataclass
class Work:
    """Calls that one thread or task makes, each after its gate has been opened."""

    calls: list[Call]
    made: list[Any] = field(default_factory=list[Any])
    errors: list[Exception] = field(default_factory=list[Exception])
    gates: list[threading.Event] = field(default_factory=list[threading.Event])

    def __post_init__(self) -> None:
        self.gates = [threading.Event() for _ in self.calls]

    def body(self, _: Any = None) -> None:
        """Make the calls, in a thread."""
        for gate, call in zip(self.gates, self.calls, strict=True):
            assert gate.wait(60)
            try:
                result = call()
                self.made.append(asyncio.run(_awaited(result)) if is_awaitable(result) else result)
            except Exception as error:
                self.errors.append(error)

    async def abody(self) -> None:
        """Make the calls, in a task."""
        for gate, call in zip(self.gates, self.calls, strict=True):
            await _until(gate.is_set)
            try:
                result = call()
                self.made.append(await result if is_awaitable(result) else result)
            except Exception as error:
                self.errors.append(error)

    def wait_until(self, n: int) -> None:
        """Open the gate of the n-th call, from 0, and block until it was made."""
        self.gates[n].set()
        for _ in range(60_000):
            if len(self.made) + len(self.errors) > n:
                return
            time.sleep(0.001)
        raise AssertionError("the call was not made")

    async def until(self, n: int) -> None:
        """Open the gate of the n-th call, from 0, and wait until it was made."""
        self.gates[n].set()
        await _until(lambda: len(self.made) + len(self.errors) > n)


def is_awaitable(result: Any) -> bool:
    """Return whether a call is made only when its result is awaited."""
    return isinstance(result, Awaitable)


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait for what a thread does, which sets no event of the loop."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


class Ways:
    """Gives work to threads and tasks; entered outside the runs, so that it outlives them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._group = asyncio.TaskGroup()
        self._begun: list[Callable[[], Awaitable[Any]]] = []

    async def __aenter__(self) -> Ways:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        for wait in self._begun:
            await wait()
        await self._group.__aexit__(None, None, None)  # an error of the test's stays what it is
        self._pool.shutdown()

    def give(self, way: str, calls: list[Call]) -> Work:
        """Begin the work."""
        work = Work(calls)
        begun: Any = self._begin(way, work)

        async def wait() -> None:
            if isinstance(begun, threading.Thread):
                await _until(lambda: not begun.is_alive())
            elif is_awaitable(begun):
                await begun
            else:
                await _until(lambda: all(future.done() for future in begun))

        self._begun.append(wait)
        return work

    def _begin(self, way: str, work: Work) -> Any:
        match way:
            case "Thread":
                begun = threading.Thread(target=work.body)
                begun.start()
                return begun
            case "submit":
                return [self._pool.submit(work.body)]
            case "map":
                self._pool.map(work.body, [0])
                return []
            case "run_in_executor":
                return asyncio.get_running_loop().run_in_executor(None, work.body)
            case "to_thread":
                return asyncio.ensure_future(asyncio.to_thread(work.body))
            case "create_task":
                return asyncio.create_task(work.abody())
            case "TaskGroup":
                return self._group.create_task(work.abody())
            case _:
                return asyncio.gather(work.abody())
