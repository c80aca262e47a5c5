"""The example of Pydantic AI runs: killed and resumed, it pays for nothing twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pydantic_ai", reason="the oldest dependencies go without other frameworks")

ROOT = Path(__file__).resolve().parents[2]


def test_the_agent_is_killed_and_resumed_for_one_call() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.pydantic_ai"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    before, after = told.split("resumed:")
    assert (before.count("the model is asked"), before.count("measures")) == (2, 1)
    assert after.split("\n")[1:] == [
        "  the model is asked with 3 messages",
        "  It is 12 km long.",
        "",
    ]
