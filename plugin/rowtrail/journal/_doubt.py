"""Steps that may or may not have happened: the policy of the tool decides."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from rowtrail.content import Encoded, Prepared
from rowtrail.errors import InDoubtError, UnstorableError, UsageError
from rowtrail.journal._call import Call
from rowtrail.journal._current import Step
from rowtrail.journal._decisions import set_aside, settle
from rowtrail.journal._flow import Ask, Flow, Read, Write
from rowtrail.journal._request import NOT_DONE, Request
from rowtrail.journal._unstored import warn_not_stored
from rowtrail.replay import Aside
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from rowtrail.journal._numbers import Key
    from rowtrail.journal._scope import Scope

RETRY, SKIP = "retry", "skip"
SKIPPED_TEXT = "skipped: a person decided that this call is not made"
MAX_ANSWERS = 100
"""So many invalid ones come from a program, not from a person."""
_INVALID: Any = object()


class Doubt:
    """Resolves the steps in doubt of one scope.

    A framework matches answers to questions by position. The order in which steps were first asked
    about is on disk, and every call takes the positions of the questions up to its own in this
    order, answered or not: so parallel calls, which come in any order, get their own answers, and
    what is asked after them does not get theirs.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._asking = threading.RLock()
        self._answers: dict[int, tuple[Any, int]] = {}
        """By step, the answer and how many were given until one was valid."""
        self._passed: set[int] = set()

    def resolve(self, request: Request, key: Key, row: Row) -> Flow[Call | None]:
        """Let the policy of the tool decide; None means: look again.

        Raises:
            InDoubtError: The policy leaves it to the caller.
        """
        scope = self._scope
        step = scope.step_of(row["id"], scope.attempt.key_of(row), request)
        answer: Any
        answers: int | None = None
        if request.on_doubt != "ask" and row["asked"]:
            yield Write(lambda tx: tx.run("step_not_asked", id=row["id"]))
        if request.on_doubt == "retry":
            answer = NOT_DONE
        elif callable(request.on_doubt):
            look = request.on_doubt
            answer = yield Ask(lambda: look(step))
        elif request.on_doubt == "ask" and request.ask is not None:
            answer, answers = yield from self._ask(request, row["id"])
        else:
            raise _in_doubt(request, step, row)
        return (yield from self._settle(request, key, row, answer, answers))

    def _settle(
        self, request: Request, key: Key, row: Row, answer: Any, answers: int | None
    ) -> Flow[Call | None]:
        scope, step = self._scope, row["id"]
        if answer is NOT_DONE:

            def again(tx: Tx) -> None:
                if _is_undecided(tx, row):
                    set_aside(tx, step, Aside.RETRIED, answers=answers)

            yield Write(again)
            return None
        result = request.shape(answer)
        output: Prepared | None = None
        reason = "in doubt: settled with this result"
        try:
            # In a row of another call, what was answered: its form is that of the call it is for.
            is_own = row["tool_call_id"] == request.tool_call_id
            stored = scope.codec_of(request).encode(result if is_own else answer)
            output = scope.attempt.prepare(stored)
        except UnstorableError as error:
            warn_not_stored(request.kind, request.name, request.effect, error)
            reason = f"in doubt: settled; not stored: {error}"
        content = scope.attempt.recorder.content

        def decide(tx: Tx) -> bool:
            if not _is_undecided(tx, row):
                return False  # somebody else has decided meanwhile, or it has ended late
            settle(tx, content, row, output, reason, answers=answers)
            scope.attempt.claims.decide(step, scope, key)
            return True

        if not (yield Write(decide)):
            return None
        return Call(scope, request, key, result=result, replayed_row=step, interrupts=0)

    def _ask(self, request: Request, row: int) -> Flow[tuple[Any, int]]:
        """Ask a person about a step, after those that were asked about before it."""

        def note(tx: Tx) -> list[Row]:
            scope = self._scope.row_in(tx)
            tx.run("step_asked", id=row, scope=scope)
            return tx.all("scope_asks", scope=scope)

        asks = yield Write(note)
        yield Ask(lambda: self._take_turns(request, asks, row))
        return self._answers[row]

    def pass_by(self, request: Request, row: int) -> Flow[None]:
        """Take the positions of the questions up to that about `row`, which is settled."""
        if request.ask is not None:
            asks = yield Read(lambda tx: tx.all("scope_asks", scope=self._scope.row_in(tx)))
            yield Ask(lambda: self._take_turns(request, asks, row))

    def _take_turns(self, request: Request, asks: list[Row], last: int) -> None:
        assert request.ask is not None
        with self._asking:
            for asked in asks:
                row = asked["id"]
                if row in self._answers or row in self._passed:
                    pass
                elif asked["status"] == "in_doubt":
                    self._answers[row] = self._answer(request, asked)
                else:
                    for _ in range(asked["answers"]):
                        request.ask(None)
                    self._passed.add(row)
                if row == last:
                    return

    def _answer(self, request: Request, asked: Row) -> tuple[Any, int]:
        """Ask until an answer is one of those that are offered, and return how many it took."""
        assert request.ask is not None
        question = self._question(request, asked)
        for answers in range(1, MAX_ANSWERS + 1):
            answer = _understood(request.ask(question))
            if answer is not _INVALID:
                return answer, answers
        raise UsageError(
            f"{MAX_ANSWERS} answers about step {asked['id']} ({asked['name']!r}) were none of "
            "those that are offered: give 'retry', 'skip' or {'result': what it returned}"
        )

    def _question(self, request: Request, asked: Row) -> Step:
        """Return the step that is asked about, which may be another than the one that asks."""
        scope, attempt = self._scope, self._scope.attempt
        shown = Encoded(asked["input_type"], asked["input_text"], asked["input_data"])
        return Step(
            str(asked["id"]),
            attempt.key_of(asked),
            attempt.n,
            asked["name"],
            scope.codec_of(request).decode_shown(shown),
            asked["error"],
        )


def _is_undecided(tx: Tx, row: Row) -> bool:
    """Return whether a step still stands as it was found: in doubt, or done without a result."""
    there = tx.one("step_status", id=row["id"])
    if there is None or there["status"] == "superseded":
        return False
    return bool(there["status"] != "done" or row["status"] == "done")


def _understood(said: Any) -> Any:
    """Return what an answer decides, `_INVALID` where it is none of those that are offered."""
    if isinstance(said, str):
        word = said.strip().lower()
        return {RETRY: NOT_DONE, SKIP: SKIPPED_TEXT}.get(word, _INVALID)
    answer: Any = said
    return answer["result"] if isinstance(said, dict) and answer.keys() == {"result"} else _INVALID


def _in_doubt(request: Request, step: Step, row: Row) -> InDoubtError:
    if row["status"] == "done":
        happened = "was made, and its result could not be stored or is damaged"
    elif row["error"]:
        happened = f"was started and ended with {row['error']}: it may or may not have happened"
    else:
        happened = (
            "was started and ended before its result was recorded: it may or may not have happened"
        )
    return InDoubtError(
        f"{request.kind} {request.name!r} (step {step.id}) {happened}; look, then say so with "
        f"journal.settle({step.id!r}, result=...) or journal.settle({step.id!r}, happened=False), "
        f"or with `rowtrail in-doubt {step.id}`",
        step_id=step.id,
        name=request.name,
        idempotency_key=step.idempotency_key,
    )
