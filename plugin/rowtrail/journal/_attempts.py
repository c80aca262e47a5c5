"""The attempts of one journal: begun, known to this process while they are active, forgotten."""

from __future__ import annotations

import contextlib

from rowtrail.content import Codec
from rowtrail.engine import Store, Tx
from rowtrail.errors import ClosedError
from rowtrail.journal._active import attempt_around
from rowtrail.journal._attempt import Attempt
from rowtrail.journal._begin import begin
from rowtrail.journal._beginning import Beginning, Begun, Finished, Hold
from rowtrail.journal._ending import end_rows
from rowtrail.journal._flow import Flow, Sleep, Write, adrive, drive
from rowtrail.journal._grip import Grip
from rowtrail.journal._live import note_begun, note_ended
from rowtrail.journal._masks import Masks
from rowtrail.journal._owners import running_loop
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._telling import Waiting, tell_beginning
from rowtrail.journal._threads import hand_on_to_threads

HOLD_POLL_S = 0.05
"""How often it is looked whether an attempt may begin that another one is in the way of: each look
is a transaction, and nobody feels a twentieth of a second after a wait."""


class ActiveAttempts:
    """Keeps the active attempts of a journal alive."""

    def __init__(self) -> None:
        self._attempts: set[Attempt] = set()

    def add(self, attempt: Attempt) -> None:
        """Keep an attempt that begins in the code here, whose threads are its own from now on."""
        self._attempts.add(attempt)
        note_begun(attempt, attempt_around())
        hand_on_to_threads()

    def discard(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended."""
        self._attempts.discard(attempt)
        note_ended(attempt)

    def __contains__(self, attempt: Attempt) -> bool:
        return attempt in self._attempts

    def close(self) -> None:
        """Say that nothing can record for the attempts any more."""
        for attempt in list(self._attempts):
            note_ended(attempt)


class Attempts:
    """The part of a `Journal` that begins attempts."""

    store: Store
    recorder: Recorder
    strict: bool
    canonical: Masks | None
    _attempts: ActiveAttempts
    _codec: Codec

    def _refuse_closed(self) -> None:
        raise NotImplementedError

    def attempt(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        grip: Grip | None = None,
    ) -> Attempt:
        """Begin an attempt, for adapters; its rows are committed before it returns.

        Args:
            beginning: Which run it belongs to; not one that gives back the end of a run.
            codec: Reads and writes its results; the journal's own when None.
            grip: Holds the attempt from its first row on, so that it ends where the caller is
                interrupted. Without one it lasts until `end`, or until the journal is closed.

        Raises:
            RunBusyError: A live attempt holds the run, or the thread with `multitask="reject"`.
            UsageError: The run of this id had another input.
        """
        return _new(self.attempt_or_end(beginning, codec, grip))

    async def aattempt(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        grip: Grip | None = None,
    ) -> Attempt:
        """Async twin of `attempt`."""
        return _new(await self.aattempt_or_end(beginning, codec, grip))

    def attempt_or_end(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        grip: Grip | None = None,
    ) -> Attempt | Finished:
        """Begin an attempt as `attempt`, or return where the run ended that is done already."""
        self._refuse_closed()
        return drive(self._attempt(beginning, codec, grip), self.store, beginning.write_key)

    async def aattempt_or_end(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        grip: Grip | None = None,
    ) -> Attempt | Finished:
        """Async twin of `attempt_or_end`."""
        self._refuse_closed()
        return await adrive(self._attempt(beginning, codec, grip), self.store, beginning.write_key)

    def _attempt(
        self, beginning: Beginning, codec: Codec | None, holder: Grip | None
    ) -> Flow[Attempt | Finished]:
        waiting, grip = Waiting(self.store.clock), holder or Grip()
        while True:
            begun = yield from self._try_to_begin(beginning, codec, grip)
            if not isinstance(begun, Hold):
                break
            waiting.tell(begun)
            yield Sleep(HOLD_POLL_S)
        if isinstance(begun, Attempt):
            self._attempts.add(begun)
            tell_beginning(begun)
        if holder is None:
            grip.attempt = None
        return begun

    def _try_to_begin(
        self, beginning: Beginning, codec: Codec | None, grip: Grip
    ) -> Flow[Attempt | Finished | Hold]:
        unwritten, loop = list(self.recorder.unwritten_ends), running_loop()

        def work(tx: Tx) -> Attempt | Finished | Hold:
            found = begin(tx, self.recorder, beginning)
            if not isinstance(found, Begun):
                return found
            attempt = Attempt(
                self.recorder,
                beginning,
                found,
                codec or self._codec,
                strict=self.strict,
                canonical=self.canonical,
                on_end=self._attempts.discard,
                loop=loop,
            )
            self.recorder.attempts[attempt.row] = attempt
            grip.attempt = attempt

            def undone() -> None:
                self.recorder.attempts.pop(attempt.row, None)
                grip.attempt = None

            tx.after_rollback(undone)
            return attempt

        try:
            result: Attempt | Finished | Hold = yield Write(work)
        except BaseException as error:  # what failed did not begin, what was cancelled may
            if isinstance(error, Exception):
                grip.attempt = None
            else:  # cancelled: it may still begin, and nobody would end it
                self._give_up(grip, beginning)
            raise
        for ended in unwritten:
            self.recorder.unwritten_ends.pop(ended, None)
        return result

    def _give_up(self, grip: Grip, beginning: Beginning) -> None:
        """Queue the end of an attempt whose caller was cancelled while it began."""

        def work(tx: Tx) -> None:
            attempt, grip.attempt = grip.attempt, None
            if attempt is not None:  # else it was rolled back
                end_rows(tx, attempt, "cancelled", None)

        # Not waited for: the caller is being cancelled. Were it lost, the attempt would be crashed.
        with contextlib.suppress(ClosedError):
            self.store.submit(work, key=beginning.write_key)

    def has_active(self, attempt: Attempt) -> bool:
        """Return whether an attempt was begun by this very journal, and goes on."""
        return attempt in self._attempts


def _new(begun: Attempt | Finished) -> Attempt:
    assert isinstance(begun, Attempt), "only a beginning that gives back may find an end"
    return begun
