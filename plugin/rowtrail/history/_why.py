"""`why`: what decided that a step was made or replayed, and what kept an answer from being used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from rowtrail._clock import iso_utc
from rowtrail.errors import UnknownIdError
from rowtrail.history._compare import MISSING, Difference, differences, essence, parsed
from rowtrail.history._remedy import remedy
from rowtrail.replay import CHANGED, CRASHED, FAILED, NEW, NOT_STORED, SUPERSEDED
from rowtrail.store import Row, Store, Tx
from rowtrail.store.reading import Reader

MAX_DIFFERENCES = 5
SAME_ITEM = 4
"""What an equal message or argument counts, where one of unlike content counts less."""

_MEANINGS = {
    NEW: "nothing recorded in its scope was left to replay: this request was new there",
    CHANGED: "its scope had recorded calls that were not asked for again, and none of them is this "
    "request: an answer to another request is never handed back",
    FAILED: "the same request had been made before and had failed: failed calls are never replayed",
    CRASHED: "the same request was in flight when the process died: its answer was never recorded",
    NOT_STORED: "the same request had been made, and its result could not be stored",
    SUPERSEDED: "the same request had been made, and its answer was set aside",
}
_BEGINNINGS = {
    "in doubt: made again": "the same call was in flight when the process died: it may have "
    "happened, and its effect says that it may be made again",
    "in doubt: decided": "the same call may have happened, and it was decided to make it again",
    "in doubt: settled": "it may have happened; what it returned was written down afterwards",
    "settled: it happened": "it may have happened; somebody said so and wrote down its result",
    "settled: it did not": "it was in doubt, and somebody said that it did not happen",
    "set aside": "it was made, and its answer is not used any more, because the code after it "
    "failed on it",
    "started over": "it was made, and the run was started over with fresh=True",
    "left by": "the framework left the call before it ended: it is made again on resume",
    "cancelled": "its caller was cancelled before the call was made",
    "not stored": "it was made, and its result has no stored form: it is made again",
}


@dataclass(frozen=True)
class Why:
    """Why a step was made or replayed.

    Attributes:
        step: Columns of the view `steps`: ids, scope, kind, name, status, reason.
        made: Whether its own row stands for a call that was made.
        because: In one sentence.
        replayed: Attempts in which its result was handed back: `attempt`, `at`.
        nearest: The recorded step that comes nearest to it, where its request had changed.
        differences: Where `nearest` and the step differ (`a` is recorded, `b` was asked).
        remedy: What to do where the requests differ in what a program makes up anew each time.
        same: Steps of other runs of the thread with the very same request: `run_id`, `step_id`.
    """

    step: dict[str, Any]
    made: bool
    because: str
    replayed: list[dict[str, Any]]
    nearest: dict[str, Any] | None
    differences: list[Difference]
    remedy: str | None
    same: list[dict[str, Any]]


def why(store: Store | Reader, step_id: str) -> Why:
    """Return why a step was made, and where it was replayed.

    Raises:
        UnknownIdError: There is no such step.
    """
    return store.read(partial(_why, step_id=step_id))


def step_whole(tx: Tx, step_id: str) -> Row:
    """Return a step as the view `steps` shows it.

    Raises:
        UnknownIdError: There is none.
    """
    run_id = tx.value("step_run", step_id=step_id)
    row = None if run_id is None else tx.one("step_shown", run_id=run_id, step_id=step_id)
    if row is None:
        raise UnknownIdError(
            f"no step has the id {step_id!r}: `rowtrail show RUN` lists those of a run, in the "
            "column `step`",
            kind="step",
            value=step_id,
        )
    return row


_SHOWN = (
    *("step_id", "run_id", "thread_id", "attempt_id", "scope", "node", "seq", "kind", "name"),
    *("status", "reason", "effect", "started_at", "replays", "fingerprint"),
)


def _why(tx: Tx, *, step_id: str) -> Why:
    row = step_whole(tx, step_id)
    reason = row["reason"] or NEW
    nearest, found, help_ = _nearest(tx, row) if reason == CHANGED else (None, [], None)
    same = (
        tx.all("steps_same_request", run_id=row["run_id"], step_id=step_id)
        if reason in (NEW, CHANGED)
        else []
    )
    replayed = tx.all("step_replays", step_id=step_id)
    return Why(
        step={name: row[name] for name in _SHOWN},
        made=not reason.startswith("cancelled"),
        because=_because(reason),
        replayed=[_replay(replay) for replay in replayed],
        nearest=nearest,
        differences=found,
        remedy=help_,
        same=[dict(other) for other in same],
    )


def _replay(row: Row) -> dict[str, Any]:
    fields = dict(row)
    return {"at": iso_utc(fields.pop("at_ms")), **fields}


def _because(reason: str) -> str:
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    known = (text for start, text in _BEGINNINGS.items() if reason.startswith(start))
    return next(known, reason)


def _nearest(tx: Tx, row: Row) -> tuple[dict[str, Any] | None, list[Difference], str | None]:
    """Return the recorded step of the scope that is most like the step, where they differ, and what
    to do about it.

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
    if best is None:
        return None, [], None
    chosen = best[1]
    shown = {name: chosen[name] for name in ("step_id", "seq", "name", "status")}
    found: list[Difference] = []
    if chosen["name"] != row["name"]:
        found.append(Difference("name", chosen["name"], row["name"]))
    recorded = parsed(chosen["input"])
    found += differences(recorded, asked, MAX_DIFFERENCES - len(found))
    return shown, found, remedy(recorded, asked, effect=row["effect"])


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
