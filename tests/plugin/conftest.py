"""An agent to record, and a world in which programs die: processes, a journal, a ledger."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rowtrail import step
from rowtrail.cli import main

PRELUDE = """
import asyncio, os, signal, sys, threading
import rowtrail
from rowtrail import NOT_DONE, Journal, current_step, step
DB, LEDGER, WORD = sys.argv[1:]

def note(what):
    '''Write one line to the ledger: on disk when this returns.'''
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{what}\\n".encode())
    os.fsync(file)
    os.close(file)

def die_at(place):
    '''Die here and now, if the test said so.'''
    if place == WORD:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass
class World:
    """A folder with one journal and one ledger, and programs that run in it."""

    folder: Path

    @property
    def db(self) -> Path:
        return self.folder / "agent.db"

    def begin(self, code: str, word: str = "") -> subprocess.Popen[str]:
        """Start a program; it has `DB`, `WORD`, `note`, `die_at` and the names of rowtrail."""
        ledger = self.folder / "ledger"
        return subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, str(self.db), str(ledger), word],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, word: str = "") -> str:
        """Run a program to its end and return what it printed."""
        process = self.begin(code, word)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out.strip()

    def kill(self, code: str, die_at: str) -> None:
        """Run a program that dies at a place."""
        process = self.begin(code, die_at)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, err or "it did not die"

    def ledger(self) -> list[str]:
        """Return what was done, in order."""
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a folder in which programs run and die."""
    if not hasattr(os, "fork"):
        pytest.skip("needs POSIX signals")
    return World(tmp_path)


class Agent:
    """Steps that say what was really called, in sync and in async."""

    def __init__(self) -> None:
        self.made: list[Any] = []

        @step(name="think", kind="llm")
        def think(prompt: str) -> str:
            self.made.append(prompt)
            return f"thought about {prompt}"

        @step(name="look", kind="tool")
        def look(where: str) -> str:
            self.made.append(where)
            if where == "nowhere":
                raise LookupError(where)
            return f"saw {where}"

        @step(name="think", kind="llm")
        async def athink(prompt: str) -> str:
            self.made.append(prompt)
            await asyncio.sleep(0)
            return f"thought about {prompt}"

        self.think, self.look, self.athink = think, look, athink

    def taken(self) -> list[Any]:
        """Return what was called since this was asked last."""
        made, self.made[:] = list(self.made), []
        return made


@pytest.fixture
def agent() -> Agent:
    return Agent()


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[list[str]]:
        """Return the words of each line."""
        return [line.split() for line in self.out.splitlines()]


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return a function that runs `rowtrail` in this process, where nothing is a terminal."""
    for name in ("ROWTRAIL_DB", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments], prog_name="rowtrail")
        out, err = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Done(stop.value.code, out, err)

    return run
