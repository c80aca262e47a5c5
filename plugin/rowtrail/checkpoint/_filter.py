"""Metadata filters: what of them is a column too, which an index or a plain comparison answers."""

from __future__ import annotations

import json

from rowtrail.content import LONGEST_INT


def columns_of(filter: str) -> dict[str, str | int | None]:
    """Return the columns that rows which pass a filter have; None where any value will do.

    The filter still decides: a column may hold the same text for a number in the metadata.

    Args:
        filter: JSON object: what the metadata must have.
    """
    wanted = json.loads(filter)
    run_id, source, step = (wanted.get(key) for key in ("run_id", "source", "step"))
    return {
        "run_id": run_id if isinstance(run_id, str) else None,
        "source": source if isinstance(source, str) else None,
        "step": step if type(step) is int and abs(step) <= LONGEST_INT else None,
    }
