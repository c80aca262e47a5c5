"""A scope: what its framework re-executes as a whole, and the calls made in it."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from rowtrail.content import Codec, Encoded, Prepared
from rowtrail.errors import ClosedError, DivergedError
from rowtrail.journal._call import Call, Started
from rowtrail.journal._current import Step
from rowtrail.journal._doubt import Doubt
from rowtrail.journal._flow import Flow, Read, Sleep, Write, adrive, drive
from rowtrail.journal._log import log
from rowtrail.journal._request import Request
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
SETTLED = "settled: it happened"
"""Reason of a step whose result somebody wrote down who knows nothing of the framework's forms."""


@dataclass(frozen=True)
class _Verdict:
    """What a transaction decided about a request, and the row that it concerns."""

    decision: Decision
    row: Row | None
    started: Started | None = None


class Scope:
    """One scope in one attempt; its requests are numbered by fingerprint, as they are made."""

    def __init__(
        self, attempt: Attempt, name: str, node: str | None, generation: Generation
    ) -> None:
        self.attempt = attempt
        self.name = name
        self.node = node
        self.generation = generation
        self.parent_row: int | None = None
        """Row of the step whose code makes the calls of this scope, if there is one."""
        self.around: Scope | None = None
        """The scope whose code runs the graph that this one is a task of, if there is one."""
        self.ended_with_failure = False
        """Whether the call that ended last in this scope raised."""
        self._store = attempt.recorder.store
        self._row: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._doubt = Doubt(self)
        self._counts: Counter[tuple[bytes, str | None]] = Counter()
        self._freed: dict[tuple[bytes, str | None], list[int]] = defaultdict(list)
        self._recorded: dict[Key, list[Row]] | None = None
        self._is_retry_told = False
        self._told_in_epoch: int | None = None

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

    def note_end(self, *, is_failure: bool) -> None:
        """Note how the call ended that was the last here, and in the scopes around."""
        scope: Scope | None = self
        while scope is not None:
            scope.ended_with_failure = is_failure
            scope = scope.around

    def begin_again(self) -> None:
        """Set aside the answer that made the code fail, where this is a retry in the process."""
        drive(self._begin_again(), self._store)

    async def abegin_again(self) -> None:
        """Async twin of `begin_again`."""
        await adrive(self._begin_again(), self._store)

    def free(self, key: Key) -> None:
        """Give back the number of a request that came to nothing, to the next one like it.

        So a call that is made again after it failed has the number of the first: on resume its
        answer stands where the failure was.
        """
        fingerprint, tool_call_id, n = key
        with self._lock:
            heappush(self._freed[fingerprint, tool_call_id], n)

    def _number(self, request: Request) -> Key:
        kind = (request.fingerprint, request.tool_call_id)
        with self._lock:
            if self._freed[kind]:
                return (*kind, heappop(self._freed[kind]))
            self._counts[kind] += 1
            return (*kind, self._counts[kind])

    def _begin(self, request: Request) -> Flow[Call]:
        yield from self._begin_again()
        key = self._number(request)
        try:
            return (yield from self._find_or_start(request, key))
        except BaseException as error:
            self.attempt.failures.append(error)  # the journal raised it: no answer is to blame
            self.free(key)
            raise

    def _find_or_start(self, request: Request, key: Key) -> Flow[Call]:
        decided = None
        if self.attempt.continues:
            row = yield from self._replayable(key, request)
            if row is not None:
                return (yield from self._replayed(request, key, row))
        self._encode(request)
        while True:
            verdict = yield from self._verdict(request, key, decided)
            decision = verdict.decision
            if isinstance(decision, Replay):
                return (yield from self._replayed(request, key, verdict.row))
            if isinstance(decision, Live):
                return Call(self, request, key, started=verdict.started)
            if isinstance(decision, WaitForOwner):
                yield from self._await_owner(decision)
            else:
                assert verdict.row is not None
                settled = yield from self._doubt.resolve(request, key, verdict.row)
                if settled is not None:
                    return settled
                decided = MADE_AGAIN

    @staticmethod
    def _encode(request: Request) -> Prepared:
        """Encode what is asked on this thread: a transaction must not wait for it."""
        return request.input

    def _begin_again(self) -> Flow[None]:
        """On a retry inside the process, set aside the answer that made the code fail.

        A retry does not tell what was raised: when the last call of the try before failed, it did.
        """
        *around, tries = self.generation
        if not tries or self._is_retry_told:
            return
        before = self.attempt.scope(self.name, generation=(*around, tries - 1))
        reason = "set aside: the code after this answer raised and is tried again"

        def tell(tx: Tx) -> None:
            # Once, also where parallel calls come here together; again only if it was undone.
            if self._told_in_epoch != self._store.epoch:
                self._told_in_epoch = self._store.epoch
                if not before.ended_with_failure:
                    self.attempt.set_aside_answer(tx, self.name, reason)

        yield Write(tell)
        self._is_retry_told = True

    def _replayable(self, key: Key, request: Request) -> Flow[Row | None]:
        """Look among the rows that the scope had when this attempt came to it."""
        recorded = self._recorded
        if recorded is None:
            recorded = self._recorded = yield Read(self._fetch_recorded)
        found: list[Row] = recorded.get(key, [])
        decision = decide(
            [self._as_recorded(row) for row in found],
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

    def _verdict(self, request: Request, key: Key, decided: str | None) -> Flow[_Verdict]:
        started: list[Started] = []

        def decide_it(tx: Tx) -> _Verdict:
            verdict = self._decide(tx, request, key, decided)
            started[:] = [] if verdict.started is None else [verdict.started]
            return verdict

        try:
            # No power cut may take the row of a call that changes the world, once it is made.
            verdict: _Verdict = yield Write(decide_it, synced=request.effect == "write")
        except BaseException as error:
            if not isinstance(error, Exception):  # cancelled: the row may still be written
                self._take_back(key, started)
            raise
        return verdict

    def _take_back(self, key: Key, started: list[Started]) -> None:
        """Queue the mark of a step whose caller will never make it."""
        fingerprint, _, n = key

        def work(tx: Tx) -> None:
            for step in started:
                tx.run(
                    "step_never_made",
                    id=step.row,
                    attempt=self.attempt.row,
                    fingerprint=fingerprint,
                    n=n,
                )

        with contextlib.suppress(ClosedError):
            self._store.submit(work)

    def _decide(self, tx: Tx, request: Request, key: Key, decided: str | None) -> _Verdict:
        """Decide what becomes of a request and, when it is to be made, write its row."""
        scope = self.row_in(tx)
        rows = self._candidates(tx, scope, key)
        decision = decide(
            [self._as_recorded(row) for row in rows],
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

    def _as_recorded(self, row: Row) -> Recorded:
        has_result = row["output"] is not None
        return Recorded(
            id=row["id"],
            attempt=row["attempt"],
            kind=row["kind"],
            status=row["status"],
            has_result=has_result,
            is_damaged=has_result and row["status"] == "done" and self._is_damaged(row),
        )

    def _is_damaged(self, row: Row) -> bool:
        """Tell whether a result is not the one that was recorded: a bit of the file has changed."""
        seal = self.attempt.recorder.content.seal
        has_item = row["output_type"] is not None
        if has_item and seal(_output(row), row["fingerprint"], row["n"]) == row["seal"]:
            return False
        log().warning(
            "the recorded result of step %s is damaged (item %s of %r) and is not replayed: "
            "run `rowtrail verify`",
            row["id"],
            row["output"],
            self._store.path,
        )
        return True

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

    def row_in(self, tx: Tx) -> int:
        """Return the row of the scope, which is made when it is first needed."""
        row = self.known_row
        if row is None:
            found: int | None = tx.value("scope_row", run=self.attempt.run, name=self.name)
            if found is None:
                # Not kept before the commit: a rolled back row must not be remembered.
                return tx.insert(
                    "scope_insert", run=self.attempt.run, name=self.name, node=self.node
                )
            self.remember_row(found)
            return found
        return row

    @property
    def known_row(self) -> int | None:
        """Return the row of the scope, None where it is not known or may have been rolled back."""
        if self._row is None or self._row[1] != self._store.epoch:
            return None
        return self._row[0]

    def remember_row(self, row: int) -> None:
        """Keep the row of the scope."""
        self._row = (row, self._store.epoch)

    def _has_diverged(self, request: Request) -> bool:
        """Tell whether the scope has recorded steps of this kind that no request has claimed."""
        if not self._recorded:  # the copy below would cost more with every step
            return False
        with self._lock:
            claimed = set(self._counts)
        return any(
            (fingerprint, call) not in claimed
            for (fingerprint, call, _), rows in self._recorded.items()
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

    def _replayed(self, request: Request, key: Key, row: Row | None) -> Flow[Call]:
        assert row is not None
        result = self.codec_of(request).decode(_output(row))
        if row["reason"] == SETTLED:
            result = request.shape(result)
        if row["last_asked"]:
            yield from self._doubt.pass_by(request, row["last_asked"])
        self.attempt.recorder.record_replay(self.attempt, row["id"])
        return Call(
            self, request, key, result=result, replayed_row=row["id"], interrupts=row["interrupts"]
        )

    def step_of(self, row: int, scope_row: int, request: Request, key: Key) -> Step:
        """Return what the code of a step, or its reconciling function, sees of it."""
        fingerprint, _, n = key
        return Step(
            id=str(row),
            idempotency_key=self.attempt.recorder.idempotency_key(scope_row, fingerprint, n),
            attempt=self.attempt.n,
            name=request.name,
            input=request.arguments,
        )

    def codec_of(self, request: Request) -> Codec:
        """Return what reads and writes the results of a request."""
        return request.codec or self.attempt.codec


def _output(row: Row) -> Encoded:
    return Encoded(row["output_type"], row["output_text"], row["output_data"])
