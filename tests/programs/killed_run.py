"""A run that was killed, and the ways in which its file can be damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from rowtrail import NOT_DONE, Journal, step

STEPS = 60
PAGE_BYTES = 8192

PROGRAM = """
from tests.programs.killed_run import Agent
from rowtrail import Journal
with Journal(DB) as journal:
    with journal.run("before", thread_id="old"):
        Agent([]).work(5)
    with journal.run("r", thread_id="t", agent="a"):
        agent = Agent([])
        agent.work(40)
        die_at("here")
"""


class Agent:
    """Its right answers are known, and what it did to the world is in `sent`."""

    def __init__(self, sent: list[int]) -> None:
        self.made: list[str] = []
        self.sent = sent

    def work(self, steps: int = STEPS) -> list[str]:
        """Think, look and send in turns, and return all the answers."""

        @step(name="think", kind="llm")
        def think(number: int) -> str:
            self.made.append(f"think {number}")
            return f"thought {number} " + "so " * 1000

        @step(name="look", kind="tool")
        def look(number: int) -> str:
            self.made.append(f"look {number}")
            return f"saw {number}"

        def find(_: object) -> object:
            asked = current_number[0]
            return f"sent {asked}" if asked in self.sent else NOT_DONE

        current_number = [0]

        @step(name="send", kind="tool", effect="write", on_doubt=find)
        def send(number: int) -> str:
            self.made.append(f"send {number}")
            self.sent.append(number)
            return f"sent {number}"

        answers: list[str] = []
        for number in range(steps):
            current_number[0] = number
            answers.append((think, look, send)[number % 3](number))
        return answers


def right_answers(steps: int = STEPS) -> list[str]:
    """Return what the agent answers where nothing is recorded."""
    return Agent([]).work(steps) if steps else []


def resumed(path: Path) -> tuple[list[str], Agent]:
    """Resume the killed run, and return its answers and what was made again."""
    agent = Agent([number for number in range(40) if number % 3 == 2])
    with Journal(path) as journal, journal.run("r", thread_id="t", agent="a"):
        return agent.work(), agent


def sql(path: Path, *statements: str) -> None:
    """Change rows behind rowtrail's back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def flip(path: Path, old: bytes, new: bytes, *, count: int = 1) -> None:
    """Change bytes wherever they are, the first `count` times."""
    assert len(old) == len(new)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))


def pages(path: Path) -> int:
    return path.stat().st_size // PAGE_BYTES


def overwrite(path: Path, page: int, content: bytes) -> None:
    """Write over a page, counted from 1."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(content)
