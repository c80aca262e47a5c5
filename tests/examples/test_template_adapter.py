"""The adapter that others start from runs: killed and resumed, it pays for nothing twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.template_adapter import adapter
from examples.template_adapter.framework import Message, Model, Tool
from rowtrail import Journal

ROOT = Path(__file__).resolve().parents[2]


def test_the_agent_is_killed_and_resumed() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.template_adapter"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    before, after = told.split("resumed with:")
    assert before.count("measured") == 1
    assert "measured" not in after
    assert after.count("model asked") == 1
    assert after.endswith("It is 12 km long.\n")


def test_streams_are_replayed_and_hooks_are_set_once(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cls, name in ((Model, "answer"), (Model, "stream"), (Tool, "call")):
        monkeypatch.setattr(cls, name, getattr(cls, name))
    adapter.install()
    adapter.install()
    asked: list[list[Message]] = []

    def send(messages: list[Message]) -> Message:
        asked.append(messages)
        return {"role": "assistant", "content": "It is long."}

    model = Model("toy-1", send)
    for _ in range(2):
        with Journal(db) as journal, journal.run("r"):
            words = list(model.stream([{"role": "user", "content": "How long?"}]))
            assert words == ["It ", "is ", "long. "]
    assert len(asked) == 1
    assert list(model.stream([])) == ["It ", "is ", "long. "]  # outside a run it is just made
    assert len(asked) == 2
