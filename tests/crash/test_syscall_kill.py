"""SIGKILL at every system call that writes, syncs, truncates or unlinks.

By default a sample; `make crash` does all of them. After each kill a new process opens the
file: it is whole, what was acknowledged is there, and the work goes on without repeating a
committed call.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowtrail.testing import LLMServer
from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash._stage import Stage, moments
from tests.crash._strace import killing, reason_to_skip
from tests.crash.conftest import Figures
from tests.programs.scenes import SCENES

REASON = reason_to_skip()
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]

SAMPLED = 6
"""Kills of a scene in the default run."""

PROCESSES = 4


def kill_points(length: int, seed: str) -> Iterator[int]:
    """Yield at which calls to kill: all, without end, or some."""
    yield from itertools.count(1) if IS_FULL else moments(length, SAMPLED, seed)


@pytest.mark.parametrize("scene", SCENES)
def test_a_kill_at_any_system_call_loses_and_repeats_nothing(
    scene: str, in_memory: Path, scenes: Zygote, echo: LLMServer, figures: Figures
) -> None:
    stage = Stage(in_memory, scene, scenes, echo)
    length = stage.length()
    assert length >= 8
    kills = 0
    for when in kill_points(length, scene):
        folder = stage.fresh()
        [status] = stage.act(folder, killing(when))
        assert status in (0, -signal.SIGKILL)
        stage.judge(folder)
        kills += status != 0
        if status == 0 and IS_FULL:
            break
    assert kills >= SAMPLED // 2
    figures.add(f"kills at system calls: {scene}", kills)


@pytest.mark.parametrize("scene", ["first open", "steps"])
def test_a_kill_at_any_system_call_harms_no_other_process(
    scene: str, in_memory: Path, scenes: Zygote, echo: LLMServer, figures: Figures
) -> None:
    stage = Stage(in_memory, scene, scenes, echo)
    length = stage.length()
    kills = 0
    for when in kill_points(length, f"{scene} of four"):
        folder = stage.fresh()
        status, *others = stage.act(folder, killing(when), PROCESSES)
        assert status in (0, -signal.SIGKILL)
        assert others == [0] * (PROCESSES - 1)
        stage.judge(folder)
        kills += status != 0
        if IS_FULL and when > length + 5:
            break
    assert kills >= 1
    figures.add(f"kills at system calls: {scene}, four processes", kills)
