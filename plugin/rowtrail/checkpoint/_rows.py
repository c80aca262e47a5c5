"""Checkpoints on their way into the journal and out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rowtrail.content import Encoded, Prepared, PreparedList
from rowtrail.errors import CorruptRowError

Value = Prepared | PreparedList
"""A channel value: one item, or the items of a list."""

Known = Callable[[str, int, object], PreparedList | None]
"""What the caller remembers of a channel's list, by its row and the stamp for which it is that."""


@dataclass(slots=True)
class NewCheckpoint:
    """A checkpoint on its way in.

    Attributes:
        run: Row of the run that is active, if one is.
        created_at: Milliseconds since 1970, for one that was made elsewhere; None is now.
    """

    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    body: Encoded
    metadata: str
    values: Mapping[str, Value]
    step: int | None = None
    source: str | None = None
    run: int | None = None
    run_id: str | None = None
    created_at: int | None = None


@dataclass(slots=True)
class NewWrite:
    """One pending write on its way in."""

    idx: int
    channel: str
    value: Value


@dataclass(slots=True)
class NewWrites:
    """The pending writes of one task on their way in.

    Attributes:
        replace: Whether they replace those that are there; else these stay.
    """

    task_id: str
    task_path: str
    writes: Sequence[NewWrite]
    replace: bool = False


class StoredWrite(NamedTuple):
    """One pending write as it was stored."""

    task_id: str
    channel: str
    value: Value


class StoredCheckpoint(NamedTuple):
    """A checkpoint as it was stored; `metadata` is JSON text."""

    row: int
    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    body: Encoded
    metadata: str
    values: dict[str, Value]
    writes: list[StoredWrite]


class DamagedCheckpoint(NamedTuple):
    """A checkpoint that cannot be read, and why."""

    row: int
    thread_id: str
    checkpoint_id: str
    error: CorruptRowError
