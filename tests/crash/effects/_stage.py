"""What happens inside the calls: the effect, and the fault that strikes once in a combination."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator
from typing import Any, NoReturn

import httpx
from langchain_core.callbacks import BaseCallbackHandler

import rowtrail
from tests.crash.effects._endpoint import SINGLE, result_of
from tests.crash.effects._expect import target
from tests.crash.effects._product import Combination, Fault
from tests.crash.effects._world import Line, Pause, World, sleeping, until

PATIENCE_S = 0.1
"""How long a caller waits for a call in a thread, after its effect, before it gives up on it."""

NODE_TIMEOUT_S = 1.5
"""How long LangGraph waits for a node; all that comes before the fault fits in."""

OVERTIME_S = 0.3
"""How much longer a call takes that nobody waits for any more."""


COMMITTED_WITHIN_S = 5.0


class Stopped(BaseException):
    """An error that is no `Exception`."""


class NotDoneError(Exception):
    """Stands in for `rowtrail.NotDoneError` where there is none."""


NOT_DONE_ERROR: type[Exception] = getattr(rowtrail, "NotDoneError", NotDoneError)

ERRORS: dict[Fault, BaseException] = {
    "value_error": ValueError("refused"),
    "not_done_error": NOT_DONE_ERROR("nothing was sent"),
    "timeout_error": TimeoutError("no answer came"),
    "connection_error": ConnectionResetError("the peer is gone"),
    "transport_error": httpx.ReadTimeout("no answer came"),
    "base_exception": Stopped("stopped"),
}
SAYING_NOT_DONE: frozenset[Fault] = frozenset({"value_error", "not_done_error"})

LATE_RESULT = "acted late"
"""What a call returns that ends after a person has said what became of it."""


class Stage:
    """The calls of one role of one combination."""

    def __init__(self, combination: Combination, world: World, role: str) -> None:
        self.combination, self.world, self.role = combination, world, role
        self._fault = combination.fault

    @property
    def is_armed(self) -> bool:
        """Whether the fault is to strike in this role and has not yet."""
        return self.role == "first" and not self.world.has("fired")

    def act(self, amount: int) -> Generator[float, None, str]:
        """Make a call: its effect is a line in the ledger."""
        strikes = self._is_hit(amount) and self._claim()
        self.world.trace(self.role, f"act({amount}){' and the fault' if strikes else ''}")
        if strikes:
            yield from self._prepare()
            self._strike_before_effect()
        self._note(amount)
        if strikes:
            result = yield from self._strike_after_effect()
            if result is not None:
                return result
        return result_of(amount)

    def _is_hit(self, amount: int) -> bool:
        """Return whether the fault hits this call: of twins, the second one that begins."""
        if self.combination.is_around or amount != target(self.combination):
            return False
        is_first_twin = self.combination.hits_twin and self.world.claim("first_twin")
        return not is_first_twin

    def _claim(self) -> bool:
        return self.role == "first" and self.world.claim("fired")

    def _note(self, amount: int) -> None:
        try:
            step = rowtrail.current_step()
        except rowtrail.RowtrailError:  # a call that is not recorded
            self.world.note(Line(amount, None, None, self.role))
        else:
            self.world.note(Line(amount, step.idempotency_key, step.id, self.role))

    def _prepare(self) -> Pause:
        """Wait for the commit of the other calls, and for the second process."""
        with contextlib.suppress(AssertionError):  # where they are not recorded, the check says so
            committed = "the commit of the other calls"
            yield from until(self._others_are_committed, committed, COMMITTED_WITHIN_S)
        yield from self._let_second_in()

    def _let_second_in(self) -> Pause:
        self.world.flag("in_call")
        if self.combination.way == "second":
            yield from self.world.awaiting("second_began")
            yield 0.2  # it gets as far as it can without the call

    def _others_are_committed(self) -> bool:
        query = "SELECT count(*) AS n FROM steps WHERE name = ? AND status = 'done'"
        [row] = self.world.rows(query, "charge" if self.combination.outlives else "act") or [{}]
        c = self.combination
        is_serial = c.mode == "sync" and c.shape in ("by_hand", "journal_run")
        return bool(row.get("n", 0) >= (1 if c.hits_twin and is_serial else 2))

    def _strike_before_effect(self) -> None:
        if self._fault == "kill_entered":
            self.die()
        if self._fault in SAYING_NOT_DONE:
            self.world.trace(self.role, f"raises {ERRORS[self._fault]!r}")
            raise ERRORS[self._fault]

    def _strike_after_effect(self) -> Generator[float, None, str | None]:
        if self._fault == "kill_in":
            self.die()
        if self._fault in ERRORS:
            self.world.trace(self.role, f"raises {ERRORS[self._fault]!r}")
            raise ERRORS[self._fault]
        self.world.flag("struck")
        if self._fault in ("cancel", "closed_loop", "node_timeout"):
            yield from self._outstay()
            return None
        return (yield from self._end_late())

    def _outstay(self) -> Pause:
        """Be in the call until somebody ends the wait for it."""
        if self.combination.mode == "async":
            yield 3600
        if self._fault == "node_timeout":
            yield NODE_TIMEOUT_S + OVERTIME_S
            return
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        yield OVERTIME_S

    def _end_late(self) -> Generator[float, None, str | None]:
        """End after the resume has begun."""
        if self.combination.way == "retry_policy":
            yield PATIENCE_S + OVERTIME_S
        else:
            yield from self.world.awaiting("resuming")
        yield OVERTIME_S
        self.world.trace(self.role, "the late call ends")
        self.world.flag("late_ended")
        return LATE_RESULT if self.world.has("settled") else None

    def die(self) -> NoReturn:
        """End this process as the kernel does."""
        self.world.trace(self.role, "dies")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")

    def callbacks(self) -> list[BaseCallbackHandler]:
        """Return the callbacks that kill around the call."""
        return [Around(self)] if self.is_armed and self.combination.is_around else []

    def answered(self, amounts: list[int]) -> None:
        """Die before the call that an answer asks for, when that is the fault."""
        if self._fault == "kill_before" and SINGLE in amounts and self._claim():
            sleeping(self._let_second_in())
            self.die()

    def asking(self, results: list[str]) -> None:
        """Die after the call, when that is the fault."""
        if self._fault == "kill_after" and result_of(SINGLE) in results and self._claim():
            sleeping(self._let_second_in())
            self.die()


class Around(BaseCallbackHandler):
    """Tells the stage what LangChain's models are asked and answer."""

    run_inline = True
    raise_error = True

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self._stage.asking([str(message.content) for message in messages[0]])

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        calls = response.generations[0][0].message.tool_calls
        self._stage.answered([call["args"].get("amount", 0) for call in calls])
