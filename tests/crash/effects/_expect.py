"""What is right for a combination, by DESIGN.md §3 and §7."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from tests.crash.effects._endpoint import EXPECTED, PLAN, SINGLE, TWIN
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
    done: int
    """Rows of calls with the amount of the one that the fault hit, that are done."""
    is_in_doubt: bool
    """Whether such a row is open."""
    llm_calls: int
    """Rows of LLM calls that are done."""


def note_after_fault(c: Combination, world: World) -> None:
    """Write down what the journal and the ledger hold when the fault has struck."""
    name = "charge" if c.outlives else "act"
    rows = world.rows(
        "SELECT status FROM steps WHERE name = ? AND input LIKE ?", name, f"%{target(c)}%"
    )
    statuses = [row["status"] for row in rows]
    found = AfterFault(
        dict(Counter(line.amount for line in world.ledger())),
        statuses.count("done"),
        "running" in statuses or "in_doubt" in statuses,
        len(world.rows("SELECT 1 FROM llm_calls WHERE status = 'done'")),
    )
    world.save("after_fault", asdict(found))


def after_fault(world: World) -> AfterFault:
    """Return what was written down when the fault had struck."""
    found = world.load("after_fault")
    if found is None:
        return AfterFault({}, 0, False, 0)
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
    before = {n: 0 if continues(c) else after.effects.get(n, 0) for n in EXPECTED}
    found = {n: Bounds(before[n] + EXPECTED[n], before[n] + EXPECTED[n]) for n in EXPECTED}
    hit = target(c)
    if not continues(c):
        found[hit] = _target_of_another_run(c, after)
    elif _may_repeat(c):
        found[hit] = Bounds(EXPECTED[hit], EXPECTED[hit] + 1)
    return found


def target(c: Combination) -> int:
    """Return the amount of the call that the fault hits."""
    return TWIN if c.hits_twin else SINGLE


def _may_repeat(c: Combination) -> bool:
    """Return whether the call that the fault hit may be made again after its effect (rule 7)."""
    happened = c.fault not in NOT_HAPPENED | ENDED_WELL
    return happened and c.effect in ("read", "idempotent", "write_retry")


def _target_of_another_run(c: Combination, after: AfterFault) -> Bounds:
    """Return how often the call that the fault hit may have happened after another run.

    A `write` that an earlier run of the thread left in doubt is in doubt there, too: what a person
    or a function says of it holds. Everything else is a new call, as is one that is made when the
    late call of the earlier run has just ended.
    """
    hit = target(c)
    again = after.effects.get(hit, 0) + EXPECTED[hit]
    if not c.effect.startswith("write") or not after.is_in_doubt:
        return Bounds(again, again)
    once = after.done + EXPECTED[hit]
    return Bounds(once, again if c.effect == "write_retry" or c.fault == "late" else once)


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
