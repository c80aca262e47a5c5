"""`with journal.run(...)`: a run without a framework, whose one scope is the block."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rowtrail.content import Codec
from rowtrail.errors import UsageError
from rowtrail.journal._active import Entered, enter_run, leave
from rowtrail.journal._attempt import Attempt, Beginning, Outcome
from rowtrail.journal._flow import Flow, adrive, finish, launch
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
        self._enter(self._journal.attempt(self._beginning, self._codec))
        return self

    async def __aenter__(self) -> Run:
        self._enter(await self._journal.aattempt(self._beginning, self._codec))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        finish(self._leave(error), self._journal.store)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await adrive(self._leave(error), self._journal.store)

    def _enter(self, attempt: Attempt) -> None:
        self._attempt, self._n = attempt, attempt.n
        self._entered = enter_run(attempt.scope(WHOLE_RUN))

    def _leave(self, error: BaseException | None) -> Flow[None]:
        attempt, entered = self._attempt, self._entered
        assert attempt is not None and entered is not None
        leave(entered)
        self._attempt = None
        if isinstance(error, Exception) and culprit(error, attempt.failures) is None:
            reason = f"set aside: the code after this answer raised {type(error).__name__}"
            try:
                yield from attempt.setting_aside(WHOLE_RUN, reason)
            except BaseException:  # cancelled while it ends: the run must not stay held
                launch(attempt.ending("cancelled", None), self._journal.store)
                raise
        described = None if error is None else attempt.recorder.describe(error)
        yield from attempt.ending(_outcome(error), described)


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "done"
    return "failed" if isinstance(error, Exception) else "cancelled"
