"""Waiting for a call that another live attempt, or another thread of this one, is making."""

from __future__ import annotations

from rowtrail.engine import Tx
from rowtrail.errors import UsageError
from rowtrail.journal._attempt import Attempt
from rowtrail.journal._current import enclosing_frame, owner_here
from rowtrail.journal._flow import Flow, Read, Sleep
from rowtrail.journal._log import log

OWNER_POLL_S = 0.05
"""How often a step that another live attempt makes is looked at: SQLite tells nobody of a commit of
another process, and a look reads one row where an LLM call takes seconds."""

TOLD_AFTER_S = 3.0
"""A wait for another's call that takes longer is said in the log."""


def await_owner(attempt: Attempt, step: int) -> Flow[None]:
    """Wait until another's call has ended, or its owner is gone.

    Raises:
        UsageError: The code that asks runs inside that very call.
    """
    _refuse_waiting_inside(step)
    clock, asker = attempt.recorder.store.clock, owner_here(attempt)
    began_s, is_told = clock.elapsed_s(), False

    def has_ended(tx: Tx) -> bool:
        row = tx.one("step_status", id=step)
        if row is None or row["status"] != "running":
            return True
        return not attempt.recorder.step_goes_on(tx, step, row["attempt"], asker)

    while not (yield Read(has_ended)):
        if not is_told and clock.elapsed_s() - began_s > TOLD_AFTER_S:
            is_told = True
            log().warning(
                "run %r waits for step %s, which another attempt is making: it goes on when that "
                "ends, or once its owner is known to be gone",
                attempt.run_id,
                step,
            )
        yield Sleep(OWNER_POLL_S)


def _refuse_waiting_inside(step: int) -> None:
    frame = enclosing_frame()
    if frame is not None and frame.is_inside(step):
        raise UsageError(
            f"the code of step {step} makes the very call again that it is itself part of, and "
            "would wait for its own end: give the inner work another run id or thread"
        )
