"""One process of the demo's agent: started, watched through its events, killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Event = dict[str, Any]
POLL_S = 0.02  # much less than a step of the agent takes
STEP_TIMEOUT_S = 90  # a cold start of Python on a slow disk is within it
LOG_TAIL_CHARS = 2000
"""What a person reads of a child's log where it failed: its last lines."""


class DemoError(Exception):
    """The demo could not be carried out."""


class AgentProcess:
    """A running agent; `listen` is called with each of its events, on a thread of its own.

    Leaving the context kills the process if it still runs.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, listen: Callable[[Event], None]
    ) -> None:
        self.events: list[Event] = []
        self._listen = listen
        self._log = log
        command = [sys.executable, "-m", "rowtrail_langgraph.demo._agent", *arguments]
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(),
            )
        self._reader = threading.Thread(target=self._read_events, name="agent-events", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until(self, reached: Callable[[], bool], where: str) -> None:
        """Return once `reached` is true.

        Raises:
            DemoError: the agent ended before, or took longer than `STEP_TIMEOUT_S`.
        """
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while not reached():
            if self._process.poll() is not None:
                raise DemoError(f"the agent ended before it was {where}\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise DemoError(f"the agent was not {where} in {STEP_TIMEOUT_S} s: {self._log}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """Send SIGKILL and return once the process is gone and its last events are read."""
        self._process.kill()
        self._end()

    def finish(self) -> str:
        """Wait until the agent ends by itself and return its final answer.

        Raises:
            DemoError: it failed, or took longer than `STEP_TIMEOUT_S`.
        """
        try:
            self._process.wait(STEP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"the agent did not end in {error.timeout} s: {self._log}") from error
        self._end()
        answers = [event["text"] for event in self.events if event["event"] == "answer"]
        if self._process.returncode != 0 or not answers:
            raise DemoError(f"the agent failed\n{self._log_tail()}")
        return str(answers[-1])

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def _end(self) -> None:
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read_events(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            event = _parse(line)
            if event is not None:
                self.events.append(event)
                self._listen(event)

    def _log_tail(self) -> str:
        return self._log.read_text("utf-8", errors="replace")[-LOG_TAIL_CHARS:]


def _parse(line: bytes) -> Event | None:
    """Return the event in `line`; None for a line cut short by the kill, or printed by others."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _environment() -> dict[str, str]:
    """Return this process's environment, less what would send the agent's calls elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_"))
        and not name.upper().endswith("_PROXY")
    }
    return kept | {"LANGSMITH_TRACING": "false", "PYTHONUTF8": "1"}
