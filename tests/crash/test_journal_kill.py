"""Promises 1 to 3 without a framework: a program killed anywhere, resumed in a new process.

Killed at every statement that it sends to SQLite (the creation of the file included), right before
and right after every commit, and at random instants. What it did to the world is in a ledger that
is synced to disk; what its callers were told is in another.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash.conftest import RANDOM_KILLS, Figures
from tests.programs.journal_program import CITIES, FILES

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals"),
]

WANTED = Counter(
    ["ask plan", "ask summary", "send"]
    + [f"weather {city}" for city in CITIES]
    + [f"measure {name}" for name in FILES]
)


@dataclass
class Totals:
    """What a matrix came to."""

    kills: int = 0
    committed: int = 0
    in_flight: int = 0
    committed_repeated: int = 0
    in_flight_repeated: int = 0
    writes_repeated: int = 0
    told_and_missing: int = 0

    def assert_kept(self) -> None:
        """Compare with the promises."""
        assert self.committed_repeated == 0
        assert self.writes_repeated == 0
        assert self.told_and_missing == 0
        assert self.in_flight_repeated <= self.in_flight


class Case:
    """One program in a folder of its own."""

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        folder.mkdir()
        self._folder, self._zygote = folder, zygote

    def run(self, **die: Any) -> int:
        return self._zygote.run({"folder": str(self._folder), **die})[0]

    def run_and_kill(self, after_s: float) -> int:
        return self._zygote.run_and_kill(after_s, {"folder": str(self._folder)})

    def said(self) -> list[str]:
        said: list[str] = json.loads((self._folder / "said").read_text())
        return said

    def lines(self, name: str) -> Counter[str]:
        """Return the lines of a ledger; the key of the write is left out."""
        path = self._folder / name
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter("send" if line.startswith("send ") else line for line in lines)

    def recorded(self, *statuses: str) -> Counter[str]:
        """Return the steps with one of these statuses, named as in the ledger."""
        marks = ", ".join("?" * len(statuses))
        query = "SELECT CASE name WHEN 'send' THEN name ELSE name || ' ' || "
        query += f"json_extract(input, '$.args[0]') END FROM steps WHERE status IN ({marks})"
        with closing(sqlite3.connect(self._folder / "agent.db")) as connection:
            try:
                return Counter(row[0] for row in connection.execute(query, statuses))
            except sqlite3.OperationalError:  # killed before there were views
                return Counter()

    def check(self, expected: list[str], totals: Totals) -> None:
        """Resume after a kill, and count what was done again."""
        done, started = self.recorded("done"), self.lines("ledger")
        in_flight = self.recorded("running", "in_doubt", "failed")
        totals.kills += 1
        totals.committed += done.total()
        totals.in_flight += in_flight.total()
        totals.told_and_missing += (self.lines("told") - done).total()

        assert self.run() == 0
        assert self.said() == expected
        again = self.lines("ledger") - started
        effects = self.lines("ledger")
        totals.committed_repeated += (again & done).total()
        totals.in_flight_repeated += ((effects - WANTED) & in_flight).total()
        totals.writes_repeated += effects["send"] - 1
        assert set(effects) == set(WANTED)
        assert self.recorded("done") == WANTED
        assert (effects - WANTED) <= in_flight  # nothing is repeated that was not in flight


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote("tests.programs.journal_program")
    yield started
    started.close()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, zygote: Zygote
) -> tuple[list[str], float]:
    """Return what a program says that nobody disturbs, and how long it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Case(folder / "first", zygote).run() == 0  # it warms the zygote's caches
    case = Case(folder / "second", zygote)
    begun = time.monotonic()
    assert case.run() == 0
    seconds = time.monotonic() - begun
    assert case.lines("ledger") == case.recorded("done") == WANTED
    return case.said(), seconds


@pytest.mark.parametrize(
    ("die_at", "kills"), [("before commit", 8), ("after commit", 8), ("statement", 120)]
)
def test_a_kill_at_every_step_of_the_journal_repeats_nothing_committed(
    in_memory: Path,
    zygote: Zygote,
    undisturbed: tuple[list[str], float],
    die_at: str,
    kills: int,
    figures: Figures,
) -> None:
    totals = Totals()
    each = 1 if IS_FULL or kills < 20 else 4
    for number in itertools.count(1, each):
        case = Case(in_memory / str(number), zygote)
        status = case.run(die_at=die_at, number=number)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        case.check(undisturbed[0], totals)
    print(f"\n{die_at}: {totals}")
    figures.add(f"kills at each {die_at}", totals.kills)
    assert totals.kills >= kills // each
    totals.assert_kept()


def test_a_kill_at_a_random_instant_repeats_nothing_committed(
    tmp_path: Path, zygote: Zygote, undisturbed: tuple[list[str], float], figures: Figures
) -> None:
    expected, seconds = undisturbed
    chance, totals, tried = random.Random(20261122), Totals(), 0
    while totals.kills < RANDOM_KILLS and tried < 3 * RANDOM_KILLS:
        tried += 1
        case = Case(tmp_path / str(tried), zygote)
        moment = chance.uniform(0, seconds)
        status = case.run_and_kill(moment)
        if status == 0:  # it was done before the kill: the machine is faster than it was
            seconds = min(seconds, moment)
            continue
        assert status == -signal.SIGKILL
        case.check(expected, totals)
    print(f"\nat random instants: {totals}")
    figures.add("kills at random instants", totals.kills)
    assert totals.kills == RANDOM_KILLS
    totals.assert_kept()


def test_a_program_may_be_killed_again_and_again(
    tmp_path: Path, zygote: Zygote, undisturbed: tuple[list[str], float], figures: Figures
) -> None:
    chance, case, kills = random.Random(7), Case(tmp_path / "one", zygote), 0
    # A process whose life is too short to begin a call would be killed for ever: the next one's is
    # a little longer.
    while case.run(die_at="statement", number=chance.randint(30, 90) + kills) != 0:
        kills += 1
        assert kills < 500
    assert kills >= 5
    assert case.said() == undisturbed[0]
    effects = case.lines("ledger")
    assert effects["send"] == 1
    assert case.recorded("done") == WANTED
    figures.add("kills again and again", kills)
    print(f"\nkilled {kills} times, {(effects - WANTED).total()} calls made again")
