"""Ending an attempt, and what becomes of the last answer where an error ends a scope."""

from __future__ import annotations

from typing import Literal

from rowtrail.engine import Row, Tx
from rowtrail.errors import ClosedError, StorageError
from rowtrail.journal._attempt import Attempt
from rowtrail.journal._current import owner_here
from rowtrail.journal._flow import Flow, Write, adrive, drive, finish, launch
from rowtrail.journal._log import log
from rowtrail.journal._owners import Owner, give_back_unmade
from rowtrail.journal._recovery import LEFT
from rowtrail.replay import Aside, culprit

Outcome = Literal["done", "failed", "waiting", "cancelled"]

WAYS_OUT = (
    "the answer before it is kept, since {name!r} (step {step}), which changes the world, was "
    "begun on it: the code sees the same failure until it is mended; to ask the model anew, "
    'begin with configurable={{"rowtrail_replay": "never"}} or another run id'
)


def set_answer_aside(attempt: Attempt, scope_name: str, error: BaseException) -> bool:
    """Record that a scope ended with `error`, for the next time that it is executed.

    If a step raised it, nothing is set aside: failed steps are never replayed. Else the last
    LLM answer of the scope is, if there is one: False says that the scope around has its turn.
    """
    return drive(
        _set_answer_aside(attempt, scope_name, error), attempt.recorder.store, attempt.write_key
    )


async def aset_answer_aside(attempt: Attempt, scope_name: str, error: BaseException) -> bool:
    """Async twin of `set_answer_aside`."""
    return await adrive(
        _set_answer_aside(attempt, scope_name, error), attempt.recorder.store, attempt.write_key
    )


def _set_answer_aside(attempt: Attempt, scope_name: str, error: BaseException) -> Flow[bool]:
    if culprit(error, attempt.failures) is not None:
        return True
    return (yield from setting_answer_aside(attempt, scope_name, error))


def setting_answer_aside(attempt: Attempt, scope_name: str, error: BaseException) -> Flow[bool]:
    """Return the flow that marks the last LLM answer of a scope, while an error passes."""
    reason = f"set aside: the code after this answer raised {type(error).__name__}"
    try:
        kept: bool | Row = yield Write(lambda tx: supersede_answer(tx, attempt, scope_name, reason))
    except StorageError:  # not in place of the error that passes
        log().warning("an answer of run %r could not be set aside", attempt.run_id, exc_info=True)
        return False
    if isinstance(kept, bool):
        return kept
    says = WAYS_OUT.format(name=kept["name"], step=kept["id"])
    error.add_note(f"rowtrail: {says}")
    log().warning("run %r failed in scope %r, and %s", attempt.run_id, scope_name, says)
    return True


def supersede_answer(tx: Tx, attempt: Attempt, scope_name: str, reason: str) -> bool | Row:
    """Mark the last LLM answer of a scope as superseded, and return whether there was one.

    An answer on which a call that changes the world was begun stays: asked again, the model
    would ask for that call again. The step is returned.
    """
    answer = tx.one("last_answer", run=attempt.run, name=scope_name)
    if answer is None:
        return False
    begun = tx.all("effects_inside", run=attempt.run, name=scope_name, after=answer["seq"])
    for step in begun:
        if _is_of_answer(step["tool_call_id"], answer["text"]):
            return step
    tx.run(
        "step_supersede",
        id=answer["id"],
        aside=Aside.ASKED_AGAIN,
        reason=reason,
        answers=None,
    )
    return True


def end_attempt(attempt: Attempt, outcome: Outcome, error: str | None = None) -> None:
    """End the attempt; further calls do nothing."""
    try:
        finish(ending(attempt, outcome, error), attempt.recorder.store, attempt.write_key)
    except BaseException:  # Ctrl-C too: the run must not stay held
        _end_at_once(attempt)
        raise


async def aend_attempt(attempt: Attempt, outcome: Outcome, error: str | None = None) -> None:
    """Async twin of `end_attempt`."""
    try:
        await adrive(ending(attempt, outcome, error), attempt.recorder.store, attempt.write_key)
    except BaseException:  # Ctrl-C too: the run must not stay held
        _end_at_once(attempt)
        raise


def _end_at_once(attempt: Attempt) -> None:
    if not attempt.is_over:  # interrupted while it ended
        abandon_attempt(attempt)


def abandon_attempt(attempt: Attempt) -> None:
    """Queue the end of an attempt whose caller was interrupted; it waits for nothing."""
    attempt.has_ended = False
    launch(ending(attempt, "cancelled", None), attempt.recorder.store, attempt.write_key)


def ending(attempt: Attempt, outcome: Outcome, error: str | None) -> Flow[None]:
    """Return the flow that `end_attempt` drives."""
    if attempt.has_ended or attempt.is_inherited:
        return
    attempt.has_ended = True
    attempt.on_end(attempt)
    asker = owner_here(attempt)
    give_back_unmade(attempt.row)

    def work(tx: Tx) -> None:
        end_rows(tx, attempt, outcome, error, asker)

    try:
        yield Write(work)
        attempt.is_over = True
    except StorageError as failed:
        attempt.is_over = True
        attempt.recorder.unwritten_ends[attempt.row] = work
        if outcome in ("done", "waiting"):
            raise
        if isinstance(failed, ClosedError):  # whoever closed the journal ended its attempts
            return
        # Whoever calls is about to raise what went wrong: that must not be hidden.
        log().warning("the end of run %r could not be recorded", attempt.run_id, exc_info=True)


def end_rows(
    tx: Tx, attempt: Attempt, outcome: Outcome, error: str | None, asker: Owner | None = None
) -> None:
    """Write the end of the attempt, and of its run where no other attempt goes on."""
    now = tx.now_ms()
    attempt.recorder.replays.write(tx)
    if attempt.at_end is not None:
        attempt.at_end(tx)
    left_open = _end_open_steps(tx, attempt, outcome, asker)
    is_nothing = outcome == "done" or attempt.is_rejected
    if attempt.is_resumed_done and is_nothing and tx.changed("run_delete_empty", run=attempt.run):
        tx.run("attempt_delete", attempt=attempt.row)  # nothing was left to resume
        return
    status: str = outcome
    if attempt.is_rejected and attempt.begun.status_before is not None:
        status, error = attempt.begun.status_before, attempt.begun.error_before
    is_first = tx.changed(
        "attempt_end", attempt=attempt.row, outcome=outcome, now=now, left_open=int(left_open)
    )
    if is_first:
        tx.run("run_end", run=attempt.run, attempt=attempt.row, status=status, now=now, error=error)


def _end_open_steps(tx: Tx, attempt: Attempt, outcome: Outcome, asker: Owner | None) -> bool:
    """Mark the calls that were cancelled or left behind; return whether others still go on."""
    left_open = False
    for step in sorted(attempt.open):
        if attempt.recorder.call_goes_on(step, asker):
            left_open = True  # by a thread that its caller left: its result is taken when it comes
            continue
        if outcome == "done":
            tx.run("step_left_behind", id=step, attempt=attempt.row)
        tx.run("step_crash", id=step, attempt=attempt.row, error=LEFT)
    return left_open


def _is_of_answer(tool_call_id: str | None, answer: str | None) -> bool:
    """Return whether a call may have been asked for by an answer, of which `answer` is the JSON."""
    return tool_call_id is None or answer is None or tool_call_id in answer
