"""`why`: what decided that a step was made or replayed, and what kept an answer from being used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from rowtrail._clock import iso_utc
from rowtrail.history._compare import MISSING, Difference, differences, essence, parsed
from rowtrail.history._remedy import INPUT_AGAIN, is_input_again, remedy
from rowtrail.history._source import Row, Source, Tx, reader_of
from rowtrail.history._steps import step_row, unknown_step
from rowtrail.history.rows import LateResult, NearStep, Replayed, SameStep, StepRow, WhyStep
from rowtrail.replay import Aside, ReasonCode

MAX_DIFFERENCES = 5
"""After a few the two requests are simply others."""
SAME_ITEM = 4
"""What an equal message or argument counts, where one of unlike content counts less."""

_MEANINGS = {
    ReasonCode.FIRST: "nothing recorded in its scope was left to replay: this request was new "
    "there",
    ReasonCode.CHANGED: "its scope had recorded calls that were not asked for again, and none of "
    "them is this request: an answer to another request is never handed back",
    ReasonCode.FAILED_BEFORE: "the same request had been made before and had failed: failed calls "
    "are made again",
    ReasonCode.CRASHED: "the same request was in flight when its attempt ended: its answer was "
    "never recorded",
    ReasonCode.IN_DOUBT: "the same call was in flight when its attempt ended: it may have "
    "happened, and its effect says that it may be made again",
    ReasonCode.NOT_STORED: "its result has no stored form, or the same request had been made and "
    "its result had none: it is made again",
    ReasonCode.NOT_TOLD_APART: "the object that it is called on has no state that tells it from "
    "others: give `key=` or `__rowtrail_key__`, or it is made again each time",
    ReasonCode.DAMAGED: "the same request had been made, and its recorded result is damaged",
    ReasonCode.ASKED_AGAIN: "the same request had been made, and its answer was set aside",
    ReasonCode.INTERRUPTED: "the same call had asked a person by an interrupt: it runs from its "
    "top again, and its inner steps are replayed",
    ReasonCode.SETTLED: "the same call may have happened, and it was decided what becomes of it",
    ReasonCode.NEVER: "its run was begun with rowtrail_replay='never': everything is asked live",
}
_INPUT_AGAIN = (
    "the only change is the input, which was appended again: the request holds it twice, so that "
    "an answer to it once is no answer to it"
)
_ASIDE_MEANINGS = {
    Aside.ASKED_AGAIN: "it was made, and its answer is not used any more, because the code after "
    "it failed on it",
    Aside.INTERRUPTED: "it asked a person by an interrupt and was left: it runs from its top again "
    "when the run is resumed",
    Aside.DOUBTED: "it may have happened, and was made again by the rule of its effect",
    Aside.RETRIED: "it may have happened, and it was decided to make it again",
    Aside.NOT_HAPPENED: "it was in doubt, and somebody said that it did not happen",
    Aside.NEVER_MADE: "its caller was cancelled before the call was made",
    Aside.STARTED_OVER: "it was made, and the run was started over with fresh=True",
    Aside.CRASHED: "it was in flight when its attempt ended: its answer was never recorded",
    Aside.LEFT_BEHIND: "it only reads, and went on when its run was done: its result is not needed",
}


@dataclass(frozen=True)
class Why:
    """Why a step was made or replayed.

    Attributes:
        step: The step.
        made: Whether its own row stands for a call that was made.
        because: In one sentence.
        replayed: Attempts in which its result was handed back, 1,000 at most.
        nearest: The recorded step that comes nearest to it, where its request had changed.
        differences: Where `nearest` and the step differ (`a` is recorded, `b` was asked).
        remedy: What to do where the requests differ in what a program makes up anew each time.
        same: Steps of other runs of the thread with the very same request, 3 at most.
        late: What the call came to after it had been decided what became of it; None
            where nothing came late.
    """

    step: WhyStep
    made: bool
    because: str
    replayed: list[Replayed]
    nearest: NearStep | None
    differences: list[Difference]
    remedy: str | None
    same: list[SameStep]
    late: LateResult | None


def why(source: Source, step_id: str) -> Why:
    """Return why a step was made, and where it was replayed.

    Raises:
        UnknownIdError: There is no such step.
    """
    return reader_of(source).read(partial(_why, step_id=step_id))


def _why(tx: Tx, *, step_id: str) -> Why:
    row = step_row(tx, step_id)
    if row is None:
        raise unknown_step(step_id)
    code = row["reason_code"] or ReasonCode.FIRST
    aside = tx.value("step_aside", step_id=step_id)
    near = _Near()
    if code == ReasonCode.CHANGED:
        near = _nearest(tx, row)
    elif code == ReasonCode.FIRST:
        near = _sent_before(tx, row)
    same = (
        tx.all("steps_same_request", run_id=row["run_id"], step_id=step_id)
        if code in (ReasonCode.FIRST, ReasonCode.CHANGED)
        else []
    )
    replayed = tx.all("step_replays", step_id=step_id)
    late = tx.one("step_late_kept", step_id=step_id)
    return Why(
        step=cast(
            "WhyStep",
            {name: value for name, value in row.items() if name in WhyStep.__annotations__},
        ),
        made=aside != Aside.NEVER_MADE,
        because=_INPUT_AGAIN if near.is_input_again else _because(code, aside, row["reason"]),
        replayed=[_replay(replay) for replay in replayed],
        nearest=near.step,
        differences=near.differences,
        remedy=near.remedy,
        same=[cast("SameStep", dict(other)) for other in same],
        late=None if late is None else cast("LateResult", dict(late)),
    )


def _replay(row: Row) -> Replayed:
    fields = dict(row)
    return cast("Replayed", {"at": iso_utc(fields.pop("at_ms")), **fields})


def _because(code: str, aside: str | None, reason: str | None) -> str:
    """Return the meaning of what is recorded; of a code that we do not know, its sentence."""
    if aside in set(Aside):
        return _ASIDE_MEANINGS[Aside(aside)]
    known = code in set(ReasonCode) and ReasonCode(code) in _MEANINGS
    return _MEANINGS[ReasonCode(code)] if known else str(reason)


@dataclass(frozen=True)
class _Near:
    """The recorded step that comes nearest to one, where they differ, and what to do about it."""

    step: NearStep | None = None
    differences: list[Difference] = field(default_factory=list[Difference])
    remedy: str | None = None
    is_input_again: bool = False


def _nearest(tx: Tx, row: StepRow) -> _Near:
    """Return the recorded step of the scope that is most like the step.

    Only those that were recorded by an earlier attempt and not handed back in this one count.
    """
    candidates = tx.all(
        "steps_not_replayed",
        run_id=row["run_id"],
        scope=row["scope"],
        kind=row["kind"],
        name=row["name"],
        attempt=int(row["attempt_id"]),
    )
    asked = parsed(row["input"])
    best: tuple[int, Row] | None = None
    for candidate in candidates:
        score = _likeness(parsed(candidate["input"]), asked)
        score += int(candidate["name"] == row["name"])
        if best is None or score > best[0]:
            best = (score, candidate)
    return _Near() if best is None else _compared(best[1], row)


def _sent_before(tx: Tx, row: StepRow) -> _Near:
    """Return the call of an earlier run of the thread that lacks but the input appended again."""
    if row["kind"] != "llm" or row["thread_id"] is None:
        return _Near()
    asked = parsed(row["input"])
    rows = tx.all("steps_of_earlier_runs", run_id=row["run_id"], node=row["node"], name=row["name"])
    again = (step for step in rows if is_input_again(parsed(step["input"]), asked))
    found = next(again, None)
    return _Near() if found is None else _compared(found, row)


def _compared(near: Row, row: StepRow) -> _Near:
    shown = cast("NearStep", {name: near[name] for name in NearStep.__annotations__})
    found: list[Difference] = []
    if near["name"] != row["name"]:
        found.append(Difference("name", near["name"], row["name"]))
    recorded, asked = parsed(near["input"]), parsed(row["input"])
    found += differences(recorded, asked, MAX_DIFFERENCES - len(found))
    if is_input_again(recorded, asked):
        return _Near(shown, found, INPUT_AGAIN, is_input_again=True)
    return _Near(shown, found, remedy(recorded, asked, effect=row["effect"]))


def _likeness(recorded: Any, asked: Any) -> int:
    """Count what two requests have in common: messages, parameters, arguments."""
    if recorded is MISSING or asked is MISSING:
        return 0
    return _common(essence(recorded), essence(asked))


def _common(a: Any, b: Any) -> int:
    if isinstance(a, dict) and isinstance(b, dict):
        first, second = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        return sum(_common(first[name], second[name]) for name in first.keys() & second.keys())
    if isinstance(a, list) and isinstance(b, list):
        lefts, rights = cast("Sequence[Any]", a), cast("Sequence[Any]", b)
        pairs = zip(lefts, rights, strict=False)
        alike = sum(
            SAME_ITEM if left == right else min(_common(left, right), SAME_ITEM - 1)
            for left, right in pairs
        )
        return alike - abs(len(lefts) - len(rights))
    return int(a == b)
