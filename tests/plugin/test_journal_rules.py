"""Rules 3 and 5 without a framework: exceptions, changed requests, and steps inside steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rowtrail import DivergedError, Journal, step
from tests.plugin.conftest import Agent, World

pytestmark = pytest.mark.both_engines

# Rule 3: an exception.


def test_a_step_that_raised_is_made_again_and_nothing_else(journal: Journal, agent: Agent) -> None:
    for _ in range(2):
        with pytest.raises(LookupError), journal.run("r"):
            agent.think("a")
            agent.look("b")
            agent.look("nowhere")
    assert agent.made == ["a", "b", "nowhere", "nowhere"]
    assert [run["status"] for run in journal.runs()] == ["failed"]
    assert [run["error"] for run in journal.runs()] == ["LookupError: nowhere"]


def test_an_exception_that_the_code_handles_sets_nothing_aside(
    journal: Journal, agent: Agent
) -> None:
    for _ in range(2):
        with journal.run("r"):
            with pytest.raises(ValueError, match="invalid literal"):
                int(agent.think("a"))
            agent.look("b")
    assert agent.made == ["a", "b"]


@pytest.mark.parametrize("wrap", [False, True])
def test_an_uncaught_exception_of_the_code_asks_the_last_answer_again(
    journal: Journal, agent: Agent, wrap: bool
) -> None:
    def body() -> None:
        with journal.run("r"):
            agent.think("a")
            agent.think("b")
            agent.look("c")
            error = ValueError("malformed answer")
            raise ExceptionGroup("tasks", [error]) if wrap else error

    for expected in (["a", "b", "c"], ["b"], ["b"]):
        with pytest.raises((ValueError, ExceptionGroup)):
            body()
        assert agent.taken() == expected


@pytest.mark.parametrize("how", ["bare", "wrapped", "in a group"])
def test_an_exception_that_a_step_raised_sets_no_answer_aside(
    journal: Journal, agent: Agent, how: str
) -> None:
    def body() -> None:
        with journal.run("r"):
            agent.think("a")
            try:
                agent.look("nowhere")
            except LookupError as error:
                if how == "wrapped":
                    raise RuntimeError("the agent failed") from error
                if how == "in a group":
                    raise ExceptionGroup("tasks", [error]) from None
                raise

    for expected in (["a", "nowhere"], ["nowhere"]):
        with pytest.raises((LookupError, RuntimeError, ExceptionGroup)):
            body()
        assert agent.taken() == expected


def test_a_call_that_is_retried_in_the_body_is_replayed_as_it_came_out(world: World) -> None:
    code = """
@step
def flaky(n):
    note(f"flaky {n}")
    if n == 1 and len(open(LEDGER).readlines()) == 1:
        raise TimeoutError
    return n

with Journal(DB) as journal, journal.run("r"):
    for n in (1, 2):
        for _ in range(3):
            try:
                print(flaky(n))
                break
            except TimeoutError:
                pass
    die_at("the end")
"""
    world.kill(code, "the end")
    assert world.ledger() == ["flaky 1", "flaky 1", "flaky 2"]
    assert world.run(code) == "1\n2"
    assert world.ledger() == ["flaky 1", "flaky 1", "flaky 2"]  # nothing is paid twice


# Rule 5: a changed request.


def test_a_changed_request_is_made_and_says_why(journal: Journal, agent: Agent) -> None:
    with journal.run("r"):
        agent.think("a")
    with journal.run("r"):
        assert agent.think("b") == "thought about b"
    (old, new) = journal.steps("r")
    assert (old["status"], old["replays"]) == ("done", 0)  # unused, and readable
    assert "changed" in new["reason"]


def test_edited_code_pays_for_what_is_new_only(journal: Journal, agent: Agent) -> None:
    with journal.run("r"):
        for word in ("a", "b", "c"):
            agent.think(word)
    with journal.run("r"):
        for word in ("new", "c", "a", "newer", "b"):
            agent.think(word)
    assert agent.made == ["a", "b", "c", "new", "newer"]


def test_the_nth_equal_request_gets_the_nth_result(journal: Journal) -> None:
    drawn: list[int] = []

    @step
    def draw(kind: str) -> int:
        drawn.append(len(drawn))
        return drawn[-1]

    with journal.run("r"):
        first = [draw("card"), draw("card"), draw("die"), draw("card")]
    with journal.run("r"):
        assert [draw("card"), draw("die"), draw("card"), draw("card")] == [0, 2, 1, 3]
        assert draw("card") == 4  # one more than was recorded
    assert first == [0, 1, 2, 3]


def test_strict_refuses_what_was_not_recorded(db: Path, agent: Agent) -> None:
    with Journal(db, strict=True) as journal:
        with journal.run("r"):
            agent.think("a")
            agent.look("b")
        with pytest.raises(DivergedError, match="'think'") as caught, journal.run("r"):
            agent.think("changed")
        assert (caught.value.name, caught.value.scope) == ("think", "")
        with journal.run("r"):
            agent.think("a")
            agent.think("more")  # beyond what was recorded: the run goes on
    assert agent.made == ["a", "b", "more"]


def test_the_journal_does_not_mix_up_kinds_of_steps(journal: Journal) -> None:
    made: list[Any] = []

    def call(kind: Any) -> Any:
        @step(name="same", kind=kind)
        def same(n: int) -> str:
            made.append(kind)
            return str(kind)

        return same

    for _ in range(2):
        with journal.run("r"):
            assert [call(kind)(1) for kind in ("llm", "tool", "function")] == [
                "llm",
                "tool",
                "function",
            ]
    assert made == ["llm", "tool", "function"]


# Inside a step.


def test_steps_inside_a_step_are_recorded_and_replayed(world: World) -> None:
    code = """
@step(kind="llm")
def ask(n):
    note(f"ask {n}")
    return n * 10

@step(kind="tool")
async def team(name):
    note(f"team {name}")
    found = [ask(1), ask(2)]
    die_at(f"in {name}")
    return sum(found)

async def main():
    with Journal(DB) as journal:
        async with journal.run("r"):
            print(await team("one"), await team("two"))
            die_at("the end")

asyncio.run(main())
"""
    world.kill(code, "in two")
    # the tool is made again, what it had asked is not
    assert world.run(code) == "30 30"
    once = ["team one", "ask 1", "ask 2", "team two", "ask 1", "ask 2"]
    assert world.ledger() == [*once, "team two"]
    with Journal(world.db) as journal:
        rows = {row["step_id"]: row for row in journal.steps("r")}
    parents = [rows[row["parent_id"]]["name"] for row in rows.values() if row["parent_id"]]
    assert parents == ["team"] * 4
    assert [row["replays"] for row in rows.values()] == [1, 0, 0, 0, 1, 1, 0]
    assert all(re.fullmatch(r">team:[0-9a-f]{16}\.1", rows[s]["scope"]) for s in "2356")


def test_a_failure_deep_inside_sets_no_answer_aside(journal: Journal, agent: Agent) -> None:
    @step
    def outer() -> str:
        return agent.look("nowhere")

    for expected in (["a", "nowhere"], ["nowhere"]):
        with pytest.raises(LookupError), journal.run("r"):
            agent.think("a")
            outer()
        assert agent.taken() == expected
