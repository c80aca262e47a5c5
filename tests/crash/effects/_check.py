"""Judges what came of a combination by the promises of DESIGN.md §7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.crash.effects._endpoint import APPROVED, EXPECTED, PLAN, answer_to, result_of
from tests.crash.effects._expect import (
    AfterFault,
    after_fault,
    calls_allowed,
    continues,
    effects_allowed,
    target,
)
from tests.crash.effects._product import Combination
from tests.crash.effects._world import Line, World

LONGEST_WAIT_S = 20.0

NOT_STRUCK = "not struck"
"""No promise was broken: the fault did not come about."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    rule: str
    detail: str


@dataclass(frozen=True)
class Evidence:
    """What a combination left."""

    combination: Combination
    world: World
    exits: dict[str, int]
    asked: list[str]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """Every outcome of those who resumed, in order."""
        names = ("second", "resume_0", "resume_1")
        single = [self.world.load(name) for name in names]
        return [one for one in single if one] + (self.world.load("rounds") or [])

    @property
    def after(self) -> AfterFault:
        return after_fault(self.world)


def judge(evidence: Evidence) -> list[Violation]:
    """Return the promises that were broken."""
    if not evidence.world.has("fired"):
        return [Violation(NOT_STRUCK, f"the fault never struck: {evidence.exits}")]
    return [
        *_ends(evidence),
        *_effects(evidence),
        *_keys(evidence),
        *_calls(evidence),
        *_rows(evidence),
    ]


def _ends(evidence: Evidence) -> Iterator[Violation]:
    outcomes, c = evidence.outcomes, evidence.combination
    for role, code in evidence.exits.items():
        if code and not (role == "first" and c.is_kill):
            yield Violation("stuck", f"{role} ended with {code}")
    if not outcomes or (outcomes[-1]["kind"] != "done"):
        last = outcomes[-1]["error"] or outcomes[-1]["kind"] if outcomes else "nothing"
        yield Violation("stuck", f"the run never became done: {last}")
    for one in outcomes:
        if one["seconds"] > LONGEST_WAIT_S:
            yield Violation("wait", f"an invocation took {one['seconds']} s")
        if one["kind"] == "done":
            yield from _state(evidence, one["messages"])


def _state(evidence: Evidence, found: list[Any]) -> Iterator[Violation]:
    """Compare the state with that of a run that nobody disturbed."""
    c, world = evidence.combination, evidence.world
    question = world.other_question if c.way == "words" else world.question
    wanted = undisturbed(question, with_approval=c.way == "command")
    if not continues(c) and len(found) > len(wanted):
        found = found[len(found) - len(wanted) :]
    if found != wanted:
        rule = "wrong answer" if found and wanted[-1] != found[-1] else "state"
        yield Violation(rule, f"{found} instead of {wanted}")


def undisturbed(question: str, *, with_approval: bool) -> list[Any]:
    """Return the messages of a run that nobody disturbed."""
    made: list[Any] = [["human", question, []]]
    results: list[str] = []
    if with_approval:
        made.append(["ai", "", [["approve", {"what": "acting"}]]])
        made.append(["tool", APPROVED, []])
        results.append(APPROVED)
    for amounts in PLAN:
        made.append(["ai", "", [["act", {"amount": amount}] for amount in amounts]])
        made += [["tool", result_of(amount), []] for amount in amounts]
        results += [result_of(amount) for amount in amounts]
    return [*made, ["ai", answer_to(question, results), []]]


def _effects(evidence: Evidence) -> Iterator[Violation]:
    c = evidence.combination
    found = Counter(line.amount for line in evidence.world.ledger())
    for amount, bounds in effects_allowed(c, evidence.after).items():
        if bounds.hold(found[amount]):
            continue
        said = f"act({amount}) happened {found[amount]} times, not {bounds}"
        if found[amount] < bounds.least:
            yield Violation("lost effect", said)
        elif amount != target(c) or c.fault == "kill_after":
            yield Violation("committed call repeated", said)
        else:
            yield Violation("effect repeated", said)


def _keys(evidence: Evidence) -> Iterator[Violation]:
    """Check that a repetition carries the same key, and another call another one."""
    if evidence.combination.effect == "read":
        return
    lines = evidence.world.ledger()
    if any(line.key is None for line in lines):
        yield Violation("key", "a call had no key: it was not recorded")
        return
    cut = len(lines) if continues(evidence.combination) else sum(evidence.after.effects.values())
    for part in (lines[:cut], lines[cut:]):
        yield from _keys_of_run(part)
    if {line.key for line in lines[:cut]} & {line.key for line in lines[cut:]}:
        yield Violation("key", "two runs share a key")


def _keys_of_run(lines: list[Line]) -> Iterator[Violation]:
    amounts = {
        line.key: {other.amount for other in lines if other.key == line.key} for line in lines
    }
    if any(len(found) > 1 for found in amounts.values()):
        yield Violation("key", "calls of different arguments share a key")
    for amount, expected in EXPECTED.items():
        made = [line.key for line in lines if line.amount == amount]
        if len(set(made)) != min(expected, len(made)):
            yield Violation(
                "key", f"{len(made)} calls of act({amount}) carry {len(set(made))} keys"
            )


def _calls(evidence: Evidence) -> Iterator[Violation]:
    bounds = calls_allowed(evidence.combination, evidence.after)
    if not bounds.hold(len(evidence.asked)):
        yield Violation(
            "LLM calls", f"{len(evidence.asked)} requests, not {bounds}: {evidence.asked}"
        )


def _rows(evidence: Evidence) -> Iterator[Violation]:
    """Check that a run that is done leaves nothing open."""
    left = evidence.world.rows(
        "SELECT step_id, name, status FROM steps WHERE status IN ('running', 'in_doubt') "
        "AND run_id IN (SELECT run_id FROM runs WHERE status = 'done')"
    )
    if left:
        yield Violation("rows", f"a run is done and leaves {left}")
