"""SIGKILL at every system call that writes, syncs, truncates or unlinks.

By default a sample; `ROWTRAIL_KILLS=full` does all of them. After each kill a new process opens the
file: it is whole, what was acknowledged is there, and the work goes on without repeating a
committed call.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rowtrail.testing import LLMServer, Reply
from tests._forks import Zygote
from tests.crash._scenes import SCENES
from tests.crash._strace import counted, counting, killing, reason_to_skip
from tests.crash.conftest import Figures

REASON = reason_to_skip()
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]

SAMPLED = 8
"""Kills of a scene in the default run."""

IS_FULL = os.environ.get("ROWTRAIL_KILLS") == "full"
PROCESSES = 4


def respond(request: dict[str, Any]) -> Reply:
    return Reply(text=f"re: {request['messages'][-1]['content']}")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote("tests.crash._scenes")
    yield started
    started.close()


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(respond) as server:
        yield server


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory: a sync costs nothing there, and a kill loses nothing."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else tmp_path))
    yield folder
    shutil.rmtree(folder)


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

    def length(self) -> int:
        """Return how many system calls the scene makes."""
        folder, log = self.fresh(), self._folder / "calls"
        assert self._zygote.run(self._command(folder, "act", strace=counting(log))) == [0]
        found = counted(log)
        log.unlink()
        return found

    def act(self, folder: Path, when: int, processes: int = 1) -> list[int]:
        """Act in processes, the first of them killed at a call; return their exit codes."""
        commands = [
            self._command(folder, "act", name=f"p{n}", processes=processes)
            for n in range(processes)
        ]
        commands[0]["strace"] = killing(when)
        return self._zygote.run(*commands)

    def judge(self, folder: Path, name: str = "p0") -> None:
        """Look at what the kill left, and go on."""
        before = self._server.calls
        assert self._zygote.run(self._command(folder, "judge", name=name)) == [0]
        asked = [r["messages"][-1]["content"] for r in self._server.requests[before:]]
        committed = folder / "committed"
        is_committed = committed.exists() and "ask" in committed.read_text().split()
        assert len(asked) == (self._scene == "steps" and not is_committed)
        shutil.rmtree(folder)


def moments(length: int, seed: str) -> Iterator[int]:
    """Yield at which calls to kill: all, or the first, the last and some between."""
    if IS_FULL:
        yield from itertools.count(1)
    chance = random.Random(seed)
    edges = [length * n // SAMPLED for n in range(SAMPLED + 1)]
    for low, high in itertools.pairwise(edges):
        yield chance.randint(low + 1, max(low + 1, high))


@pytest.mark.parametrize("scene", SCENES)
def test_a_kill_at_any_system_call_loses_and_repeats_nothing(
    scene: str, in_memory: Path, zygote: Zygote, server: LLMServer, figures: Figures
) -> None:
    stage = Stage(in_memory, scene, zygote, server)
    length = stage.length()
    assert length >= 8
    kills = 0
    for when in moments(length, scene):
        folder = stage.fresh()
        [status] = stage.act(folder, when)
        assert status in (0, -signal.SIGKILL)
        stage.judge(folder)
        kills += status != 0
        if status == 0 and IS_FULL:
            break
    assert kills >= SAMPLED // 2
    figures.add(f"kills at system calls: {scene}", kills)


@pytest.mark.parametrize("scene", ["first open", "steps"])
def test_a_kill_at_any_system_call_harms_no_other_process(
    scene: str, in_memory: Path, zygote: Zygote, server: LLMServer, figures: Figures
) -> None:
    stage = Stage(in_memory, scene, zygote, server)
    length = stage.length()
    kills = 0
    for when in moments(length, f"{scene} of four"):
        folder = stage.fresh()
        status, *others = stage.act(folder, when, PROCESSES)
        assert status in (0, -signal.SIGKILL)
        assert others == [0] * (PROCESSES - 1)
        stage.judge(folder)
        kills += status != 0
        if IS_FULL and when > length + 5:
            break
    assert kills >= 1
    figures.add(f"kills at system calls: {scene}, four processes", kills)
