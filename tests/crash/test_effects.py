"""The explorer of effects: a sample of its product, and why the rest of the product cannot be.

`make crash` runs the whole product; `python -m tests.crash.effects ID` runs one combination again.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

import rowtrail
from rowtrail.errors import UsageError
from rowtrail.journal import Run
from rowtrail_langgraph import RowtrailSaver
from tests.crash.conftest import Figures
from tests.crash.effects._check import Evidence, judge, undisturbed
from tests.crash.effects._explore import explore, possible, sample
from tests.crash.effects._impossible import REASONS, why_impossible
from tests.crash.effects._product import REAL_LEASES, named, product, with_real_lease
from tests.crash.effects._world import Line, World

SEED = int(os.environ.get("ROWTRAIL_EFFECTS_SEED", "20261128"))
SAMPLE = int(os.environ.get("ROWTRAIL_EFFECTS", "60"))
"""How many combinations run: about half a minute."""


@pytest.mark.timeout(900)
def test_no_combination_of_a_sample_breaks_a_promise(figures: Figures) -> None:
    result = explore(sample(possible(), SAMPLE, SEED), jobs=2)
    figures.add("combinations of effects", result.ran)
    told = [f"{one.combination.id}: {one.violations}\n{one.report}" for one in result.failures[:3]]
    assert not result.failures, "\n".join([result.summary(), f"seed {SEED}", *told])
    assert result.ran >= SAMPLE


def test_every_combination_has_an_id_of_its_own() -> None:
    combinations = list(product())
    assert len({one.id for one in combinations}) == len(combinations)
    assert [named(one.id) for one in combinations[::997]] == combinations[::997]


def test_few_combinations_are_impossible() -> None:
    combinations = list(product())
    impossible = [one for one in combinations if why_impossible(one) is not None]
    assert 0 < len(impossible) <= 0.15 * len(combinations)
    assert {reason.name for reason in REASONS} == set(IMPOSSIBLE)


def test_some_combinations_wait_for_the_lease_that_users_have() -> None:
    assert len(with_real_lease(possible())) in (0, REAL_LEASES)


# The judge, on evidence that is made up.


def evidence(folder: Path, *changes: Line, effect: str = "write_fail") -> Any:
    """Return the evidence of a kill after the effect, resumed with `None`, that went right but for
    more lines in the ledger.
    """
    is_so = ("kill_in", "none", effect, False)
    combination = next(c for c in product() if (c.fault, c.way, c.effect, c.hits_twin) == is_so)
    world = World(folder, "1")
    lines = [Line(1, "a", "1", "first"), Line(1, "b", "2", "first"), Line(2, "c", "3", "first")]
    for line in [*lines, Line(1, "d", "4", "close"), *changes]:
        world.note(line)
    world.flag("fired")
    ended = {"kind": "done", "seconds": 1.0, "error": ""}
    messages = undisturbed(world.question, with_approval=False)
    world.save("rounds", [{**ended, "messages": messages}])
    return Evidence(combination, world, {"first": -9, "close": 0}, ["1", "2", "3"])


def test_a_combination_that_went_right_is_judged_right(tmp_path: Path) -> None:
    assert judge(evidence(tmp_path)) == []


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        (Line(2, "c", "3", "close"), {"effect repeated"}),
        (Line(1, "e", "5", "close"), {"committed call repeated", "key"}),
        (Line(2, "e", "5", "close"), {"effect repeated", "key"}),
    ],
)
def test_a_repeated_effect_is_seen(tmp_path: Path, line: Line, rules: set[str]) -> None:
    assert {one.rule for one in judge(evidence(tmp_path, line))} == rules


def test_a_repetition_of_an_idempotent_call_needs_the_same_key(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    assert judge(evidence(tmp_path / "same", Line(2, "c", "3", "close"), effect="idempotent")) == []
    found = judge(evidence(tmp_path, Line(2, "e", "3", "close"), effect="idempotent"))
    assert [one.rule for one in found] == ["key"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"seconds": 20.5}, "wait"),
        ({"kind": "error", "error": "ValueError"}, "stuck"),
        ({"messages": undisturbed("order #2: act", with_approval=False)}, "wrong answer"),
        ({"messages": undisturbed("order #1: act", with_approval=False)[-3:]}, "state"),
    ],
)
def test_a_bad_end_is_seen(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    given = evidence(tmp_path)
    [outcome] = given.world.load("rounds")
    given.world.save("rounds", [{**outcome, **change}])
    assert [one.rule for one in judge(given)] == [rule]


def test_an_llm_call_too_many_is_seen(tmp_path: Path) -> None:
    given = replace(evidence(tmp_path), asked=["1", "2", "2", "3"])
    assert [one.rule for one in judge(given)] == ["LLM calls"]


# Each reason, shown.


def no_loop(path: Path) -> None:
    """No event loop runs in the thread of a tool of a graph that is invoked from sync code."""
    seen: list[bool] = []

    @tool
    def look() -> str:
        """Look for a loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            seen.append(False)
        else:
            seen.append(True)
        return "looked"

    def node(state: MessagesState) -> Any:
        return {"messages": [("ai", look.invoke({}))]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    with RowtrailSaver(path) as saver:
        graph: Any = builder.compile(checkpointer=saver)
        graph.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "thread"}})
    with rowtrail.Journal(path) as journal, journal.run("run"):
        rowtrail.step(name="look")(lambda: look.invoke({}))()
    assert seen == [False, False]


def no_command(path: Path) -> None:
    """A question to LangGraph, which a Command answers, cannot be asked in `journal.run`."""
    with rowtrail.Journal(path) as journal, journal.run("run"), pytest.raises(RuntimeError):
        rowtrail.step(name="ask")(lambda: interrupt("go on?"))()


def no_policy(path: Path) -> None:
    """A step that fails in `journal.run` is called once, and its error goes to its caller."""
    called: list[int] = []

    @rowtrail.step
    def fail() -> None:
        called.append(1)
        raise ValueError("refused")

    journal = rowtrail.Journal(path)
    with journal, pytest.raises(ValueError, match="refused"), journal.run("run"):
        fail()
    assert called == [1]


def no_node(path: Path) -> None:
    """Neither `journal.run` nor `step` takes a time after which it gives up."""
    for function in (rowtrail.Journal.run, rowtrail.step, Run.__init__):
        names = inspect.signature(function).parameters
        assert not [name for name in names if "timeout" in name or "seconds" in name]


def attempt_goes_on(path: Path) -> None:
    """A step whose call goes on in an attempt that has not ended cannot be settled."""
    begun, over = threading.Event(), threading.Event()
    refused: list[UsageError] = []

    @rowtrail.step(effect="write")
    def charge() -> str:
        begun.set()
        over.wait(30)
        return "charged"

    def settle() -> None:
        begun.wait(30)
        try:
            [step] = journal.steps("run")
            journal.settle(step["step_id"], result="charged")
        except UsageError as error:
            refused.append(error)
        finally:
            over.set()

    with rowtrail.Journal(path) as journal:
        person = threading.Thread(target=settle)
        person.start()
        with journal.run("run"):
            assert charge() == "charged"
        person.join()
    assert len(refused) == 1


IMPOSSIBLE = {one.__name__: one for one in (no_loop, no_command, no_policy, no_node)}
IMPOSSIBLE["attempt_goes_on"] = attempt_goes_on


@pytest.mark.parametrize("reason", [reason.name for reason in REASONS])
def test_what_is_impossible_is_so_for_its_reason(reason: str, tmp_path: Path) -> None:
    IMPOSSIBLE[reason](tmp_path / "agent.db")
