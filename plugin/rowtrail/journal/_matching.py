"""Which recorded step a request stands for: looked up in the transaction that decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rowtrail.content import Encoded
from rowtrail.engine import Row, Tx
from rowtrail.journal._attempt import Scope
from rowtrail.journal._failure import rebuilt_failure
from rowtrail.journal._identity import differing_attribute
from rowtrail.journal._log import log
from rowtrail.journal._request import Key, Request
from rowtrail.replay import Recorded


def candidates(tx: Tx, scope: Scope, scope_row: int, key: Key) -> list[Row]:
    """Return the rows of a request: its own, or where the caller asked for it, of earlier runs."""
    fingerprint, tool_call_id, n = key
    rows = tx.all(
        "step_candidates", scope=scope_row, fingerprint=fingerprint, tool_call_id=tool_call_id, n=n
    )
    attempt = scope.attempt
    if not rows and attempt.replay_always and attempt.thread is not None:
        elsewhere = tx.all(
            "step_elsewhere",
            thread=attempt.thread,
            run=attempt.run,
            fingerprint=fingerprint,
            tool_call_id=tool_call_id,
        )
        return elsewhere[n - 1 : n]
    return rows


def as_recorded(scope: Scope, row: Row, *, is_handled: bool = False) -> Recorded:
    """Return what the rules need to know of a row."""
    has_result = row["output"] is not None and row["id"] not in scope.unreadable
    return Recorded(
        id=row["id"],
        attempt=row["attempt"],
        kind=row["kind"],
        status=row["status"],
        has_result=has_result,
        is_damaged=has_result and row["status"] == "done" and _is_damaged(scope, row),
        aside=row["aside"],
        is_handled=is_handled,
    )


def _is_damaged(scope: Scope, row: Row) -> bool:
    """Return whether a result is not the one that was recorded: a bit of the file has changed."""
    recorder = scope.attempt.recorder
    seal = recorder.content.seal
    has_item = row["output_type"] is not None
    if has_item and seal(output_of(row), row["fingerprint"], row["n"]) == row["seal"]:
        return False
    log().warning(
        "the recorded result of step %s is damaged (item %s of %r) and is not replayed: "
        "run `rowtrail verify`",
        row["id"],
        row["output"],
        recorder.store.where,
    )
    return True


class Doubtful(NamedTuple):
    """Why a call is in doubt before it is made.

    Attributes:
        twin: A step of an earlier run of the thread that is in doubt and asks for the same.
        other: A recorded write that asked for the same on another object.
    """

    twin: Row | None
    other: Row | None

    def says(self, request: Request) -> str | None:
        """Return what to say of it to a person, None where the twin says all."""
        if self.other is None:
            return None
        shown = request.input.encoded.text
        what = differing_attribute(self.other["input_text"], shown) or "another object"
        return f"the same write on another object, as step {self.other['id']} recorded it: {what}"


def alike(tx: Tx, scope: Scope, request: Request, key: Key) -> Row | None:
    """Return a recorded call that changes the world, asks for the same, and that nobody has taken.

    The oldest, of any scope that this attempt executes again: a request may stand for it though
    its own scope has none like it.
    """
    attempt = scope.attempt
    if not (attempt.continues or attempt.has_doubts or any(scope.generation)):
        return None
    rows = tx.all("step_effects_alike", run=attempt.run, fingerprint=request.fingerprint)
    row = _oldest_free(tx, rows, scope, request, key)
    if row is None:
        return None
    return tx.one("step_recorded", id=row["id"], scope=scope.known_row)


def by_another_object(tx: Tx, scope: Scope, request: Request, key: Key) -> Row | None:
    """Return the oldest recorded `write` that was the same but for the object it was made on."""
    if request.object_free_fingerprint is None or not scope.attempt.continues:
        return None
    rows = tx.all(
        "step_effects_of_objects",
        run=scope.attempt.run,
        object_free=request.object_free_fingerprint,
        fingerprint=request.fingerprint,
    )
    return _oldest_free(tx, rows, scope, request, key)


def doubted_before(tx: Tx, scope: Scope, request: Request) -> Row | None:
    """Return a `write` of another run of the thread that is in doubt, and asks for the same.

    One that goes on though its caller has left it is in doubt as well. One of an attempt that
    goes on counts where that cannot be told dead or alive: it is waited for.
    """
    attempt = scope.attempt
    if request.effect != "write" or attempt.thread is None or attempt.begun.keeps_doubts:
        return None
    row = tx.one(
        "step_doubted_before",
        thread=attempt.thread,
        run=attempt.run,
        fingerprint=request.fingerprint,
    )
    if row is None or row["status"] == "in_doubt" or row["ended_at"] is not None:
        return row
    owner = tx.one("attempt_owner", attempt=row["attempt"])
    is_unsure = owner is not None and attempt.recorder.verdict_in_s(owner) is not None
    return row if is_unsure else None


def _oldest_free(tx: Tx, rows: list[Row], scope: Scope, request: Request, key: Key) -> Row | None:
    attempt, claimant = scope.attempt, scope.claimant(key)
    attempt.claims.begin_try(claimant)
    for row in attempt.claims.free(rows, claimant):
        if row["kind"] != request.kind:
            continue
        is_near = row["scope_name"] == scope.name or row["status"] == "in_doubt"
        if not is_near and not attempt.re_executes(row["scope_name"], row["finished"]):
            continue
        if row["status"] == "in_doubt" or not _is_handed_back(tx, row, scope):
            return row
    return None


def _is_handed_back(tx: Tx, row: Row, scope: Scope) -> bool:
    """Return whether a step is part of another that is handed back as a whole.

    So it is inside one that was replayed in this attempt, or that may be yet: the step in whose
    code the request is made asks for the same.
    """
    if row["parent"] is None:
        return False
    around = tx.one("step_done_around", parent=row["parent"])
    if around is None or around["id"] in scope.attempt.replayed:
        return around is not None
    own = scope.parent_row and tx.value("step_fingerprint", id=scope.parent_row)
    return bool(around["fingerprint"] == own)


def handled_failures(scope: Scope, rows: list[Row], last_seq: Mapping[int, int]) -> set[int]:
    """Return the failed calls among `rows` which the code around has handled.

    Only after a crash or an interrupt: the attempt began a step in the scope after the failure,
    which therefore did not end it.

    Args:
        scope: Where the calls are made.
        rows: The recorded calls.
        last_seq: By attempt, the number of the newest step that it began in the scope.
    """
    if not scope.attempt.raises_handled:
        return set()
    return {
        row["id"]
        for row in rows
        if row["status"] == "failed"
        and row["ended_seq"] is not None
        and row["ended_seq"] < last_seq.get(row["attempt"], 0)
        and row["id"] not in scope.raised
        and (row["output"] is not None or rebuilt_failure(row["failure"]) is not None)
    }


def output_of(row: Row) -> Encoded:
    """Return the stored result in a row."""
    return Encoded(row["output_type"], row["output_text"], row["output_data"])
