"""Which threads there are, and where they stand: the supersteps of their checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

from rowtrail.engine import Tx, id_text


def threads_among(tx: Tx, thread_ids: Iterable[str]) -> list[str]:
    """Return which of these threads the journal has, with checkpoints or with runs only."""
    return [
        thread_id
        for thread_id in thread_ids
        if tx.value("thread_row", thread_id=thread_id) is not None
    ]


def newest_checkpoint(tx: Tx, thread_id: str, ns: str) -> tuple[int | None, str | None, str | None]:
    """Return superstep, id and source of the newest checkpoint of a namespace."""
    row = tx.one("newest_checkpoint", thread_id=thread_id, ns=ns)
    if row is None:
        return None, None, None
    return row["step"], id_text(row["checkpoint_id"]), row["source"]


def step_of_checkpoint(tx: Tx, thread_id: str, ns: str, checkpoint_id: str) -> int | None:
    """Return the superstep of a checkpoint, None where there is none of this id."""
    key = {"thread_id": thread_id, "ns": ns, "checkpoint_id": tx.id(checkpoint_id)}
    step: int | None = tx.value("checkpoint_step", **key)
    return step


def newest_input_step(tx: Tx, thread_id: str, ns: str) -> int | None:
    """Return the superstep of the newest input of a namespace, None without one."""
    step: int | None = tx.value("newest_input_step", thread_id=thread_id, ns=ns)
    return step


def newest_run_id(tx: Tx, thread_id: str) -> str | None:
    """Return the run id of the newest checkpoint of a thread, None where it has none."""
    run_id: str | None = tx.value("newest_run_id", thread_id=thread_id)
    return run_id
