"""Folders on which scenes are prepared, disturbed and judged."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rowtrail.testing import LLMServer
from tests._forks import Zygote
from tests.crash._strace import CALLS, counted, counting


class Stage:
    """One scene on folders of its own."""

    def __init__(self, folder: Path, scene: str, zygote: Zygote, server: LLMServer) -> None:
        self._folder, self._scene, self._zygote, self._server = folder, scene, zygote, server
        self._numbers = itertools.count(1)
        self._prepared = folder / "prepared"
        self._prepared.mkdir()
        assert zygote.run(self._command(self._prepared, "prepare")) == [0]

    def _command(self, folder: Path, part: str, **more: Any) -> dict[str, Any]:
        url = self._server.base_url
        return {"scene": self._scene, "folder": str(folder), "part": part, "base_url": url, **more}

    def fresh(self) -> Path:
        """Return a new folder, prepared."""
        folder = self._folder / str(next(self._numbers))
        shutil.copytree(self._prepared, folder)
        return folder

    def length(self, calls: str = CALLS) -> int:
        """Return how many of these system calls the scene makes."""
        folder, log = self.fresh(), self._folder / "calls"
        assert self._zygote.run(self._command(folder, "act", strace=counting(log, calls))) == [0]
        found = counted(log)
        log.unlink()
        return found

    def act(self, folder: Path, strace: list[str], processes: int = 1) -> list[int]:
        """Act in processes, the first of them disturbed by strace; return their exit codes."""
        commands = [
            self._command(folder, "act", name=f"p{n}", processes=processes)
            for n in range(processes)
        ]
        commands[0]["strace"] = strace
        return self._zygote.run(*commands)

    def outcome(self, folder: Path, **limits: int) -> dict[str, Any]:
        """Act within limits of the process, or as it was disturbed, and return what came of it."""
        assert self._zygote.run(self._command(folder, "act", name="p0", **limits)) == [0]
        return self.came_of(folder)

    def came_of(self, folder: Path) -> dict[str, Any]:
        """Return how the process that acted says that it ended."""
        found: dict[str, Any] = json.loads((folder / "outcome").read_text())
        return found

    def judge(self, folder: Path, name: str = "p0") -> None:
        """Look at what the kill left, and go on."""
        before = self._server.calls
        assert self._zygote.run(self._command(folder, "judge", name=name)) == [0]
        asked = [r["messages"][-1]["content"] for r in self._server.requests[before:]]
        committed = folder / "committed"
        is_committed = committed.exists() and "ask" in committed.read_text().split()
        assert len(asked) == (self._scene == "steps" and not is_committed)
        shutil.rmtree(folder)


def moments(length: int, sampled: int, seed: str) -> Iterator[int]:
    """Yield some of the numbers from 1 to `length`, spread over all of them."""
    chance = random.Random(seed)
    edges = [length * n // sampled for n in range(sampled + 1)]
    for low, high in itertools.pairwise(edges):
        yield chance.randint(low + 1, max(low + 1, high))
