"""The folder in which one combination happens: its journal, its ledger, and its flags."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

POLL_S = 0.005
FLAG_TIMEOUT_S = 40.0

Pause = Generator[float, None, None]
"""Code that is written once for both modes: it yields the seconds for which it wants to sleep."""


@dataclass(frozen=True)
class Line:
    """One effect in the ledger."""

    amount: int
    key: str | None
    step: str | None
    role: str


@dataclass(frozen=True)
class World:
    """One combination's folder; `token` marks its questions at the endpoint."""

    folder: Path
    token: str
    with_approval: bool = False

    @property
    def db(self) -> Path:
        """The journal: the copy, once there is one."""
        copy = self.folder / "copy.db"
        return copy if copy.exists() else self.folder / "agent.db"

    @property
    def question(self) -> str:
        return f"order #{self.token}: act" + (" with approval" if self.with_approval else "")

    @property
    def other_question(self) -> str:
        return f"are you there? go on with #{self.token}"

    def note(self, line: Line) -> None:
        """Append an effect to the ledger; it is on disk on return."""
        file = os.open(self.folder / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, (json.dumps(asdict(line)) + "\n").encode())
        os.fsync(file)
        os.close(file)

    def ledger(self) -> list[Line]:
        """Return the effects so far."""
        path = self.folder / "ledger"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Line(**json.loads(line)) for line in lines]

    def claim(self, name: str) -> bool:
        """Set a flag, and return whether it was not set before."""
        try:
            os.close(os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def flag(self, name: str) -> None:
        """Set a flag."""
        self.claim(name)

    def has(self, name: str) -> bool:
        """Return whether a flag is set, or a file is there."""
        return (self.folder / name).exists()

    def awaiting(self, name: str) -> Pause:
        """Wait for a flag."""
        yield from until(lambda: self.has(name), f"the flag {name!r}")

    def save(self, name: str, value: Any) -> None:
        """Write JSON, whole or not at all."""
        part = self.folder / f"{name}.part"
        part.write_text(json.dumps(value))
        part.rename(self.folder / name)

    def load(self, name: str) -> Any:
        """Read JSON, None when it was not written."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Answer a query over the views with SQLite alone; where no journal is, with nothing."""
        if not self.db.exists():
            return []
        # not read-only: there may be a journal to roll back
        with contextlib.closing(sqlite3.connect(self.db, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
                return []
            return [dict(row) for row in connection.execute(query, parameters)]

    def trace(self, role: str, text: str) -> None:
        """Append a line for whoever looks into a failure."""
        with (self.folder / "trace").open("a") as file:
            file.write(f"{time.monotonic():.3f} {role}: {text}\n")


def until(condition: Callable[[], bool], what: str, within_s: float = FLAG_TIMEOUT_S) -> Pause:
    """Wait for a condition.

    Raises:
        AssertionError: It does not come.
    """
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} never came")
        yield POLL_S


def returned_by(code: Generator[float, None, T]) -> T:
    """Run code that is written for both modes in this thread, and return what it returns."""
    while True:
        try:
            seconds = next(code)
        except StopIteration as end:
            result: T = end.value
            return result
        time.sleep(seconds)


async def areturned_by(code: Generator[float, None, T]) -> T:
    """Run code that is written for both modes in this task, and return what it returns."""
    while True:
        try:
            seconds = next(code)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(seconds)


def sleeping(pauses: Pause) -> None:
    """Wait in this thread."""
    returned_by(pauses)


async def asleeping(pauses: Pause) -> None:
    """Wait in this task."""
    await areturned_by(pauses)
