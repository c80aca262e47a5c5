"""The attempts of one journal: begun, known to this process while they are active, forgotten."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from rowtrail.content import Codec
from rowtrail.errors import ClosedError
from rowtrail.journal._active import attempt_around
from rowtrail.journal._attempt import Attempt
from rowtrail.journal._begin import Beginning, Begun, Finished, Hold, begin
from rowtrail.journal._flow import Flow, Sleep, Write, adrive, drive
from rowtrail.journal._grip import Grip
from rowtrail.journal._live import note_begun, note_ended
from rowtrail.journal._owners import running_loop
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._telling import Waiting, tell_beginning
from rowtrail.journal._threads import hand_on_to_threads
from rowtrail.store import Store, Tx

if TYPE_CHECKING:
    from rowtrail.journal._journal import Journal

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

    def close(self) -> None:
        """Say that nothing can record for the attempts any more."""
        for attempt in list(self._attempts):
            note_ended(attempt)


class Attempts:
    """The part of a `Journal` that begins attempts."""

    store: Store
    recorder: Recorder
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
        return drive(self._attempt(beginning, codec, grip), self.store)

    async def aattempt_or_end(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        grip: Grip | None = None,
    ) -> Attempt | Finished:
        """Async twin of `attempt_or_end`."""
        self._refuse_closed()
        return await adrive(self._attempt(beginning, codec, grip), self.store)

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
        owed, loop = list(self.recorder.owed), running_loop()

        def work(tx: Tx) -> Attempt | Finished | Hold:
            journal = cast("Journal", self)
            found = begin(tx, journal, beginning)
            if not isinstance(found, Begun):
                return found
            attempt = Attempt(journal, beginning, found, codec or self._codec, loop)
            self.recorder.attempts[attempt.row] = attempt
            grip.attempt = attempt
            return attempt

        try:
            result: Attempt | Finished | Hold = yield Write(work)
        except BaseException as error:  # what failed did not begin, what was cancelled may
            if isinstance(error, Exception):
                grip.attempt = None
            else:  # cancelled: it may still begin, and nobody would end it
                self._give_up(grip, self.store.epoch)
            raise
        for ended in owed:
            self.recorder.owed.pop(ended, None)
        return result

    def _give_up(self, grip: Grip, epoch: int) -> None:
        """Queue the end of an attempt whose caller was cancelled while it began."""

        def work(tx: Tx) -> None:
            attempt, grip.attempt = grip.attempt, None
            if attempt is not None and self.store.epoch == epoch:  # else it was rolled back
                attempt.end_rows(tx, "cancelled", None)

        # Not waited for: the caller is being cancelled. Were it lost, the attempt would be crashed.
        with contextlib.suppress(ClosedError):
            self.store.submit(work)

    def release(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended."""
        self._attempts.discard(attempt)


def _new(begun: Attempt | Finished) -> Attempt:
    assert isinstance(begun, Attempt), "only a beginning that gives back may find an end"
    return begun
