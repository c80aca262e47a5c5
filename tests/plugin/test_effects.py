"""Calls that change the world: matched, keyed, decided about, each once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtrail import NOT_DONE, InDoubtError, Journal, current_step, step
from rowtrail.errors import UsageError
from rowtrail.history import why
from rowtrail.journal import (
    Attempt,
    Beginning,
    Request,
    abegin_call,
    aend_attempt,
    begin_call,
    end_attempt,
)

pytestmark = pytest.mark.both_engines


class Stop(BaseException):
    """Stands for a kill."""


Script = list[tuple[str, str]]
"""What a program does: `(what, argument)`, `what` one of the effects, or `stop`."""


def play(journal: Journal, script: Script, ledger: list[tuple[str, str]]) -> None:
    """Run a program of steps, each of which notes its effect; `stop` stands for a kill."""

    def maker(effect: Any) -> Callable[[str], str]:
        @step(name=effect, effect=effect, on_doubt="fail")
        def make(argument: str) -> str:
            ledger.append((effect, argument))
            return f"{effect} {argument}"

        return make

    makers = {effect: maker(effect) for effect in ("read", "idempotent", "write")}
    with journal.run("r"):
        for what, argument in script:
            if what == "stop":
                raise Stop
            assert makers[what](argument) == f"{what} {argument}"


scripts = st.lists(
    st.tuples(st.sampled_from(["read", "idempotent", "write"]), st.sampled_from("ab")), max_size=8
)


@given(script=scripts, cuts=st.lists(st.integers(0, 8), max_size=3))
def test_a_program_cut_anywhere_makes_each_call_once(script: Script, cuts: list[int]) -> None:
    ledger: list[tuple[str, str]] = []
    with Journal(":memory:") as journal:
        for cut in cuts:
            with pytest.raises(Stop):
                play(journal, [*script[:cut], ("stop", "")], ledger)
        play(journal, script, ledger)
        keys = [row["idempotency_key"] for row in journal.steps("r")]
    assert sorted(ledger) == sorted(script)
    assert len(set(keys)) == len(keys) == len(script)


@given(first=scripts, second=scripts)
def test_a_write_in_another_order_is_matched_and_another_is_made(
    first: Script, second: Script
) -> None:
    """After the first program was cut at its end, the second finds what the first made."""
    ledger: list[tuple[str, str]] = []
    with Journal(":memory:") as journal:
        with pytest.raises(Stop):
            play(journal, [*first, ("stop", "")], ledger)
        play(journal, second, ledger)
    for call in set(first) | set(second):
        assert ledger.count(call) == max(first.count(call), second.count(call))


# Keys.


def keys_of(journal: Journal, run_id: str, calls: int) -> list[str]:
    found: list[str] = []

    @step(effect="idempotent")
    def put(value: int) -> None:
        found.append(current_step().idempotency_key)

    with journal.run(run_id):
        for _ in range(calls):
            put(1)
    assert [row["idempotency_key"] for row in journal.steps(run_id)] == found
    return found


def test_keys_tell_calls_runs_and_copies_apart(tmp_path: Path) -> None:
    Journal(tmp_path / "a.db").close()
    shutil.copy(tmp_path / "a.db", tmp_path / "b.db")
    found: list[str] = []
    for name in ("a.db", "b.db"):
        with Journal(tmp_path / name) as journal:
            for run_id in ("order-1", "order-2"):
                found += keys_of(journal, run_id, 3)
    assert len(set(found)) == len(found) == 12


def test_a_copy_of_a_run_keeps_its_keys(tmp_path: Path) -> None:
    """Restored from a backup, or moved: the call that was in flight has the key that it had."""
    found: dict[str, str] = {}
    here = ["original"]

    @step(effect="idempotent")
    def first(value: int) -> int:
        return value

    @step(effect="idempotent")
    def put(value: int) -> None:
        found[here[0]] = current_step().idempotency_key
        if here == ["original"]:
            raise Stop

    def program(path: Path) -> None:
        with Journal(path) as journal, journal.run("r"):
            first(1)
            put(1)

    with Journal(tmp_path / "a.db") as journal, pytest.raises(Stop), journal.run("r"):
        first(1)
        raise Stop
    shutil.copy(tmp_path / "a.db", tmp_path / "b.db")
    with pytest.raises(Stop):
        program(tmp_path / "a.db")
    here[0] = "copy"
    program(tmp_path / "b.db")
    assert found["original"] == found["copy"]


# Decisions.


@pytest.mark.parametrize("late", ["returns", "raises", "times out"])
@pytest.mark.parametrize("said", ["happened", "did not happen"])
def test_what_arrives_late_is_kept_beside_the_decision(
    journal: Journal, late: str, said: str
) -> None:
    entered, release = threading.Event(), threading.Event()
    made: list[str] = []

    @step(effect="write", name="pay")
    def pay(amount: int) -> str:
        made.append("pay")
        if len(made) > 1:
            return "again"
        entered.set()
        release.wait(60)
        if late != "returns":
            raise TimeoutError if late == "times out" else ValueError
        return "late"

    def quietly() -> None:
        with contextlib.suppress(TimeoutError, ValueError):
            pay(1)

    worker = threading.Thread(target=quietly)
    with pytest.raises(Stop), journal.run("r"):
        worker.start()
        assert entered.wait(60)
        raise Stop
    [row] = journal.steps("r")
    assert row["status"] == "running"  # its caller has gone, and it goes on
    if said == "happened":
        journal.settle(row["step_id"], result="seen")
    else:
        journal.settle(row["step_id"], happened=False)
    release.set()
    worker.join()
    [row] = journal.steps("r")
    assert row["status"] == ("done" if said == "happened" else "superseded")
    with journal.run("r"):
        assert pay(1) == ("seen" if said == "happened" else "again")
    assert len(made) == (1 if said == "happened" else 2)
    kept = why(journal.store, row["step_id"]).late
    assert kept is not None
    assert (kept["output"], kept["error"] is None) == (
        ('"late"', True) if late == "returns" else (None, False)
    )


def test_a_waiter_gets_the_decision(journal: Journal) -> None:
    entered, release = threading.Event(), threading.Event()
    got: list[Any] = []

    @step(effect="write", name="pay")
    def pay(amount: int) -> str:
        entered.set()
        release.wait(60)
        return "late"

    def resume() -> None:
        with journal.run("r"):
            got.append(pay(1))

    worker = threading.Thread(target=lambda: pay(1))
    with pytest.raises(Stop), journal.run("r"):
        worker.start()
        assert entered.wait(60)
        raise Stop
    waiter = threading.Thread(target=resume)
    waiter.start()
    while not journal.sql("SELECT 1 FROM runs WHERE attempts = 2").rows:
        pass
    journal.settle(journal.steps("r")[0]["step_id"], result="seen")
    waiter.join(20)
    release.set()
    worker.join()
    assert got == ["seen"]


def same_request(attempt: Attempt) -> Request:
    """Return the request of the running step, as another attempt of its run makes it."""
    running = current_step().id
    row = attempt.recorder.store.read(lambda tx: tx.one("step_by_text_id", id=running))
    assert row is not None

    def encode() -> Any:
        return attempt.prepare(attempt.codec.encode(None))

    return Request("function", row["name"], row["fingerprint"], encode, effect="write")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_step_that_would_wait_for_itself_raises(journal: Journal, is_async: bool) -> None:
    """A tool that goes on with the very run that it is a part of."""

    @step(effect="write")
    def pay(amount: int) -> None:
        attempt = journal.attempt(Beginning("name", "r"))
        try:
            begin_call(attempt.scope(""), same_request(attempt))
        finally:
            end_attempt(attempt, "cancelled")

    @step(effect="write")
    async def apay(amount: int) -> None:
        attempt = await journal.aattempt(Beginning("name", "r"))
        try:
            await abegin_call(attempt.scope(""), same_request(attempt))
        finally:
            await aend_attempt(attempt, "cancelled")

    with pytest.raises(UsageError, match="part of"), journal.run("r"):
        if is_async:
            asyncio.run(apay(1))
        else:
            pay(1)


@pytest.mark.parametrize("answer", ["found", NOT_DONE])
def test_a_function_looks_whether_a_late_write_happened(journal: Journal, answer: Any) -> None:
    made: list[int] = []

    @step(effect="write", on_doubt=lambda step: answer)
    def pay(amount: int) -> str:
        made.append(amount)
        if len(made) == 1:
            raise TimeoutError
        return "paid"

    with journal.run("r"):
        with pytest.raises(TimeoutError):
            pay(1)
        assert pay(1) == ("paid" if answer is NOT_DONE else "found")
    assert len(made) == (2 if answer is NOT_DONE else 1)


def test_other_arguments_are_another_write_unless_there_is_a_key(journal: Journal) -> None:
    made: list[str] = []

    @step(effect="write")
    def pay(order: str, note: str) -> None:
        made.append(order + note)
        raise TimeoutError

    @step(effect="write", key=lambda order, note: order)
    def pay_once(order: str, note: str) -> None:
        made.append(order + note)
        raise TimeoutError

    with journal.run("r"):
        for note in "ab":
            with pytest.raises(TimeoutError):
                pay("o", note)
        with pytest.raises(TimeoutError):
            pay_once("p", "a")
        with pytest.raises(InDoubtError):
            pay_once("p", "b")
    assert made == ["oa", "ob", "pa"]
