"""Agents that are really killed: a child runs one scenario once. `Children` starts them."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from rowtrail.errors import RowtrailError
from rowtrail_langgraph import RowtrailSaver
from tests._forks import Zygote, serve, warm_up
from tests.adapters._graphs import Ledger, rows, shape, thread
from tests.adapters._scenarios import SCENARIOS, Case


def work(command: dict[str, Any]) -> None:
    """Run a scenario once, and write down how it ended."""
    effects, capture = command.get("effects"), command.get("capture", True)
    with RowtrailSaver(command["db"], effects=effects, capture=capture) as saver:
        graph, asked = SCENARIOS[command["scenario"]](Case(command, saver))
        given = None if command["action"] == "resume" else asked
        durability = command["durability"]
        try:
            if command["mode"] == "async":
                state = asyncio.run(graph.ainvoke(given, thread(), durability=durability))
            else:
                state = graph.invoke(given, thread(), durability=durability)
            ended: Any = {"state": shape(state)}
        except RowtrailError as error:
            ended = {"error": [type(error).__name__, getattr(error, "step_id", None)]}
    Path(command["out"]).write_text(json.dumps(ended))


class Children(Zygote):
    """Runs commands in processes that are forked for them."""

    def __init__(self) -> None:
        super().__init__("tests.adapters._child")


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


if __name__ == "__main__":
    serve(work, before=warm_up)
