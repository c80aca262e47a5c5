"""Agents that are really killed: `Children` starts processes that run one scenario once."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests._forks import Zygote
from tests.adapters._graphs import Ledger, rows


class Children(Zygote):
    """Runs commands in processes that are forked for them."""

    def __init__(self) -> None:
        super().__init__("tests.programs.scenarios")


class Agent:
    """One agent on a journal of its own, run in child after child."""

    def __init__(self, folder: Path, children: Children, base_url: str, **command: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "agent.db"
        self.ledger = Ledger(folder / "ledger")
        self.out = folder / "out"
        self._children = children
        self._command = {
            "db": str(self.path),
            "ledger": str(self.ledger.path),
            "out": str(self.out),
            "base_url": base_url,
            "mode": "sync",
            "durability": "async",
            "action": "start",
            **command,
        }

    def command(self, **command: Any) -> dict[str, Any]:
        """Return a command for this agent."""
        return {**self._command, **command}

    def run(self, **command: Any) -> int:
        """Run the agent once, and return the exit code of its process."""
        self._children.start(self.command(**command))
        return self._children.wait()[0]

    def killed(self, die_at: str, **command: Any) -> None:
        """Run the agent until it kills itself at a point."""
        status = self.run(die_at=die_at, **command)
        assert status == -signal.SIGKILL, f"the agent ended with {status}, not by the kill"

    def resumed(self, **command: Any) -> Any:
        """Resume the agent in a new process, and return how it ended."""
        assert self.run(**{"action": "resume", **command}) == 0
        return self.ended()

    def ended(self) -> Any:
        """Return how the last process ended: its state, or the error of the journal."""
        return json.loads(self.out.read_text())

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return rows of the journal."""
        return rows(self.path, query, *values)
