"""What is true, found out from the files themselves and not from the journal."""

from __future__ import annotations

import csv
import re
from pathlib import Path


class Facts:
    """Answers about the files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.bytes = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.lines = {name: raw.decode().splitlines() for name, raw in self.bytes.items()}

    def longest(self) -> str:
        """Return the name of the file with the most lines."""
        return max(self.lines, key=lambda name: len(self.lines[name]))

    def twins(self) -> tuple[str, ...]:
        """Return the names of files whose content another file has too."""
        contents = list(self.bytes.values())
        return tuple(name for name, raw in self.bytes.items() if contents.count(raw) > 1)

    def paid_cents(self) -> dict[str, int]:
        """Return the cents of the paid orders by file."""
        return {
            name: sum(
                int(row["quantity"]) * int(row["cents"])
                for row in csv.DictReader(lines)
                if row["status"] == "paid"
            )
            for name, lines in self.lines.items()
            if name.endswith(".csv")
        }

    def errors(self) -> dict[str, int]:
        """Return the number of errors by log file."""
        return {
            name: sum(" ERROR " in line for line in lines)
            for name, lines in self.lines.items()
            if name.endswith(".log")
        }

    def groups(self, name: str, pattern: str) -> tuple[str, ...]:
        """Return the groups of a pattern where it first matches a file.

        Raises:
            LookupError: It matches nowhere.
        """
        found = re.search(pattern, "\n".join(self.lines[name]))
        if found is None:
            raise LookupError(f"{pattern!r} is not in {name!r}")
        return found.groups()
