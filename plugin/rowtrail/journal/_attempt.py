"""One go at a run: begun, told what becomes of its scopes, and ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rowtrail.content import Codec, Encoded, Prepared
from rowtrail.errors import ClosedError, RunBusyError, StorageError
from rowtrail.journal._current import Step
from rowtrail.journal._flow import Flow, Write, adrive, drive, finish
from rowtrail.journal._log import log
from rowtrail.journal._recovery import record_crashes
from rowtrail.journal._scope import Generation, Scope
from rowtrail.replay import culprit
from rowtrail.store import Row, Tx

if TYPE_CHECKING:
    from rowtrail.journal import Journal

MAX_FAILURES = 100
"""How many failures of steps are remembered, to tell them from those of the code around."""

Intent = Literal["name", "input", "resume", "fork"]
Outcome = Literal["done", "failed", "waiting", "cancelled"]

_RUN_STATUS: dict[Outcome, str] = {
    "done": "done",
    "failed": "failed",
    "waiting": "waiting",
    "cancelled": "crashed",  # nobody decided against the run: it resumes like after a crash
}


@dataclass(frozen=True)
class Beginning:
    """How an attempt begins, and so which run it belongs to.

    Attributes:
        intent: `name`: the run of this id, whatever its state. `input`: a new request; if the last
            run of the thread crashed on the same input it is continued. `resume`: the last run of
            the thread, unless it is done. `fork`: a new run.
        input_digest: Tells equal inputs, for `input`.
        base_step: Superstep from which the scopes of a new run count.
        base_shift: By how much the framework's numbering of supersteps moved since, for `resume`.
        exclusive: Refuse when a live attempt holds the run.
        fresh: Set the recorded steps aside.
    """

    intent: Intent
    run_id: str | None = None
    thread_id: str | None = None
    agent: str | None = None
    input_digest: bytes | None = None
    base_step: int | None = None
    base_shift: int = 0
    exclusive: bool = False
    fresh: bool = False


class Attempt:
    """A live attempt of a run; safe to use from several threads and tasks."""

    def __init__(self, journal: Journal, beginning: Beginning, row: _Begun, codec: Codec) -> None:
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
        self.replay_always = False
        self.strict = journal.strict
        self.ask: Callable[[Step | None], Any] | None = None
        """Asks a person about a step in doubt; adapters set it where they can."""
        self._resumed_done = beginning.intent == "resume" and row.n == 1
        self._lock = threading.Lock()
        self._scopes: dict[tuple[str, Generation], Scope] = {}
        self._ended = False
        # Bounded: an exception keeps alive what its frames hold.
        self.failures: deque[BaseException] = deque(maxlen=MAX_FAILURES)
        self.active: set[int] = set()
        """Steps whose calls are being made."""
        self.open: set[int] = set()
        """Steps whose ends are not on disk."""

    @property
    def has_ended(self) -> bool:
        """Tell whether the attempt is over."""
        return self._ended

    def scope(self, name: str, *, node: str | None = None, generation: Generation = (0,)) -> Scope:
        """Return the scope of this name; another generation numbers its requests anew."""
        with self._lock:
            found = self._scopes.get((name, generation))
            if found is None:
                found = self._scopes[name, generation] = Scope(self, name, node, generation)
            return found

    def prepare(self, encoded: Encoded) -> Prepared:
        """Digest an encoded value for this journal."""
        return self.recorder.content.prepare(encoded)

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
        reason = f"set aside: the code after this answer raised {type(error).__name__}"
        return (yield from self.setting_aside(scope_name, reason))

    def setting_aside(self, scope_name: str, reason: str) -> Flow[bool]:
        """Return the flow that marks the last LLM answer of a scope, while an error passes."""
        try:
            was_set: bool = yield Write(lambda tx: self.set_aside_answer(tx, scope_name, reason))
        except StorageError:  # not in place of the error that passes
            log().warning("an answer of run %r could not be set aside", self.run_id, exc_info=True)
            return False
        return was_set

    def set_aside_answer(self, tx: Tx, scope_name: str, reason: str) -> bool:
        """Mark the last LLM answer of a scope as superseded, and tell whether there was one."""
        answer = tx.value("last_answer", run=self.run, name=scope_name)
        if answer:
            tx.run("step_supersede", id=answer, reason=reason)
        return bool(answer)

    def end(self, outcome: Outcome, error: str | None = None) -> None:
        """End the attempt; further calls do nothing."""
        finish(self.ending(outcome, error), self.recorder.store)

    async def aend(self, outcome: Outcome, error: str | None = None) -> None:
        """Async twin of `end`."""
        await adrive(self.ending(outcome, error), self.recorder.store)

    def ending(self, outcome: Outcome, error: str | None) -> Flow[None]:
        """Return the flow that `end` drives."""
        if self._ended:
            return
        self._ended = True
        self.journal.release(self)

        def work(tx: Tx) -> None:
            self.end_rows(tx, outcome, error)

        try:
            yield Write(work)
        except StorageError as failed:
            self.recorder.owed[self.row] = work
            if outcome in ("done", "waiting"):
                raise
            if isinstance(failed, ClosedError):  # whoever closed the journal ended its attempts
                return
            # Whoever calls is about to raise what went wrong: that must not be hidden.
            log().warning("the end of run %r could not be recorded", self.run_id, exc_info=True)

    def end_rows(self, tx: Tx, outcome: Outcome, error: str | None) -> None:
        """Write the end of the attempt, and of its run where no other attempt goes on."""
        now = self.recorder.store.clock.now_ms()
        self.recorder.write_replays(tx)
        for step in sorted(self.open):  # calls that were cancelled, or left behind
            tx.run("step_crash", id=step, attempt=self.row)
        if self._resumed_done and outcome == "done" and tx.run("run_delete_empty", run=self.run):
            tx.run("attempt_delete", attempt=self.row)  # nothing was left to resume
            return
        tx.run("attempt_end", attempt=self.row, outcome=outcome, now=now)
        tx.run(
            "run_end",
            run=self.run,
            attempt=self.row,
            status=_RUN_STATUS[outcome],
            now=now,
            error=error,
        )


@dataclass(frozen=True)
class _Begun:
    run: int
    run_id: str
    attempt: int
    n: int
    thread: int | None
    base_step: int | None


def begin(tx: Tx, journal: Journal, beginning: Beginning) -> _Begun:
    """Find or make the run of an attempt, and the attempt's own row."""
    store = journal.store
    for owed in list(journal.recorder.owed.values()):
        owed(tx)
    record_crashes(tx, store)
    now = store.clock.now_ms()
    thread = _thread_row(tx, beginning.thread_id, now)
    run = _run_to_continue(tx, beginning, thread)
    if run is None:
        run_id = _free_run_id(tx, journal, beginning)
        row = tx.insert(
            "run_insert",
            run_id=run_id,
            thread=thread,
            agent=beginning.agent,
            now=now,
            input_digest=beginning.input_digest,
            base_step=beginning.base_step,
        )
        base_step = beginning.base_step
    else:
        row, run_id = run["id"], run["run_id"]
        base_step = _base_step(beginning, run)
        _reopen(tx, beginning, run, thread, base_step)
    attempt = tx.insert("attempt_insert", run=row, process=store.process_row, now=now)
    tx.run("process_beat", id=store.process_row, now=now)
    n = tx.value("attempt_number", attempt=attempt)
    return _Begun(row, run_id, attempt, n, thread, base_step)


def _thread_row(tx: Tx, thread_id: str | None, now: int) -> int | None:
    if thread_id is None:
        return None
    row: int | None = tx.value("thread_row", thread_id=thread_id)
    return row if row is not None else tx.insert("thread_insert", thread_id=thread_id, now=now)


def _run_to_continue(tx: Tx, beginning: Beginning, thread: int | None) -> Row | None:
    if beginning.intent == "name":
        return tx.one("run_by_id", run_id=beginning.run_id)
    if beginning.intent == "fork" or thread is None:
        return None
    run = tx.one("run_newest_of_thread", thread=thread)
    if run is None:
        return None
    if beginning.intent == "resume":
        return run if run["status"] != "done" else None
    sent_again = run["status"] == "crashed" and run["input_digest"] is not None
    return run if sent_again and run["input_digest"] == beginning.input_digest else None


def _free_run_id(tx: Tx, journal: Journal, beginning: Beginning) -> str:
    if beginning.run_id is None:
        return journal.store.clock.new_id()
    candidate, n = beginning.run_id, 1
    while tx.one("run_by_id", run_id=candidate) is not None:
        n += 1  # one id for several requests: keep it recognisable
        candidate = f"{beginning.run_id}#{n}"
    return candidate


def _base_step(beginning: Beginning, run: Row) -> int | None:
    if beginning.intent == "input":
        return beginning.base_step  # the same input, sent again, is numbered from where it is now
    before: int | None = run["base_step"]
    return before if before is None else before + beginning.base_shift


def _reopen(
    tx: Tx,
    beginning: Beginning,
    run: Row,
    thread: int | None,
    base_step: int | None,
) -> None:
    if beginning.exclusive:
        for held in tx.all("run_live_attempts", run=run["id"], me=0):
            raise RunBusyError(
                f"run {run['run_id']!r} is held by process {held['pid']} on {held['host']}: "
                "wait for it, stop it, or give this work another run id",
                run_id=run["run_id"],
                pid=held["pid"],
                host=held["host"],
            )
    if beginning.fresh:
        tx.run("steps_start_over", run=run["id"])
    tx.run(
        "run_reopen",
        run=run["id"],
        base_step=base_step,
        agent=beginning.agent,
        thread=thread,
    )
