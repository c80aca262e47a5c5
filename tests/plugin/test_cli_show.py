"""`rowtrail show` over time: bars, replays, failures, doubt, trees."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

import rowtrail
from rowtrail import InDoubtError, Journal
from tests.plugin.conftest import Cli


@rowtrail.step(kind="llm", name="think")
def think(seconds: float) -> str:
    time.sleep(seconds)
    return "thought"


@rowtrail.step(kind="tool", name="send", effect="write")
def send(to: str) -> None:
    raise KeyboardInterrupt


@rowtrail.step(kind="tool", name="fail")
def fail() -> None:
    raise ValueError("out of paper")


@rowtrail.step(name="inner")
def inner(number: int) -> int:
    return number


@rowtrail.step(name="outer")
def outer(number: int) -> int:
    return inner(number) + inner(number + 1)


@pytest.fixture
def resumed(journal: Journal, db: Path) -> Path:
    """Return a journal whose run crashed in a write after a call, and was resumed in vain."""
    with pytest.raises(KeyboardInterrupt), journal.run("run"):
        think(0.05)
        send("a@example.org")
    time.sleep(0.3)
    with pytest.raises(InDoubtError), journal.run("run"):
        think(0.05)
        think(0.051)
        send("a@example.org")
    journal.close()
    return db


def test_bars_are_hollow_where_replayed_and_end_as_the_step_did(cli: Cli, resumed: Path) -> None:
    done = cli("show", "run", "--view", "timeline", "--db", resumed)

    rows = done.out.splitlines()[-5:-2]
    assert done.code == 0
    assert "▯" in rows[0] and "◦" in rows[0] and "█" not in rows[0]
    assert "? in doubt" in rows[1]
    assert rows[1].split("in doubt")[1].count("?") == 1
    assert "█" in rows[2] and "▯" not in rows[2]
    assert all("┊" in row for row in rows), "the pause between the attempts is left out"
    assert rows[0].index("▯") < rows[1].rindex("?") <= rows[0].index("┊") < rows[2].index("█")
    assert "▯ replayed since" in done.out.splitlines()[-1]


def test_a_step_stands_below_the_one_that_it_was_made_inside(
    cli: Cli, journal: Journal, db: Path
) -> None:
    with journal.run("run"):
        outer(1)
        with pytest.raises(ValueError, match="paper"):
            fail()

    done = cli("show", "run", "--view", "timeline", "--db", db)

    names = [line.split("  ") for line in done.out.splitlines()[-6:-2]]
    words = [[word.strip() for word in row if word.strip()] for row in names]
    assert ["└ inner" in row for row in words] == [False, True, True, False]
    assert "✗" in done.out.splitlines()[-3] and "! failed" in done.out.splitlines()[-3]


def test_a_narrow_terminal_gets_narrow_bars(
    cli: Cli, resumed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    narrow = cli("show", "run", "--view", "timeline", "--db", resumed).out.splitlines()
    monkeypatch.setenv("COLUMNS", "160")
    wide = cli("show", "run", "--view", "timeline", "--db", resumed).out.splitlines()

    assert max(len(line) for line in narrow if "think" in line) <= 80
    assert 110 < max(len(line) for line in wide if "think" in line) <= 160


def test_an_encoding_without_the_characters_gets_plain_ones(resumed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rowtrail", "show", "run", "--view", "timeline"],
        env={
            "PYTHONPATH": ":".join(sys.path),
            "ROWTRAIL_DB": str(resumed),
            "PYTHONIOENCODING": "ascii",
        },
        capture_output=True,
        check=True,
        timeout=30,
    )

    text = done.stdout.decode("ascii")
    assert "=" in text and "#" in text.splitlines()[-3]
    assert "\\u" not in text


def test_the_time_between_attempts_is_no_work(cli: Cli, resumed: Path) -> None:
    (run,) = cli("runs", "--db", resumed, "--json").json
    shown = cli("show", "run", "--db", resumed)

    spans = [1000 * (moment(run["ended_at"]) - moment(run["started_at"]))]
    assert run["worked_ms"] + 250 < spans[0], "the pause was 300 ms"
    assert "try 1" in shown.out and "try 2" in shown.out


def moment(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def test_a_tree_says_what_differs_what_came_of_it_and_in_which_attempt(
    cli: Cli, resumed: Path
) -> None:
    lines = cli("show", "run", "--db", resumed).lines

    rows = [line for line in lines if line and line[0].isdecimal()]
    assert [row[:2] for row in rows] == [["1", "think"], ["2", "send"], ["3", "think"]]
    assert rows[0][2:] == ['"thought"', "done,", "replayed", "1", *rows[0][6:]]
    assert "a@example.org" in rows[1] and "?" in rows[1]
    assert rows[2][4] == "2", "the second attempt made it"
