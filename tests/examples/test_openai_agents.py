"""The example of the OpenAI Agents SDK runs: killed and resumed, it sends once and asks once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("agents", reason="the oldest dependencies go without other frameworks")

ROOT = Path(__file__).resolve().parents[2]


def test_the_agent_is_killed_and_resumed_for_one_call() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.openai_agents"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    before, after = told.split("resumed:")
    assert before.split("\n")[1:] == [
        "  the model is asked with 1 items",
        '  may it send {"to": "Ada"}? yes',
        "  sends the report to Ada",
        "  the model is asked with 3 items",
        "",
    ]
    assert after.split("\n")[1:] == [
        "  the model is asked with 3 items",
        "  Ada has the report.",
        "",
    ]
