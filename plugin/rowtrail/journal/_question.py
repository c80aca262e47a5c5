"""What a transaction decides about one request, by the rules of replay and what is recorded."""

from __future__ import annotations

from dataclasses import dataclass

from rowtrail.engine import Row, Tx
from rowtrail.errors import DivergedError
from rowtrail.journal._attempt import Scope
from rowtrail.journal._matching import (
    Doubtful,
    alike,
    as_recorded,
    by_another_object,
    candidates,
    doubted_before,
    handled_failures,
)
from rowtrail.journal._owners import Owner
from rowtrail.journal._request import Key, Request
from rowtrail.journal._steps import Started, start_step
from rowtrail.replay import Aside, Decision, Live, ReasonCode, Resolve, Wait, decide


@dataclass(frozen=True)
class Verdict:
    """What a transaction decided about a request, and the row that it concerns."""

    decision: Decision
    row: Row | None
    started: Started | None = None
    owner: Owner | None = None


@dataclass(frozen=True, slots=True)
class Question:
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
        code = self._code(decision)
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

    def _code(self, decision: Live) -> ReasonCode:
        """Return why a call is made, also where that is decided for the whole run or request."""
        code = self.decided or decision.code
        if self.request.not_told_apart is not None:
            return ReasonCode.NOT_TOLD_APART
        keeps_doubts = self.scope.attempt.begun.keeps_doubts
        return ReasonCode.NEVER if keeps_doubts and code == ReasonCode.FIRST else code

    def _refuse_divergence(self, decision: Live) -> None:
        scope, request = self.scope, self.request
        if scope.attempt.strict and decision.code == ReasonCode.CHANGED:
            raise DivergedError(
                f"{request.kind} call {request.name!r} in scope {scope.name!r} differs from every "
                "recorded one: undo the change, or resume without strict=True",
                name=request.name,
                scope=scope.name,
            )
