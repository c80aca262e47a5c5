"""Figures of the fault suite: counted while the tests run, shown at their end."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

FIGURES = os.environ.get("ROWTRAIL_FIGURES")
"""Where the figures are written as JSON, when named."""

_totals = pytest.StashKey[dict[str, int]]()


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
    if FIGURES:
        Path(FIGURES).write_text(json.dumps(totals, indent=2, sort_keys=True))
