"""Which scope a call belongs to: the step around it, the run around it, or an adapter's task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rowtrail.journal._current import current_frame

if TYPE_CHECKING:
    from rowtrail.journal._scope import Scope

run_scope: ContextVar[Scope | None] = ContextVar("rowtrail_run", default=None)
"""The scope of the `journal.run` block around the running code."""

scope_finders: list[Callable[[], Scope | None]] = []
"""How adapters find the scope of the running code; the first answer counts."""


def active_scope() -> Scope | None:
    """Return the scope to which a call made here belongs, None outside any run.

    Code that a run left behind (a task nobody awaited, a thread nobody joined) is outside: the
    run has ended, and what it did is written down.
    """
    for find in scope_finders:
        found = find()
        if found is not None:
            return found
    frame = current_frame.get()
    scope = frame.scope if frame is not None else run_scope.get()
    if scope is not None and scope.attempt.has_ended:
        scope.attempt.warn_left_behind()
        return None
    return scope
