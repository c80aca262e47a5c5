"""Steps that may or may not have happened: the policy of the tool decides."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from rowtrail.content import Encoded, Prepared
from rowtrail.errors import InDoubtError, UnstorableError
from rowtrail.journal._call import Call
from rowtrail.journal._current import Step
from rowtrail.journal._flow import Ask, Flow, Read, Write
from rowtrail.journal._request import NOT_DONE, Request
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from rowtrail.journal._scope import Key, Scope

RETRY, SKIP = "retry", "skip"
SKIPPED_TEXT = "skipped: a person decided that this call is not made"


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
        self._answers: dict[int, Any] = {}
        self._passed: set[int] = set()

    def resolve(self, request: Request, key: Key, row: Row) -> Flow[Call | None]:
        """Let the policy of the tool decide; None means: look again.

        Raises:
            InDoubtError: The policy leaves it to the caller.
        """
        scope = self._scope
        step = scope.step_of(row["id"], row["scope"], request, key)
        answer: Any
        if request.on_doubt != "ask" and row["asked"]:
            yield Write(lambda tx: tx.run("step_not_asked", id=row["id"]))
        if request.on_doubt == "retry":
            answer = NOT_DONE
        elif callable(request.on_doubt):
            look = request.on_doubt
            answer = yield Ask(lambda: look(step))
        elif request.on_doubt == "ask" and request.ask is not None:
            answer = yield from self._ask(request, row["id"])
        else:
            raise _in_doubt(request, step, row)
        return (yield from self._settle(request, key, row["id"], answer))

    def _settle(self, request: Request, key: Key, step: int, answer: Any) -> Flow[Call | None]:
        if answer is NOT_DONE:
            yield Write(lambda tx: tx.run("step_supersede", id=step, reason=None))
            return None
        scope, (fingerprint, _, n) = self._scope, key
        result = request.shape(answer)
        output: Prepared | None = None
        reason = "in doubt: settled with this result"
        try:
            output = scope.attempt.prepare(scope.codec_of(request).encode(result))
        except UnstorableError as error:
            reason = f"in doubt: settled; not stored: {error}"

        def settle(tx: Tx) -> None:
            content = scope.attempt.recorder.content
            row = None if output is None else content.put(tx, output)
            seal = output and content.seal(output.encoded, fingerprint, n)
            tx.run("step_settle", id=step, output=row, seal=seal, reason=reason)

        yield Write(settle)
        return Call(scope, request, key, result=result, replayed_row=step, interrupts=0)

    def _ask(self, request: Request, row: int) -> Flow[Any]:
        """Ask a person about a step, after those that were asked about before it."""

        def note(tx: Tx) -> list[Row]:
            scope = self._scope.row_in(tx)
            tx.run("step_asked", id=row, scope=scope)
            return tx.all("scope_asks", scope=scope)

        asks = yield Write(note)
        yield Ask(lambda: self._take_turns(request, asks, row))
        answer = self._answers[row]
        if answer == RETRY:
            return NOT_DONE
        if answer == SKIP:
            return SKIPPED_TEXT
        return _unwrapped(answer)

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
                    self._answers[row] = request.ask(self._question(request, asked))
                else:
                    request.ask(None)
                    self._passed.add(row)
                if row == last:
                    return

    def _question(self, request: Request, asked: Row) -> Step:
        """Return the step that is asked about, which may be another than the one that asks."""
        scope, attempt = self._scope, self._scope.attempt
        shown = Encoded(asked["input_type"], asked["input_text"], asked["input_data"])
        key = attempt.recorder.idempotency_key(asked["scope"], asked["fingerprint"], asked["n"])
        return Step(
            str(asked["id"]),
            key,
            attempt.n,
            asked["name"],
            scope.codec_of(request).decode_shown(shown),
        )


def _unwrapped(answer: Any) -> Any:
    """Return the result in `{"result": ...}`, which a person writes where it looks like a word."""
    said: Any = answer
    return said["result"] if isinstance(answer, dict) and said.keys() == {"result"} else said


def _in_doubt(request: Request, step: Step, row: Row) -> InDoubtError:
    if row["status"] == "done":
        happened = f"was made and its result could not be stored ({row['reason']})"
    else:
        happened = (
            "was started and the process died before its result was recorded: it may or may not "
            "have happened"
        )
    return InDoubtError(
        f"{request.kind} {request.name!r} (step {step.id}) {happened}; look, then say so with "
        f"journal.settle({step.id!r}, result=...) or journal.settle({step.id!r}, happened=False), "
        f"or with `rowtrail in-doubt {step.id}`",
        step_id=step.id,
        name=request.name,
        idempotency_key=step.idempotency_key,
    )
