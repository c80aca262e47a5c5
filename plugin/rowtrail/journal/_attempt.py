"""One go at a run: begun, told what becomes of its scopes, and ended."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rowtrail.content import Codec, Encoded, Prepared
from rowtrail.errors import ClosedError, StorageError
from rowtrail.journal._begin import Beginning, Begun
from rowtrail.journal._current import Step
from rowtrail.journal._flow import Flow, Write, adrive, drive, finish, launch
from rowtrail.journal._live import is_inherited
from rowtrail.journal._log import log
from rowtrail.journal._matching import Claims
from rowtrail.journal._numbers import Key
from rowtrail.journal._owners import Owner, give_back_unmade
from rowtrail.journal._recovery import LEFT
from rowtrail.journal._request import Request
from rowtrail.journal._scope import Generation, Scope
from rowtrail.replay import Aside, ReasonCode, culprit
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from rowtrail.journal._journal import Journal


class Interrupts(Protocol):
    """How a framework gives answers of people to the questions of a call: by position."""

    def counting(self) -> AbstractContextManager[Callable[[], int]]:
        """Count the questions of the code inside the block; what it gives returns how many."""
        ...

    def skip(self, count: int) -> None:
        """Take the positions of the questions that a call asked which is handed back now."""
        ...


MAX_FAILURES = 100
"""How many failures of steps are remembered, to tell them from those of the code around."""

MAX_KEPT_SCOPES = 1_000
"""How many tasks of a graph are remembered, the last ones: a retry follows at once."""

Outcome = Literal["done", "failed", "waiting", "cancelled"]

WAYS_OUT = (
    "the answer before it is kept, since {name!r} (step {step}), which changes the world, was "
    "begun on it: the code sees the same failure until it is mended; to ask the model anew, "
    'begin with configurable={{"rowtrail_replay": "never"}} or another run id'
)


class Attempt:
    """A live attempt of a run; safe to use from several threads and tasks."""

    is_over = False
    """Whether its end is written, or can be no more."""

    outside: tuple[Scope | None, bool] = (None, False)
    """Of a `journal.run`: the scope whose code it was entered in, and whether that is one too."""

    def __init__(
        self,
        journal: Journal,
        beginning: Beginning,
        row: Begun,
        codec: Codec,
        loop: AbstractEventLoop | None = None,
    ) -> None:
        self.journal = journal
        self.recorder = journal.recorder
        self.codec = codec
        self.row = row.attempt
        self.run = row.run
        self.run_id = row.run_id
        self.thread = row.thread
        self.thread_id = beginning.thread_id
        self.n = row.n
        self.base_step = row.base_step
        self.continues = row.n > 1
        self.begun = row
        self.beginning = beginning
        self.replay_always = beginning.replay == "always"
        self.strict = journal.strict
        self.ask: Callable[[Step | None], Any] | None = None
        """Asks a person about a step in doubt; adapters set it where they can."""
        self.interrupts: Interrupts | None = None
        """Counts the questions that a call asks a person, and passes them by on replay."""
        self.re_executes: Callable[[str, bool], bool] = _all_of_it
        """Whether a scope, by its name and by whether it had finished, is executed again."""
        self.claims = Claims(self)
        self.replayed: set[int] = set()
        """Steps but those of models that were handed back, with all that was made inside them."""
        self.raises_handled = row.before is not None and row.before["outcome"] in _NOT_FAILED
        self.has_doubts = False
        """Whether a call that changes the world ended in doubt in this attempt."""
        self.is_rejected = False
        """Whether the framework refused what it was given, and nothing was executed."""
        self._resumed_done = beginning.intent == "resume" and row.n == 1
        self._lock = threading.Lock()
        # Weak: a step's scope lasts as long as its frame or its task does, not as the run.
        self._scopes: weakref.WeakValueDictionary[tuple[str, Generation], Scope] = (
            weakref.WeakValueDictionary()
        )
        self._kept: dict[str, Scope] = {}
        self._loop = None if loop is None else weakref.ref(loop)
        self._ended = False
        # Bounded: an exception keeps alive what its frames hold.
        self.failures: deque[BaseException] = deque(maxlen=MAX_FAILURES)
        self.open: set[int] = set()
        """Steps whose ends are not on disk."""

    @property
    def has_ended(self) -> bool:
        """Return whether the attempt is over."""
        return self._ended

    @property
    def is_left(self) -> bool:
        """Return whether nobody can go on with it: its event loop is closed.

        One that has ended writes so itself; one that nobody holds any more is gone altogether.
        """
        if self._ended or self._loop is None:
            return False
        loop = self._loop()
        return loop is None or loop.is_closed()

    def scope(
        self,
        name: str,
        *,
        node: str | None = None,
        generation: Generation = (0,),
        keep: bool = False,
    ) -> Scope:
        """Return the scope of this name; another generation numbers its requests anew.

        Args:
            name: What stays the same when it is executed again.
            node: The node of a graph that it is.
            generation: Which execution of it this is.
            keep: It is asked for again where nobody holds it meanwhile: a task of a graph.
        """
        with self._lock:
            found = self._scopes.get((name, generation))
            if found is None:
                found = self._scopes[name, generation] = Scope(self, name, node, generation)
            if keep:
                self._keep(found)
            return found

    def _keep(self, scope: Scope) -> None:
        """Keep a scope, and let the next try of its task see how this one ended."""
        before = self._kept.pop(scope.name, None)
        if before is not scope:
            scope.before = before
        self._kept[scope.name] = scope
        if len(self._kept) > MAX_KEPT_SCOPES:
            del self._kept[next(iter(self._kept))]

    def prepare(self, encoded: Encoded) -> Prepared:
        """Digest an encoded value for this journal."""
        return self.recorder.content.prepare(encoded)

    def idempotency_key(self, scope_key: str, fingerprint: bytes, key_n: int) -> str:
        """Return the key of a step, as the view `steps` shows it."""
        return f"{self.begun.nonce}-{scope_key}-{fingerprint.hex()}-{key_n}"

    def key_of(self, row: Row) -> str:
        """Return the idempotency key of a recorded step."""
        return self.idempotency_key(row["key_scope"], row["fingerprint"], row["key_n"])

    def alike(self, tx: Tx, scope: Scope, request: Request, key: Key) -> Row | None:
        """Return a recorded call that a request may stand for, though its own scope has none."""
        if self.continues or self.has_doubts or any(scope.generation):
            return self.claims.oldest_alike(tx, scope, request, key)
        return None

    def doubted_before(self, tx: Tx, request: Request) -> Row | None:
        """Return a `write` of another run of the thread that is in doubt, and asks for the same.

        One that goes on though its caller has left it is in doubt as well. One of an attempt that
        goes on counts where that cannot be told dead or alive: it is waited for.
        """
        if request.effect != "write" or self.thread is None or self.begun.keeps_doubts:
            return None
        row = tx.one(
            "step_doubted_before",
            thread=self.thread,
            run=self.run,
            fingerprint=request.fingerprint,
        )
        if row is None or row["status"] == "in_doubt" or row["ended_at"] is not None:
            return row
        owner = tx.one("attempt_owner", attempt=row["attempt"])
        is_unsure = owner is not None and self.recorder.verdict_in_s(owner) is not None
        return row if is_unsure else None

    def by_another_object(self, tx: Tx, scope: Scope, request: Request, key: Key) -> Row | None:
        """Return a recorded `write` that was the same but for the object that it was made on."""
        if request.object_free_fingerprint is None or not self.continues:
            return None
        return self.claims.by_another_object(tx, scope, request, key)

    def code_of(self, code: ReasonCode, request: Request) -> ReasonCode:
        """Return why a call is made, also where that is decided for the whole run or request."""
        if request.not_told_apart is not None:
            return ReasonCode.NOT_TOLD_APART
        return ReasonCode.NEVER if self.begun.keeps_doubts and code == ReasonCode.FIRST else code

    def blame(self, scope_name: str, error: BaseException) -> bool:
        """Record that a scope ended with `error`, for the next time that it is executed.

        If a step raised it, nothing is set aside: failed steps are never replayed. Else the last
        LLM answer of the scope is, if there is one: False says that the scope around has its turn.
        """
        return drive(self._blame(scope_name, error), self.recorder.store)

    async def ablame(self, scope_name: str, error: BaseException) -> bool:
        """Async twin of `blame`."""
        return await adrive(self._blame(scope_name, error), self.recorder.store)

    def _blame(self, scope_name: str, error: BaseException) -> Flow[bool]:
        if culprit(error, self.failures) is not None:
            return True
        return (yield from self.setting_aside(scope_name, error))

    def setting_aside(self, scope_name: str, error: BaseException) -> Flow[bool]:
        """Return the flow that marks the last LLM answer of a scope, while an error passes."""
        reason = f"set aside: the code after this answer raised {type(error).__name__}"
        try:
            kept: bool | Row = yield Write(lambda tx: self.set_aside_answer(tx, scope_name, reason))
        except StorageError:  # not in place of the error that passes
            log().warning("an answer of run %r could not be set aside", self.run_id, exc_info=True)
            return False
        if isinstance(kept, bool):
            return kept
        says = WAYS_OUT.format(name=kept["name"], step=kept["id"])
        error.add_note(f"rowtrail: {says}")
        log().warning("run %r failed in scope %r, and %s", self.run_id, scope_name, says)
        return True

    def set_aside_answer(self, tx: Tx, scope_name: str, reason: str) -> bool | Row:
        """Mark the last LLM answer of a scope as superseded, and return whether there was one.

        An answer on which a call that changes the world was begun stays: asked again, the model
        would ask for that call again. The step is returned.
        """
        answer = tx.one("last_answer", run=self.run, name=scope_name)
        if answer is None:
            return False
        begun = tx.all("effects_inside", run=self.run, name=scope_name, after=answer["seq"])
        for step in begun:
            if _is_of_answer(step["tool_call_id"], answer["text"]):
                return step
        tx.run(
            "step_supersede",
            id=answer["id"],
            aside=Aside.ASKED_AGAIN,
            reason=reason,
            answers=None,
        )
        return True

    def end(self, outcome: Outcome, error: str | None = None) -> None:
        """End the attempt; further calls do nothing."""
        try:
            finish(self.ending(outcome, error), self.recorder.store)
        except BaseException:  # Ctrl-C too: the run must not stay held
            self._end_at_once()
            raise

    async def aend(self, outcome: Outcome, error: str | None = None) -> None:
        """Async twin of `end`."""
        try:
            await adrive(self.ending(outcome, error), self.recorder.store)
        except BaseException:  # Ctrl-C too: the run must not stay held
            self._end_at_once()
            raise

    def _end_at_once(self) -> None:
        if not self.is_over:  # interrupted while it ended
            self.abandon()

    def abandon(self) -> None:
        """Queue the end of an attempt whose caller was interrupted; it waits for nothing."""
        self._ended = False
        launch(self.ending("cancelled", None), self.recorder.store)

    def ending(self, outcome: Outcome, error: str | None) -> Flow[None]:
        """Return the flow that `end` drives."""
        if self._ended or is_inherited(self):
            return
        self._ended = True
        self.journal.release(self)
        asker = Owner(self.row)
        give_back_unmade(self.row)

        def work(tx: Tx) -> None:
            self.end_rows(tx, outcome, error, asker)

        try:
            yield Write(work)
            self.is_over = True
        except StorageError as failed:
            self.is_over = True
            self.recorder.owed[self.row] = work
            if outcome in ("done", "waiting"):
                raise
            if isinstance(failed, ClosedError):  # whoever closed the journal ended its attempts
                return
            # Whoever calls is about to raise what went wrong: that must not be hidden.
            log().warning("the end of run %r could not be recorded", self.run_id, exc_info=True)

    def end_rows(
        self, tx: Tx, outcome: Outcome, error: str | None, asker: Owner | None = None
    ) -> None:
        """Write the end of the attempt, and of its run where no other attempt goes on."""
        now = self.recorder.store.clock.now_ms()
        self.recorder.replays.write(tx)
        left_open = self._end_open_steps(tx, outcome, asker)
        is_nothing = outcome == "done" or self.is_rejected
        if self._resumed_done and is_nothing and tx.run("run_delete_empty", run=self.run):
            tx.run("attempt_delete", attempt=self.row)  # nothing was left to resume
            return
        status: str = outcome
        if self.is_rejected and self.begun.status_before is not None:
            status, error = self.begun.status_before, self.begun.error_before
        is_first = tx.run(
            "attempt_end", attempt=self.row, outcome=outcome, now=now, left_open=int(left_open)
        )
        if is_first:
            tx.run("run_end", run=self.run, attempt=self.row, status=status, now=now, error=error)

    def _end_open_steps(self, tx: Tx, outcome: Outcome, asker: Owner | None) -> bool:
        """Mark the calls that were cancelled or left behind; return whether others still go on."""
        left_open = False
        for step in sorted(self.open):
            if self.recorder.call_goes_on(step, asker):
                left_open = (
                    True  # in a thread that its caller left: its result is taken when it comes
                )
                continue
            if outcome == "done":
                tx.run("step_left_behind", id=step, attempt=self.row)
            tx.run("step_crash", id=step, attempt=self.row, error=LEFT)
        return left_open


_NOT_FAILED = ("crashed", "cancelled", "waiting")


def _all_of_it(scope_name: str, finished: bool) -> bool:
    return True


def _is_of_answer(tool_call_id: str | None, answer: str | None) -> bool:
    """Return whether a call may have been asked for by an answer, of which `answer` is the JSON."""
    return tool_call_id is None or answer is None or tool_call_id in answer
