"""The step that the running code is part of, and what a thread has of the code that started it.

Who submits work owns it. Who starts a thread does not own all that the thread will ever do: it may
be a worker that serves others. So its calls count as the starter's only while the step or node that
started it is unfinished and no other run is active whose work it could be doing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol
from weakref import ref

from rowtrail.errors import UsageError
from rowtrail.journal._attempt import Attempt, Scope
from rowtrail.journal._live import is_another_active
from rowtrail.journal._owners import Owner
from rowtrail.journal._request import Request, Step


class Frame:
    """A running step; what is seldom asked of it is made when it is asked for.

    Attributes:
        around: The scope that the step itself belongs to.
        request: What was asked; its `place`, `tool` and `records` say where the code is.
        row: Row of the step.
        outer: The step around, in whose code this one is made.
        has_ended: Whether the call has returned: a task that it left running still carries the
            frame.
    """

    __slots__ = (
        "__weakref__",
        "_idempotency",
        "_inside",
        "_number",
        "around",
        "has_ended",
        "outer",
        "request",
        "row",
    )

    def __init__(
        self,
        around: Scope,
        request: Request,
        row: int,
        *,
        number: int,
        key_scope: str | None,
        key_n: int,
        outer: Frame | None,
    ) -> None:
        """Create the frame of a step.

        Args:
            number: Which of the equal calls of its scope it is: names the scope inside.
            key_scope: Stands for its scope in the idempotency key, where that is another one's.
            key_n: Which of the equal calls it is in that key.
        """
        self.around = around
        self.request = request
        self.row = row
        self.outer = outer
        self.has_ended = False
        self._idempotency = (key_scope, key_n)
        self._number = number
        self._inside: Scope | None = None

    @property
    def step(self) -> Step:
        """Return the step as its own code sees it."""
        around, request = self.around, self.request
        key_scope, key_n = self._idempotency
        key = around.attempt.idempotency_key(key_scope or around.key, request.fingerprint, key_n)
        return around.step_of(self.row, key, request)

    @property
    def scope(self) -> Scope:
        """Return the scope of the calls that are made inside the step."""
        if self._inside is None:
            request = self.request
            name = f"{request.name}:{request.fingerprint.hex()[:16]}.{self._number}"
            self._inside = self.around.inside(name, self.row)
        return self._inside

    @property
    def is_unfinished(self) -> bool:
        """Return whether the call has not returned yet."""
        return not self.has_ended

    def is_inside(self, row: int) -> bool:
        """Return whether this is the step of a row, or runs inside it."""
        frame: Frame | None = self
        while frame is not None and frame.row != row:
            frame = frame.outer
        return frame is not None


current_frame: ContextVar[Frame | None] = ContextVar("rowtrail_step", default=None)


class Marker(Protocol):
    """What an adapter hands on to threads: says where in its framework the code is."""

    @property
    def is_unfinished(self) -> bool:
        """Return whether the code that handed it on has not ended; till then it is kept alive."""
        ...


class Carrier(NamedTuple):
    """How an adapter has its marker handed on.

    Attributes:
        variable: Where code in the thread finds the marker.
        marker: Returns the marker of the code that calls it, None where it has none.
    """

    variable: ContextVar[Any]
    marker: Callable[[], Marker | None]


carriers: list[Carrier] = []
"""What adapters hand on beside the run and the step."""


class Lent:
    """What a started thread has; it keeps nothing alive, as the thread may live for ever."""

    def __init__(
        self, scope: Scope, frame: Frame | None, markers: dict[ContextVar[Any], Marker]
    ) -> None:
        self._scope = ref(scope)
        self._attempt = ref(scope.attempt)
        self.warned = scope.attempt.warned
        self._frame = None if frame is None else ref(frame)
        self._markers = {variable: ref(marker) for variable, marker in markers.items()}

    @property
    def frame(self) -> Frame | None:
        """Return the step that started the thread, None outside one or once it is forgotten."""
        return None if self._frame is None else self._frame()

    @property
    def is_inherited(self) -> bool:
        """Return whether the thread was started by the process that this one was forked from."""
        attempt = self._attempt()
        return attempt is not None and attempt.is_inherited

    @property
    def scope(self) -> Scope | None:
        """Return the scope of the thread's calls, None where they are not the starter's."""
        scope = self._scope()
        if scope is None or scope.attempt.has_ended or not self._is_starter_unfinished():
            return None
        return None if is_another_active(scope.attempt) else scope

    def marker(self, variable: ContextVar[Any]) -> Any:
        """Return what an adapter lent, None where the thread's calls are not the starter's."""
        found = self._markers.get(variable)
        return None if found is None or self.scope is None else found()

    def _is_starter_unfinished(self) -> bool:
        starters: list[Marker | None] = [marker() for marker in self._markers.values()]
        if self._frame is not None:
            starters.append(self._frame())
        return all(starter is not None and starter.is_unfinished for starter in starters)


lent: ContextVar[Lent | None] = ContextVar("rowtrail_lent", default=None)
"""What the code that started this thread lent to it."""


def enclosing_frame() -> Frame | None:
    """Return the step that made or submitted the running code, also after the step has ended."""
    frame, borrowed = current_frame.get(), lent.get()
    return borrowed.frame if frame is None and borrowed is not None else frame


def running_frame() -> Frame | None:
    """Return the step that the running code is part of, None outside one or after its end."""
    frame = enclosing_frame()
    return None if frame is None or frame.has_ended else frame


def current_step() -> Step:
    """Return the step that is running; in work that a step submitted, the step until it ends.

    Raises:
        UsageError: No step is running here.
    """
    frame = running_frame()
    if frame is None:
        raise UsageError(
            "current_step() was called outside a step: call it inside a tool that the journal "
            "records or a function under @rowtrail.step, before it returns"
        )
    return frame.step


def owner_here(attempt: Attempt, give_back: Callable[[], None] | None = None) -> Owner:
    """Return the owner of a call of an attempt that the running code makes, or asks about.

    Args:
        attempt: The attempt.
        give_back: What is done where the call is never made; it waits for nothing.
    """
    frame = enclosing_frame()
    return Owner(attempt.row, give_back, is_inside=None if frame is None else frame.is_inside)
