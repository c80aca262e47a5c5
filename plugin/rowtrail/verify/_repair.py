"""Building a sound journal of what a damaged one still holds."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, replace
from typing import Any

from rowtrail.engine.files import DamagedFile, NewFile
from rowtrail.errors import DamagedError
from rowtrail.verify._check import no_progress, verify
from rowtrail.verify._rebuild import Rebuild
from rowtrail.verify._report import Progress, Verification

MAX_LOSSES = 1_000
"""How many losses are listed one by one; the rest is counted."""


@dataclass(frozen=True)
class Loss:
    """Something of the damaged journal that the new one does not have, or has otherwise.

    Attributes:
        row: The table and the key of the row in the damaged journal.
        says: What became of it, and what that means.
    """

    row: str
    says: str


@dataclass(frozen=True)
class Repair:
    """What a repair built.

    Attributes:
        source: The damaged journal, which is as it was.
        target: The new one; None where it was only tried.
        copied: How many rows of each table the new journal has.
        losses: What it has not, or has otherwise, the first thousand.
        loss_count: How much that is.
        verification: The check of the new journal.
    """

    source: str
    target: str | None
    copied: dict[str, int]
    losses: tuple[Loss, ...]
    loss_count: int
    verification: Verification

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return asdict(self)


def repair(
    source: str, target: str, *, dry_run: bool = False, progress: Progress | None = None
) -> Repair:
    """Build a sound journal of what can be read of a damaged one; that one is not changed.

    What cannot be proved is not handed back: a result whose hash is wrong is left out, so that its
    call is made again, and a call with effect `write` is in doubt. The new file gets its name once
    it is whole, checked and on disk.

    Args:
        source: The damaged journal.
        target: A file that does not exist yet.
        dry_run: Build it in a temporary folder, and keep nothing.
        progress: Called with what is done, how much of it, and of how much.

    Raises:
        StorageError: Either file cannot be used; the leaf and the message say why.
        NotAJournalError: The source is something else, or its first page is destroyed.
        DamagedError: Nothing sound could be built.
    """
    if not dry_run:
        return _repair(source, target, progress or no_progress, keep=True)
    with tempfile.TemporaryDirectory() as folder:
        built = _repair(
            source, os.path.join(folder, "dry-run.db"), progress or no_progress, keep=False
        )
    return replace(built, target=None)


def _repair(source: str, target: str, progress: Progress, *, keep: bool) -> Repair:
    with DamagedFile(source) as file, NewFile(target) as new:
        rebuild = Rebuild(file, new, progress)
        rebuild.build()
        new.commit()
        found = verify(new.path, values=False, progress=progress)
        if not found.ok:
            raise DamagedError(
                f"no sound journal could be built of {source!r} "
                f"({found.faults[0].row}: {found.faults[0].says}): restore a backup",
                path=source,
            )
        if keep:
            new.give_name()
    losses = [Loss(row, says) for row, says in rebuild.losses[:MAX_LOSSES]]
    return Repair(
        source=source,
        target=target,
        copied=found.rows,
        losses=tuple(losses),
        loss_count=len(rebuild.losses),
        verification=replace(found, path=target),
    )
