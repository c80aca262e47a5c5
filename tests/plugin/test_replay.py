"""The rules of replay, as functions: what becomes of a request, and who raised an exception."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import get_args

import pytest

from rowtrail import schema
from rowtrail.engine.sqlite import dialect
from rowtrail.replay import (
    Aside,
    Decision,
    Effect,
    Kind,
    Live,
    ReasonCode,
    Recorded,
    Replay,
    Resolve,
    Status,
    Wait,
    culprit,
    decide,
    sentence,
)


def recorded(status: Status, *, id: int = 1, kind: Kind = "tool", result: bool = True) -> Recorded:
    return Recorded(id, 10 * id, kind, status, result)


def decision(
    *steps: Recorded,
    kind: Kind = "tool",
    effect: Effect = "read",
    alive: bool = False,
    **rest: bool,
) -> Decision:
    diverged = rest.pop("diverged", False)
    return decide(steps, kind=kind, effect=effect, diverged=diverged, is_alive=lambda _: alive)


def reason(decided: Decision) -> str:
    assert isinstance(decided, Live)
    return decided.code


@pytest.mark.parametrize("effect", get_args(Effect))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_finished_step_is_replayed(kind: Kind, effect: Effect) -> None:
    step = recorded("done", kind=kind)
    assert decision(step, kind=kind, effect=effect) == Replay(1)


@pytest.mark.parametrize("alive", [True, False])
def test_a_request_without_a_record_is_made(alive: bool) -> None:
    assert decision(alive=alive) == Live(ReasonCode.FIRST)


def test_a_changed_request_says_so() -> None:
    assert reason(decision(diverged=True)) == "changed"


@pytest.mark.parametrize("effect", get_args(Effect))
@pytest.mark.parametrize("result", [True, False])
def test_a_failed_step_is_made_again_and_never_replayed(effect: Effect, result: bool) -> None:
    assert reason(decision(recorded("failed", result=result), effect=effect)) == "failed_before"


@pytest.mark.parametrize("effect", get_args(Effect))
def test_an_answer_that_was_set_aside_is_asked_for_again(effect: Effect) -> None:
    decided = decision(recorded("superseded"), effect=effect, diverged=True)
    assert reason(decided) == "asked_again"


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("effect", get_args(Effect))
def test_a_step_that_somebody_is_making_is_waited_for(kind: Kind, effect: Effect) -> None:
    step = recorded("running", kind=kind, result=False)
    assert decision(step, kind=kind, effect=effect, alive=True) == Wait(1, 10)


@pytest.mark.parametrize("status", ["running", "in_doubt"])
@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("effect", get_args(Effect))
def test_a_step_in_doubt_is_made_again_unless_it_writes(
    status: Status, kind: Kind, effect: Effect
) -> None:
    step = recorded(status, kind=kind, result=False)
    decided = decision(step, kind=kind, effect=effect)
    if kind == "llm":
        assert reason(decided) == "crashed"
    elif effect == "write":
        assert decided == Resolve(1)
    else:
        assert isinstance(decided, Live) and decided.supersedes == 1
        assert decided.code == "in_doubt" and effect in sentence(decided.code, effect)


def test_a_result_that_was_not_stored_is_made_again_unless_it_was_written() -> None:
    lost = recorded("done", result=False)
    for effect in ("read", "idempotent"):
        decided = decision(lost, effect=effect)
        assert isinstance(decided, Live) and decided.code == "not_stored"
        assert decided.supersedes == 1
    assert decision(lost, effect="write") == Resolve(1)


@pytest.mark.parametrize("effect", get_args(Effect))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_newest_row_that_stands_decides(kind: Kind, effect: Effect) -> None:
    statuses: tuple[Status, ...] = get_args(Status)
    for older, newer in itertools.product(statuses, statuses):
        old = recorded(older, id=1, kind=kind)
        new = recorded(newer, id=2, kind=kind)
        alone = decision(new if newer != "superseded" else old, kind=kind, effect=effect)
        assert decision(old, new, kind=kind, effect=effect) == alone, (older, newer)


# Who raised it.


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def raised_while_handling(error: BaseException, handled: BaseException) -> BaseException:
    try:
        try:
            raise handled
        except BaseException:
            raise error from None
    except BaseException as caught:
        return caught


def test_a_step_that_raised_is_the_culprit() -> None:
    failed = [ValueError("other"), LookupError("step")]
    assert culprit(failed[1], failed) is failed[1]


def test_an_exception_that_stems_from_a_step_has_it_for_culprit() -> None:
    step = LookupError("step")
    for error in (
        raised(RuntimeError("wrapped"), step),
        raised(RuntimeError("twice"), raised(RuntimeError("wrapped"), step)),
        raised_while_handling(RuntimeError("from None"), step),
    ):
        assert culprit(error, [step]) is step


def test_code_that_raises_itself_is_nobody_elses_fault() -> None:
    step = LookupError("step")
    for error in (ValueError("malformed answer"), raised(ValueError(), KeyError())):
        assert culprit(error, [step]) is None
    assert culprit(LookupError("step"), [step]) is None  # equal is not the same


def test_a_group_is_of_steps_only_when_every_member_is() -> None:
    one, other, own = LookupError("one"), LookupError("other"), ValueError("malformed answer")
    assert culprit(ExceptionGroup("tasks", [one, other]), [one, other]) is one
    assert culprit(ExceptionGroup("tasks", [ExceptionGroup("inner", [one])]), [one]) is one
    assert culprit(ExceptionGroup("tasks", [one, own]), [one]) is None
    assert culprit(ExceptionGroup("tasks", [own]), [one]) is None


def test_a_chain_that_bites_its_tail_comes_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert culprit(one, [LookupError("step")]) is None


def test_every_reason_code_has_a_sentence_and_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "replay.md").read_text("utf-8")
    table = text.partition("`reason_code`")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {code for cell in cells for code in re.findall(r"`(\w+)`", cell)} == set(ReasonCode)
    assert all(sentence(code, "read") for code in ReasonCode)


def test_the_codes_that_statements_write_are_of_the_lists() -> None:
    written = "\n".join(schema.statements(dialect()).values())
    codes = set(re.findall(r"\breason_code = '(\w+)'", written))
    asides = set(re.findall(r"\baside = '(\w+)'|THEN '(\w+)' ELSE aside", written))
    assert codes
    assert codes <= set(ReasonCode)
    assert asides
    assert {first or second for first, second in asides} <= set(Aside)
