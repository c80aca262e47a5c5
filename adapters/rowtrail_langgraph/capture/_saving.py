"""What a run learns of what is saved for it, and what of it is saved with that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from rowtrail import Journal
from rowtrail.content import Codec
from rowtrail.engine import Tx
from rowtrail.journal import Attempt, finish_scope
from rowtrail.journal.questions import Asker, answer_newest
from rowtrail_langgraph.capture._marker import NULL_TASK_ID, RUN_KEY
from rowtrail_langgraph.capture._place import GraphRun, run_of
from rowtrail_langgraph.capture._questions import next_answer, unrecorded


def attempt_of(config: Mapping[str, Any], journal: Journal) -> Attempt | None:
    """Return the attempt that a saver's call is part of."""
    run = (config.get("configurable") or {}).get(RUN_KEY)
    if not isinstance(run, GraphRun) or run.attempt.recorder is not journal.recorder:
        return None
    run.has_begun = True
    return run.attempt


def finishing(
    config: Mapping[str, Any], task_id: str, channels: Collection[str]
) -> Callable[[Tx], None] | None:
    """Return what notes, with the writes of a task, that its scope is not executed again.

    Only where the scope made calls that change the world: of others nobody asks.
    """
    run = run_of(config)
    if run is None:
        return None
    run.has_begun = True
    name = run.scope_name(task_id)
    if name is None or not is_finished(channels) or run.attempt.claims.is_empty:
        return None

    def finish(tx: Tx) -> None:
        finish_scope(tx, run=run.attempt.run, name=name)

    return finish


def asking(
    config: Mapping[str, Any],
    journal: Journal,
    codec: Codec,
    task_id: str,
    writes: Sequence[tuple[str, Any]],
) -> Callable[[Tx, str], None] | None:
    """Return what writes, with the writes of a task, what was asked and answered since; or None.

    It is given the id of the thread.
    """
    run, clock = run_of(config), journal.store.clock
    if run is None:
        inside = (config.get("configurable") or {}).get("checkpoint_ns")
        found = None if inside else unrecorded(codec, task_id, writes)
        if found is None:
            return None
        return lambda tx, thread_id: found(tx, clock.now_ms(), thread_id)
    attempt = run.attempt
    if attempt.recorder is not journal.recorder:
        return None
    answer, noted = next_answer(run.codec, task_id, writes), run.questions.take()
    if answer is None and noted is None:
        return None

    def work(tx: Tx, thread_id: str) -> None:
        if answer is not None:
            answer_newest(tx, clock.now_ms(), Asker(attempt.thread, attempt.run, ""), answer[0])
        if noted is not None:
            noted(tx, clock.now_ms())

    return work


def is_finished(channels: Collection[str]) -> bool:
    """Return whether LangGraph takes a task with these writes for done when it resumes.

    Any write that is not a control write makes it so, also beside an error: a task that is
    cancelled as it ends has both. Seen with langgraph 1.2.22.
    """
    return not WRITES_IDX_MAP.keys() >= set(channels)


def without_used_answer(
    config: Mapping[str, Any], found: CheckpointTuple | None
) -> CheckpointTuple | None:
    """Return a checkpoint without the answer to a question that is answered.

    LangGraph keeps the last answer with the checkpoint and gives it, where a graph is resumed with
    nothing, to whatever is asked next. Seen with langgraph 1.2.22: two interrupts in one node.
    """
    run = run_of(config)
    if found is None or run is None or not run.drops_used_answer or not found.pending_writes:
        return found
    kept = [
        write
        for write in found.pending_writes
        if not (write[0] == NULL_TASK_ID and write[1] == RESUME and is_answer_used(found, write[2]))
    ]
    return found._replace(pending_writes=kept)


def is_answer_used(found: CheckpointTuple, answer: Any) -> bool:
    """Return whether a task has taken an answer: it is the last of those that the task keeps."""
    return any(
        channel == RESUME
        and task_id != NULL_TASK_ID
        and isinstance(kept, list)
        and kept
        and kept[-1] == answer
        for task_id, channel, kept in found.pending_writes or ()
    )


def note_writes(config: Mapping[str, Any], task_id: str, writes: Sequence[tuple[str, Any]]) -> None:
    """Note in the run that a task waits for a person, or ended with an error."""
    run = run_of(config)
    if run is None:
        return
    for channel, value in writes:
        if channel == INTERRUPT:
            run.is_waiting = True
        elif channel == ERROR and isinstance(value, BaseException):
            run.note_failure(task_id, value)
