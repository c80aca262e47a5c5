"""Which scope a call belongs to: the step around it, the run around it, or an adapter's task."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from rowtrail.errors import UsageError
from rowtrail.journal._attempt import Attempt, Scope, Warned
from rowtrail.journal._current import current_frame, lent
from rowtrail.journal._live import active_attempts, is_begun_here, is_news
from rowtrail.journal._log import log
from rowtrail.replay import Effect

run_scope: ContextVar[Scope | None] = ContextVar("rowtrail_run", default=None)
"""The scope of the `journal.run` block around the running code."""

own_run: ContextVar[bool] = ContextVar("rowtrail_own_run", default=False)
"""Whether that block is inside the framework's task around the running code, not around it."""

scope_finders: list[Callable[[], Scope | None]] = []
"""How adapters find the scope of the running code; the first answer counts."""

elsewhere_finders: list[Callable[[], bool]] = []
"""How adapters say that the running code is part of work of theirs that is not recorded."""

REMEDY = (
    "submit the work from inside the run (ThreadPoolExecutor.submit, loop.run_in_executor, "
    "asyncio.create_task), join a thread before the step that started it ends, or enter "
    "`with journal.run(...)` around the call"
)


class Place(NamedTuple):
    """Where code runs: the scope that its calls belong to, or the run that left it behind."""

    scope: Scope | None = None
    left_by: Warned | None = None
    is_submitted: bool = True
    """Whether it is work that the run itself submitted."""

    def scope_of(self, name: str, effect: Callable[[], Effect]) -> Scope | None:
        """Return the scope of a call that is made here, None where it is made unrecorded.

        Args:
            name: Name of the function, for the warning that it is not recorded.
            effect: Returns its effect.

        Raises:
            UsageError: It is a `write` that no run can record though one is active, or that
                belongs to a run which has ended.
        """
        if self.scope is not None:
            return self.scope
        if self.left_by is not None and (self.is_submitted or not active_attempts()):
            _tell_left_behind(self.left_by, name, effect, is_submitted=self.is_submitted)
        elif _may_be_a_run_s():
            _tell_unowned(name, effect)
        return None


def here() -> Place:
    """Return where the code runs that calls this."""
    frame = current_frame.get()
    if not own_run.get():
        for find in scope_finders:
            found = find()
            if found is not None:
                return place_of_scope(found)
    scope = frame.scope if frame is not None else run_scope.get()
    if scope is not None:
        return place_of_scope(scope)
    borrowed = lent.get()
    if borrowed is None:
        return Place()
    if borrowed.is_inherited:
        return Place()
    scope = borrowed.scope
    return Place(scope) if scope is not None else Place(None, borrowed.warned, is_submitted=False)


def place_of_scope(scope: Scope) -> Place:
    """Return where code runs whose scope is known, unless its run has ended."""
    if scope.attempt.is_inherited:  # a child that was forked inside the run is outside it
        return Place()
    return Place(left_by=scope.attempt.warned) if scope.attempt.has_ended else Place(scope)


def active_scope() -> Scope | None:
    """Return the scope to which a call made here belongs, None outside any run.

    Code that a run left behind (a task nobody awaited, a thread nobody joined) is outside: the
    run has ended, and what it did is written down.
    """
    return here().scope


def attempt_around() -> Attempt | None:
    """Return the attempt whose code waits for the code here: not who started the thread."""
    scope = None if lent.get() is not None else active_scope()
    return None if scope is None else scope.attempt


Entered = tuple[tuple[ContextVar[Any], Token[Any]], ...]


def enter(*values: tuple[ContextVar[Any], Any]) -> Entered:
    """Set context variables, and return what `leave` undoes it with."""
    before = [(variable, variable.get()) for variable, _ in values]
    try:
        return tuple([(variable, variable.set(value)) for variable, value in values])
    except BaseException:  # Ctrl-C
        for variable, value in before:
            variable.set(value)
        raise


def leave(entered: Entered) -> None:
    """Undo `enter`, unless this is another context: then the one that was entered is gone."""
    for variable, token in reversed(entered):
        # RuntimeError: it is undone; LookupError: so is what stood there before
        with contextlib.suppress(ValueError, RuntimeError, LookupError):
            variable.reset(token)


def enter_run(scope: Scope) -> Entered:
    """Make a run of its own what the code here belongs to, whatever step or thread it is in."""
    scope.outside = (run_scope.get(), own_run.get())
    return enter((run_scope, scope), (own_run, True), (current_frame, None), (lent, None))


def leave_run(scope: Scope, entered: Entered) -> None:
    """Undo `enter_run`, unless another run was entered since and is inside still.

    So it is where a generator that holds a run is closed inside another run. When that is left,
    the code belongs to what stood around the run that has ended meanwhile.
    """
    if run_scope.get() is not scope:
        return
    leave(entered)
    outer, own = found = run_scope.get(), own_run.get()
    while outer is not None and outer.attempt.has_ended:
        outer, own = outer.outside
    if (outer, own) != found:
        run_scope.set(outer)
        own_run.set(own)


def _may_be_a_run_s() -> bool:
    """Return whether code of nobody may do the work of an active run, such as a queue's worker."""
    if not active_attempts() or is_begun_here():
        return False
    return not any(is_elsewhere() for is_elsewhere in elsewhere_finders)


def _tell_left_behind(
    run: Warned, name: str, effect: Callable[[], Effect], *, is_submitted: bool
) -> None:
    if is_submitted and effect() == "write":
        raise UsageError(
            f"{name} was not called: it is a write of run {run.run_id!r}, which has ended and "
            "cannot record it; await the run's tasks and futures inside it, or enter "
            "`with journal.run(...)` around the call"
        )
    if is_news(name, [run]):
        log().warning(
            "run %r has ended, and %s is called by code that it left behind: the call is made and "
            "not recorded; await its tasks and join its threads inside the run, or enter "
            "`with journal.run(...)` around the call",
            run.run_id,
            name,
        )


def _tell_unowned(name: str, effect: Callable[[], Effect]) -> None:
    thread = threading.current_thread().name
    if effect() == "write":
        raise UsageError(
            f"{name} was not called: it is a write, a run is active, and nothing tells whether "
            f"this code (in thread {thread!r}) is part of it; {REMEDY}"
        )
    if is_news(name, [attempt.warned for attempt in active_attempts()]):
        log().warning(
            "%s is called while a run is active, and nothing tells whether this code (in thread "
            "%r) is part of it: the call is made and not recorded; %s",
            name,
            thread,
            REMEDY,
        )
