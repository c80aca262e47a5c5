"""Agents that are really killed: a process that forks a child for each command on its stdin.

Importing langchain takes seconds and a fork milliseconds, so many real kills fit in a test. Nothing
is open when it forks. A child runs one scenario once. `Children` is the side of the tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from rowtrail.errors import RowtrailError
from rowtrail.usage import Usage, price_usd
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._graphs import Ledger, rows, shape, thread
from tests.adapters._scenarios import SCENARIOS, Case, model_of

FOLDER = Path(__file__).parents[2]


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


def main() -> None:
    """Serve lists of commands, one on a line, until stdin ends; the commands of one run at once."""
    for line in sys.stdin:
        commands = json.loads(line)
        for command in commands:
            _warm_up(command["base_url"])
        pids = [_fork(command) for command in commands]
        print(json.dumps(pids), flush=True)
        statuses = dict(os.wait() for _ in pids)
        print(json.dumps([os.waitstatus_to_exitcode(statuses[pid]) for pid in pids]), flush=True)


@cache
def _warm_up(base_url: str) -> None:
    """Make once what every child would make: the client's TLS context, the price list."""
    model_of(base_url)
    usage = Usage(input_tokens=1, output_tokens=1, source="provider")
    price_usd(usage, model="gpt-4o-mini", provider="openai", at_ms=0)


def _fork(command: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work(command)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class Children:
    """Runs commands in processes that are forked for them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.adapters._child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=FOLDER,
        )

    def start(self, *commands: dict[str, Any]) -> list[int]:
        """Start children that run at once, and return their pids."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(commands) + "\n")
        self._process.stdin.flush()
        return self._line()

    def wait(self) -> list[int]:
        """Wait for the children, and return their exit codes, negative for a signal."""
        return self._line()

    def close(self) -> None:
        """End the process that forks them."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _line(self) -> list[int]:
        assert self._process.stdout is not None
        found: list[int] = json.loads(self._process.stdout.readline())
        return found


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
    main()
