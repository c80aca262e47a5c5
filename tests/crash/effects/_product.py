"""The product of faults, ways of resuming, shapes, modes and effects: generated, never listed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

Fault = Literal[
    "kill_before",  # the answer that asks for the call is committed, the call is not begun
    "kill_entered",  # in the call, before its effect
    "kill_in",  # in the call, after its effect
    "kill_after",  # the call is committed, the next LLM call is about to be sent
    "value_error",  # the call says that it did not happen
    "not_done_error",  # so it does, in rowtrail's own words
    "timeout_error",  # these leave open whether it happened, and it did
    "connection_error",
    "transport_error",
    "base_exception",
    "cancel",  # the task is cancelled; in sync code the main thread gets a SIGINT
    "closed_loop",  # the event loop is closed under the pending call
    "node_timeout",  # LangGraph gives up on the node
    "late",  # the caller gives up on a call in a thread, which ends well after the resume began
    "settle",  # so too, and before the resume a person says what became of the call
]
Way = Literal[
    "none",  # `None`: go on
    "same",  # the same input again
    "words",  # another input
    "retry_policy",  # LangGraph's RetryPolicy runs the node again; `None` where that is not enough
    "command",  # `Command(resume=)` that answered a question before, sent again
    "second",  # a second process resumes with `None` while the first is still in the call
    "two_none",  # two processes at once, each with `None`
    "two_id",  # two processes at once, each with the same input and the run's id
    "copy",  # `None` on a copy of the journal, the original is gone
    "pid_space_none",  # in another pid space, as a container that is started again
    "pid_space_same",
]
Shape = Literal["create_agent", "tool_node", "by_hand", "functional", "subgraph", "journal_run"]
Mode = Literal["sync", "async"]
Effect = Literal["read", "idempotent", "write_fail", "write_ask", "write_retry", "write_look"]

FAULTS: tuple[Fault, ...] = get_args(Fault)
WAYS: tuple[Way, ...] = get_args(Way)
SHAPES: tuple[Shape, ...] = get_args(Shape)
MODES: tuple[Mode, ...] = get_args(Mode)
EFFECTS: tuple[Effect, ...] = get_args(Effect)

KILLS: frozenset[Fault] = frozenset({"kill_before", "kill_entered", "kill_in", "kill_after"})
OUTLIVING: frozenset[Fault] = frozenset({"late", "settle"})
"""The call goes on in a thread after its caller gave up."""

REAL_LEASES = 20
"""How many combinations wait for the lease that users have, not for a shortened one."""


@dataclass(frozen=True, order=True)
class Combination:
    """One element of the product."""

    fault: Fault
    way: Way
    shape: Shape
    mode: Mode
    effect: Effect

    @property
    def id(self) -> str:
        """The name under which it is run again: `kill_in.none.create_agent.sync.write_fail`."""
        return f"{self.fault}.{self.way}.{self.shape}.{self.mode}.{self.effect}"

    @property
    def is_kill(self) -> bool:
        return self.fault in KILLS

    @property
    def outlives(self) -> bool:
        return self.fault in OUTLIVING

    @property
    def hits_twin(self) -> bool:
        """Whether the fault hits one of two equal calls of one answer, not the call beside them."""
        return not self.outlives and not self.is_around and bool(self.dice & 2)

    @property
    def is_around(self) -> bool:
        """Whether the fault strikes before or after the call, not in it."""
        return self.fault in ("kill_before", "kill_after")

    @property
    def in_new_pid_space(self) -> bool:
        return self.way in ("pid_space_none", "pid_space_same")

    @property
    def dice(self) -> int:
        """A number that chooses what is no dimension of its own, the same in every run."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:8])

    @property
    def durability(self) -> Literal["sync", "async"]:
        """When LangGraph saves its checkpoints."""
        return "sync" if self.dice % 2 else "async"


def product() -> Iterator[Combination]:
    """Yield every combination, possible or not."""
    for parts in itertools.product(FAULTS, WAYS, SHAPES, MODES, EFFECTS):
        yield Combination(*parts)


def named(id: str) -> Combination:
    """Return the combination of an id.

    Raises:
        ValueError: There is none.
    """
    for found in product():
        if found.id == id:
            return found
    raise ValueError(f"no combination has the id {id!r}")


def with_real_lease(possible: list[Combination]) -> frozenset[Combination]:
    """Return those that wait for the lease that users have: kills in another pid space."""
    waiting = [c for c in possible if c.in_new_pid_space and c.fault in ("kill_entered", "kill_in")]
    return frozenset(sorted(waiting, key=lambda c: c.dice)[:REAL_LEASES])
