"""Holding an attempt: it ends when nobody does any more.

Ctrl-C can come at any instruction: after an attempt began and before the `try` that would end it,
or as `__exit__` is called. What a frame holds ends with the frame.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from types import MethodType
from typing import Any, Protocol

from rowtrail.journal._attempt import Attempt
from rowtrail.journal._ending import abandon_attempt


def let_go(attempt: Attempt | None) -> None:
    """Queue the end of an attempt of this process that has not ended; this waits for nothing."""
    if attempt is not None and not attempt.is_over and not attempt.is_inherited:
        abandon_attempt(attempt)


class Grip:
    """Keeps an attempt open for the code that holds this, in a local variable best."""

    __slots__ = ("attempt",)

    def __init__(self) -> None:
        self.attempt: Attempt | None = None

    def __del__(self) -> None:
        # without attributes it was interrupted as it was made; at the very end nobody can write
        if hasattr(self, "attempt") and not sys.is_finalizing():
            self.let_go()

    def let_go(self) -> None:
        """Queue the end of the attempt, unless it has ended; this waits for nothing."""
        let_go(self.attempt)


class Block(Protocol):
    """A context manager whose `__exit__` is a `Door`."""

    @property
    def is_entered(self) -> bool:
        """Return whether it was entered and not left."""
        ...

    def let_go(self) -> None:
        """Leave it, if it is entered; this waits for nothing."""


class Door:
    """An `__exit__`, or `__aexit__`, by which a block is left also where it is never called.

    The statement takes `__exit__` from the manager before it enters, and drops it at its end.
    """

    def __init__(self, leave: Callable[..., Any]) -> None:
        self._leave = leave

    def __get__(self, block: Block | None, _: type | None = None) -> Callable[..., Any]:
        if block is None:  # an `ExitStack`, which keeps the manager itself
            return self._leave
        way_out = MethodType(self._leave, block)
        if block.is_entered:  # no `with` statement asks
            return way_out
        return (_TakenAsync if iscoroutinefunction(self._leave) else _Taken)(block, way_out)


class _Taken:
    __slots__ = ("_block", "_way_out")

    def __init__(self, block: Block, way_out: Callable[..., Any]) -> None:
        self._way_out = way_out
        self._block = block

    def __call__(self, *how: Any) -> Any:
        return self._way_out(*how)

    def __del__(self) -> None:
        if hasattr(self, "_block") and not sys.is_finalizing():
            self._block.let_go()


class _TakenAsync(_Taken):
    __slots__ = ()

    async def __call__(self, *how: Any) -> Any:
        return await self._way_out(*how)  # the statement has dropped this, the coroutine holds it
