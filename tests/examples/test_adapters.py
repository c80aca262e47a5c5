"""The example of each adapter runs: killed and resumed, it pays, sends and asks once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LETTER = "  sends the report to Ada"
EXAMPLES = {
    # of which framework; what is done before the kill, what the model is asked with, the answer
    "google_adk": ("google.adk", [LETTER], "contents", "  Ada has the report."),
    "openai_agents": (
        "agents",
        ['  may it send {"to": "Ada"}? yes', LETTER],
        "items",
        "  Ada has the report.",
    ),
    "plain_sdk": ("openai", ["  measures the river"], "messages", "  It is 12 km long."),
    "pydantic_ai": ("pydantic_ai", ["  measures the river"], "messages", "  It is 12 km long."),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_agent_is_killed_and_resumed_for_one_call(example: str) -> None:
    framework, made, what, says = EXAMPLES[example]
    pytest.importorskip(framework, reason="the oldest dependencies go without other frameworks")
    told = subprocess.run(
        [sys.executable, "-m", f"examples.{example}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    before, after = told.split("resumed:\n")
    asked = "  the model is asked with"
    assert before.splitlines() == ["killed:", f"{asked} 1 {what}", *made, f"{asked} 3 {what}"]
    assert after.splitlines() == [f"{asked} 3 {what}", says]
