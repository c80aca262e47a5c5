"""Where a thread stands: the superstep of a checkpoint."""

from __future__ import annotations

from rowtrail.checkpoint._packing import pack_id, unpack_id
from rowtrail.engine import Tx


def newest_checkpoint(tx: Tx, thread_id: str, ns: str) -> tuple[int | None, str | None, str | None]:
    """Return superstep, id and source of the newest checkpoint of a namespace."""
    row = tx.one("newest_checkpoint", thread_id=thread_id, ns=ns)
    if row is None:
        return None, None, None
    return row["step"], unpack_id(row["checkpoint_id"]), row["source"]


def step_of_checkpoint(tx: Tx, thread_id: str, ns: str, checkpoint_id: str) -> int | None:
    """Return the superstep of a checkpoint, None where there is none of this id."""
    key = {"thread_id": thread_id, "ns": ns, "checkpoint_id": pack_id(checkpoint_id)}
    step: int | None = tx.value("checkpoint_step", **key)
    return step
