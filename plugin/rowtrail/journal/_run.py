"""`with journal.run(...)`: a run without a framework, whose one scope is the block."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from rowtrail.content import Codec, canonical
from rowtrail.errors import UsageError
from rowtrail.journal._active import Entered, enter_run, leave_run
from rowtrail.journal._attempt import Attempt, Scope
from rowtrail.journal._attempts import Attempts
from rowtrail.journal._beginning import Beginning
from rowtrail.journal._ending import Outcome, ending, setting_answer_aside
from rowtrail.journal._flow import Flow, adrive, finish, launch
from rowtrail.journal._grip import Door, Grip, let_go
from rowtrail.journal._identity import fingerprint_of_text
from rowtrail.replay import culprit

WHOLE_RUN = ""
"""Name of the one scope of a run without a framework."""

TURN = re.compile(r"#(\d+)(?![^|>])")
"""How the scopes of later turns begin."""


class Run:
    """A run, entered with `with` or `async with`.

    Attributes:
        run_id: The id that was given.
    """

    def __init__(self, journal: Attempts, beginning: Beginning, codec: Codec) -> None:
        assert beginning.run_id is not None
        self.run_id = beginning.run_id
        self._journal = journal
        self._beginning = beginning
        self._codec = codec
        self._attempt: Attempt | None = None
        self._scope: Scope | None = None
        self._entered: Entered | None = None
        self._turn = 1

    def of_turn(self, turn: int) -> Run:
        """Return the run, to be entered for what follows an answer of a person.

        What an earlier or later turn recorded is not executed again by this one: it stands for no
        request of it.

        Args:
            turn: From 1, which is what follows the input.
        """
        self._turn = turn
        return self

    def step_out(self) -> None:
        """Let the code here be outside of the run, until `step_in`.

        A generator inside a run hands an item on to code that is none of the run's.
        """
        self._reset()

    def step_in(self) -> None:
        """Undo `step_out`."""
        if self._scope is not None and self._entered is None and self.is_entered:
            self._entered = enter_run(self._scope)

    def of_input(self, value: Any) -> Run:
        """Return the same run, which is not entered where it was begun with another input.

        Entering raises `UsageError` then. What `Journal(canonical=...)` leaves out does not count;
        an input that is or holds what cannot be told from others is not compared.

        Args:
            value: What the work is asked.
        """
        found = canonical(value, self._journal.canonical)
        if found.unclear is None:
            digest = fingerprint_of_text("input", "", found.text)
            self._beginning = self._beginning._replace(input_digest=digest)
        return self

    @property
    def attempt(self) -> int:
        """Return which attempt of the run this is, from 1.

        Raises:
            UsageError: The run was not entered.
        """
        if self._attempt is None:
            raise UsageError("the run was not entered: use `with journal.run(...)`")
        return self._attempt.n

    @property
    def whole(self) -> Scope:
        """Return the scope of the whole run, in which each turn of it asks and is answered.

        Raises:
            UsageError: The run was not entered.
        """
        if self._attempt is None:
            raise UsageError("the run was not entered: use `with journal.run(...)`")
        return self._attempt.scope(WHOLE_RUN)

    @property
    def is_entered(self) -> bool:
        """Return whether the run was entered and not left."""
        return self._attempt is not None and not self._attempt.is_over

    def __enter__(self) -> Run:
        grip = Grip()
        try:
            self._enter(self._journal.attempt(self._beginning, self._codec, grip), grip)
        except BaseException:  # Ctrl-C too: the run must not stay held
            self._reset()
            grip.let_go()
            raise
        return self

    async def __aenter__(self) -> Run:
        grip = Grip()
        try:
            self._enter(await self._journal.aattempt(self._beginning, self._codec, grip), grip)
        except BaseException:  # Ctrl-C too: the run must not stay held
            self._reset()
            grip.let_go()
            raise
        return self

    def _exit(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            finish(self._leave(error), self._journal.store, self._beginning.write_key)
        except BaseException:  # Ctrl-C too: the run must not stay held
            self.let_go()
            raise

    async def _aexit(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if isinstance(error, GeneratorExit):  # the coroutine is being closed, and must not wait
                launch(self._leave(error), self._journal.store, self._beginning.write_key)
            else:
                await adrive(self._leave(error), self._journal.store, self._beginning.write_key)
        except BaseException:  # Ctrl-C too: the run must not stay held
            self.let_go()
            raise

    if TYPE_CHECKING:
        __exit__ = _exit
        __aexit__ = _aexit
    else:
        __exit__ = Door(_exit)
        __aexit__ = Door(_aexit)

    def let_go(self) -> None:
        """Leave the run where it was interrupted; this waits for nothing."""
        self._reset()
        let_go(self._attempt)

    def _enter(self, attempt: Attempt, grip: Grip) -> None:
        self._attempt = attempt
        self._scope = attempt.scope(WHOLE_RUN if self._turn == 1 else f"#{self._turn}")
        attempt.re_executes = partial(_is_of_turn, self._turn)
        self._entered = enter_run(self._scope)
        grip.attempt = None  # from here on it ends with the block

    def _reset(self) -> None:
        if self._entered is not None and self._scope is not None:
            leave_run(self._scope, self._entered)
            self._entered = None

    @property
    def _scope_name(self) -> str:
        return WHOLE_RUN if self._scope is None else self._scope.name

    def _leave(self, error: BaseException | None) -> Flow[None]:
        attempt = self._attempt
        assert attempt is not None
        self._reset()
        if isinstance(error, Exception) and culprit(error, attempt.failures) is None:
            yield from setting_answer_aside(attempt, self._scope_name, error)
        described = None if error is None else attempt.recorder.describe(error)
        yield from ending(attempt, _outcome(attempt, error), described)


def _is_of_turn(turn: int, scope_name: str, _: bool) -> bool:
    found = TURN.match(scope_name)
    return turn == (1 if found is None else int(found[1]))


def _outcome(attempt: Attempt, error: BaseException | None) -> Outcome:
    if error is None:
        return "waiting" if attempt.unanswered else "done"
    return "failed" if isinstance(error, Exception) else "cancelled"
