"""Steps that may or may not have happened: the policy of the tool decides."""

from __future__ import annotations

from typing import Any

from rowtrail.content import Encoded, Prepared
from rowtrail.engine import Row, Tx
from rowtrail.errors import InDoubtError, UnstorableError, UsageError
from rowtrail.journal._attempt import Scope
from rowtrail.journal._call import Call
from rowtrail.journal._flow import Ask, Flow, Read, Write
from rowtrail.journal._request import NOT_DONE, Key, Request, Step
from rowtrail.journal._unstored import warn_not_stored
from rowtrail.journal.decisions import set_aside, settle
from rowtrail.replay import Aside

RETRY, SKIP = "retry", "skip"
SKIPPED_TEXT = "skipped: a person decided that this call is not made"
MAX_ANSWERS = 100
"""So many invalid ones come from a program, not from a person."""
_INVALID: Any = object()


def resolve_doubt(scope: Scope, request: Request, key: Key, row: Row) -> Flow[Call | None]:
    """Let the policy of the tool decide; None means: look again.

    Raises:
        InDoubtError: The policy leaves it to the caller.
    """
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
        said = yield from _ask(scope, request, row)
        if said is None:
            return None
        answer, answers = said
    else:
        raise _in_doubt(request, step, row)
    return (yield from _settle(scope, request, key, row, answer, answers))


def _settle(
    scope: Scope, request: Request, key: Key, row: Row, answer: Any, answers: int | None
) -> Flow[Call | None]:
    step = row["id"]
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
        scope.attempt.claims.decide(step, scope.claimant(key))
        return True

    if not (yield Write(decide)):
        return None
    return Call(scope, request, key, result=result, replayed_row=step, interrupts=0)


def _ask(scope: Scope, request: Request, row: Row) -> Flow[tuple[Any, int] | None]:
    """Ask a person about a step, after those that were asked about before it.

    None: somebody has decided of it meanwhile, here or in another process.
    """
    step = row["id"]

    def note(tx: Tx) -> list[Row] | None:
        if not _is_undecided(tx, row):
            return None
        scope_row = scope.row_in(tx)
        tx.run("step_asked", id=step, scope=scope_row)
        return tx.all("scope_asks", scope=scope_row)

    asks = yield Write(note)
    if asks is None:
        return None
    yield Ask(lambda: _take_turns(scope, request, asks, step))
    return scope.asked.answers.get(step)


def pass_questions_by(scope: Scope, request: Request, row: int) -> Flow[None]:
    """Take the positions of the questions up to that about `row`, which is settled."""
    if request.ask is not None:
        asks = yield Read(lambda tx: tx.all("scope_asks", scope=scope.row_in(tx)))
        yield Ask(lambda: _take_turns(scope, request, asks, row))


def _take_turns(scope: Scope, request: Request, asks: list[Row], last: int) -> None:
    assert request.ask is not None
    known = scope.asked
    with known.lock:
        for asked in asks:
            row = asked["id"]
            if row in known.answers or row in known.passed:
                pass
            elif asked["is_undecided"]:
                known.answers[row] = _answer(scope, request, asked)
            else:
                for _ in range(asked["answers"]):
                    request.ask(None)
                known.passed.add(row)
            if row == last:
                return


def _answer(scope: Scope, request: Request, asked: Row) -> tuple[Any, int]:
    """Ask until an answer is one of those that are offered, and return how many it took."""
    assert request.ask is not None
    question = _question(scope, request, asked)
    for answers in range(1, MAX_ANSWERS + 1):
        answer = _understood(request.ask(question))
        if answer is not _INVALID:
            return answer, answers
    raise UsageError(
        f"{MAX_ANSWERS} answers about step {asked['id']} ({asked['name']!r}) were none of "
        "those that are offered: give 'retry', 'skip' or {'result': what it returned}"
    )


def _question(scope: Scope, request: Request, asked: Row) -> Step:
    """Return the step that is asked about, which may be another than the one that asks."""
    attempt = scope.attempt
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
            "was started, and whoever made it was gone before its result was recorded: it may or "
            "may not have happened"
        )
    return InDoubtError(
        f"{request.kind} {request.name!r} (step {step.id}) {happened}; look, then say so with "
        f"journal.settle({step.id!r}, result=...) or journal.settle({step.id!r}, happened=False), "
        f"or with `rowtrail in-doubt {step.id}`",
        step_id=step.id,
        name=request.name,
        idempotency_key=step.idempotency_key,
    )
