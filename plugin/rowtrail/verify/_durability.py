"""Which of the newest steps are on disk, and which event could still take one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar

from rowtrail.engine import NORMAL, Row, Tx

T = TypeVar("T")

Event = Literal["process kill", "power cut", "disk loss"]
"""What can happen: the process dies; the machine does (or its kernel); the disk does."""

ON_DISK: tuple[Event, ...] = ("disk loss",)
IN_CACHE: tuple[Event, ...] = ("power cut", "disk loss")
IN_MEMORY: tuple[Event, ...] = ("process kill", "power cut", "disk loss")


class Source(Protocol):
    """A journal to ask: a `Store` or a `Reader`."""

    def read(self, work: Callable[[Tx], T]) -> T: ...


@dataclass(frozen=True)
class StepDurability:
    """What could still become of the row of one step.

    Attributes:
        on_disk: Whether the newest change of the row is on disk; None where another process wrote
            it, or may have, which alone knows: the beginning of a call that changes nothing, or
            anything with `durability="normal"`.
        may_vanish: The events that could still take that change.
        says: The same in words, with what it means for the step.
    """

    step_id: str
    run_id: str
    kind: str
    name: str
    status: str
    on_disk: bool | None
    may_vanish: tuple[Event, ...]
    says: str


@dataclass(frozen=True)
class DurabilityReport:
    """The newest steps, the newest first.

    Attributes:
        normal_processes: How many processes have the journal open with `durability="normal"`, or
            died so: the newest commits of such a process a power cut may take.
    """

    steps: tuple[StepDurability, ...]
    normal_processes: int

    @property
    def at_risk(self) -> tuple[StepDurability, ...]:
        """Return the steps whose newest change is not known to be on disk."""
        return tuple(step for step in self.steps if not step.on_disk)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return asdict(self)


def recent_durability(
    source: Source,
    *,
    limit: int = 20,
    process: int | None = None,
    unsynced: Callable[[], frozenset[int]] = frozenset,
    in_memory: bool = False,
) -> DurabilityReport:
    """Return which of the newest steps are on disk.

    Args:
        source: The journal.
        limit: How many steps.
        process: Row of the process that asks, when it writes the journal itself.
        unsynced: Returns the steps that it changed since it last synced.
        in_memory: The journal is in memory.
    """
    rows, normal, own = source.read(
        lambda tx: (
            tx.all("steps_newest", limit=limit),
            tx.value("normal_processes"),
            tx.value("meta_value", key=f"{NORMAL}{process}"),
        )
    )
    changed = unsynced()  # after the rows: what is committed between counts as if it were not
    asking = _Asking(process, changed, normal - (own is not None) > 0, in_memory)
    return DurabilityReport(tuple(_durability_of(row, asking.place(row)) for row in rows), normal)


@dataclass(frozen=True)
class _Asking:
    """What the process that asks knows; `others_are_normal`: others may leave commits unsynced."""

    process: int | None
    unsynced: frozenset[int]
    others_are_normal: bool
    in_memory: bool

    def place(self, row: Row) -> tuple[bool | None, tuple[Event, ...]]:
        """Return whether the newest change of a step is on disk, and what could take it."""
        if self.in_memory:
            return False, IN_MEMORY
        if row["id"] in self.unsynced:
            return False, IN_CACHE
        if row["process"] != self.process and _may_be_unsynced(row):
            return None, IN_CACHE
        if row["is_changed"] and self.others_are_normal:
            return None, IN_CACHE  # a run started over, a crash written down, a step settled
        return True, ON_DISK


def _may_be_unsynced(row: Row) -> bool:
    """Return whether the process that wrote a row may not have synced it."""
    if row["status"] == "running":  # a call that changes the world is on disk before it is made
        return bool(row["effect"] == "read")
    return bool(row["is_normal"])


def _durability_of(row: Row, place: tuple[bool | None, tuple[Event, ...]]) -> StepDurability:
    on_disk, events = place
    return StepDurability(
        step_id=str(row["id"]),
        run_id=row["run_id"],
        kind=row["kind"],
        name=row["name"],
        status=row["status"],
        on_disk=on_disk,
        may_vanish=events,
        says=_words(row, on_disk, events),
    )


def _words(row: Row, on_disk: bool | None, events: tuple[Event, ...]) -> str:
    if events == IN_MEMORY:
        return "in memory only: it ends with the process"
    in_flight = row["status"] == "running"
    if on_disk:
        if in_flight:
            return "the row is on disk; the result of the call in flight is nowhere yet"
        return "on disk: only the loss of the disk takes it"
    sure = "may not be on disk yet" if on_disk is None else "is not on disk yet"
    if row["effect"] == "write" and not in_flight:
        return (
            f"that the call began is on disk, its result {sure}: after a power cut it is in doubt"
        )
    return f"{sure}: a power cut takes it, and the call is made again; a kill does not"
