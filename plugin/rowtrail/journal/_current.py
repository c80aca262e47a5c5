"""The step that the running code is part of."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rowtrail.errors import UsageError

if TYPE_CHECKING:
    from rowtrail.journal._lent import Lent
    from rowtrail.journal._scope import Scope


@dataclass(frozen=True)
class Step:
    """One step, as its own code sees it, or a function that is asked what became of it.

    Attributes:
        id: Id of the row in the view `steps`.
        idempotency_key: The same for every attempt to make this very call; hand it to whatever
            can recognise a request that it has had before.
        attempt: Which attempt of the run this is, from 1.
        name: Name of the tool or function.
        input: Its arguments: a dict for a tool, `{"args": [...], "kwargs": {...}}` for a function.
        error: Of a step in doubt, what it raised, where that is known.
    """

    id: str
    idempotency_key: str
    attempt: int
    name: str
    input: Any = field(repr=False, default=None)
    error: str | None = None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Frame:
    """A running step; the calls inside it have a scope of their own, made when there is one."""

    step: Step
    row: int
    around: Scope
    """The scope that the step itself belongs to."""
    name: str
    """Name of the step in that scope: names the scope inside."""
    place: str
    """Where the step runs, in the framework's words: a task of LangGraph, "" without one."""
    records: Any = None
    """The function under `@rowtrail.step` whose call this step already is the record of."""
    tool: Any = None
    tool_call_id: str | None = None
    outer: Frame | None = None
    """The step around, in whose code this one is made."""
    has_ended: bool = False
    """Whether the call has returned: a task that it left running still carries the frame."""
    _inside: Scope | None = None

    @property
    def scope(self) -> Scope:
        """Return the scope of the calls that are made inside the step."""
        if self._inside is None:
            self._inside = self.around.inside(self.name, self.row)
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
