"""The step that the running code is part of."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rowtrail.journal._attempt import Scope
from rowtrail.journal._request import Step


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
