"""Beginning an attempt: which run it belongs to, and whether it may begin now."""

from __future__ import annotations

import os

from rowtrail.engine import Row, Tx
from rowtrail.errors import RunBusyError, UsageError
from rowtrail.journal._beginning import Beginning, Begun, Finished, Hold
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._recovery import record_crashes

NONCE_BYTES = 8
"""64 bits: two journals have equal idempotency keys only by a copy."""
_UNFINISHED = ("crashed", "cancelled", "failed")


def begin(tx: Tx, recorder: Recorder, beginning: Beginning) -> Begun | Hold | Finished:
    """Find or make the run of an attempt, and the attempt's own row."""
    for write_end in list(recorder.unwritten_ends.values()):
        write_end(tx)
    record_crashes(tx, recorder)
    now = tx.now_ms()
    thread = _thread_row(tx, beginning.thread_id, now)
    found = _run_to_continue(tx, recorder, beginning, thread, now)
    if isinstance(found, Hold):
        return found
    if beginning.gives_back and found is not None and found["done_by"] is not None:
        checkpoint = tx.value("run_last_checkpoint", thread=thread, run=found["id"])
        return Finished(found["run_id"], checkpoint)
    beside = _beside(tx, recorder, beginning, thread)
    if beside is not None and beginning.multitask == "enqueue":
        return Hold(beside, "another attempt of its thread goes on (multitask='enqueue')")
    return _write(tx, recorder, beginning, thread, found, beside, now)


def _write(
    tx: Tx,
    recorder: Recorder,
    beginning: Beginning,
    thread: int | None,
    found: Row | None,
    beside: str | None,
    now: int,
) -> Begun:
    run = found
    if run is None:
        run = _new_run(tx, recorder, beginning, thread, now)
    before = tx.one("run_last_attempt", run=run["id"])
    holds_input = found is not None and bool(tx.value("run_saved", thread=thread, run=run["id"]))
    base_step = run["base_step"]
    if found is not None:
        own_step = tx.value("run_last_step", thread=thread, run=run["id"])
        begun_at = None if before is None else before["head_step"]
        known: list[int] = [step for step in (own_step, begun_at) if step is not None]
        base_step = _base_step(beginning, run, holds_input, max(known, default=None))
        _reopen(tx, recorder, beginning, run, thread, base_step)
    store = recorder.store
    attempt = tx.insert(
        "attempt_insert",
        run=run["id"],
        process=store.process_row,
        now=now,
        answer=beginning.answer_digest,
        head=beginning.head,
        head_step=beginning.head_step,
    )
    tx.run("process_beat", id=store.process_row, now=now)
    return Begun(
        run["id"],
        run["run_id"],
        attempt,
        tx.value("attempt_number", attempt=attempt),
        thread,
        base_step,
        run["nonce"],
        status_before=None if found is None else run["status"],
        error_before=None if found is None else run["error"],
        ended_before=None if found is None else run["ended_at"],
        before=before,
        holds_input=holds_input,
        keeps_doubts=bool(run["keeps_doubts"]),
        beside=beside,
    )


def _thread_row(tx: Tx, thread_id: str | None, now: int) -> int | None:
    if thread_id is None:
        return None
    row: int | None = tx.value("thread_row", thread_id=thread_id)
    return row if row is not None else tx.insert("thread_insert", thread_id=thread_id, now=now)


def _new_run(tx: Tx, recorder: Recorder, beginning: Beginning, thread: int | None, now: int) -> Row:
    run_id = _free_run_id(tx, recorder, beginning)
    tx.insert(
        "run_insert",
        run_id=run_id,
        thread=thread,
        agent=beginning.agent,
        nonce=os.urandom(NONCE_BYTES).hex(),
        keeps_doubts=int(beginning.replay == "never"),
        now=now,
        input_digest=beginning.input_digest,
        base_step=beginning.base_step,
    )
    row = tx.one("run_by_id", run_id=run_id)
    assert row is not None
    return row


def _run_to_continue(
    tx: Tx, recorder: Recorder, beginning: Beginning, thread: int | None, now: int
) -> Row | Hold | None:
    if beginning.intent == "name":
        return _named(tx, beginning, thread)
    if beginning.intent == "fork" or thread is None:
        return None
    run = tx.one("run_newest_of_thread", thread=thread)
    if run is None:
        return None
    if beginning.intent == "resume":
        return run if run["status"] != "done" else None
    if beginning.replay == "never" or not _is_same_input(run, beginning):
        return None
    if run["status"] == "running" and run["done_by"] is None:
        return _unsure(tx, recorder, run)
    return run if _is_continued(tx, beginning, run, now) else None


def _is_same_input(run: Row, beginning: Beginning) -> bool:
    return run["input_digest"] is not None and run["input_digest"] == beginning.input_digest


def _is_continued(tx: Tx, beginning: Beginning, run: Row, now: int) -> bool:
    """Return whether the same input, sent again, continues an unfinished run."""
    if run["status"] not in _UNFINISHED:
        return False
    ended_at = run["ended_at"] if run["ended_at"] is not None else now
    if now - ended_at > beginning.resend_within_s * 1000:
        return False
    if run["status"] != "failed" or beginning.replay == "resume":
        return True
    return bool(tx.value("run_began_effects", run=run["id"]))


def _unsure(tx: Tx, recorder: Recorder, run: Row) -> Hold | None:
    """Return what is waited for where it is not known yet whether an owner of the run is dead."""
    for row in tx.all("run_live_attempts", run=run["id"], me=0):
        if recorder.verdict_in_s(row) is not None:
            return Hold(
                run["run_id"],
                f"process {row['pid']} on {row['host']} had begun it with the same input, and "
                "cannot be told dead or alive yet",
            )
    return None


def _named(tx: Tx, beginning: Beginning, thread: int | None) -> Row | None:
    run = tx.one("run_by_id", run_id=beginning.run_id)
    if run is None:
        return None
    if beginning.gives_back and run["thread"] != thread:
        raise UsageError(
            f"run {beginning.run_id!r} is of another thread than {beginning.thread_id!r}: a run id "
            "names one request of one thread"
        )
    digests = (run["input_digest"], beginning.input_digest)
    if None not in digests and digests[0] != digests[1]:
        raise UsageError(
            f"run {beginning.run_id!r} was begun with another input: a run id names one request; "
            "give this one an id of its own, or send the input that the run was begun with"
        )
    return run


def _beside(tx: Tx, recorder: Recorder, beginning: Beginning, thread: int | None) -> str | None:
    """Return the run of an attempt that goes on in the thread, None where there is none."""
    if thread is None or beginning.base_step is None:
        return None
    for row in tx.all("thread_live_attempts", thread=thread):
        if beginning.multitask == "reject":
            raise RunBusyError(
                f"thread {beginning.thread_id!r} is busy with run {row['run_id']!r} in process "
                f"{row['pid']} on {row['host']} (multitask='reject'): wait for its end, or use "
                "another thread",
                run_id=row["run_id"],
                pid=row["pid"],
                host=row["host"],
                retry_after_s=recorder.verdict_in_s(row),
            )
        return str(row["run_id"])
    return None


def _free_run_id(tx: Tx, recorder: Recorder, beginning: Beginning) -> str:
    if beginning.run_id is None:
        return recorder.store.clock.new_id()
    candidate, n = beginning.run_id, 1
    while tx.one("run_by_id", run_id=candidate) is not None:
        n += 1  # one id for several requests: keep it recognisable
        candidate = f"{beginning.run_id}#{n}"
    return candidate


def _base_step(
    beginning: Beginning, run: Row, holds_input: bool, known_step: int | None
) -> int | None:
    """Return the superstep from which the scopes of a continued run count now.

    Where somebody has updated the state since, the thread is so many supersteps ahead of the run.

    Args:
        known_step: The newest superstep that the run saved, or began an attempt at.
    """
    before: int | None = run["base_step"]
    is_applied_again = beginning.input_digest is not None and not holds_input
    if is_applied_again or before is None:
        return beginning.base_step
    updates = 0
    if known_step is not None and beginning.head_step is not None:
        updates = max(0, beginning.head_step - known_step)
    return before + beginning.base_shift + updates


def _reopen(
    tx: Tx,
    recorder: Recorder,
    beginning: Beginning,
    run: Row,
    thread: int | None,
    base_step: int | None,
) -> None:
    if beginning.exclusive:
        for held in tx.all("run_live_attempts", run=run["id"], me=0):
            raise RunBusyError(
                f"run {run['run_id']!r} is held by process {held['pid']} on {held['host']}: "
                "wait for it, stop it, or give this work another run id",
                run_id=run["run_id"],
                pid=held["pid"],
                host=held["host"],
                retry_after_s=recorder.verdict_in_s(held),
            )
    if beginning.fresh:
        tx.run("steps_start_over", run=run["id"])
        tx.run("run_not_done", run=run["id"])
    tx.run(
        "run_reopen",
        run=run["id"],
        base_step=base_step,
        agent=beginning.agent,
        thread=thread,
    )
