"""Disks that fail and disks that are full, at any write and any sync.

The work stops with an error of rowtrail's own or does not notice; nothing that was acknowledged is
lost, no tool starts whose row could not be written, a paid answer is in the error, and the next
process goes on.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rowtrail.testing import LLMServer
from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash._stage import Stage, moments
from tests.crash._strace import failing, reason_to_skip
from tests.crash.conftest import Figures
from tests.programs.scenes import SCENES

pytestmark = pytest.mark.timeout(3600)

REASON = reason_to_skip()
needs_strace = pytest.mark.skipif(REASON is not None, reason=str(REASON))

FAULTS = {
    "EIO on sync": ("fsync,fdatasync", "EIO"),
    "EIO on write": ("pwrite64", "EIO"),
    "ENOSPC on write": ("pwrite64", "ENOSPC"),
    "EIO on truncate or unlink": ("ftruncate,unlink", "EIO"),
}
SAMPLED = 1
SAMPLED_SIZES = 2


def assert_stopped_well(folder: Path, scene: str, outcome: dict[str, Any], asked: int) -> None:
    """Assert that a disturbed process ended well, or with an error that holds what was paid."""
    for part in (outcome, outcome["closing"]):
        assert part["is_done"] or part["is_ours"], part["traceback"]
    if scene != "steps" or outcome["is_done"]:
        return
    done = recorded(folder, "done")
    made = {line.split()[0] for line in lines(folder / "effects")} | ({"ask"} if asked else set())
    lost = made - done
    assert len(lost) <= 1
    if lost:
        assert outcome["error"] == "NotRecordedError", outcome["traceback"]
        answer = f"re: {folder.name} p0"
        results = {"ask": answer, "send": f"sent {answer}", "measure": len(f"sent {answer}")}
        assert outcome["result"] == results[lost.pop()]


def recorded(folder: Path, status: str) -> set[str]:
    with closing(sqlite3.connect(f"file:{folder}/agent.db?mode=ro", uri=True)) as connection:
        query = "SELECT name FROM steps WHERE run_id = 'p0' AND status = ?"
        return {name for (name,) in connection.execute(query, (status,))}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@needs_strace
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_failing_disk_stops_the_work_and_loses_nothing(
    scene: str, fault: str, in_memory: Path, scenes: Zygote, echo: LLMServer, figures: Figures
) -> None:
    stage = Stage(in_memory, scene, scenes, echo)
    calls, error = FAULTS[fault]
    length = stage.length(calls)
    points = range(1, length + 1) if IS_FULL else moments(length, SAMPLED, scene + fault)
    stopped = 0
    for point, lasting in itertools.product(points, ("", "+")):
        if not IS_FULL and bool(lasting) != (len(scene + fault) % 2):
            continue
        folder, before = stage.fresh(), echo.calls
        assert stage.act(folder, failing(calls, error, f"{point}{lasting}")) == [0]
        outcome = stage.came_of(folder)
        assert_stopped_well(folder, scene, outcome, echo.calls - before)
        stopped += not outcome["is_done"]
        stage.judge(folder)
        figures.add(f"faults injected: {fault}")
    figures.add("faults that stopped the work", stopped)


@pytest.mark.parametrize("scene", [*SCENES])
def test_a_quota_of_bytes_stops_the_work_and_loses_nothing(
    scene: str, in_memory: Path, scenes: Zygote, echo: LLMServer, figures: Figures
) -> None:
    stage = Stage(in_memory, scene, scenes, echo)
    sizes = range(0, 500_000, 4096) if IS_FULL else moments(400_000, SAMPLED_SIZES, scene)
    for size in sizes:
        folder, before = stage.fresh(), echo.calls
        outcome = stage.outcome(folder, size=size)
        assert_stopped_well(folder, scene, outcome, echo.calls - before)
        stage.judge(folder)
        figures.add("faults injected: quota of bytes")


def test_a_paid_answer_that_cannot_be_recorded_is_in_the_error(
    in_memory: Path, scenes: Zygote, echo: LLMServer
) -> None:
    stage = Stage(in_memory, "steps", scenes, echo)
    found: list[str] = []
    for size in range(40_000, 560_000, 16_384):
        folder = stage.fresh()
        outcome = stage.outcome(folder, size=size)
        if not outcome["is_done"]:
            found.append(json.dumps([outcome["error"], outcome["result"]]))
        # an answer of the model, and what a write returned
        if any('"re: ' in each for each in found) and any('"sent re: ' in each for each in found):
            return
    raise AssertionError(found)
