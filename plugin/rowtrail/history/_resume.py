"""`resume_plan`: what becomes of the requests of a run when it is resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from rowtrail.errors import UnknownIdError
from rowtrail.history._source import Row, Source, Tx, reader_of
from rowtrail.history.rows import RunRow


@dataclass(frozen=True)
class ResumePlan:
    """What is recorded of a run.

    Attributes:
        run: Its row of the view `runs`.
        replayed: Steps whose results are handed back, by kind, where the run asks for them again.
        again: Steps that failed or were in flight, by kind: their calls are made again.
        in_doubt: Steps that may have happened, by effect, which decides.
        saved_tokens: Tokens that need not be paid again.
        saved_usd: Their price, None where it is unknown.
    """

    run: RunRow
    replayed: dict[str, int]
    again: dict[str, int]
    in_doubt: dict[str, int]
    saved_tokens: int
    saved_usd: float | None


def resume_plan(source: Source, run_id: str) -> ResumePlan:
    """Return what a resume of a run replays, makes again and asks about.

    A graph goes on from its last checkpoint: what finished before is not even asked for again.

    Raises:
        UnknownIdError: There is no such run.
        StorageError: The journal cannot be read.
    """

    def work(tx: Tx) -> tuple[Row | None, list[Row]]:
        return tx.one("run_shown", run_id=run_id), tx.all("resume_plan", run_id=run_id)

    run, groups = reader_of(source).read(work)
    if run is None:
        raise UnknownIdError(
            f"the run {run_id!r} is gone: `rowtrail runs` lists those there are",
            kind="run",
            value=run_id,
        )
    replayed: dict[str, int] = {}
    again: dict[str, int] = {}
    in_doubt: dict[str, int] = {}
    for group in groups:
        status, is_write = group["status"], group["effect"] == "write"
        if status == "done" and not group["is_lost"]:
            _count(replayed, group["kind"], group)
        elif status == "in_doubt" or (group["is_lost"] and is_write):
            _count(in_doubt, group["effect"], group)
        elif status == "failed" or group["is_lost"]:
            _count(again, group["kind"], group)
    kept = [group for group in groups if group["status"] == "done" and not group["is_lost"]]
    costs = [group["cost_usd"] for group in kept if group["cost_usd"] is not None]
    tokens = sum((g["input_tokens"] or 0) + (g["output_tokens"] or 0) for g in kept)
    return ResumePlan(
        cast("RunRow", dict(run)), replayed, again, in_doubt, tokens, sum(costs) if costs else None
    )


def _count(counts: dict[str, int], key: str, group: Row) -> None:
    counts[key] = counts.get(key, 0) + group["steps"]
