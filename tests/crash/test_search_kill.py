"""The search index survives SIGKILL at any moment: what it lacks, the next search fills in."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from rowtrail import Journal, step
from tests._sample import IS_FULL

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")

STEPS = 900
KILLS = 50 if IS_FULL else 4

FILL = """
import os, signal, sys
from rowtrail import Journal

def embed(texts):
    print("embedding", len(texts), flush=True)
    return [[1.0 + len(text) % 7, 2.0, float(len(text) % 3)] for text in texts]

def progress(what, done, total):
    print(what, flush=True)
    if what == sys.argv[2] and int(sys.argv[3]) <= done:
        os.kill(os.getpid(), signal.SIGKILL)

with Journal(sys.argv[1]) as journal:
    print("open", flush=True)
    journal.index(embedder=embed, progress=progress)
    print("complete", flush=True)
"""


@step(name="note", kind="tool")
def note(text: str) -> str:
    return f"noted {text}"


@pytest.fixture
def recorded(db: Path) -> Path:
    with Journal(db, durability="normal") as journal:
        for run in range(3):
            with journal.run(f"run-{run}", thread_id=f"thread-{run}"):
                for i in range(STEPS // 3):
                    note(f"run{run} word{i}")
    return db


def begin(db: Path, what: str = "", done: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FILL, str(db), what, str(done)], stdout=subprocess.PIPE, text=True
    )


def check_whole(db: Path) -> None:
    """Search, and see that the index holds every text once, and is sound."""
    with Journal(db) as journal:
        for run in range(3):
            words = f"run{run} word{STEPS // 3 - 1}"
            assert [row["where"] for row in journal.search(words, limit=2)] == [
                "arguments",
                "result",
            ]
        assert journal.index().texts == 2 * STEPS
    index = apsw.Connection(f"{db}-search")
    assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    counts = "SELECT count(*), (SELECT count(DISTINCT id) FROM doc) FROM text"
    assert index.execute(counts).fetchall() == [(2 * STEPS, 2 * STEPS)]
    index.execute("INSERT INTO text (text, rank) VALUES ('integrity-check', 1)")
    index.close()


@pytest.mark.parametrize(
    ("what", "done"), [("steps", 1), ("steps", STEPS // 2), ("vectors", 1), ("vectors", STEPS)]
)
def test_killed_between_two_pages_the_next_search_goes_on(
    recorded: Path, what: str, done: int
) -> None:
    process = begin(recorded, what, done)
    process.communicate(timeout=60)

    assert process.returncode == -signal.SIGKILL
    check_whole(recorded)


def test_what_was_embedded_before_the_kill_is_kept(recorded: Path) -> None:
    begin(recorded, "vectors", STEPS).communicate(timeout=60)

    said, _ = begin(recorded, "nothing").communicate(timeout=60)

    lines = said.splitlines()
    again = sum(int(line.split()[1]) for line in lines if line.startswith("embedding"))
    assert lines[-1] == "complete"
    assert 0 < again < 1.2 * STEPS


def test_killed_at_any_moment_it_is_whole_after_the_next_search(recorded: Path) -> None:
    chance = random.Random(7)
    started = time.monotonic()
    assert "complete" in begin(recorded).communicate(timeout=60)[0]
    longest = time.monotonic() - started
    for _ in range(KILLS):
        for file in recorded.parent.glob("agent.db-search*"):
            file.unlink()
        process = begin(recorded)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, longest / 3))
        process.kill()
        process.communicate(timeout=60)
        check_whole(recorded)


def test_killed_while_another_process_fills_too(recorded: Path) -> None:
    first, second = begin(recorded, "steps", STEPS // 2), begin(recorded)

    said, _ = second.communicate(timeout=60)
    first.communicate(timeout=60)

    assert said.splitlines()[-1] == "complete"
    check_whole(recorded)
