"""Whose calls are made where."""

from __future__ import annotations

from collections.abc import Callable

from rowtrail.journal import CONTROL_FLOW, Scope
from rowtrail.journal.places import here
from rowtrail.replay import Effect


def scope_here(
    name: str, effect: Effect | Callable[[], Effect] = "read", *, agent: str | None = None
) -> Scope | None:
    """Return the scope that a call made here belongs to, None where it is made unrecorded.

    Args:
        name: Of what is called, for the warning that it is not recorded.
        effect: What the call does to the world, or what returns it where somebody needs to know.
        agent: Name of the agent that makes the call: where that is another one than the agent of
            the run, its calls have a scope of their own.

    Raises:
        UsageError: It is a `write` of an active run, and nothing tells of which.
    """
    scope = here().scope_of(name, effect if callable(effect) else lambda: effect)
    if scope is None or agent is None:
        return scope
    is_around = agent == (scope.agent or scope.attempt.beginning.agent)
    return scope if is_around else scope.of_agent(agent)


def leaves_calls_by(*exceptions: type[BaseException]) -> None:
    """Say by which exceptions a framework leaves a call that has not failed, to make it again."""
    CONTROL_FLOW.extend(each for each in exceptions if each not in CONTROL_FLOW)
