"""What somebody decides about a step in doubt, and about those in doubt with it."""

from __future__ import annotations

from rowtrail.content import Content, Prepared
from rowtrail.engine import Row, Tx
from rowtrail.errors import UnknownIdError, UsageError
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._recovery import record_crashes
from rowtrail.journal.questions import settle_question
from rowtrail.replay import Aside

__all__ = ["set_aside", "set_twins_aside", "settle", "settle_by_hand", "settle_twins"]

_TOLD = {
    Aside.RETRIED: "settled: it is made again",
    Aside.NOT_HAPPENED: "settled: it did not happen",
}


def set_aside(tx: Tx, step: int, aside: Aside, *, answers: int | None = None) -> None:
    """Write down that a step counts as not made."""
    set_twins_aside(tx, step, aside)
    tx.run("step_supersede", id=step, aside=aside, reason=_TOLD[aside], answers=answers)


def set_twins_aside(tx: Tx, step: int, aside: Aside = Aside.NOT_HAPPENED) -> None:
    """Write down that the steps which are in doubt with this one count as not made."""
    for twin in tx.all("step_twins", id=step):
        tx.run("step_supersede", id=twin["id"], aside=aside, reason=_TOLD[aside], answers=None)


def settle_twins(tx: Tx, content: Content, step: int, output: Prepared | None) -> None:
    """Give the steps that are in doubt with this one its result, which came late."""
    for twin in tx.all("step_twins", id=step):
        _write_result(tx, content, twin, output, "settled: it happened, and ended late", None)


def settle(
    tx: Tx,
    content: Content,
    step: Row,
    output: Prepared | None,
    reason: str,
    *,
    answers: int | None = None,
) -> None:
    """Write down what a step returned; `step` has the columns `id`, `fingerprint` and `n`."""
    for twin in tx.all("step_twins", id=step["id"]):
        _write_result(tx, content, twin, output, reason, None)
    _write_result(tx, content, step, output, reason, answers)


def _write_result(
    tx: Tx,
    content: Content,
    row: Row,
    output: Prepared | None,
    reason: str,
    answers: int | None,
) -> None:
    item = None if output is None else content.put(tx, output)
    seal = output and content.seal(output.encoded, row["fingerprint"], row["n"])
    tx.run("step_settle", id=row["id"], output=item, seal=seal, reason=reason, answers=answers)


def settle_by_hand(tx: Tx, recorder: Recorder, step_id: str, output: Prepared | None) -> None:
    """Write down what a person says of a step: what it returned; None: it did not happen.

    Raises:
        UnknownIdError: There is no such step.
        UsageError: There is nothing to say of it.
    """
    record_crashes(tx, recorder)
    row = tx.one("step_by_text_id", id=step_id)
    if row is None:
        raise UnknownIdError(f"no step has the id {step_id!r}", kind="step", value=step_id)
    if not _is_open_to_decision(tx, row):
        raise UsageError(
            f"step {step_id} is {row['status']!r}, not in doubt: there is nothing to settle"
        )
    tx.run("step_not_asked", id=row["id"])  # nobody need answer any more
    settle_question(tx, recorder.store.clock.now_ms(), row["id"], output)
    if output is None:
        set_aside(tx, row["id"], Aside.NOT_HAPPENED)
    else:
        settle(tx, recorder.content, row, output, "settled: it happened")


def _is_open_to_decision(tx: Tx, row: Row) -> bool:
    """Return whether a person may decide: in doubt, without a result, or left by its attempt."""
    if row["status"] == "done":
        return row["output"] is None  # it could not be stored
    if row["status"] == "running":
        owner = tx.one("attempt_owner", attempt=row["attempt"])
        return owner is None or owner["ended_at"] is not None
    return str(row["status"]) == "in_doubt"
