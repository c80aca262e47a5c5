"""Figures of the fault suite: counted while the tests run, shown at their end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rowtrail.testing import LLMServer, Reply
from tests._forks import Zygote
from tests._sample import IS_FULL

RANDOM_KILLS = 500 if IS_FULL else int(os.environ.get("ROWTRAIL_KILLS", "40"))
"""How many kills at random instants each agent has to bear."""


class Figures:
    """Adds up what the tests of one process inject and find."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def add(self, what: str, count: int = 1) -> None:
        """Count something."""
        properties = self._request.node.user_properties
        properties.append((f"figure: {what}", count))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Return where a test counts its faults."""
    return Figures(request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if getattr(report, "when", "") == "call" and name.startswith("figure: "):
                    totals[name.removeprefix("figure: ")] += value
    if not totals:
        return
    terminalreporter.section("faults")
    for name, value in sorted(totals.items()):
        terminalreporter.write_line(f"{value:7} {name}")


def _echo(request: dict[str, Any]) -> Reply:
    return Reply(text=f"re: {request['messages'][-1]['content']}")


@pytest.fixture(scope="module")
def scenes() -> Iterator[Zygote]:
    started = Zygote("tests.programs.scenes")
    yield started
    started.close()


@pytest.fixture(scope="module")
def echo() -> Iterator[LLMServer]:
    with LLMServer(_echo) as server:
        yield server


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory: a sync costs nothing there, and a kill loses nothing."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else tmp_path))
    yield folder
    shutil.rmtree(folder)
