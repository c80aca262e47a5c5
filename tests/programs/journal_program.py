"""A program without a framework, and a process that forks a child to run it for each command."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import rowtrail
from rowtrail import NOT_DONE, Journal, Step, current_step
from tests._forks import serve

CITIES = ("Oslo", "Rome", "Lima", "Bonn", "Kiel")
FILES = ("a", "b", "c")
STEP_SECONDS = 0.002


class Program:
    """Two LLM calls, five parallel tools, one write, three steps in threads."""

    def __init__(self, folder: str) -> None:
        self._ledger = Path(folder, "ledger")
        self._told = Path(folder, "told")

        @rowtrail.step(name="ask", kind="llm")
        async def ask(prompt: str) -> str:
            await self._do(f"ask {prompt}")
            return f"answer to {prompt}"

        @rowtrail.step(name="weather", kind="tool", effect="idempotent")
        async def weather(city: str) -> str:
            await self._do(f"weather {city}")
            return f"rain in {city}"

        @rowtrail.step(name="send", kind="tool", effect="write", on_doubt=self._look)
        async def send(text: str) -> str:
            await self._do(f"send {current_step().idempotency_key}")
            return f"sent {text}"

        @rowtrail.step(name="measure")
        def measure(name: str) -> int:
            self._write(self._ledger, f"measure {name}")
            time.sleep(STEP_SECONDS)
            return len(name)

        self.ask, self.weather, self.send, self.measure = ask, weather, send, measure

    def run(self, db: str) -> list[str]:
        """Run to the end and return what came of it."""
        with Journal(db) as journal:
            return asyncio.run(self._main(journal))

    async def _main(self, journal: Journal) -> list[str]:
        async with journal.run("r"):
            said = [await self._tell("ask plan", self.ask("plan"))]
            told = (self._tell(f"weather {city}", self.weather(city)) for city in CITIES)
            said += await asyncio.gather(*told, self._tell("send", self.send("the plan")))
            with ThreadPoolExecutor(2) as pool:
                said += [str(size) for size in pool.map(self.measure, FILES)]
            said.append(await self._tell("ask summary", self.ask("summary")))
        return said

    async def _do(self, line: str) -> None:
        """Have an effect on the world, and take some time."""
        self._write(self._ledger, line)
        await asyncio.sleep(STEP_SECONDS)

    async def _tell(self, what: str, step: Any) -> str:
        """Note, for the test, that the caller was told of a result."""
        result: str = await step
        self._write(self._told, what)
        return result

    def _look(self, step: Step) -> Any:
        """Look in the ledger whether the write happened."""
        line = f"send {step.idempotency_key}"
        return "sent the plan" if line in self._ledger.read_text().splitlines() else NOT_DONE

    def _write(self, path: Path, line: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{line}\n".encode())
        os.fsync(file)
        os.close(file)


class Executioner:
    """Kills the process at a statement, or right before or after a commit."""

    def __init__(self, at: str, number: int) -> None:
        self._at, self._left = at, number

    def watch_statements(self) -> None:
        """Count the statements of every connection, from its first pragma on."""
        connect = sqlite3.connect

        def watched(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(lambda _: self._count("statement"))
            return connection

        sqlite3.connect = watched  # type: ignore[assignment]

    def watch_commits(self) -> None:
        """Count the commits of the writer, as the writer makes them."""
        from rowtrail.engine.sqlite import SqliteStore

        begin: Any = SqliteStore.__init__

        def watched(store: Any, *args: Any, **options: Any) -> None:
            begin(store, *args, **options)
            store.watch_commits(
                lambda: self._count("before commit"), lambda: self._count("after commit")
            )

        setattr(SqliteStore, "__init__", watched)  # noqa: B010  # typed otherwise

    def _count(self, what: str) -> None:
        if what == self._at:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run(command: dict[str, Any]) -> None:
    """Run the program once; die where the command says so."""
    if "die_at" in command:
        executioner = Executioner(command["die_at"], command["number"])
        if command["die_at"] == "statement":
            executioner.watch_statements()
        else:
            executioner.watch_commits()
    folder = command["folder"]
    said = Program(folder).run(os.path.join(folder, "agent.db"))
    Path(folder, "said").write_text(json.dumps(said))


if __name__ == "__main__":
    logging.getLogger("rowtrail").setLevel(logging.ERROR)  # it warns of every call in doubt
    with Journal(":memory:") as journal, journal.run("imports what is needed"):
        asyncio.run(asyncio.sleep(0))
    serve(run)
