"""A scope: what its framework re-executes as a whole, and the calls made in it."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rowtrail.content import Codec, Encoded
from rowtrail.errors import DivergedError, InDoubtError
from rowtrail.journal._call import Call, Started
from rowtrail.journal._current import Step
from rowtrail.journal._flow import Ask, Flow, Read, Sleep, Write, adrive, drive
from rowtrail.journal._request import NOT_DONE, Request
from rowtrail.replay import Decision, Live, Recorded, Replay, Resolve, decide
from rowtrail.replay import Wait as WaitForOwner
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt

OWNER_POLL_S = 0.05
"""How often a step that another live attempt makes is looked at."""

Key = tuple[bytes, str | None, int]
Generation = tuple[int, ...]
"""Which execution of a scope inside one attempt: a retry of each task around it counts one."""

MADE_AGAIN = "in doubt: decided to make it again"
RETRY, SKIP = "retry", "skip"
SKIPPED_TEXT = "skipped: a person decided that this call is not made"


@dataclass(frozen=True)
class _Verdict:
    """What a transaction decided about a request, and the row that it concerns."""

    decision: Decision
    row: Row | None
    started: Started | None = None


class Scope:
    """One scope in one attempt. Requests are numbered per fingerprint, in the order they are made."""

    def __init__(self, attempt: Attempt, name: str, node: str | None, generation: Generation) -> None:
        self.attempt = attempt
        self.name = name
        self.node = node
        self.generation = generation
        self.parent_row: int | None = None
        """Row of the step whose code makes the calls of this scope, if there is one."""
        self._store = attempt.recorder.store
        self._row: int | None = None
        self._lock = threading.Lock()
        self._asking = threading.RLock()
        self._answers: dict[int, Any] = {}
        self._counts: Counter[tuple[bytes, str | None]] = Counter()
        self._recorded: dict[Key, list[Row]] | None = None
        self._is_retry_told = False
        self.ended_with_failure = False
        """Whether the call that ended last in this scope raised."""

    def begin(self, request: Request) -> Call:
        """Replay the recorded result of a request, or put its row on disk so that it can be made.

        Raises:
            InDoubtError: The step may or may not have happened, and nobody decided.
            DivergedError: With `strict`, a resumed scope asks for something new.
        """
        return drive(self._begin(request), self._store)

    async def abegin(self, request: Request) -> Call:
        """Async twin of `begin`."""
        return await adrive(self._begin(request), self._store)

    def inside(self, place: str, parent_row: int) -> Scope:
        """Return the scope of the calls made inside a step of this scope."""
        scope = self.attempt.scope(
            f"{self.name}>{place}", node=self.node, generation=self.generation
        )
        scope.parent_row = parent_row
        return scope

    def _begin(self, request: Request) -> Flow[Call]:
        if self.generation[-1]:
            yield from self._begin_again()
        key = self._number(request)
        decided = None
        if self.attempt.continues:
            row = yield from self._replayable(key, request)
            if row is not None:
                return self._replayed(request, key, row)
        while True:
            verdict = yield Write(lambda tx: self._decide(tx, request, key, decided))
            decision = verdict.decision
            if isinstance(decision, Replay):
                return self._replayed(request, key, verdict.row)
            if isinstance(decision, Live):
                return Call(self, request, key, started=verdict.started)
            if isinstance(decision, WaitForOwner):
                yield from self._await_owner(decision)
            else:
                settled = yield from self._resolve(request, key, decision)
                if settled is not None:
                    return settled
                decided = MADE_AGAIN

    def _begin_again(self) -> Flow[None]:
        """On a retry inside the process, set aside the answer that made the code fail.

        A retry does not tell what was raised: when the last call of the try before failed, it did.
        """
        with self._lock:
            first, self._is_retry_told = not self._is_retry_told, True
        *around, tries = self.generation
        before = self.attempt.scope(self.name, generation=(*around, tries - 1))
        if first and not before.ended_with_failure:
            reason = "set aside: the code after this answer raised and is tried again"
            yield Write(lambda tx: self.attempt.set_aside_answer(tx, self.name, reason))

    def _number(self, request: Request) -> Key:
        kind = (request.fingerprint, request.tool_call_id)
        with self._lock:
            self._counts[kind] += 1
            return (*kind, self._counts[kind])

    def _replayable(self, key: Key, request: Request) -> Flow[Row | None]:
        """Look among the rows that the scope had when this attempt came to it."""
        if self._recorded is None:
            rows = yield Read(self._fetch_recorded)
            self._recorded = rows
        found = self._recorded.get(key, [])
        decision = decide(
            [_recorded(row) for row in found],
            kind=request.kind,
            effect=request.effect,
            diverged=False,
            is_alive=lambda _: True,
        )
        return found[-1] if isinstance(decision, Replay) else None

    def _fetch_recorded(self, tx: Tx) -> dict[Key, list[Row]]:
        found: dict[Key, list[Row]] = defaultdict(list)
        row = tx.value("scope_row", run=self.attempt.run, name=self.name)
        for step in tx.all("scope_steps", scope=row) if row is not None else ():
            found[step["fingerprint"], step["tool_call_id"], step["n"]].append(step)
        return found

    def _decide(self, tx: Tx, request: Request, key: Key, decided: str | None) -> _Verdict:
        """Decide what becomes of a request and, when it is to be made, write its row."""
        scope = self._scope_row(tx)
        rows = self._candidates(tx, scope, key)
        decision = decide(
            [_recorded(row) for row in rows],
            kind=request.kind,
            effect=request.effect,
            diverged=self._has_diverged(request),
            is_alive=lambda step: self._is_alive(tx, step),
        )
        if isinstance(decision, Live):
            self._refuse_divergence(request, decision)
            if decision.supersedes is not None:
                tx.run("step_supersede", id=decision.supersedes, reason=None)
            reason = decided or decision.reason
            started = self.attempt.recorder.start_step(tx, self, scope, request, key, reason)
            return _Verdict(decision, None, started)
        row = next((row for row in rows if row["id"] == decision.step), None)
        if isinstance(decision, Resolve):
            tx.run("step_doubt", id=decision.step)
        return _Verdict(decision, row)

    def _candidates(self, tx: Tx, scope: int, key: Key) -> list[Row]:
        fingerprint, tool_call_id, n = key
        rows = tx.all(
            "step_candidates", scope=scope, fingerprint=fingerprint, tool_call_id=tool_call_id, n=n
        )
        if not rows and self.attempt.replay_always and self.attempt.thread is not None:
            elsewhere = tx.all(
                "step_elsewhere",
                thread=self.attempt.thread,
                run=self.attempt.run,
                fingerprint=fingerprint,
                tool_call_id=tool_call_id,
            )
            return elsewhere[n - 1 : n]
        return rows

    def _scope_row(self, tx: Tx) -> int:
        if self._row is None:
            found = tx.value("scope_row", run=self.attempt.run, name=self.name)
            if found is None:
                # Not kept before the commit: a rolled back row must not be remembered.
                return tx.insert(
                    "scope_insert", run=self.attempt.run, name=self.name, node=self.node
                )
            self._row = found
        return self._row

    def _has_diverged(self, request: Request) -> bool:
        """Tell whether the scope has recorded steps of this kind that no request has claimed."""
        with self._lock:
            claimed = set(self._counts)
        return any(
            (fingerprint, call) not in claimed
            for (fingerprint, call, _), rows in (self._recorded or {}).items()
            if any(row["kind"] == request.kind and row["status"] == "done" for row in rows)
        )

    def _refuse_divergence(self, request: Request, decision: Live) -> None:
        if self.attempt.strict and decision.reason.startswith("changed"):
            raise DivergedError(
                f"{request.kind} call {request.name!r} in scope {self.name!r} differs from every "
                "recorded one: undo the change, or resume without strict=True",
                name=request.name,
                scope=self.name,
            )

    def _is_alive(self, tx: Tx, step: Recorded) -> bool:
        if step.attempt == self.attempt.row:
            return step.id in self.attempt.active
        return self.attempt.recorder.is_alive(tx, step.attempt)

    def _await_owner(self, decision: WaitForOwner) -> Flow[None]:
        def has_ended(tx: Tx) -> bool:
            row = tx.one("step_status", id=decision.step)
            if row is None or row["status"] != "running":
                return True
            if row["attempt"] == self.attempt.row:
                return decision.step not in self.attempt.active
            return not self.attempt.recorder.is_alive(tx, row["attempt"])

        while True:
            ended = yield Read(has_ended)
            if ended:
                return
            yield Sleep(OWNER_POLL_S)

    def _replayed(self, request: Request, key: Key, row: Row | None) -> Call:
        assert row is not None
        stored = Encoded(row["output_type"], row["output_text"], row["output_data"])
        result = self._codec(request).decode(stored)
        self.attempt.recorder.record_replay(self.attempt, row["id"])
        return Call(
            self, request, key, result=result, replayed_row=row["id"], interrupts=row["interrupts"]
        )

    # Steps in doubt.

    def _resolve(self, request: Request, key: Key, decision: Resolve) -> Flow[Call | None]:
        """Let the policy of the tool decide; None means: look again."""
        step = self.step_of(decision.step, request, key)
        answer: Any
        if request.on_doubt == "retry":
            answer = NOT_DONE
        elif callable(request.on_doubt):
            answer = yield Ask(lambda: request.on_doubt(step))  # type: ignore[operator,misc]
        elif request.on_doubt == "ask" and request.ask is not None:
            answer = yield from self._ask(request, step, decision.step)
        else:
            raise InDoubtError(
                f"{request.kind} {request.name!r} (step {step.id}) was started and the process "
                "died before its result was recorded: it may or may not have happened; look, "
                f"then say so with journal.settle({step.id!r}, result=...) or "
                f"journal.settle({step.id!r}, happened=False)",
                step_id=step.id,
                name=request.name,
                idempotency_key=step.idempotency_key,
            )
        return (yield from self._settle(request, key, decision.step, answer))

    def _settle(
        self, request: Request, key: Key, step: int, answer: Any
    ) -> Flow[Call | None]:
        if answer is NOT_DONE:
            yield Write(lambda tx: tx.run("step_supersede", id=step, reason=None))
            return None
        result = request.shape(answer)
        output = self.attempt.prepare(self._codec(request).encode(result))

        def settle(tx: Tx) -> None:
            row = self.attempt.recorder.content.put(tx, output)
            tx.run("step_settle", id=step, output=row, reason="in doubt: settled with this result")

        yield Write(settle)
        return Call(self, request, key, result=result, replayed_row=step, interrupts=0)

    def _ask(self, request: Request, step: Step, row: int) -> Flow[Any]:
        """Ask a person about every step of the scope in doubt, in the order of their rows.

        A framework matches answers to questions by position, and parallel calls come here in any
        order: a fixed order keeps each answer with its question.
        """
        yield Write(lambda tx: tx.run("step_asked", id=row))
        asks = yield Read(lambda tx: tx.all("scope_asks", scope=self._scope_row(tx)))
        return (yield Ask(lambda: self._answer(request, step, row, asks)))

    def _answer(self, request: Request, step: Step, row: int, asks: list[Row]) -> Any:
        assert request.ask is not None
        with self._asking:
            for asked in asks:
                if asked["id"] not in self._answers:
                    about = replace(step, id=str(asked["id"]), name=asked["name"])
                    self._answers[asked["id"]] = request.ask(step if asked["id"] == row else about)
            answer = self._answers[row]
        if answer == RETRY:
            return NOT_DONE
        if answer == SKIP:
            return SKIPPED_TEXT
        if isinstance(answer, dict) and set(answer) == {"result"}:
            return answer["result"]
        return answer

    def step_of(self, row: int, request: Request, key: Key) -> Step:
        """Return what the code of a step, or its reconciling function, sees of it."""
        fingerprint, _, n = key
        scope_row = self._row if self._row is not None else 0
        return Step(
            id=str(row),
            idempotency_key=self.attempt.recorder.idempotency_key(scope_row, fingerprint, n),
            attempt=self.attempt.n,
            name=request.name,
            input=request.arguments,
        )

    def _codec(self, request: Request) -> Codec:
        return request.codec or self.attempt.codec

    def remember_row(self, row: int) -> None:
        """Keep the row of the scope, once it is committed."""
        self._row = row


def _recorded(row: Row) -> Recorded:
    return Recorded(
        id=row["id"],
        attempt=row["attempt"],
        kind=row["kind"],
        status=row["status"],
        has_result=row["output"] is not None,
    )

