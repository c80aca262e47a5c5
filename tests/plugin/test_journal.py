"""Runs without a framework: their ids, their ends, and rule 1, a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rowtrail import Journal, step
from rowtrail.errors import ClosedError, UnknownIdError, UsageError
from rowtrail.testing import FakeClock
from tests.conftest import Rows
from tests.engines.sqlite_store import sqlite_store
from tests.plugin.conftest import Agent, World

pytestmark = pytest.mark.both_engines


def reasons(journal: Journal, run_id: str = "r") -> list[tuple[str, str]]:
    return [(row["status"], row["reason"]) for row in journal.steps(run_id)]


# A run and its id.


def test_a_finished_run_given_again_costs_nothing(journal: Journal, agent: Agent) -> None:
    for attempt in (1, 2, 3):
        run = journal.run("r")
        with run:
            assert agent.think("a") == "thought about a"
            assert agent.look("b") == "saw b"
        assert run.attempt == attempt
    assert agent.made == ["a", "b"]
    (row,) = journal.runs()
    assert (row["status"], row["attempts"], row["steps"]) == ("done", 3, 2)
    assert (row["llm_calls"], row["tool_calls"]) == (1, 1)


INPUTS: list[Any] = ["long?", "deep?", ["long?"], {"asked": "long?"}, "", 0, None]


@pytest.mark.parametrize("at", range(len(INPUTS)))
def test_a_run_begun_with_another_input_is_not_entered(
    journal: Journal, agent: Agent, at: int
) -> None:
    async def enter(value: Any) -> None:
        async with journal.run("r").of_input(value):
            agent.think("a")

    with journal.run("r").of_input(INPUTS[at]):
        agent.think("a")
    for other in INPUTS[:at] + INPUTS[at + 1 :]:
        with pytest.raises(UsageError, match="run 'r' was begun with another input"):
            asyncio.run(enter(other))
    asyncio.run(enter(INPUTS[at]))
    with journal.run("r"):  # who does not say it means the same
        agent.think("a")
    (row,) = journal.runs()
    assert (agent.made, row["attempts"], row["status"]) == (["a"], 3, "done")


def test_an_input_that_is_masked_or_cannot_be_told_from_others_is_not_compared(db: Path) -> None:
    with Journal(db, canonical=[r"\d\d:\d\d"]) as journal:
        for run_id, inputs in {"r": ("at 10:15", "at 10:30"), "s": (object(), object())}.items():
            for value in inputs:
                with journal.run(run_id).of_input(value):
                    pass
        assert [row["attempts"] for row in journal.runs()] == [2, 2]


def test_runs_of_other_ids_have_nothing_in_common(journal: Journal, agent: Agent) -> None:
    for run_id in ("one", "two"):
        with journal.run(run_id, thread_id="t"):
            agent.think("a")
    assert agent.made == ["a", "a"]


def test_async_code_runs_and_replays_the_same(journal: Journal, agent: Agent) -> None:
    async def main() -> list[str]:
        async with journal.run("r"):
            return await asyncio.gather(*(agent.athink(word) for word in "abc"))

    assert asyncio.run(main()) == asyncio.run(main())
    assert sorted(agent.made) == ["a", "b", "c"]


def test_a_run_begun_in_sync_code_is_resumed_in_async_code(journal: Journal, agent: Agent) -> None:
    with journal.run("r"):
        agent.think("a")

    async def main() -> str:
        async with journal.run("r"):
            return await agent.athink("a")

    assert asyncio.run(main()) == "thought about a"
    assert agent.made == ["a"]


def test_a_journal_in_memory_records_and_replays(agent: Agent) -> None:
    async def main(journal: Journal) -> list[str]:
        async with journal.run("async"):
            return await asyncio.gather(*(agent.athink(word) for word in "abc"))

    with Journal(":memory:") as journal:
        for _ in range(2):
            with journal.run("r"):
                agent.think("a")
            asyncio.run(main(journal))
        assert [run["status"] for run in journal.runs()] == ["done", "done"]
    assert sorted(agent.made) == ["a", "a", "b", "c"]


def test_outside_a_run_nothing_is_recorded(journal: Journal, agent: Agent) -> None:
    agent.think("before")
    with journal.run("r"):
        pass
    agent.think("after")
    assert agent.made == ["before", "after"]
    assert journal.steps("r") == []


def test_starting_over_makes_every_call_and_keeps_the_old_rows(
    journal: Journal, agent: Agent
) -> None:
    for fresh in (False, True, False):
        with journal.run("r", fresh=fresh):
            agent.think("a")
    assert agent.made == ["a", "a"]
    assert reasons(journal) == [
        ("superseded", "started over"),
        ("done", "the recorded answer was set aside"),
    ]


@pytest.mark.parametrize("run_id", ["", None, 7, b"r", "half \ud83d"])
def test_a_run_id_that_is_none_is_refused(journal: Journal, run_id: Any) -> None:
    with pytest.raises(UsageError, match="run_id="):
        journal.run(run_id)
    with pytest.raises(UsageError, match="thread_id="):
        journal.run("r", thread_id=run_id or "")
    assert journal.runs() == []


@pytest.mark.parametrize("run_id", ["report-42", "a'b\"c", "%_", "\0", "ünï", "x" * 10_000])
def test_a_run_id_may_be_any_text(journal: Journal, agent: Agent, run_id: str) -> None:
    for _ in range(2):
        with journal.run(run_id):
            agent.think("a")
    assert agent.made == ["a"]
    assert [row["name"] for row in journal.steps(run_id)] == ["think"]


def test_an_unknown_run_is_a_clear_error(journal: Journal) -> None:
    with pytest.raises(UnknownIdError, match="no run has the id 'nope'") as caught:
        journal.steps("nope")
    assert (caught.value.kind, caught.value.value) == ("run", "nope")


def test_steps_are_read_page_by_page(journal: Journal, agent: Agent) -> None:
    with journal.run("r"):
        for n in range(25):
            agent.think(str(n))
    rows = list(journal.iter_steps("r", page=10))
    assert [row["seq"] for row in rows] == list(range(1, 26))


def test_a_run_must_be_entered_to_have_an_attempt(journal: Journal) -> None:
    with pytest.raises(UsageError, match="not entered"):
        _ = journal.run("r").attempt


def test_every_method_of_a_closed_journal_says_so(db: Path) -> None:
    journal, other = Journal(db), Journal(db)  # the other keeps the file open
    journal.close()
    journal.close()
    uses: list[Callable[[], Any]] = [
        lambda: journal.run("r"),
        journal.runs,
        lambda: journal.steps("r"),
        lambda: journal.settle("1", happened=False),
        journal.recover,
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()
    assert other.runs() == []
    other.close()


# Rule 1: a crash.

CRASHING = """
@step(kind="llm")
def ask(prompt):
    note(f"ask {prompt}")
    die_at(f"in {prompt}")
    return prompt.upper()

with Journal(DB) as journal, journal.run("r"):
    for prompt in "abc":
        print(ask(prompt))
        die_at(f"after {prompt}")
"""


@pytest.mark.parametrize(
    ("word", "made"),
    [
        ("in a", ["a", "a", "b", "c"]),
        ("after a", ["a", "b", "c"]),
        ("in b", ["a", "b", "b", "c"]),
        ("after c", ["a", "b", "c"]),
    ],
)
def test_after_a_kill_only_the_call_in_flight_is_made_again(
    world: World, word: str, made: list[str]
) -> None:
    world.kill(CRASHING, word)
    assert world.run(CRASHING) == "A\nB\nC"
    assert world.ledger() == [f"ask {prompt}" for prompt in made]


def test_a_crash_is_written_down_when_the_journal_is_next_used(world: World, rows: Rows) -> None:
    world.kill(CRASHING, "in b")
    with Journal(world.db) as journal:
        assert journal.recover() == 1
        assert journal.recover() == 0
        assert [run["status"] for run in journal.runs()] == ["crashed"]
        assert [step["status"] for step in journal.steps("r")] == ["done", "failed"]
    assert [row["outcome"] for row in rows("SELECT outcome FROM attempts")] == ["crashed"]
    ((last, ended),) = (
        tuple(row.values())
        for row in rows("SELECT max(s.started_at), a.ended_at FROM steps s, attempts a")
    )
    assert ended >= last  # the heartbeat alone is older


def test_the_views_know_of_a_crash_before_anybody_opens_the_journal(
    world: World, rows: Rows
) -> None:
    world.kill(CRASHING, "in b")
    with Journal(world.db) as journal:  # nobody resumes: only the heartbeat gets old
        journal.store.write(
            lambda tx: sqlite_store(journal).connection.execute(
                "UPDATE process SET last_seen_at = last_seen_at - 60000"
            )
        )
        assert rows("SELECT status FROM runs") == [{"status": "crashed"}]
        assert rows("SELECT status FROM steps ORDER BY seq") == [
            {"status": "done"},
            {"status": "failed"},
        ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_run_that_is_interrupted_resumes_like_after_a_crash(
    journal: Journal, agent: Agent, error: type[BaseException]
) -> None:
    with pytest.raises(error), journal.run("r"):
        agent.think("a")
        raise error
    (row,) = journal.runs()
    assert row["status"] == "cancelled"
    with journal.run("r"):
        agent.think("a")
    assert agent.made == ["a"]


def test_a_cancelled_task_resumes_like_after_a_crash(journal: Journal) -> None:
    made: list[Any] = []

    @step
    async def wait(n: int) -> int:
        made.append(n)
        await asyncio.sleep(30 if len(made) == 2 else 0)
        return n

    async def work() -> None:
        async with journal.run("r"):
            for n in range(3):
                await wait(n)

    async def cancelled() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(work(), 0.3)

    asyncio.run(cancelled())
    assert [run["status"] for run in journal.runs()] == ["cancelled"]
    asyncio.run(work())
    assert made == [0, 1, 1, 2]


def test_time_and_ids_come_from_the_clock(db: Path, agent: Agent) -> None:
    clock = FakeClock()
    with Journal(db, clock=clock) as journal, journal.run("r"):
        agent.think("a")
        clock.advance(1.5)
    with Journal(db) as journal:
        (run,) = journal.runs()
    assert (run["started_at"], run["ended_at"]) == (
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:01.500Z",
    )
