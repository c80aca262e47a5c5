"""The rules of replay: what becomes of a request, given what is recorded of it.

Pure functions over rows. A request is found by (scope, fingerprint, n), tools by their
`tool_call_id` too; see `decide` for the order in which the rules apply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from rowtrail.replay._codes import Aside, ReasonCode, sentence
from rowtrail.replay._outcome import leaves_in_doubt
from rowtrail.vocabulary import Effect, Kind, OnDoubt, Status

__all__ = [
    "Aside",
    "Decision",
    "Effect",
    "Kind",
    "Live",
    "OnDoubt",
    "Raise",
    "ReasonCode",
    "Recorded",
    "Replay",
    "Resolve",
    "Status",
    "Wait",
    "culprit",
    "decide",
    "leaves_in_doubt",
    "scope_key",
    "sentence",
]


class Recorded(NamedTuple):
    """What the rules need to know of one recorded step.

    Attributes:
        aside: Of a superseded step, why it was set aside.
        is_handled: It failed, and the code around went on: the failure is raised again.
    """

    id: int
    attempt: int
    kind: Kind
    status: Status
    has_result: bool
    is_damaged: bool = False
    aside: str | None = None
    is_handled: bool = False


@dataclass(slots=True)
class Replay:
    """Hand back the recorded result of `step`."""

    step: int


@dataclass(slots=True)
class Raise:
    """Raise the recorded failure of `step` again: the code around has handled it once."""

    step: int


@dataclass(slots=True)
class Live:
    """Make the call; `supersedes` is the step in doubt that it takes the place of."""

    code: ReasonCode
    supersedes: int | None = None


@dataclass(slots=True)
class Wait:
    """A live attempt is making this very step: wait for its result."""

    step: int
    attempt: int


@dataclass(slots=True)
class Resolve:
    """The step may or may not have happened, and its tool's policy decides."""

    step: int


Decision = Replay | Raise | Live | Wait | Resolve


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
        is_alive: Returns whether whoever makes a running step still does.
    """
    standing = [step for step in recorded if step.status != "superseded"]
    if not standing:
        if recorded:
            return Live(_after_aside(recorded[-1]))
        return Live(ReasonCode.CHANGED if diverged else ReasonCode.FIRST)
    step = standing[-1]
    if step.status == "failed" and step.aside == Aside.CRASHED:
        return Live(ReasonCode.CRASHED)
    if step.status == "failed":
        handled = next((step for step in standing if step.is_handled), None)
        return Live(ReasonCode.FAILED_BEFORE) if handled is None else Raise(handled.id)
    if step.status == "done":
        return _of_done(step, effect)
    if step.status == "running" and is_alive(step):
        return Wait(step.id, step.attempt)
    return _of_doubtful(step, kind, effect)


def _after_aside(step: Recorded) -> ReasonCode:
    if step.aside == Aside.INTERRUPTED:
        return ReasonCode.INTERRUPTED
    if step.aside in (Aside.RETRIED, Aside.NOT_HAPPENED):
        return ReasonCode.SETTLED
    if step.aside == Aside.DOUBTED:
        return ReasonCode.IN_DOUBT
    return ReasonCode.FIRST if step.aside == Aside.NEVER_MADE else ReasonCode.ASKED_AGAIN


def _of_done(step: Recorded, effect: Effect) -> Decision:
    if step.has_result and not step.is_damaged:
        return Replay(step.id)
    if effect == "write":
        return Resolve(step.id)  # it happened; somebody must say what it returned
    code = ReasonCode.DAMAGED if step.is_damaged else ReasonCode.NOT_STORED
    return Live(code, step.id)


def _of_doubtful(step: Recorded, kind: Kind, effect: Effect) -> Decision:
    if kind == "llm":
        return Live(ReasonCode.CRASHED)
    if effect == "write":
        return Resolve(step.id)
    return Live(ReasonCode.IN_DOUBT, step.id)


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


def scope_key(name: str) -> str:
    """Return what stands for a scope in idempotency keys: the same in every copy of the file."""
    from hashlib import blake2b  # it loads OpenSSL: not for `import rowtrail`

    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
