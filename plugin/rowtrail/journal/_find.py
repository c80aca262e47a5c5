"""Beginning a call: what is recorded of a request is found, or its row is put on disk."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from rowtrail.content import UnknownClassError
from rowtrail.engine import Row, Tx
from rowtrail.errors import DivergedError, StorageError
from rowtrail.journal._attempt import Scope
from rowtrail.journal._call import Call
from rowtrail.journal._current import owner_here
from rowtrail.journal._doubt import pass_questions_by, resolve_doubt
from rowtrail.journal._ending import supersede_answer
from rowtrail.journal._failure import rebuilt_failure
from rowtrail.journal._flow import Begin, Flow, Read, Write, adrive, drive
from rowtrail.journal._log import log
from rowtrail.journal._matching import (
    Doubtful,
    alike,
    as_recorded,
    by_another_object,
    candidates,
    doubted_before,
    handled_failures,
    output_of,
)
from rowtrail.journal._owners import Owner, give_back_unmade
from rowtrail.journal._prefetched import Prefetched
from rowtrail.journal._request import Key, Request
from rowtrail.journal._single_flight import await_owner
from rowtrail.journal._steps import Started, new_step, start_step, started_step
from rowtrail.replay import Aside, Decision, Live, Raise, ReasonCode, Replay, Resolve, Wait, decide


def begin_call(scope: Scope, request: Request) -> Call:
    """Replay the recorded result of a request, or put its row on disk so that it can be made.

    Raises:
        InDoubtError: The step may or may not have happened, and nobody decided.
        DivergedError: With `strict`, a resumed scope asks for something new.
        UsageError: The step would wait for a call that it is itself inside.
        Exception: What the recorded call raised, where the code around has handled it before.
    """
    return drive(_begin(scope, request), scope.attempt.recorder.store, scope.attempt.write_key)


async def abegin_call(scope: Scope, request: Request) -> Call:
    """Async twin of `begin_call`."""
    return await adrive(
        _begin(scope, request), scope.attempt.recorder.store, scope.attempt.write_key
    )


def begin_again(scope: Scope) -> None:
    """Set aside the answer that made the code fail, where this is a retry in the process."""
    drive(_begin_again(scope), scope.attempt.recorder.store, scope.attempt.write_key)


async def abegin_again(scope: Scope) -> None:
    """Async twin of `begin_again`."""
    await adrive(_begin_again(scope), scope.attempt.recorder.store, scope.attempt.write_key)


class _Unmade:
    """The number that a request has taken, and the row that may be written for it.

    `free_number` and `take_back` may be called by a finalizer: they take no lock and wait for
    nothing.
    """

    __slots__ = ("_numbered", "_scope", "key", "rows")

    def __init__(self, scope: Scope, key: Key) -> None:
        self.key = key
        self.rows: list[int] = []
        """The row of its step, once a transaction has written it."""
        self._scope = scope
        self._numbered = [key]

    def note(self, row: int, owner: Owner) -> None:
        """Note the row, and who will make the call; a handler may have given it back already."""
        self.rows[:] = [row]
        self._scope.attempt.recorder.calls[row] = owner
        if owner.is_given_back:
            self.take_back()

    def lose(self, owner: Owner, error: BaseException) -> None:
        """Note that the row could not be written: none may count as its owner any more."""
        if not isinstance(error, Exception):
            owner.forgo()  # cancelled: the row may still be written
        owner.keep()
        for row in self.rows:
            self._scope.attempt.recorder.calls.pop(row, None)

    def free_number(self) -> None:
        """Give the number to the next request like it, once."""
        while self._numbered:
            self._scope.free(self._numbered.pop())

    def take_back(self) -> None:
        """Queue the mark of a step whose caller will never make it."""
        self.free_number()
        attempt, rows, (fingerprint, _, n) = self._scope.attempt, self.rows, self.key
        for row in rows:
            attempt.recorder.calls.pop(row, None)

        def work(tx: Tx) -> None:
            for row in rows:
                tx.run("step_never_made", id=row, attempt=attempt.row, fingerprint=fingerprint, n=n)

        # Not waited for: the caller is being cancelled. Were it lost, the step would be in doubt.
        with contextlib.suppress(StorageError):
            attempt.recorder.store.submit(work, key=attempt.write_key)


def _begin(scope: Scope, request: Request) -> Flow[Call]:
    give_back_unmade(scope.attempt.row)
    yield from _begin_again(scope)
    unmade = _Unmade(scope, scope.number(request))
    try:
        return (yield from _find_or_start(scope, request, unmade))
    except BaseException as error:
        scope.attempt.failures.append(error)  # no answer caused it
        unmade.free_number()
        raise


def _find_or_start(scope: Scope, request: Request, unmade: _Unmade) -> Flow[Call]:
    key = unmade.key
    decided: ReasonCode | None = None
    if scope.attempt.continues or scope.generation[-1]:
        row = yield from _replayable(scope, request, key)
        if row is not None:
            call = yield from _replayed(scope, request, key, row)
            if call is not None:
                return call
    _ = request.input  # encoded on this thread: a transaction must not wait for it
    begun = yield from _begin_at_once(scope, request, unmade)
    if begun is not None:
        return begun
    while True:
        verdict = yield from _verdict(scope, request, unmade, decided)
        decision = verdict.decision
        if isinstance(decision, Live):
            return Call(scope, request, key, started=verdict.started, owner=verdict.owner)
        if isinstance(decision, Wait):
            yield from await_owner(scope.attempt, decision.step)
            continue
        call = yield from _without_a_call(scope, request, key, verdict)
        if call is not None:
            return call
        if isinstance(decision, Resolve):
            decided = ReasonCode.SETTLED


def _without_a_call(
    scope: Scope, request: Request, key: Key, verdict: Verdict
) -> Flow[Call | None]:
    """Hand back what is recorded, or what somebody decides; None means: look again."""
    row = verdict.row
    assert row is not None
    if isinstance(verdict.decision, Raise):
        return _failed_again(scope, request, key, row)
    if isinstance(verdict.decision, Replay):
        return (yield from _replayed(scope, request, key, row))
    return (yield from resolve_doubt(scope, request, key, row))


def _begin_again(scope: Scope) -> Flow[None]:
    """On a retry inside the process, set aside the answer that made the code fail.

    A retry does not tell what was raised: when the last call of the try before failed, it did.
    """
    before = scope.before
    if not scope.generation[-1] or scope.is_retry_told or before is None:
        return
    reason = "set aside: the code after this answer raised and is tried again"

    def undone() -> None:
        scope.is_retry_recorded = False

    def record(tx: Tx) -> None:
        # Once, also where parallel calls come here together; again only if it was undone.
        if not scope.is_retry_recorded:
            scope.is_retry_recorded = True
            tx.after_rollback(undone)
            if not before.ended_with_failure:
                supersede_answer(tx, scope.attempt, scope.name, reason)

    yield Write(record)
    scope.is_retry_told = True


def _replayable(scope: Scope, request: Request, key: Key) -> Flow[Row | None]:
    """Look among the rows that the scope had when this attempt came to it."""
    attempt, recorded = scope.attempt, scope.recorded
    if recorded is None:
        run, name = attempt.run, scope.name
        recorded = scope.recorded = yield Read(lambda tx: Prefetched(tx, run, name))
    claimant = scope.claimant(key)
    found = attempt.claims.free(recorded.of(key, request), claimant)
    decision = decide(
        [as_recorded(scope, row) for row in found],
        kind=request.kind,
        effect=request.effect,
        diverged=False,
        is_alive=lambda _: True,
    )
    if not isinstance(decision, Replay):
        return None
    if request.effect != "read":
        attempt.claims.take(decision.step, claimant)
    return found[-1]


def _begin_at_once(scope: Scope, request: Request, unmade: _Unmade) -> Flow[Call | None]:
    """Put the row of a request on disk where nothing can be recorded of it; None: look closer."""
    code = _code(scope, request, _code_of_new(scope, request))
    step = new_step(scope, request, unmade.key, code)
    if step is None:
        return None
    owner = owner_here(scope.attempt, unmade.take_back)
    started: list[Started] = []

    def note(row: int, at_ms: int) -> None:
        unmade.note(row, owner)
        if request.effect != "read":
            scope.attempt.claims.take(row, scope.claimant(unmade.key))
        started[:] = [started_step(scope, request, unmade.key, step, row, at_ms)]

    try:
        yield Begin(step, note)
    except BaseException as error:
        unmade.lose(owner, error)
        raise
    if not started:
        owner.keep()
        return None
    return Call(scope, request, unmade.key, started=started[0], owner=owner)


def _verdict(
    scope: Scope, request: Request, unmade: _Unmade, decided: ReasonCode | None
) -> Flow[Verdict]:
    """Decide in a transaction what becomes of a request; from its commit on the row has an owner.

    Ctrl-C may come at any instruction of this: whoever holds the owner makes the call.
    """
    owner = owner_here(scope.attempt, unmade.take_back)
    question = Question(scope, request, unmade.key, decided, owner)

    def decide_it(tx: Tx) -> Verdict:
        verdict = question.decide(tx)
        if verdict.started is not None:
            # Before it is committed: from then on others ask whether it goes on.
            unmade.note(verdict.started.row, owner)
        return verdict

    try:
        # No power cut may take the row of a call that changes the world, once it is made. That of
        # any other it may: nothing depends on it, and the call is made again.
        verdict: Verdict = yield Write(decide_it, synced=request.effect != "read")
    except BaseException as error:
        unmade.lose(owner, error)
        raise
    if verdict.started is None:
        owner.keep()
    return verdict


def _replayed(scope: Scope, request: Request, key: Key, row: Row) -> Flow[Call | None]:
    """Hand back a recorded result; None where it is of a class that is not there any more."""
    attempt = scope.attempt
    try:
        result = scope.codec_of(request).decode(output_of(row))
    except UnknownClassError as error:
        log().warning("the result of step %s is not handed back: %s", row["id"], error)
        scope.unreadable.add(row["id"])
        return None
    if row["reason_code"] == ReasonCode.SETTLED:
        result = request.shape(result)  # whoever wrote it may know nothing of the framework
    if row["tool_call_id"] != request.tool_call_id:
        result = request.readdress(result)
    if row["last_asked"]:
        yield from pass_questions_by(scope, request, row["last_asked"])
    attempt.recorder.replays.add(attempt.run, attempt.row, row["id"])
    if request.kind != "llm":
        attempt.replayed.add(row["id"])
    return Call(
        scope, request, key, result=result, replayed_row=row["id"], interrupts=row["interrupts"]
    )


def _failed_again(scope: Scope, request: Request, key: Key, row: Row) -> Call:
    """Raise a failure again that the code around has handled, or return the report of it."""
    attempt = scope.attempt
    scope.raised.add(row["id"])
    attempt.recorder.replays.add(attempt.run, attempt.row, row["id"])
    scope.note_end(is_failure=True)
    if row["output"] is not None:
        scope.free(key)
        result = scope.codec_of(request).decode(output_of(row))
        return Call(scope, request, key, result=result, replayed_row=row["id"])
    error = rebuilt_failure(row["failure"])
    assert error is not None, "only what can be built again is raised again"
    raise error


def _code_of_new(scope: Scope, request: Request) -> ReasonCode:
    """Return why a call is made of which nothing is recorded."""
    return ReasonCode.CHANGED if scope.has_diverged(request) else ReasonCode.FIRST


def _code(scope: Scope, request: Request, code: ReasonCode) -> ReasonCode:
    """Return why a call is made, also where that is decided for the whole run or request."""
    if request.not_told_apart is not None:
        return ReasonCode.NOT_TOLD_APART
    keeps_doubts = scope.attempt.begun.keeps_doubts
    return ReasonCode.NEVER if keeps_doubts and code == ReasonCode.FIRST else code


class Verdict(NamedTuple):
    """What a transaction decided about a request, and the row that it concerns."""

    decision: Decision
    row: Row | None
    started: Started | None = None
    owner: Owner | None = None


class Question(NamedTuple):
    """A request on its way into a transaction.

    Attributes:
        decided: Why it is made, where somebody has decided about it already.
        owner: Who asks, and makes the call if it is to be made.
    """

    scope: Scope
    request: Request
    key: Key
    decided: ReasonCode | None
    owner: Owner

    def decide(self, tx: Tx) -> Verdict:
        """Decide what becomes of the request and, when it is to be made, write its row."""
        scope, request, key = self.scope, self.request, self.key
        claims, claimant = scope.attempt.claims, scope.claimant(key)
        scope_row = scope.row_in(tx)
        rows = claims.free(candidates(tx, scope, scope_row, key), claimant)
        decision = self._decision(tx, rows)
        if not rows and request.effect != "read":
            other = alike(tx, scope, request, key)
            if other is not None:
                rows = [other]
                decision = self._decision(tx, rows)
        if isinstance(decision, Live):
            return self._live(tx, scope_row, rows, decision)
        if request.effect != "read":
            claims.take(decision.step, claimant)
        row = next((row for row in rows if row["id"] == decision.step), None)
        if isinstance(decision, Resolve):
            tx.run("step_doubt", id=decision.step)
        return Verdict(decision, row)

    def _decision(self, tx: Tx, rows: list[Row]) -> Decision:
        scope, request = self.scope, self.request
        handled = handled_failures(scope, rows, scope.last_seq)
        goes_on = scope.attempt.recorder.step_goes_on
        return decide(
            [as_recorded(scope, row, is_handled=row["id"] in handled) for row in rows],
            kind=request.kind,
            effect=request.effect,
            diverged=scope.has_diverged(request),
            is_alive=lambda step: goes_on(tx, step.id, step.attempt, self.owner),
        )

    def _live(self, tx: Tx, scope_row: int, rows: list[Row], decision: Live) -> Verdict:
        """Write the row of a call to be made, or find that an earlier run has it in doubt."""
        scope, request, key = self.scope, self.request, self.key
        attempt = scope.attempt
        before = rows[-1] if rows else None
        twin = doubted_before(tx, scope, request) if before is None else None
        if twin is not None and twin["status"] == "running" and twin["ended_at"] is None:
            return Verdict(Wait(twin["id"], twin["attempt"]), twin)
        self._refuse_divergence(decision)
        other = by_another_object(tx, scope, request, key) if before is None else None
        if decision.supersedes is not None:
            tx.run(
                "step_supersede",
                id=decision.supersedes,
                aside=Aside.DOUBTED,
                reason=None,
                answers=None,
            )
        code = _code(scope, request, self.decided or decision.code)
        doubt = Doubtful(twin, other) if twin is not None or other is not None else None
        started = start_step(
            tx, scope, scope_row, request, key, code=code, before=before, doubt=doubt
        )
        if doubt is not None:
            row = candidates(tx, scope, scope_row, key)[-1]
            return Verdict(Resolve(started.row), row)
        if request.effect != "read":
            attempt.claims.take(started.row, scope.claimant(key))
        return Verdict(decision, None, started, self.owner)

    def _refuse_divergence(self, decision: Live) -> None:
        scope, request = self.scope, self.request
        if scope.attempt.strict and decision.code == ReasonCode.CHANGED:
            raise DivergedError(
                f"{request.kind} call {request.name!r} in scope {scope.name!r} differs from every "
                "recorded one: undo the change, or resume without strict=True",
                name=request.name,
                scope=scope.name,
            )
