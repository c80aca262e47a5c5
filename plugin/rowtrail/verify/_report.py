"""What a check of a journal found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

MAX_FAULTS = 1_000
"""How many faults are listed one by one; the rest is counted."""

MAX_AFFECTED = 10
"""How many runs, threads and steps one fault names."""

Progress = Callable[[str, int, int], None]
"""Called with what is being read, how much of it is read, and how much there is (0: not known)."""

Check = Literal[
    "file",
    "layout",
    "integrity",
    "unreadable",
    "hash",
    "value",
    "list",
    "reference",
    "checkpoint",
    "status",
    "count",
]

SAVES: dict[Check, str] = {
    "file": "restore a backup",
    "layout": "`rowtrail repair` copies the rows into a file with the right schema",
    "integrity": "`rowtrail repair` copies the rows that can be read, and builds the indexes anew",
    "unreadable": "`rowtrail repair` copies the rest; calls whose rows are lost are made again",
    "hash": "`rowtrail repair` sets it aside: a call whose result it was is made again, a `write` "
    "is in doubt, and a checkpoint that holds it is left out",
    "value": "it is read as said here, and its thread goes on",
    "list": "`rowtrail repair` sets it aside: a checkpoint that holds it is left out",
    "reference": "`rowtrail repair` leaves the reference out, or the row where it needs it",
    "checkpoint": "`rowtrail repair` leaves it out: the thread goes on from the one before",
    "status": "`rowtrail repair` sets it right",
    "count": "`rowtrail repair` counts again",
}
"""What can be saved, by what was checked."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        check: What was checked.
        row: The table and the key of the row; the file where it is not a row.
        says: What is wrong with it.
        affects: The runs, threads and steps that it concerns, the first ten.
        saves: What can be saved, and how.
    """

    check: Check
    row: str
    says: str
    affects: tuple[str, ...]
    saves: str


@dataclass(frozen=True)
class Verification:
    """What a check of a journal found.

    Attributes:
        rows: How many rows of each table were read.
        faults: What is wrong, the first thousand.
        fault_count: How much is wrong.
        notes: What is worth knowing, and not a fault.
        orphans: Content that nothing refers to, until `rowtrail prune` deletes it; None where it
            was not looked for.
    """

    path: str
    quick: bool
    rows: dict[str, int]
    faults: tuple[Fault, ...]
    fault_count: int
    notes: tuple[str, ...]
    orphans: dict[str, int] | None

    @property
    def ok(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.fault_count

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return {"ok": self.ok, **asdict(self)}


class Findings:
    """Collects what is found."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.count = 0
        self.notes: list[str] = []
        self.rows: dict[str, int] = {}
        self.orphans: dict[str, int] | None = None

    def add(self, check: Check, row: str, says: str, *affects: str) -> None:
        """Add a fault."""
        self.count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(check, row, says, affects[:MAX_AFFECTED], SAVES[check]))

    def report(self, path: str, *, quick: bool) -> Verification:
        """Return all of it."""
        return Verification(
            path=path,
            quick=quick,
            rows=self.rows,
            faults=tuple(self.faults),
            fault_count=self.count,
            notes=tuple(dict.fromkeys(self.notes)),  # one statement may be asked again and again
            orphans=self.orphans,
        )
