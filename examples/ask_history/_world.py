"""What is outside of the agent: the registry of owners, which fails sometimes, and the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

_OWNERS = ("billing", "storage", "shipping", "people", "sales")


@dataclass
class Registry:
    """Knows who owns a file. It answers some files at the second call, and the last never.

    `calls` and `failures` are its own books.
    """

    names: list[str]
    calls: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def locked(self) -> str:
        """The file that it never tells the owner of."""
        return self.names[-2]

    def is_slow(self, name: str) -> bool:
        """Tell whether the first call about a file fails."""
        return self.names.index(name) % 3 == 1

    def owner(self, name: str) -> str:
        """Return who owns the file.

        Raises:
            ConnectionError: This time it does not answer.
        """
        self.calls.append(name)
        if name == self.locked:
            self.failures.append(name)
            raise ConnectionError("registry refused: the entry is locked by an audit")
        if self.is_slow(name) and self.calls.count(name) == 1:
            self.failures.append(name)
            raise ConnectionError("registry did not answer within 2 s")
        return self.true_owner(name)

    def true_owner(self, name: str) -> str:
        """Return who owns the file, asked behind the counter."""
        return _OWNERS[self.names.index(name) % len(_OWNERS)]


class Ledger:
    """An append-only file with one finding, a JSON object, per line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, file: str, finding: str) -> int:
        """Append a finding and return its number, from 1."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"file": file, "finding": finding}) + "\n")
        return len(self.entries())

    def entries(self) -> list[dict[str, str]]:
        """Return the findings in the order in which they were made."""
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]
