"""Which checkpoints others are rebuilt from.

A delta channel stores its value now and then only; between, it is rebuilt from the nearest stored
value and the writes since. What a checkpoint is rebuilt from cannot be deleted before it.
Source: `DeltaChannel` in langgraph.channels.delta.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from rowtrail.engine import Tx

COUNTERS = "counters_since_delta_snapshot"
"""Key of a checkpoint's metadata; its keys are the channels that the checkpoint does not store."""

SNAPSHOT = "snapshot"
"""Stored type of the values that a delta channel stores now and then."""


def delta_ancestors(tx: Tx, thread: int, doomed: Iterable[int]) -> set[int]:
    """Return those of `doomed` from which the other checkpoints of a thread are rebuilt."""
    gone = set(doomed)
    rows = tx.all("thread_lineage", thread=thread, key=COUNTERS)
    snapshots = [row["channel"] for row in tx.all("thread_snapshots", thread=thread, type=SNAPSHOT)]
    wanted = {
        row["id"]: _counted(row["metadata"]).union(snapshots)
        for row in rows
        if row["id"] not in gone and row["whole"] and not row["hidden"]
    }
    names = sorted({name for channels in wanted.values() for name in channels})
    if not names:
        return set()
    stored = {
        (row["checkpoint"], row["channel"])
        for row in tx.all("thread_values_of", thread=thread, channels=tx.array(names))
    }
    place = {(row["ns"], row["checkpoint_id"]): row["id"] for row in rows}
    parent = {row["id"]: place.get((row["ns"], row["parent_id"])) for row in rows}
    return _walk(wanted, parent, stored) & gone


def has_delta_channels(tx: Tx, thread: int) -> bool:
    """Return whether a checkpoint of the thread is rebuilt from others."""
    rows = tx.all("thread_lineage", thread=thread, key=COUNTERS)
    if any(row["metadata"] is not None for row in rows):
        return True
    return bool(tx.all("thread_snapshots", thread=thread, type=SNAPSHOT))


def _walk(
    wanted: dict[int, set[str]], parent: dict[int, int | None], stored: set[tuple[int, str]]
) -> set[int]:
    """Return the ancestors of each row up to the nearest that stores the value, per channel."""
    needed: set[tuple[int, str]] = set()
    for row, channels in wanted.items():
        for channel in channels:
            at: int | None = row
            while at is not None and (at, channel) not in stored:
                at = parent[at]
                if at is not None and (at, channel) in needed:
                    break
                if at is not None:
                    needed.add((at, channel))
    return {row for row, _ in needed}


def _counted(metadata: str | None) -> set[str]:
    counters: dict[str, object] | None = json.loads(metadata or "{}").get(COUNTERS)
    return set(counters or ())
