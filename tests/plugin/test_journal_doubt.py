"""Rules 6 and 7: results that cannot be stored, steps in doubt, and who decides about them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from rowtrail import InDoubtError, Journal, RowtrailError, Step, current_step, step
from rowtrail.errors import UnknownIdError, UnstorableError, UsageError
from rowtrail.journal import Attempt, Beginning, end_attempt, run_scope
from tests.conftest import Rows
from tests.plugin.conftest import World

pytestmark = pytest.mark.both_engines

SEND = """
def looked_up(step):
    note(f"look for {step.name} {step.idempotency_key} {step.input['args']}")
    return "found it" if WORD == "found" else NOT_DONE

async def alooked_up(step):
    return looked_up(step)

@step(name="send", effect=EFFECT, on_doubt=POLICY)
def send(to):
    note(f"send {to} {current_step().idempotency_key}")
    die_at(f"in {to}")
    return f"sent to {to}"

@step(name="send", effect=EFFECT, on_doubt=POLICY)
async def asend(to):
    note(f"send {to} {current_step().idempotency_key}")
    die_at(f"in {to}")
    return f"sent to {to}"

def main():
    with Journal(DB) as journal, journal.run("r"):
        print(send("a"))
        print(send("b"))

async def amain():
    with Journal(DB) as journal:
        async with journal.run("r"):
            print(await asend("a"))
            print(await asend("b"))

"""


def program(effect: str, policy: str = "None", *, is_async: bool = False) -> str:
    declared = f"EFFECT = {effect!r}\nPOLICY = {policy}\n\n@step"
    main = "asyncio.run(amain())" if is_async else "main()"
    return SEND.replace("@step", declared, 1) + main


def sent(world: World) -> list[str]:
    return [" ".join(line.split()[:2]) for line in world.ledger() if line.startswith("send")]


def keys(world: World) -> set[str]:
    return {line.split()[2] for line in world.ledger() if line.startswith("send b")}


is_async = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@is_async
@pytest.mark.parametrize("effect", ["read", "idempotent"])
def test_a_step_that_may_happen_twice_is_made_again_with_the_same_key(
    world: World, effect: str, is_async: bool, rows: Rows
) -> None:
    code = program(effect, is_async=is_async)
    world.kill(code, "in b")
    assert world.run(code) == "sent to a\nsent to b"
    assert sent(world) == ["send a", "send b", "send b"]
    assert len(keys(world)) == 1
    shown = rows("SELECT status, reason, idempotency_key FROM steps ORDER BY seq")
    assert [row["status"] for row in shown] == ["done", "superseded", "done"]
    assert shown[2]["reason"] == f"in doubt: made again, the effect is {effect}"
    assert {row["idempotency_key"] for row in shown[1:]} == keys(world)


@is_async
@pytest.mark.parametrize("policy", ["None", '"fail"', '"ask"'])  # nobody is there to ask
def test_a_write_in_doubt_fails_until_somebody_decides(
    world: World, policy: str, is_async: bool
) -> None:
    code = program("write", policy, is_async=is_async)
    world.kill(code, "in b")
    assert "InDoubtError" in world.begin(code).communicate()[1]
    assert sent(world) == ["send a", "send b"]
    with Journal(world.db) as journal:
        _, doubtful = journal.steps("r")
        assert doubtful["status"] == "in_doubt"
        assert [run["in_doubt"] for run in journal.runs()] == [1]
        journal.settle(doubtful["step_id"], result="settled by hand")
    assert world.run(code) == "sent to a\nsettled by hand"
    assert sent(world) == ["send a", "send b"]


@is_async
def test_a_write_that_did_not_happen_is_made_again(world: World, is_async: bool) -> None:
    code = program("write", is_async=is_async)
    world.kill(code, "in b")
    with Journal(world.db) as journal:
        journal.settle(journal.steps("r")[1]["step_id"], happened=False)
    assert world.run(code) == "sent to a\nsent to b"
    assert sent(world) == ["send a", "send b", "send b"]
    assert len(keys(world)) == 1


@is_async
def test_the_policy_retry_makes_a_write_again(world: World, is_async: bool, rows: Rows) -> None:
    code = program("write", '"retry"', is_async=is_async)
    world.kill(code, "in b")
    assert world.run(code) == "sent to a\nsent to b"
    assert sent(world) == ["send a", "send b", "send b"]
    reasons = rows("SELECT reason FROM steps ORDER BY seq")
    assert reasons[2] == {"reason": "in doubt: decided to make it again"}


@is_async
@pytest.mark.parametrize("word", ["found", "not found"])
def test_a_function_looks_whether_a_write_happened(
    world: World, word: str, is_async: bool, rows: Rows
) -> None:
    code = program("write", "alooked_up" if is_async else "looked_up", is_async=is_async)
    world.kill(code, "in b")
    was_found = word == "found"
    assert world.run(code, word) == "sent to a\n" + ("found it" if was_found else "sent to b")
    assert sent(world) == ["send a", "send b"] + ["send b"] * (not was_found)
    (looked,) = [line for line in world.ledger() if line.startswith("look")]
    assert looked == f"look for send {keys(world).pop()} ['b']"
    if was_found:
        assert world.run(code, "anything") == "sent to a\nfound it"  # it is recorded now
        assert rows("SELECT status, reason, replays FROM steps WHERE seq = 2") == [
            {"status": "done", "reason": "in doubt: settled with this result", "replays": 1}
        ]


def test_an_error_in_doubt_says_what_and_what_to_do(journal: Journal) -> None:
    @step(effect="write", name="send")
    def send() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        send()
    (row,) = journal.steps("r")
    what_to_do = rf"journal\.settle\('{row['step_id']}', happened=False\)"
    with pytest.raises(InDoubtError, match=what_to_do) as caught, journal.run("r"):
        send()
    error = caught.value
    assert (error.step_id, error.name) == (row["step_id"], "send")
    assert error.idempotency_key == row["idempotency_key"]
    assert isinstance(error, RowtrailError)


def test_an_error_in_doubt_sets_no_answer_aside(journal: Journal) -> None:
    made: list[str] = []

    @step(kind="llm")
    def ask() -> str:
        made.append("ask")
        return "send it"

    @step(effect="write")
    def send() -> None:
        made.append("send")
        raise KeyboardInterrupt

    for error in (KeyboardInterrupt, InDoubtError, InDoubtError):
        with pytest.raises(error), journal.run("r"):
            ask()
            send()
    assert made == ["ask", "send"]  # another answer could ask for another, unmatched, write


def test_a_decision_in_the_body_is_used_at_once(journal: Journal) -> None:
    made: list[int] = []

    @step(effect="write")
    def send() -> str:
        made.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        send()
    with journal.run("r"):
        with pytest.raises(InDoubtError) as caught:
            send()
        journal.settle(caught.value.step_id, result="it arrived")
        assert send() == "it arrived"
    assert made == [1]


def test_a_reconciling_function_that_fails_leaves_the_doubt(journal: Journal) -> None:
    answers: list[Any] = [ConnectionError("mail server is down"), "found"]

    def look(step: Step) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @step(effect="write", on_doubt=look)
    def send() -> str:
        raise KeyboardInterrupt

    for error in (KeyboardInterrupt, ConnectionError):
        with pytest.raises(error), journal.run("r"):
            send()
        assert [row["status"] for row in journal.steps("r")] == ["in_doubt"]
    with journal.run("r"):
        assert send() == "found"


def test_a_coroutine_function_cannot_answer_for_a_sync_step(journal: Journal) -> None:
    async def look(step: Step) -> str:
        return "found"

    @step(effect="write", on_doubt=look)
    def send() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        send()
    with pytest.raises(UsageError, match="coroutine function"), journal.run("r"):
        send()


def test_a_warning_tells_that_a_step_is_made_again(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    interrupts = [True, False]

    @step(name="fetch")
    def fetch() -> str:
        if interrupts.pop(0):
            raise KeyboardInterrupt
        return "fetched"

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        fetch()
    with caplog.at_level(logging.WARNING, "rowtrail"), journal.run("r"):
        fetch()
    assert ["'fetch'" in record.getMessage() for record in caplog.records] == [True]


# Asking a person, as adapters do.


def test_answers_that_are_none_come_to_an_end(journal: Journal) -> None:
    @step(name="send", effect="write", on_doubt="ask")
    def send(to: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        send("a")
    attempt = journal.attempt(Beginning("name", "r"))
    asking(attempt, {"send": "hello"})
    token = run_scope.set(attempt.scope(""))
    try:
        with pytest.raises(UsageError, match="none of those that are offered"):
            send("a")
    finally:
        run_scope.reset(token)
        end_attempt(attempt, "done")


def asking(attempt: Attempt, answers: dict[str, Any]) -> list[Step]:
    asked: list[Step] = []

    def ask(step: Step | None) -> Any:
        assert step is not None
        asked.append(step)
        return answers[step.name]

    attempt.ask = ask
    return asked


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("retry", "sent"),
        ("skip", "skipped: a person decided that this call is not made"),
        ({"result": "it arrived"}, "it arrived"),
        ({"result": "retry"}, "retry"),
        ({"result": {"result": 1}}, {"result": 1}),
        ({"result": None}, None),
    ],
)
def test_a_person_decides_about_a_write_in_doubt(
    journal: Journal, answer: Any, result: Any
) -> None:
    interrupts = [True, False]

    @step(name="send", effect="write", on_doubt="ask")
    def send(to: str) -> str:
        if interrupts.pop(0):
            raise KeyboardInterrupt
        return "sent"

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        send("a")
    attempt = journal.attempt(Beginning("name", "r"))
    asked = asking(attempt, {"send": answer})
    token = run_scope.set(attempt.scope(""))
    try:
        assert send("a") == result
    finally:
        run_scope.reset(token)
        end_attempt(attempt, "done")
    assert [(step.name, step.input) for step in asked] == [("send", {"args": ["a"], "kwargs": {}})]


def test_a_person_is_asked_about_a_call_whose_arguments_were_only_shown(
    journal: Journal,
) -> None:
    @step(name="send", effect="write", on_doubt="ask")
    def send(to: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), journal.run("r"):
        send(Handle())
    attempt = journal.attempt(Beginning("name", "r"))
    (asked, token) = (
        asking(attempt, {"send": {"result": "it arrived"}}),
        run_scope.set(attempt.scope("")),
    )
    try:
        assert send(Handle()) == "it arrived"
    finally:
        run_scope.reset(token)
        end_attempt(attempt, "done")
    assert "Handle" in str(asked[0].input)


# Results that cannot be stored.


class Handle:
    """Something alive: it has no stored form."""


@pytest.mark.parametrize("kind", ["llm", "tool", "function"])
@pytest.mark.parametrize("effect", ["read", "idempotent"])
def test_a_result_without_a_stored_form_is_made_again_and_says_so(
    journal: Journal, kind: Any, effect: Any
) -> None:
    @step(kind=kind, effect=effect)
    def connect() -> Handle:
        return Handle()

    results: list[Handle] = []
    for _ in range(2):
        with journal.run("r"):
            results.append(connect())
    assert results[0] is not results[1]
    first, second = journal.steps("r")
    assert (first["status"], second["status"]) == ("superseded", "done")
    assert "Handle has no stored form" in first["reason"]
    assert "Handle has no stored form" in second["reason"]
    assert (second["output"], second["error"]) == (None, None)


def test_a_write_whose_result_was_not_stored_is_not_made_again(journal: Journal) -> None:
    made: list[Handle] = []

    @step(effect="write", name="order")
    def order() -> Handle:
        made.append(Handle())
        return made[-1]

    with journal.run("r"):
        assert order() is made[0]
    with pytest.raises(InDoubtError, match="could not be stored") as caught, journal.run("r"):
        order()
    journal.settle(caught.value.step_id, result="order 7")
    with journal.run("r"):
        assert order() == "order 7"  # type: ignore[comparison-overlap]
    assert len(made) == 1


def test_a_function_that_looks_may_return_what_cannot_be_stored(journal: Journal) -> None:
    found = Handle()
    made: list[int] = []

    @step(effect="write", on_doubt=lambda step: found)
    def order() -> Handle:
        made.append(1)
        return Handle()

    for attempt in range(3):
        with journal.run("r"):
            assert (order() is found) == (attempt > 0)
    assert made == [1]


# settle().


@pytest.mark.parametrize("step_id", ["77", "x", "", "9" * 40, "-1", "1.0", " 1", "\u0661"])
def test_settling_an_unknown_step_is_a_clear_error(journal: Journal, step_id: str) -> None:
    with journal.run("r"):
        step(name="f")(lambda: 1)()
    with pytest.raises(UnknownIdError, match="no step has the id") as caught:
        journal.settle(step_id, happened=False)
    assert (caught.value.kind, caught.value.value) == ("step", step_id)


def test_settling_takes_a_result_or_that_it_did_not_happen(journal: Journal) -> None:
    with journal.run("r"):
        step(name="f")(lambda: 1)()
    (row,) = journal.steps("r")
    with pytest.raises(UsageError, match="'done', not in doubt"):
        journal.settle(row["step_id"], happened=False)
    with pytest.raises(UsageError, match="either"):
        journal.settle(row["step_id"])
    with pytest.raises(UsageError, match="either"):
        journal.settle(row["step_id"], result=1, happened=False)
    with pytest.raises(UnstorableError):
        journal.settle(row["step_id"], result=Handle())


def test_a_step_of_a_dead_process_can_be_settled_before_anybody_resumes(world: World) -> None:
    code = program("write")
    world.kill(code, "in a")
    with Journal(world.db) as journal:
        journal.settle("1", result=None)
        assert [row["status"] for row in journal.steps("r")] == ["done"]
    assert world.run(code) == "None\nsent to b"


# Idempotency keys.


def test_a_key_belongs_to_one_call_of_one_run_of_one_journal(tmp_path: Path) -> None:
    seen: list[str] = []

    @step(effect="idempotent")
    def charge(amount: int) -> None:
        seen.append(current_step().idempotency_key)

    for name in ("one.db", "two.db"):
        with Journal(tmp_path / name) as journal:
            for run_id in ("r", "s"):
                with journal.run(run_id):
                    for amount in (1, 1, 2):
                        charge(amount)
    assert len(set(seen)) == len(seen) == 12


def test_a_retry_after_a_failure_has_the_same_key(journal: Journal) -> None:
    seen: list[str] = []

    @step(effect="idempotent")
    def charge() -> str:
        seen.append(current_step().idempotency_key)
        if len(seen) < 3:
            raise TimeoutError
        return "charged"

    for _ in range(2):
        with pytest.raises(TimeoutError), journal.run("r"):
            charge()
    with journal.run("r"):
        charge()
    assert len(seen) == 3
    assert set(seen) == {row["idempotency_key"] for row in journal.steps("r")}
    assert len(set(seen)) == 1


def test_the_running_step_knows_itself(journal: Journal) -> None:
    seen: list[Step] = []

    @step(name="outer")
    def outer(n: int) -> None:
        seen.append(current_step())
        inner(n + 1)
        assert current_step() == seen[0]

    @step(name="inner", kind="tool")
    def inner(n: int) -> None:
        seen.append(current_step())

    with journal.run("r"):
        outer(1)
    rows = journal.steps("r")
    assert [s.id for s in seen] == [row["step_id"] for row in rows]
    assert [(s.name, s.attempt) for s in seen] == [("outer", 1), ("inner", 1)]
    assert [s.idempotency_key for s in seen] == [row["idempotency_key"] for row in rows]
    assert [s.input for s in seen] == [{"args": [1], "kwargs": {}}, {"args": [2], "kwargs": {}}]


@pytest.mark.parametrize("is_async", [False, True])
def test_there_is_no_current_step_outside_one(journal: Journal, is_async: bool) -> None:
    async def main() -> None:
        async with journal.run("r"):
            with pytest.raises(UsageError, match="outside a step"):
                current_step()

    if is_async:
        asyncio.run(main())
    with journal.run("s"), pytest.raises(UsageError, match="outside a step"):
        current_step()
    with pytest.raises(RuntimeError):
        current_step()
