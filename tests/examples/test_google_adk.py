"""The example of Google ADK runs: killed and resumed, it sends once and asks once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("google.adk", reason="the oldest dependencies go without other frameworks")

ROOT = Path(__file__).resolve().parents[2]


def test_the_app_is_killed_and_resumed_for_one_call() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.google_adk"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    before, after = told.split("resumed:")
    assert before.split("\n")[1:] == [
        "  the model is asked with 1 contents",
        "  sends the report to Ada",
        "  the model is asked with 3 contents",
        "",
    ]
    assert after.split("\n")[1:] == [
        "  the model is asked with 3 contents",
        "  Ada has the report.",
        "",
    ]
