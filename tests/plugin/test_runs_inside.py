"""Runs that begin and end inside one another in any order, and calls that others give back."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from rowtrail import Journal, step
from rowtrail.engine.sqlite import SqliteStore
from rowtrail.errors import InDoubtError, UsageError
from rowtrail.journal import run_scope


def lines(journal: Journal, name: str) -> Iterator[int]:
    """Hold a run open, as a generator that reports on work does."""
    with journal.run(name):
        yield 1
        yield 2


@step(kind="tool", name="send", effect="write")
def send(what: str) -> str:
    """Change the world."""
    return what


def rows(journal: Journal) -> list[tuple[Any, ...]]:
    found = journal.sql("SELECT run_id, status FROM steps ORDER BY step_id + 0").to_dicts()
    return [(row["run_id"], row["status"]) for row in found]


@pytest.mark.parametrize("order", [*permutations("abc")], ids="".join)
def test_generators_that_hold_runs_are_closed_in_any_order(
    journal: Journal, order: tuple[str, ...]
) -> None:
    held = {name: lines(journal, name) for name in "abc"}
    for generator in held.values():
        next(generator)
    with journal.run("last"):
        send("first")
        for name in order:
            held[name].close()  # type: ignore[attr-defined]
            send(name)  # belongs to the run around it, whichever generator was closed
    assert rows(journal) == [("last", "done")] * 4
    assert run_scope.get() is None
    assert send("outside") == "outside"


@pytest.mark.parametrize("order", [*permutations("abc")], ids="".join)
def test_a_run_around_generators_has_its_own_again_when_they_are_closed(
    journal: Journal, order: tuple[str, ...]
) -> None:
    with journal.run("around"):
        held = {name: lines(journal, name) for name in "abc"}
        for generator in held.values():
            next(generator)
        for name in order:
            held[name].close()  # type: ignore[attr-defined]
        send("x")
    assert rows(journal) == [("around", "done")]
    assert run_scope.get() is None


def test_tasks_that_share_a_context_give_back_no_call_of_each_other(journal: Journal) -> None:
    made: list[str] = []

    @step(kind="tool", name="send", effect="write")
    async def asend(what: str) -> None:
        made.append(what)

    async def main() -> None:
        async with journal.run("r"):
            context = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(asend(str(n)), context=context) for n in range(20)]
            await asyncio.gather(*tasks)

    asyncio.run(main())
    assert sorted(made) == sorted(map(str, range(20)))
    assert rows(journal) == [("r", "done")] * 20


BEGINS = [("write", 0), ("begin_step", 1)]
"""How the row of a step is written, and which step of its scope that is."""


@pytest.mark.parametrize(("method", "steps_before"), BEGINS)
def test_a_run_that_the_collector_ends_gives_back_no_call_of_another(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, method: str, steps_before: int
) -> None:
    original = getattr(SqliteStore, method)

    def write(self: SqliteStore, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        gc.collect()
        return result

    class Cycle:
        def __init__(self) -> None:
            self.held = lines(journal, "garbage")
            self.me = self
            next(self.held)

    with journal.run("r"):
        for _ in range(steps_before):
            send("before")
        contextvars.copy_context().run(Cycle)
        monkeypatch.setattr(SqliteStore, method, write)
        send("a")
    assert rows(journal) == [("r", "done")] * (steps_before + 1)


@pytest.mark.parametrize(("method", "steps_before"), BEGINS)
def test_a_handler_that_makes_a_step_just_before_a_call_has_it_made_once_or_not_at_all(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, method: str, steps_before: int
) -> None:
    """A signal's handler runs between any two instructions: here, between a row and its call."""
    made: list[str] = []
    original = getattr(SqliteStore, method)
    asked: Iterator[bool] = iter(())

    @step(kind="tool", name="pay", effect="write")
    def pay(what: str) -> None:
        made.append(what)

    def write(self: SqliteStore, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if next(asked, False):
            send("from the handler")
        return result

    with journal.run("r"):
        for _ in range(steps_before):
            send("before")
        asked = iter([True])
        monkeypatch.setattr(SqliteStore, method, write)
        with pytest.raises(UsageError, match="handler"):
            pay("a")
        monkeypatch.undo()
    assert made == []
    for _ in range(2):
        with journal.run("r"):
            pay("a")
    assert made == ["a"]


FORKED = """
import os, sys
from rowtrail import Journal
def lines(journal):
    with journal.run("g"):
        yield 1
journal = Journal(sys.argv[1])
held = lines(journal)
next(held)
with journal.run("r"):
    if os.fork() == 0:
        held.close()
        os._exit(0)
    os.wait()
held.close()
journal.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_leaves_a_run_of_its_parent_says_nothing_and_ends_nothing(db: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, str(db)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    with Journal(db) as journal:
        found = {run["run_id"]: run["status"] for run in journal.runs()}
        assert found == {"g": "cancelled", "r": "done"}


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_between_the_steps_of_a_generator_its_caller_is_outside(
    journal: Journal, steps: int
) -> None:
    def work() -> Iterator[str]:
        run = journal.run("inside").__enter__()
        for number in range(steps):
            run.step_in()
            done = send(f"inside {number}")
            run.step_out()
            yield done
        run.__exit__(None, None, None)

    with journal.run("around"):
        for done in work():
            send(f"after {done}")
    expected = [("inside", "done"), ("around", "done")] * steps
    assert rows(journal) == expected
    assert [run["status"] for run in journal.runs()] == ["done", "done"]
    assert run_scope.get() is None


def test_a_run_that_has_ended_is_not_stepped_into(journal: Journal) -> None:
    with journal.run("r") as run:
        pass
    run.step_in()
    assert run_scope.get() is None


@pytest.mark.parametrize("effect", ["read", "write"])
def test_what_follows_an_answer_is_no_repetition_of_what_came_before(
    journal: Journal, effect: Any
) -> None:
    made: list[int] = []

    @step(name="look", effect=effect)
    def look() -> int:
        made.append(len(made))
        return made[-1]

    for turn in (1, 2, 1, 3, 2):
        with journal.run("r").of_turn(turn) as run:
            assert [look(), look()] == [2 * turn - 2, 2 * turn - 1]
            assert run.whole.name == ""
    assert made == [0, 1, 2, 3, 4, 5]
    [(runs, steps)] = journal.sql("SELECT count(DISTINCT run_id), count(*) FROM steps").rows
    assert (runs, steps) == (1, 6)


@pytest.mark.parametrize("turn", [1, 2])
def test_a_write_in_doubt_is_in_doubt_in_its_turn(journal: Journal, turn: int) -> None:
    @step(name="send", effect="write")
    def cut_off() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), journal.run("r").of_turn(turn):
        cut_off()
    with pytest.raises(InDoubtError), journal.run("r").of_turn(turn):
        cut_off()
