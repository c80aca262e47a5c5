"""A scope: what its framework re-executes as a whole, and the calls made in it."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rowtrail.content import Codec, Prepared, UnknownClassError
from rowtrail.journal._call import Call
from rowtrail.journal._current import Step
from rowtrail.journal._doubt import Doubt
from rowtrail.journal._failure import rebuilt_failure
from rowtrail.journal._flow import Flow, Read, Write, adrive, drive
from rowtrail.journal._log import log
from rowtrail.journal._matching import (
    as_recorded,
    output_of,
)
from rowtrail.journal._numbers import Key, Numbers
from rowtrail.journal._owners import Owner, give_back_unmade
from rowtrail.journal._prefetched import Prefetched
from rowtrail.journal._question import Question, Verdict
from rowtrail.journal._request import Request
from rowtrail.journal._single_flight import await_owner
from rowtrail.journal._unmade import Unmade
from rowtrail.replay import (
    Live,
    Raise,
    ReasonCode,
    Replay,
    Resolve,
    decide,
    scope_key,
)
from rowtrail.replay import Wait as WaitForOwner
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt

Generation = tuple[int, ...]
"""Which execution of a scope inside one attempt: a retry of each task around it counts one."""


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
        self.before: Scope | None = None
        """The same task's try before this one."""
        self.ended_with_failure = False
        """Whether the call that ended last in this scope raised."""
        self._store = attempt.recorder.store
        self._row: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._doubt = Doubt(self)
        self._numbers = Numbers()
        self._freed: deque[Key] = deque()
        """What `_numbers` is to be given back: a finalizer must not wait for the lock."""
        self._recorded: Prefetched | None = None
        self._raised: set[int] = set()
        self.unreadable: set[int] = set()
        """Steps whose results are of classes that the program does not have any more."""
        self._is_retry_told = False
        self._told_in_epoch: int | None = None

    def begin(self, request: Request) -> Call:
        """Replay the recorded result of a request, or put its row on disk so that it can be made.

        Raises:
            InDoubtError: The step may or may not have happened, and nobody decided.
            DivergedError: With `strict`, a resumed scope asks for something new.
            UsageError: The step would wait for a call that it is itself inside.
            Exception: What the recorded call raised, where the code around has handled it before.
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
        self._freed.append(key)

    def was_raised(self, row: int) -> bool:
        """Return whether a recorded failure was raised again already."""
        return row in self._raised

    def _begin(self, request: Request) -> Flow[Call]:
        give_back_unmade(self.attempt.row)
        yield from self._begin_again()
        with self._lock:
            while self._freed:
                self._numbers.free(self._freed.popleft())
            key = self._numbers.next(request)
        unmade = Unmade(self, key)
        try:
            return (yield from self._find_or_start(request, unmade))
        except BaseException as error:
            self.attempt.failures.append(error)  # no answer is to blame for it
            unmade.free_number()
            raise

    def _find_or_start(self, request: Request, unmade: Unmade) -> Flow[Call]:
        key = unmade.key
        decided: ReasonCode | None = None
        if self.attempt.continues or self.generation[-1]:
            row = yield from self._replayable(key, request)
            if row is not None:
                call = yield from self._replayed(request, key, row)
                if call is not None:
                    return call
        self._encode(request)
        while True:
            verdict = yield from self._verdict(request, unmade, decided)
            decision = verdict.decision
            if isinstance(decision, Live):
                return Call(self, request, key, started=verdict.started, owner=verdict.owner)
            if isinstance(decision, WaitForOwner):
                yield from await_owner(self.attempt, decision.step)
                continue
            call = yield from self._without_a_call(request, key, verdict)
            if call is not None:
                return call
            if isinstance(decision, Resolve):
                decided = ReasonCode.SETTLED

    def _without_a_call(self, request: Request, key: Key, verdict: Verdict) -> Flow[Call | None]:
        """Hand back what is recorded, or what somebody decides; None means: look again."""
        row = verdict.row
        assert row is not None
        if isinstance(verdict.decision, Raise):
            return self._failed_again(request, key, row)
        if isinstance(verdict.decision, Replay):
            return (yield from self._replayed(request, key, row))
        return (yield from self._doubt.resolve(request, key, row))

    @staticmethod
    def _encode(request: Request) -> Prepared:
        """Encode what is asked on this thread: a transaction must not wait for it."""
        return request.input

    def _begin_again(self) -> Flow[None]:
        """On a retry inside the process, set aside the answer that made the code fail.

        A retry does not tell what was raised: when the last call of the try before failed, it did.
        """
        before = self.before
        if not self.generation[-1] or self._is_retry_told or before is None:
            return
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
            run, name = self.attempt.run, self.name
            recorded = self._recorded = yield Read(lambda tx: Prefetched(tx, run, name))
        found = self.attempt.claims.free(recorded.of(key, request), self, key)
        decision = decide(
            [as_recorded(self, row) for row in found],
            kind=request.kind,
            effect=request.effect,
            diverged=False,
            is_alive=lambda _: True,
        )
        if not isinstance(decision, Replay):
            return None
        if request.effect != "read":
            self.attempt.claims.take(decision.step, self, key)
        return found[-1]

    def _verdict(
        self, request: Request, unmade: Unmade, decided: ReasonCode | None
    ) -> Flow[Verdict]:
        calls = self.attempt.recorder.calls
        owner = Owner(self.attempt.row, unmade.take_back)
        question = Question(self, request, unmade.key, decided, owner)

        def decide_it(tx: Tx) -> Verdict:
            verdict = question.decide(tx)
            if verdict.started is not None:
                # Before it is committed: from then on others ask whether it goes on.
                calls[verdict.started.row] = owner
                unmade.rows[:] = [verdict.started.row]
            return verdict

        try:
            # No power cut may take the row of a call that changes the world, once it is made.
            verdict: Verdict = yield Write(decide_it, synced=request.effect != "read")
        except BaseException as error:  # none may count as its owner any more
            if not isinstance(error, Exception):
                owner.forgo()  # cancelled: the row may still be written
            owner.keep()
            for row in unmade.rows:
                calls.pop(row, None)
            raise
        if verdict.started is None:
            owner.keep()
        return verdict

    def row_in(self, tx: Tx) -> int:
        """Return the row of the scope, which is made when it is first needed."""
        row = self.known_row
        if row is None:
            found: int | None = tx.value("scope_row", run=self.attempt.run, name=self.name)
            if found is None:
                # Not kept before the commit: a rolled back row must not be remembered.
                return self.attempt.recorder.new_scope(tx, self)
            self.remember_row(found)
            return found
        return row

    @functools.cached_property
    def key(self) -> str:
        """Return what stands for the scope in the idempotency keys of its steps."""
        return scope_key(self.name)

    @property
    def known_row(self) -> int | None:
        """Return the row of the scope, None where it is not known or may have been rolled back."""
        if self._row is None or self._row[1] != self._store.epoch:
            return None
        return self._row[0]

    def remember_row(self, row: int) -> None:
        """Keep the row of the scope."""
        self._row = (row, self._store.epoch)

    @property
    def last_seq(self) -> Mapping[int, int]:
        """Return the number of the newest step that each attempt began in the scope."""
        return {} if self._recorded is None else self._recorded.last_seq

    def has_diverged(self, request: Request) -> bool:
        """Return whether the scope has recorded steps of this kind that no request has claimed."""
        if self._recorded is None or not self._recorded.rows:
            return False
        with self._lock:
            return any(
                not self._numbers.has(fingerprint, call)
                for (fingerprint, call, _), rows in self._recorded.rows.items()
                if any(row["kind"] == request.kind and row["status"] == "done" for row in rows)
            )

    def _replayed(self, request: Request, key: Key, row: Row) -> Flow[Call | None]:
        """Hand back a recorded result; None where it is of a class that is not there any more."""
        try:
            result = self.codec_of(request).decode(output_of(row))
        except UnknownClassError as error:
            log().warning("the result of step %s is not handed back: %s", row["id"], error)
            self.unreadable.add(row["id"])
            return None
        if row["reason_code"] == ReasonCode.SETTLED:
            result = request.shape(result)  # whoever wrote it may know nothing of the framework
        if row["tool_call_id"] != request.tool_call_id:
            result = request.readdress(result)
        if row["last_asked"]:
            yield from self._doubt.pass_by(request, row["last_asked"])
        self.attempt.recorder.replays.add(self.attempt, row["id"])
        if request.kind != "llm":
            self.attempt.replayed.add(row["id"])
        return Call(
            self, request, key, result=result, replayed_row=row["id"], interrupts=row["interrupts"]
        )

    def _failed_again(self, request: Request, key: Key, row: Row) -> Call:
        """Raise a failure again that the code around has handled, or return the report of it."""
        self._raised.add(row["id"])
        self.attempt.recorder.replays.add(self.attempt, row["id"])
        self.note_end(is_failure=True)
        if row["output"] is not None:
            self.free(key)
            result = self.codec_of(request).decode(output_of(row))
            return Call(self, request, key, result=result, replayed_row=row["id"])
        error = rebuilt_failure(row["failure"])
        assert error is not None, "only what can be built again is raised again"
        raise error

    def step_of(self, row: int, key: str, request: Request) -> Step:
        """Return what the code of a step, or its reconciling function, sees of it."""
        return Step(
            id=str(row),
            idempotency_key=key,
            attempt=self.attempt.n,
            name=request.name,
            input=request.arguments,
        )

    def codec_of(self, request: Request) -> Codec:
        """Return what reads and writes the results of a request."""
        return request.codec or self.attempt.codec

    def is_opaque(self, request: Request) -> bool:
        """Return whether nothing of what a request returns may be stored as text."""
        return self.codec_of(request).is_opaque
