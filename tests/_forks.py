"""Processes for tests that kill: one that has imported everything, and forks a child per command.

Importing takes seconds and a fork milliseconds, so hundreds of real kills fit in a test. The
process that forks has one thread and nothing open. It reads a list of commands, forks a child for
each of them at once, prints their pids, and then how they ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rowtrail.usage import Usage, price_usd

FOLDER = Path(__file__).parents[1]

Run = Callable[[dict[str, Any]], object]


def serve(run: Run, *, before: Run | None = None) -> None:
    """Fork a child for each command on stdin, until that ends; `before` is called in the parent."""
    for line in sys.stdin:
        commands = json.loads(line)
        for command in commands:
            if before is not None:
                before(command)
        pids = [_fork(run, command) for command in commands]
        print(json.dumps(pids), flush=True)
        statuses = dict(os.waitpid(pid, 0) for pid in pids)
        print(json.dumps([os.waitstatus_to_exitcode(statuses[pid]) for pid in pids]), flush=True)


def _fork(run: Run, command: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run(command)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def warm_up(command: dict[str, Any]) -> None:
    """Make once what every child would make: the price list, and the TLS context of a model."""
    _warm_up(command["base_url"])


@cache
def _warm_up(base_url: str) -> None:
    from langchain_openai import ChatOpenAI  # only what calls one imports it

    ChatOpenAI(base_url=base_url, api_key=SecretStr("none"))
    usage = Usage(input_tokens=1, output_tokens=1, source="provider")
    price_usd(usage, model="gpt-4o-mini", provider="openai", at_ms=0)


class Zygote:
    """The side of the tests: starts children of a module that calls `serve`."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
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

    def run(self, *commands: dict[str, Any]) -> list[int]:
        """Run children to their end, and return their exit codes."""
        self.start(*commands)
        return self.wait()

    def run_and_kill(self, after_s: float, command: dict[str, Any]) -> int:
        """Run a child, kill it after some time, and return its exit code."""
        [pid] = self.start(command)
        time.sleep(after_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self.wait()[0]

    def close(self) -> None:
        """End the process that forks them."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=110)
        self._process.stdout.close()

    def _line(self) -> list[int]:
        assert self._process.stdout is not None
        found: list[int] = json.loads(self._process.stdout.readline())
        return found
