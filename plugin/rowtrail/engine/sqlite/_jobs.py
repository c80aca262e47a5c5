"""Transactions on their way to the writer, and how their outcomes get back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rowtrail.engine.sqlite._tx import SqliteTx

if TYPE_CHECKING:
    import asyncio
    from asyncio import AbstractEventLoop


class Job:
    """One transaction that waits for the writer, and where its outcome goes.

    With `synced` it is on disk once it is committed, whatever the durability; with False it need
    not be, and None leaves that to the durability.
    """

    def __init__(self, work: Callable[[SqliteTx], Any], *, synced: bool | None = None) -> None:
        self.work = work
        self.synced = synced
        self.result: Any = None
        self.error: BaseException | None = None

    def outcome(self) -> Any:
        """Return the result of the transaction, or raise its error."""
        if self.error is not None:
            raise self.error
        return self.result

    def claim(self) -> bool:
        """Return whether the transaction is still wanted; from here on nobody can cancel it."""
        return True

    def settle(self) -> None:
        """Hand the outcome to the caller."""


class WaitedFor(Job):
    """A job whose caller blocks until it is committed.

    A bare lock: a `Future` costs twice as much to wait for (measured: 28 us against 14 us).
    """

    def __init__(self, work: Callable[[SqliteTx], Any], *, synced: bool | None = None) -> None:
        super().__init__(work, synced=synced)
        self._ended = threading.Lock()
        self._ended.acquire()

    def wait(self) -> Any:
        """Block until the job is committed, and return its result or raise its error."""
        with self._ended:
            return self.outcome()

    def settle(self) -> None:
        """Let the caller go on."""
        self._ended.release()


class Promised(Job):
    """A job whose caller has a future of it, and may cancel it until it begins."""

    def __init__(self, work: Callable[[SqliteTx], Any]) -> None:
        from concurrent.futures import Future  # it imports logging: not for `import rowtrail`

        super().__init__(work)
        self.future: Future[Any] = Future()

    def claim(self) -> bool:
        """Return whether the future was not cancelled."""
        return self.future.set_running_or_notify_cancel()

    def settle(self) -> None:
        """Resolve the future."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Awaited(Job):
    """A job of a coroutine; the coroutines of one event loop are woken together."""

    def __init__(
        self,
        work: Callable[[SqliteTx], Any],
        loop: AbstractEventLoop,
        *,
        synced: bool | None = None,
    ) -> None:
        super().__init__(work, synced=synced)
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def wake(self) -> None:
        """Resolve the future; called on its event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def wake_all(jobs: list[Awaited]) -> None:
    """Resolve the futures of jobs; called on their event loop."""
    for job in jobs:
        job.wake()
