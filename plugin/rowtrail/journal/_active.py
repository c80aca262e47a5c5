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
    """Return the scope to which a call made here belongs, None outside any run."""
    for find in scope_finders:
        scope = find()
        if scope is not None:
            return scope
    frame = current_frame.get()
    if frame is not None:
        return frame.scope
    return run_scope.get()
