"""What the tests of the explicit ways share: with hooks in the process and without."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver

import rowtrail_langgraph
from rowtrail import Journal
from rowtrail_langgraph.capture import _hooks
from tests.adapters._graphs import Bench, Fuse, Killed, Mode, run, thread

Hooks = Literal["with hooks", "without hooks"]


HOOKS: tuple[Hooks, ...] = ("with hooks", "without hooks")


SAVERS = ("RowtrailSaver", "InMemorySaver")


@contextmanager
def hooks(which: Hooks) -> Generator[None]:
    """Have hooks in the process, or none; they must make no difference."""
    if which == "with hooks":
        rowtrail_langgraph.install()
    else:
        rowtrail_langgraph.uninstall()
    yield
    assert _hooks.is_installed() == (which == "with hooks")
    rowtrail_langgraph.uninstall()


def saver_of(kind: str, journal: Journal) -> Any:
    if kind == "InMemorySaver":
        return InMemorySaver()
    return rowtrail_langgraph.RowtrailSaver(journal, capture=False)


def looking(bench: Bench, fuse: Fuse, mode: Mode) -> BaseTool:
    """Return a tool that is killed at the word `c`, once."""

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        if word == "c":
            fuse()
        return f"{word} is a word"

    @tool("look")
    async def alook(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        if word == "c":
            await asyncio.sleep(0.05)
            fuse()
        return f"{word} is a word"

    return look if mode == "sync" else alook


async def to_its_end(mode: Mode, graph: Any, input: Any, config: Any = None) -> tuple[Any, int]:
    """Run an agent, resuming it whenever it is killed; return its state and the kills."""
    kills, given = 0, input
    while True:
        try:
            return await run(mode, graph, given, config or thread()), kills
        except Killed:
            kills, given = kills + 1, None
