"""What is right for a combination, by DESIGN.md §3 and §7."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from tests.crash.effects._endpoint import EXPECTED, PLAN, SMALL, TARGET
from tests.crash.effects._product import Combination, Fault
from tests.crash.effects._world import World

CALLS_NEEDED = len(PLAN) + 1

NOT_HAPPENED: frozenset[Fault] = frozenset(
    {"kill_before", "kill_entered", "value_error", "not_done_error"}
)
"""The call that these strike has no effect before they do."""

ENDED_WELL: frozenset[Fault] = frozenset({"kill_after"})

STOPPED: frozenset[Fault] = frozenset({"base_exception", "cancel", "closed_loop"})
"""These leave the run cancelled or crashed, as kills do; after the others it is failed."""


@dataclass(frozen=True)
class Bounds:
    """The least and the most that may be."""

    least: int
    most: int

    def hold(self, found: int) -> bool:
        return self.least <= found <= self.most


@dataclass(frozen=True)
class AfterFault:
    """What was there when the fault had struck."""

    effects: dict[int, int]
    """Lines of the ledger by amount."""
    target_status: str | None
    """The newest row of the call that the fault hit."""
    llm_calls: int
    """Rows of LLM calls that are done."""


def note_after_fault(c: Combination, world: World) -> None:
    """Write down what the journal and the ledger hold when the fault has struck."""
    name = "charge" if c.outlives else "act"
    targets = world.rows(
        "SELECT status FROM steps WHERE name = ? AND input LIKE ? ORDER BY seq", name, f"%{TARGET}%"
    )
    calls = world.rows("SELECT 1 FROM llm_calls WHERE status = 'done'")
    found = AfterFault(
        dict(Counter(line.amount for line in world.ledger())),
        targets[-1]["status"] if targets else None,
        len(calls),
    )
    world.save("after_fault", asdict(found))


def after_fault(world: World) -> AfterFault:
    """Return what was written down when the fault had struck."""
    found = world.load("after_fault")
    if found is None:
        return AfterFault({}, None, 0)
    effects = {int(amount): count for amount, count in found.pop("effects").items()}
    return AfterFault(effects, **found)


def continues(c: Combination) -> bool:
    """Return whether the way of resuming goes on with the run; else it begins another (rule 11)."""
    if c.shape == "journal_run":
        return True  # the id names the work
    if c.way == "words":
        return False
    if c.way not in ("same", "pid_space_same"):
        return True
    return c.is_kill or c.fault in STOPPED or c.effect != "read"


def effects_allowed(c: Combination, after: AfterFault) -> dict[int, Bounds]:
    """Return how many lines the ledger may hold in the end, by amount."""
    if not continues(c):
        again = after.effects.get(SMALL, 0) + EXPECTED[SMALL]
        return {SMALL: Bounds(again, again), TARGET: _target_of_another_run(c, after)}
    exact = Bounds(EXPECTED[SMALL], EXPECTED[SMALL])
    return {SMALL: exact, TARGET: Bounds(1, 2 if _may_repeat(c) else 1)}


def _may_repeat(c: Combination) -> bool:
    """Return whether the call that the fault hit may be made again after its effect (rule 7)."""
    happened = c.fault not in NOT_HAPPENED | ENDED_WELL
    return happened and c.effect in ("read", "idempotent", "write_retry")


def _target_of_another_run(c: Combination, after: AfterFault) -> Bounds:
    """Return how often the call that the fault hit may have happened after another run.

    A `write` that an earlier run of the thread left in doubt is in doubt there, too: what a person
    or a function says of it holds, and it happened once. Everything else is a new call.
    """
    before = after.effects.get(TARGET, 0)
    is_in_doubt = after.target_status in ("running", "in_doubt")
    if c.effect.startswith("write") and is_in_doubt:
        return Bounds(1, before + 1 if c.effect == "write_retry" else 1)
    return Bounds(before + 1, before + 1)


def calls_allowed(c: Combination, after: AfterFault) -> Bounds:
    """Return how many requests the endpoint may have seen."""
    needed = CALLS_NEEDED + (c.way == "command")
    if not continues(c) or c.way == "words":  # all of the other question's
        return Bounds(after.llm_calls + needed, after.llm_calls + needed)
    return Bounds(needed, needed + _asks_again(c))


def _asks_again(c: Combination) -> bool:
    """Return whether the last answer may be asked for again: the code around the calls raised, and
    none of them was more than a `read` (rule 3).
    """
    is_one_scope = c.shape in ("by_hand", "journal_run", "functional", "subgraph")
    return c.effect == "read" and not c.is_kill and is_one_scope
