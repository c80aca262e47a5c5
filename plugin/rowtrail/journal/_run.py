"""`with journal.run(...)`: a run without a framework, whose one scope is the block."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rowtrail.content import Codec
from rowtrail.errors import UsageError
from rowtrail.journal._active import Entered, enter_run, leave
from rowtrail.journal._attempt import Attempt, Outcome
from rowtrail.journal._begin import Beginning
from rowtrail.journal._flow import Flow, adrive, finish
from rowtrail.journal._scope import Scope
from rowtrail.replay import culprit

if TYPE_CHECKING:
    from rowtrail.journal import Journal

WHOLE_RUN = ""
"""Name of the one scope of a run without a framework."""


class Run:
    """A run, entered with `with` or `async with`.

    Attributes:
        run_id: The id that was given.
    """

    def __init__(self, journal: Journal, beginning: Beginning, codec: Codec) -> None:
        assert beginning.run_id is not None
        self.run_id = beginning.run_id
        self._journal = journal
        self._beginning = beginning
        self._codec = codec
        self._attempt: Attempt | None = None
        self._scope: Scope | None = None
        self._n: int | None = None
        self._entered: Entered | None = None

    @property
    def attempt(self) -> int:
        """Return which attempt of the run this is, from 1.

        Raises:
            UsageError: The run was not entered.
        """
        if self._n is None:
            raise UsageError("the run was not entered: use `with journal.run(...)`")
        return self._n

    def __enter__(self) -> Run:
        begun: list[Attempt] = []
        try:
            self._enter(self._journal.attempt(self._beginning, self._codec, begun))
        except BaseException:
            self._give_up(begun)
            raise
        return self

    async def __aenter__(self) -> Run:
        begun: list[Attempt] = []
        try:
            self._enter(await self._journal.aattempt(self._beginning, self._codec, begun))
        except BaseException:
            self._give_up(begun)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        attempt = self._attempt
        try:
            finish(self._leave(error), self._journal.store)
        except BaseException as interrupted:
            self._end_at_once(attempt, interrupted)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        attempt = self._attempt
        try:
            await adrive(self._leave(error), self._journal.store)
        except BaseException as interrupted:
            self._end_at_once(attempt, interrupted)
            raise

    def _enter(self, attempt: Attempt) -> None:
        self._attempt, self._n = attempt, attempt.n
        self._scope = attempt.scope(WHOLE_RUN)
        self._entered = enter_run(self._scope)

    def _give_up(self, begun: list[Attempt]) -> None:
        """End an attempt that was begun and not entered: Ctrl-C came in between."""
        if begun:
            self._reset()
            begun[0].abandon()

    @staticmethod
    def _end_at_once(attempt: Attempt | None, error: BaseException) -> None:
        """Queue the end of an attempt that was interrupted while it ended: nobody holds it."""
        if attempt is not None and not isinstance(error, Exception):
            attempt.abandon()

    def _reset(self) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            leave(entered)

    def _leave(self, error: BaseException | None) -> Flow[None]:
        attempt = self._attempt
        assert attempt is not None
        self._reset()
        self._attempt = None
        if isinstance(error, Exception) and culprit(error, attempt.failures) is None:
            yield from attempt.setting_aside(WHOLE_RUN, error)
        described = None if error is None else attempt.recorder.describe(error)
        yield from attempt.ending(_outcome(error), described)


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "done"
    return "failed" if isinstance(error, Exception) else "cancelled"
