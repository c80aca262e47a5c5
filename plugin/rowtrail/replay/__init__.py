"""The rules of replay: what becomes of a request, given what is recorded of it.

Pure functions over rows. A request is found by (scope, fingerprint, n), tools by their
`tool_call_id` too; see `decide` for the order in which the rules apply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

__all__ = [
    "CHANGED",
    "CRASHED",
    "FAILED",
    "NEW",
    "NOT_STORED",
    "SUPERSEDED",
    "Decision",
    "Effect",
    "Kind",
    "Live",
    "OnDoubt",
    "Recorded",
    "Replay",
    "Resolve",
    "Status",
    "Wait",
    "culprit",
    "decide",
]

Kind = Literal["llm", "tool", "function"]
Effect = Literal["read", "idempotent", "write"]
Status = Literal["running", "done", "failed", "in_doubt", "superseded"]
OnDoubt = Literal["fail", "ask", "retry"]

NEW = "first call"
CHANGED = "changed: the recorded calls of this scope were made with other requests"
FAILED = "the recorded call failed"
CRASHED = "the process died during the recorded call"
NOT_STORED = "the recorded result could not be stored"
DAMAGED = "the recorded result is damaged"
SUPERSEDED = "the recorded answer was set aside"
IN_DOUBT_AGAIN = "in doubt: made again, the effect is {effect}"


@dataclass(frozen=True)
class Recorded:
    """What the rules need to know of one recorded step."""

    id: int
    attempt: int
    kind: Kind
    status: Status
    has_result: bool
    is_damaged: bool = False


@dataclass(frozen=True)
class Replay:
    """Hand back the recorded result of `step`."""

    step: int


@dataclass(frozen=True)
class Live:
    """Make the call; `supersedes` is the step in doubt that it takes the place of."""

    reason: str
    supersedes: int | None = None


@dataclass(frozen=True)
class Wait:
    """A live attempt is making this very step: wait for its result."""

    step: int
    attempt: int


@dataclass(frozen=True)
class Resolve:
    """The step may or may not have happened, and its tool's policy decides."""

    step: int


Decision = Replay | Live | Wait | Resolve


def decide(
    recorded: Sequence[Recorded],
    *,
    kind: Kind,
    effect: Effect,
    diverged: bool,
    is_alive: Callable[[Recorded], bool],
) -> Decision:
    """Decide what becomes of a request.

    Args:
        recorded: The steps with this key, oldest first.
        kind: Kind of the step that is asked for.
        effect: What the step does to the world.
        diverged: The scope has recorded steps of this kind, none of them with this request.
        is_alive: Tells whether the attempt that runs a step still lives.
    """
    standing = [step for step in recorded if step.status != "superseded"]
    if not standing:
        if recorded:
            return Live(SUPERSEDED)
        return Live(CHANGED if diverged else NEW)
    step = standing[-1]
    if step.status == "failed":
        return Live(FAILED)  # failed calls are recorded, never replayed
    if step.status == "done":
        return _of_done(step, effect)
    if step.status == "running" and is_alive(step):
        return Wait(step.id, step.attempt)
    return _of_doubtful(step, kind, effect)


def _of_done(step: Recorded, effect: Effect) -> Decision:
    if step.has_result and not step.is_damaged:
        return Replay(step.id)
    if effect == "write":
        return Resolve(step.id)  # it happened; somebody must say what it returned
    return Live(DAMAGED if step.is_damaged else NOT_STORED, step.id)


def _of_doubtful(step: Recorded, kind: Kind, effect: Effect) -> Decision:
    if kind == "llm":
        return Live(CRASHED)
    if effect == "write":
        return Resolve(step.id)
    return Live(IN_DOUBT_AGAIN.format(effect=effect), step.id)


def culprit(error: BaseException, failed: Collection[BaseException]) -> BaseException | None:
    """Return the exception of a failed step that `error` is or stems from.

    None means that the scope's own code raised: then its last LLM answer is asked again, because
    replaying the answer that caused the failure would fail forever. Of a group of exceptions, each
    must be of a step.
    """
    known = {id(exception) for exception in failed}
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if id(link) in known:
            return link
        seen.add(id(link))
        if isinstance(link, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", link)
            found = [culprit(part, failed) for part in group.exceptions]
            if all(found):
                return found[0]
        link = link.__cause__ or link.__context__
    return None
