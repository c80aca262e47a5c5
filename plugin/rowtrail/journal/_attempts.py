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
from rowtrail.journal._live import note_begun, note_ended
from rowtrail.journal._owners import running_loop
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._telling import Waiting, tell_beginning
from rowtrail.journal._threads import hand_on_to_threads
from rowtrail.store import Store, Tx

if TYPE_CHECKING:
    from rowtrail.journal import Journal

HOLD_POLL_S = 0.05
"""How often it is looked whether an attempt may begin that another one is in the way of."""


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
        begun: list[Attempt] | None = None,
    ) -> Attempt:
        """Begin an attempt, for adapters; its rows are committed before it returns.

        Args:
            beginning: Which run it belongs to; not one that gives back the end of a run.
            codec: Reads and writes its results; the journal's own when None.
            begun: Where the attempt is put as soon as its rows are written, so that a caller who is
                interrupted can end it.

        Raises:
            RunBusyError: A live attempt holds the run, or the thread with `multitask="reject"`.
            UsageError: The run of this id had another input.
        """
        return _new(self.attempt_or_end(beginning, codec, begun))

    async def aattempt(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        begun: list[Attempt] | None = None,
    ) -> Attempt:
        """Async twin of `attempt`."""
        return _new(await self.aattempt_or_end(beginning, codec, begun))

    def attempt_or_end(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        begun: list[Attempt] | None = None,
    ) -> Attempt | Finished:
        """Begin an attempt as `attempt`, or return where the run ended that is done already."""
        self._refuse_closed()
        return drive(self._attempt(beginning, codec, begun), self.store)

    async def aattempt_or_end(
        self,
        beginning: Beginning,
        codec: Codec | None = None,
        begun: list[Attempt] | None = None,
    ) -> Attempt | Finished:
        """Async twin of `attempt_or_end`."""
        self._refuse_closed()
        return await adrive(self._attempt(beginning, codec, begun), self.store)

    def _attempt(
        self, beginning: Beginning, codec: Codec | None, kept: list[Attempt] | None
    ) -> Flow[Attempt | Finished]:
        waiting = Waiting(self.store.clock)
        while True:
            begun = yield from self._try_to_begin(beginning, codec, [] if kept is None else kept)
            if not isinstance(begun, Hold):
                break
            waiting.tell(begun)
            yield Sleep(HOLD_POLL_S)
        if isinstance(begun, Attempt):
            self._attempts.add(begun)
            tell_beginning(begun)
        return begun

    def _try_to_begin(
        self, beginning: Beginning, codec: Codec | None, begun: list[Attempt]
    ) -> Flow[Attempt | Finished | Hold]:
        owed, loop = list(self.recorder.owed), running_loop()

        def work(tx: Tx) -> Attempt | Finished | Hold:
            journal = cast("Journal", self)
            found = begin(tx, journal, beginning)
            if not isinstance(found, Begun):
                return found
            attempt = Attempt(journal, beginning, found, codec or self._codec, loop)
            self.recorder.attempts[attempt.row] = attempt
            begun[:] = [attempt]
            return attempt

        try:
            result: Attempt | Finished | Hold = yield Write(work)
        except BaseException as error:
            if isinstance(error, Exception):
                begun.clear()
            else:  # cancelled: it may still begin, and nobody would end it
                self._give_up(begun, self.store.epoch)
            raise
        for ended in owed:
            self.recorder.owed.pop(ended, None)
        return result

    def _give_up(self, begun: list[Attempt], epoch: int) -> None:
        """Queue the end of an attempt whose caller was cancelled while it began."""

        def work(tx: Tx) -> None:
            if begun and self.store.epoch == epoch:  # else rolled back: its row may be another's
                begun[0].end_rows(tx, "cancelled", None)

        with contextlib.suppress(ClosedError):
            self.store.submit(work)

    def release(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended."""
        self._attempts.discard(attempt)


def _new(begun: Attempt | Finished) -> Attempt:
    assert isinstance(begun, Attempt), "only a beginning that gives back may find an end"
    return begun
