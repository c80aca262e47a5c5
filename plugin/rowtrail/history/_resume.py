"""`resume_plan`: what becomes of the requests of a run when it is resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from rowtrail.errors import UnknownIdError
from rowtrail.history._questions import AFTER_ALL
from rowtrail.history._source import Row, Source, Tx, reader_of
from rowtrail.history.rows import QuestionRow, RunRow

MAX_QUESTIONS = 100
"""More than one person answers."""


@dataclass(frozen=True)
class ResumePlan:
    """What is recorded of a run.

    Attributes:
        run: Its row of the view `runs`.
        replayed: Steps whose results are handed back, by kind, where the run asks for them again.
        again: Steps that failed or were in flight, by kind: their calls are made again.
        in_doubt: Steps that may have happened, by effect, which decides.
        again_names: Names of the calls that are made again.
        in_doubt_names: Names of the calls in doubt, by effect.
        questions: What waits for a person, the newest first, 100 at most: interrupts, approvals,
            and writes in doubt.
        saved_tokens: Tokens that need not be paid again.
        saved_usd: Their price, None where it is unknown.
    """

    run: RunRow
    replayed: dict[str, int]
    again: dict[str, int]
    in_doubt: dict[str, int]
    again_names: list[str]
    in_doubt_names: dict[str, list[str]]
    questions: list[QuestionRow]
    saved_tokens: int
    saved_usd: float | None


def resume_plan(source: Source, run_id: str) -> ResumePlan:
    """Return what a resume of a run replays, makes again and asks about.

    A graph goes on from its last checkpoint: what finished before is not even asked for again.

    Raises:
        UnknownIdError: There is no such run.
        StorageError: The journal cannot be read.
    """

    def work(tx: Tx) -> tuple[Row | None, list[Row], list[Row]]:
        asked = {"run_id": run_id, "thread_id": None, "cursor": AFTER_ALL, "limit": MAX_QUESTIONS}
        return (
            tx.one("run_shown", run_id=run_id),
            tx.all("resume_plan", run_id=run_id),
            tx.all("questions_page", **asked),
        )

    run, groups, questions = reader_of(source).read(work)
    if run is None:
        raise UnknownIdError(
            f"the run {run_id!r} is gone: `rowtrail runs` lists those there are",
            kind="run",
            value=run_id,
        )
    kept, again, doubtful = _parted(groups)
    costs = [group["cost_usd"] for group in kept if group["cost_usd"] is not None]
    return ResumePlan(
        run=cast("RunRow", dict(run)),
        replayed=_counts(kept, "kind"),
        again=_counts(again, "kind"),
        in_doubt=_counts(doubtful, "effect"),
        again_names=_names(again),
        in_doubt_names={
            effect: _names([group for group in doubtful if group["effect"] == effect])
            for effect in _counts(doubtful, "effect")
        },
        questions=[_question(row) for row in questions],
        saved_tokens=sum((g["input_tokens"] or 0) + (g["output_tokens"] or 0) for g in kept),
        saved_usd=sum(costs) if costs else None,
    )


def _parted(groups: list[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the groups of steps that are replayed, made again, and in doubt."""
    kept: list[Row] = []
    again: list[Row] = []
    doubtful: list[Row] = []
    for group in groups:
        status, is_lost = group["status"], group["is_lost"]
        if status == "done" and not is_lost:
            kept.append(group)
        elif status == "in_doubt" or (is_lost and group["effect"] == "write"):
            doubtful.append(group)
        elif status == "failed" or is_lost:
            again.append(group)
    return kept, again, doubtful


def _counts(groups: list[Row], column: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group in groups:
        counts[group[column]] = counts.get(group[column], 0) + group["steps"]
    return counts


def _names(groups: list[Row]) -> list[str]:
    return sorted({group["name"] for group in groups})


def _question(row: Row) -> QuestionRow:
    return cast("QuestionRow", {name: row[name] for name in QuestionRow.__annotations__})
