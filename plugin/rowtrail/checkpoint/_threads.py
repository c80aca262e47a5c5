"""Which threads there are."""

from __future__ import annotations

from collections.abc import Iterable

from rowtrail.engine import Tx


def threads_among(tx: Tx, thread_ids: Iterable[str]) -> list[str]:
    """Return which of these threads the journal has, with checkpoints or with runs only."""
    return [
        thread_id
        for thread_id in thread_ids
        if tx.value("thread_row", thread_id=thread_id) is not None
    ]
