"""The ledger: the file in which the demo's write tool leaves its effects."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One effect: what was recorded, and the idempotency key of the step that did it."""

    finding: str
    key: str | None


class Ledger:
    """An append-only file with one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Entry) -> None:
        """Append `entry`; it is synced to disk before this returns."""
        with self.path.open("ab") as file:
            file.write(json.dumps(asdict(entry)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[Entry]:
        """Return the entries in the order in which they were made."""
        if not self.path.exists():
            return []
        return [Entry(**json.loads(line)) for line in self.path.read_text("utf-8").splitlines()]

    def find(self, key: str) -> Entry | None:
        """Return the entry made under `key`, if there is one."""
        return next((entry for entry in self.entries() if entry.key == key), None)
