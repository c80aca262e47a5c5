"""Every moment of a call, in every shape of graph and every way to run it: killed, and resumed.

A paid answer is not asked for again, a write happens once, and the end is the one of an undisturbed
run.
"""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rowtrail.testing import LLMServer
from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash.conftest import Figures
from tests.programs.shapes import MOMENTS, SHAPES

MODES = ("invoke", "ainvoke", "stream", "astream")
DURABILITIES = ("sync", "async")
EVERY = 1 if IS_FULL else 4  # 5 moments: all of them in every shape


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote("tests.programs.shapes")
    yield started
    started.close()


def committed(db: Path) -> Counter[str]:
    with closing(sqlite3.connect(db)) as connection:
        found = connection.execute("SELECT name FROM steps WHERE status = 'done'")
        return Counter(name for (name,) in found)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_kill_at_any_moment_of_a_call_repeats_nothing_that_was_committed(
    shape: str, in_memory: Path, zygote: Zygote, echo: LLMServer, figures: Figures
) -> None:
    cases = itertools.product(MODES, DURABILITIES, MOMENTS)
    for number, (mode, durability, moment) in enumerate(cases):
        if number % EVERY:
            continue
        folder = in_memory / f"{number:03}"
        folder.mkdir()
        command: dict[str, Any] = {
            "folder": str(folder),
            "shape": shape,
            "mode": mode,
            "durability": durability,
            "base_url": echo.base_url,
        }
        before = echo.calls
        assert zygote.run(command | {"die_at": moment}) == [-signal.SIGKILL], (mode, moment)
        done, paid = committed(folder / "agent.db"), echo.calls - before
        assert paid - done["ask"] <= 1
        assert zygote.run(command) == [0], (mode, durability, moment)

        asked = Counter(r["messages"][-1]["content"] for r in echo.requests[before:])
        assert set(asked.values()) == {1}, (mode, durability, moment, asked)
        sent = Counter(" ".join(line.split()[:2]) for line in lines(folder / "ledger"))
        expected = {"send a", "send b", "send c"} if shape == "parallel tools" else {"send a"}
        assert sent == Counter(expected), (mode, durability, moment)
        assert "sent a" in json.loads((folder / "ended").read_text())
        figures.add("kills at moments of a call")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
