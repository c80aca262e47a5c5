"""What a journal says of its own file: whether it is whole, and what could still be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rowtrail.engine import Store
from rowtrail.errors import UsageError
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._recovery import record_crashes

if TYPE_CHECKING:
    from rowtrail.verify import DurabilityReport, Progress, Verification


def check_durability(durability: str) -> None:
    """Refuse a word for a durability that there is not.

    Raises:
        UsageError: It is neither `full` nor `normal`.
    """
    if durability not in ("full", "normal"):
        raise UsageError(f"durability={durability!r} is unknown: use 'full' or 'normal'")


class Checks:
    """The part of a `Journal` that looks at its file."""

    store: Store
    recorder: Recorder

    def _refuse_closed(self) -> None:
        raise NotImplementedError

    def verify(self, *, quick: bool = False, progress: Progress | None = None) -> Verification:
        """Check the file: SQLite's own check, hashes, references, lists, checkpoints and counts.

        Args and errors as for `rowtrail.verify.verify`; a journal in memory raises `UsageError`.

        Example: `for fault in journal.verify().faults: print(fault.row, fault.says)`
        """
        from rowtrail.verify import verify

        self._refuse_closed()
        path = self.store.file()
        if path is None:
            raise UsageError("a journal in memory has no file to check")
        return verify(path, quick=quick, progress=progress)

    def durability(self, *, limit: int = 20) -> DurabilityReport:
        """Tell of the newest steps whether they are on disk, and what could still take one.

        With `durability="full"` every step is, once its caller goes on. With `normal` the report is
        exact for the steps of this process; what another process with `normal` wrote is unknown.

        Example: `for step in journal.durability().at_risk: print(step.step_id, step.says)`
        """
        from rowtrail.verify import recent_durability

        self._refuse_closed()
        store = self.store
        return recent_durability(
            store,
            limit=limit,
            process=store.process_row,
            unsynced=store.unsynced_steps,
            in_memory=store.is_in_memory,
        )

    def recover(self) -> int:
        """Write down which attempts have died, and return how many; opening a run does it too."""
        self._refuse_closed()
        return self.store.write(lambda tx: record_crashes(tx, self.recorder))
