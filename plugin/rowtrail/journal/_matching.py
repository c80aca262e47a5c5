"""Which recorded step a request stands for: looked up in the transaction that decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rowtrail.content import Encoded
from rowtrail.journal._failure import rebuilt_failure
from rowtrail.journal._identity import differing_attribute
from rowtrail.journal._log import log
from rowtrail.journal._request import Request
from rowtrail.replay import Recorded
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt
    from rowtrail.journal._numbers import Key
    from rowtrail.journal._scope import Scope


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
        recorder.store.path,
    )
    return True


@dataclass(frozen=True)
class Doubtful:
    """Why a call is in doubt before it is made.

    Attributes:
        twin: A step of an earlier run of the thread that is in doubt and asks for the same.
        other: A recorded write that asked for the same on another object.
    """

    twin: Row | None
    other: Row | None

    def says(self, request: Request) -> str | None:
        """Return what a person is told of it, None where the twin says all."""
        if self.other is None:
            return None
        shown = request.input.encoded.text
        what = differing_attribute(self.other["input_text"], shown) or "another object"
        return f"the same write on another object, as step {self.other['id']} recorded it: {what}"


_Claimant = tuple[str, tuple[int, ...], "Key"]
"""Name and try of a scope, and which of its requests."""


class Claims:
    """Which recorded calls that change the world the requests of one attempt stand for.

    Where a run re-executes, the model may ask again with other ids, or another task may make the
    call: so such a call is matched against all that are recorded in the part that re-executes, and
    each of these is taken once.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._taken: dict[int, _Claimant] = {}
        self._newest_try: dict[str, tuple[int, ...]] = {}
        self._decided: set[int] = set()
        """Calls in doubt of which somebody has decided for one request."""

    @property
    def is_empty(self) -> bool:
        """Return whether no call that changes the world was begun or replayed."""
        return not self._taken

    def take(self, row: int, scope: Scope, key: Key) -> None:
        """Note that a request of `scope` stands for a row."""
        self._taken[row] = (scope.name, scope.generation, key)
        self._begin_try(scope)

    def decide(self, row: int, scope: Scope, key: Key) -> None:
        """Note that what was decided of a call in doubt is for one request, and for no other."""
        self.take(row, scope, key)
        self._decided.add(row)

    def free(self, rows: list[Row], scope: Scope, key: Key) -> list[Row]:
        """Return the rows that no other request stands for."""
        if not self._taken:
            return rows
        self._begin_try(scope)
        return [row for row in rows if row["effect"] == "read" or self._is_free(row, scope, key)]

    def oldest_alike(self, tx: Tx, scope: Scope, request: Request, key: Key) -> Row | None:
        """Return the oldest recorded call that asks for the same and that nobody has taken."""
        alike = tx.all("step_effects_alike", run=self._attempt.run, fingerprint=request.fingerprint)
        row = self._oldest_free(tx, alike, scope, request, key)
        if row is None:
            return None
        return tx.one("step_recorded", id=row["id"], scope=scope.known_row)

    def by_another_object(self, tx: Tx, scope: Scope, request: Request, key: Key) -> Row | None:
        """Return the oldest recorded write of which only the object was another one."""
        alike = tx.all(
            "step_effects_of_objects",
            run=self._attempt.run,
            object_free=request.object_free_fingerprint,
            fingerprint=request.fingerprint,
        )
        return self._oldest_free(tx, alike, scope, request, key)

    def _oldest_free(
        self, tx: Tx, alike: list[Row], scope: Scope, request: Request, key: Key
    ) -> Row | None:
        self._begin_try(scope)
        for row in alike:
            is_near = row["scope_name"] == scope.name or row["status"] == "in_doubt"
            if row["kind"] != request.kind or not self._is_free(row, scope, key):
                continue
            if not is_near and not self._attempt.re_executes(row["scope_name"], row["finished"]):
                continue
            if row["status"] == "in_doubt" or not self._is_handed_back(tx, row, scope):
                return row
        return None

    def _is_handed_back(self, tx: Tx, row: Row, scope: Scope) -> bool:
        """Return whether a step is part of another that is handed back as a whole.

        So it is inside one that was replayed in this attempt, or that may be yet: the step in whose
        code the request is made asks for the same.
        """
        if row["parent"] is None:
            return False
        around = tx.one("step_done_around", parent=row["parent"])
        if around is None or around["id"] in self._attempt.replayed:
            return around is not None
        own = scope.parent_row and tx.value("step_fingerprint", id=scope.parent_row)
        return bool(around["fingerprint"] == own)

    def _begin_try(self, scope: Scope) -> None:
        known = self._newest_try.get(scope.name, ())
        self._newest_try[scope.name] = max(known, scope.generation)

    def _is_free(self, row: Row, scope: Scope, key: Key) -> bool:
        """Return whether no other request stands for a row, or only one of a try that was given up.

        A call in doubt stands for every call like it until somebody has decided.
        """
        taken = self._taken.get(row["id"])
        if taken is None or (row["status"] == "in_doubt" and row["id"] not in self._decided):
            return True
        name, generation, _ = taken
        return taken == (scope.name, scope.generation, key) or any(
            generation[: len(newest)] < newest
            for around, newest in self._newest_try.items()
            if name == around or name.startswith((f"{around}|", f"{around}>"))
        )


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
        and not scope.was_raised(row["id"])
        and (row["output"] is not None or rebuilt_failure(row["failure"]) is not None)
    }


def output_of(row: Row) -> Encoded:
    """Return the stored result in a row."""
    return Encoded(row["output_type"], row["output_text"], row["output_data"])
