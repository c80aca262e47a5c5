"""The kill matrix: a real agent, really killed, resumed in a new process.

Promise 1 of the README: a resume repeats no call whose row was committed, and makes at most the
calls in flight again; the answer is that of a run that nobody disturbed.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rowtrail.testing import LLMServer, Reply
from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash.conftest import RANDOM_KILLS, Figures

pytestmark = pytest.mark.timeout(3600)

FILES = ("a.txt", "bb.txt", "ccc.txt", "dddd.txt", "eeeee.txt")
MODEL_SECONDS = 0.003
EACH = 1 if IS_FULL else 4
"""Each of how many commits is one to be killed at."""

NEEDED_CALLS, NEEDED_TOOLS = 4, 5


def respond(request: dict[str, Any]) -> Reply:
    """Answer as a pure function of the last message, so that every run ends the same."""
    last = request["messages"][-1]["content"]
    if last == "call the tools":
        return Reply(
            tool_calls=[("measure", {"name": name}) for name in FILES], delay=MODEL_SECONDS
        )
    return Reply(text=f"the {last}", delay=MODEL_SECONDS)


@dataclass
class Case:
    """One agent, killed once and resumed."""

    folder: Path
    server: LLMServer
    zygote: Zygote

    def command(self, **options: Any) -> dict[str, Any]:
        return {
            "db": str(self.folder / "agent.db"),
            "ledger": str(self.folder / "ledger"),
            "out": str(self.folder / "out"),
            "base_url": self.server.base_url,
            **options,
        }

    def run(self, **options: Any) -> int:
        return self.zygote.run(self.command(**options))[0]

    def run_and_kill(self, after_s: float, **options: Any) -> int:
        return self.zygote.run_and_kill(after_s, self.command(**options))

    def answer(self) -> list[str]:
        found: list[str] = json.loads((self.folder / "out").read_text())
        return found

    def tool_runs(self) -> Counter[str]:
        ledger = self.folder / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return Counter(json.loads(line)["name"] for line in lines)

    def done(self) -> tuple[int, Counter[str]]:
        """Return how many LLM calls are committed, and which tool calls, as any tool reads them."""
        path = self.folder / "agent.db"
        if not path.exists():
            return 0, Counter()
        connection = sqlite3.connect(path)  # not read-only: there may be a journal to roll back
        try:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return 0, Counter()  # killed before the schema was committed
            llm = connection.execute("SELECT count(*) FROM llm_calls WHERE status = 'done'")
            rows = connection.execute("SELECT args FROM tool_calls WHERE status = 'done'")
            return llm.fetchone()[0], Counter(json.loads(args)["name"] for (args,) in rows)
        finally:
            connection.close()


@dataclass
class Totals:
    """What a whole matrix came to."""

    kills: int = 0
    calls_repeated: int = 0
    calls_in_flight: int = 0
    tools_repeated: int = 0
    tools_in_flight: int = 0


def check(case: Case, before: int, undisturbed: list[str], totals: Totals) -> None:
    """Resume a killed agent and compare what it asked and did with what was committed."""
    paid = case.server.calls - before
    committed_calls, committed_tools = case.done()
    ran = case.tool_runs()
    assert case.run() == 0
    assert case.answer() == undisturbed
    paid_again = case.server.calls - before - paid
    ran_again = case.tool_runs() - ran
    totals.kills += 1
    totals.calls_repeated += max(0, paid_again - (NEEDED_CALLS - committed_calls))
    totals.calls_in_flight += paid - committed_calls
    totals.tools_repeated += sum((ran_again & committed_tools).values())
    totals.tools_in_flight += sum((ran - committed_tools).values())
    assert paid - committed_calls <= 1  # the agent makes its LLM calls one after the other


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(respond) as server:
        yield server


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote("tests.programs.agent")
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, server: LLMServer, zygote: Zygote
) -> tuple[list[str], float]:
    """Return the answer of a run that nobody disturbs, and how long it takes."""
    Case(tmp_path_factory.mktemp("first"), server, zygote).run()  # warms the zygote's caches
    case = Case(tmp_path_factory.mktemp("second"), server, zygote)
    begun = time.monotonic()
    assert case.run() == 0
    seconds = time.monotonic() - begun
    assert case.tool_runs() == Counter(FILES)
    assert case.done() == (NEEDED_CALLS, Counter(FILES))
    return case.answer(), seconds


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_kill_at_any_commit_repeats_no_committed_call(
    in_memory: Path,
    server: LLMServer,
    zygote: Zygote,
    undisturbed: tuple[list[str], float],
    durability: str,
    after: bool,
    figures: Figures,
) -> None:
    totals = Totals()
    for number in itertools.count(1 + after, EACH):
        folder = in_memory / str(number)
        folder.mkdir()
        case, before = Case(folder, server, zygote), server.calls
        status = case.run(die_at_commit=number, after=after, durability=durability)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        check(case, before, undisturbed[0], totals)
    print(f"\n{durability} {'after' if after else 'before'} each commit: {totals}")
    figures.add("kills at each commit", totals.kills)
    assert totals.kills >= 12 // EACH  # fewer where commits are shared
    assert totals.calls_repeated == 0
    assert totals.tools_repeated == 0


def test_a_kill_at_a_random_instant_repeats_no_committed_call(
    tmp_path: Path,
    server: LLMServer,
    zygote: Zygote,
    undisturbed: tuple[list[str], float],
    figures: Figures,
) -> None:
    answer, seconds = undisturbed
    chance, totals, tried = random.Random(20261122), Totals(), 0
    while totals.kills < RANDOM_KILLS and tried < 3 * RANDOM_KILLS:
        tried += 1
        folder = tmp_path / str(tried)
        folder.mkdir()
        case, before = Case(folder, server, zygote), server.calls
        status = case.run_and_kill(chance.uniform(0, seconds))
        if status == 0:
            continue  # it was done before the kill
        assert status == -signal.SIGKILL
        check(case, before, answer, totals)
    print(f"\nat random instants: {totals}")
    figures.add("kills at random instants", totals.kills)
    assert totals.kills == RANDOM_KILLS
    assert totals.calls_repeated == 0
    assert totals.tools_repeated == 0
