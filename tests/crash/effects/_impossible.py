"""The combinations that cannot be, each with its reason; `test_effects.py` shows every reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.crash.effects._product import Combination


@dataclass(frozen=True)
class Reason:
    """Why some combinations cannot be."""

    name: str
    text: str
    applies: Callable[[Combination], bool]


REASONS = (
    Reason(
        "no_loop",
        "sync code runs on no event loop that could be closed",
        lambda c: c.fault == "closed_loop" and c.mode == "sync",
    ),
    Reason(
        "no_command",
        "journal.run has no LangGraph around it that would take a Command",
        lambda c: c.way == "command" and c.shape == "journal_run",
    ),
    Reason(
        "no_policy",
        "journal.run has no LangGraph around it that would apply a RetryPolicy",
        lambda c: c.way == "retry_policy" and c.shape == "journal_run",
    ),
    Reason(
        "no_node",
        "sync code in journal.run has nobody around it who gives up on it: a caller who gives up "
        "on a call in a thread is the fault `late`",
        lambda c: c.fault == "node_timeout" and c.shape == "journal_run" and c.mode == "sync",
    ),
    Reason(
        "attempt_goes_on",
        "a RetryPolicy goes on within the attempt, and a step is not settled before its attempt "
        "has ended",
        lambda c: c.fault == "settle" and c.way == "retry_policy",
    ),
)


def why_impossible(combination: Combination) -> Reason | None:
    """Return the reason why a combination cannot be, None when it can."""
    return next((reason for reason in REASONS if reason.applies(combination)), None)
