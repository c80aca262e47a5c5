"""One call: replayed, or begun and then completed or failed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

from rowtrail.content import Prepared
from rowtrail.engine import Tx
from rowtrail.errors import NotRecordedError, StorageError, UnstorableError, UsageError
from rowtrail.journal._attempt import Scope
from rowtrail.journal._current import Frame, current_frame
from rowtrail.journal._failure import failure_text
from rowtrail.journal._flow import Flow, Write, adrive, drive, finish, launch
from rowtrail.journal._log import log
from rowtrail.journal._owners import Owner
from rowtrail.journal._request import Key, Request
from rowtrail.journal._steps import Spent, Started, completing, fail_step, leave_step
from rowtrail.journal._unstored import warn_not_stored
from rowtrail.replay import leaves_in_doubt
from rowtrail.usage import Usage, price_usd

CONTROL_FLOW: list[type[BaseException]] = []
"""Exceptions by which a framework leaves a call that has not failed; adapters add theirs."""


def _nobody() -> int:
    return 0


class Running:
    """Makes a call the current step of the code inside a `with` block.

    Where Ctrl-C comes as the block is left, what held this is dropped: the block is left then.
    """

    __slots__ = ("_call", "_counting", "_frame")

    def __init__(self, call: Call, scope: Scope, started: Started) -> None:
        request = started.request
        # Of equal tool calls with ids of their own each is the first: they are told apart by key_n.
        number = started.key[2] if request.kind == "llm" else started.key_n
        self._call = call
        self._counting: AbstractContextManager[Any] | None = None
        self._frame = Frame(
            scope,
            request,
            started.row,
            number=number,
            key_scope=started.key_scope,
            key_n=started.key_n,
            outer=current_frame.get(),
        )

    def __enter__(self) -> Frame:
        frame = self._frame
        try:
            current_frame.set(frame)
            counted = frame.around.attempt.interrupts
            if counted is not None:
                self._counting = counted.counting()
                self._call.asked = self._counting.__enter__()
            self._call.made()
        except BaseException:  # Ctrl-C too
            self.__exit__(*sys.exc_info())
            raise
        return frame

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        frame = self._frame
        try:
            if self._counting is not None:
                self._counting.__exit__(kind, error, traceback)
        finally:
            frame.has_ended = True  # what the call left running carries the frame on
            current_frame.set(frame.outer)

    def __del__(self) -> None:
        # without attributes it was interrupted as it was made
        frame = getattr(self, "_frame", None)
        if frame is not None and not frame.has_ended and current_frame.get() is frame:
            self.__exit__(None, None, None)


class Call:
    """What became of a request.

    When `replayed`, `result` is what was recorded and there is nothing to do. Else make the call
    inside `with call.running()`, or after `call.made()` in a generator, and end with `complete`
    or `fail`.
    """

    def __init__(
        self,
        scope: Scope,
        request: Request,
        key: Key,
        *,
        started: Started | None = None,
        owner: Owner | None = None,
        result: Any = None,
        replayed_row: int | None = None,
        interrupts: int = 0,
    ) -> None:
        self.request = request
        self.result = result
        self.replayed = replayed_row is not None
        self.interrupts = interrupts
        self.is_settled = False
        """Whether what became of it is written, or an error holds what could not be."""
        self._scope = scope
        self._recorder = scope.attempt.recorder
        self._write_key = scope.attempt.write_key
        self._key = key
        self._started = started
        self._owner = owner
        self.asked: Callable[[], int] = _nobody
        """Returns how many questions the call has asked a person."""
        if started is not None:
            scope.remember_row(started.scope)
            scope.attempt.open.add(started.row)

    def running(self) -> Running:
        """Return what makes this the current step of the code inside a `with` block."""
        assert self._started is not None
        return Running(self, self._scope, self._started)

    def made(self) -> None:
        """Note that the call is made from here on: until now it could be given back.

        Raises:
            UsageError: It was: the code that interrupted this asked for a call of its own.
        """
        if self._owner is not None:
            if self._owner.is_given_back:
                raise UsageError(
                    f"{self.request.name} was not called: a signal's handler, or a callback, that "
                    "came just before it made a step of its own; make no steps in handlers"
                )
            self._owner.keep()

    def pass_interrupts(self) -> None:
        """Take the positions of the questions that the call asked, which is handed back."""
        counted = self._scope.attempt.interrupts
        if counted is not None and self.interrupts:
            counted.skip(self.interrupts)

    def complete(self, result: Any, **details: Any) -> None:
        """Record the result; committed before it returns.

        Args:
            result: What the caller gets.
            details: `usage` (a `Usage`), `model`, `provider`, and `interrupts`: how many answers
                of people the call consumed.

        Raises:
            NotRecordedError: The result could not be written; it is in the error.
        """
        drive(self._complete(result, **details), self._recorder.store, self._write_key)

    async def acomplete(self, result: Any, **details: Any) -> None:
        """Async twin of `complete`; committed also when the task is cancelled meanwhile."""
        await adrive(self._complete(result, **details), self._recorder.store, self._write_key)

    def fail(self, error: BaseException, **details: Any) -> None:
        """Record that the call raised; a kill or a cancellation leaves a tool in doubt.

        What a framework raises to leave a call (`CONTROL_FLOW`) is no failure: it is set aside.

        Args:
            error: What was raised.
            details: `output` (what the call had given so far), its `usage`, `interrupts` as for
                `complete`, and `is_made`: the call itself raised nothing, its result is lost.
        """
        finish(self._fail(error, **details), self._recorder.store, self._write_key)

    async def afail(self, error: BaseException, **details: Any) -> None:
        """Async twin of `fail`."""
        flow = self._fail(error, **details)
        store = self._recorder.store
        if isinstance(error, GeneratorExit):  # the coroutine is being closed, and must not wait
            launch(flow, store, self._write_key)
        else:
            await adrive(flow, store, self._write_key)

    def _encode(self, result: Any) -> tuple[Prepared | None, str | None]:
        """Return the stored form of a result, and why it has none.

        Whatever an encoder raises, out of memory too, is such a reason: the call has been made.
        """
        try:
            codec = self._scope.codec_of(self.request)
            return self._scope.attempt.prepare(codec.encode(result)), None
        except UnstorableError as error:
            request = self.request
            warn_not_stored(request.kind, request.name, request.effect, error)
            return None, f"not stored: {error}"
        except Exception as error:
            log().warning("the result of %r is not stored", self.request.name, exc_info=True)
            return None, f"not stored: {type(error).__name__}: {error}"

    def _complete(
        self,
        result: Any,
        *,
        usage: Usage | None = None,
        model: str | None = None,
        provider: str | None = None,
        interrupts: int | None = None,
    ) -> Flow[None]:
        started = self._started
        assert started is not None
        self.made()
        attempt, recorder = self._scope.attempt, self._recorder
        asked = self.asked() if interrupts is None else interrupts

        spends = started.request.kind == "llm" or usage is not None or bool(model or provider)
        write = partial(
            completing,
            recorder,
            started,
            settle=self._settle,
            spend=partial(self._spent, started, usage, model, provider) if spends else None,
            interrupts=asked,
        )
        try:
            self._scope.note_end(is_failure=False)
            output, reason = self._encode(result)
            if reason is None and usage is not None and usage.answered_by is not None:
                reason = (
                    f"answered by {usage.answered_by}: the model was not asked, nothing was paid"
                )
            try:
                yield from write(output, reason=reason)
            except StorageError:
                raise
            except Exception as error:  # too big for a row, or out of memory: the call was made
                yield from write(None, reason=f"not stored: {type(error).__name__}: {error}")
            attempt.open.discard(started.row)
        except StorageError as error:
            raise self._lost(started, result, error) from error
        finally:
            recorder.calls.pop(started.row, None)

    def _settle(self, tx: Tx | None) -> None:
        """Note that what became of the call is written, unless the transaction is undone."""

        def undone() -> None:
            self.is_settled = False

        self.is_settled = True
        if tx is not None:
            tx.after_rollback(undone)

    def _spent(
        self, started: Started, usage: Usage | None, model: str | None, provider: str | None
    ) -> Spent:
        """Return what a call used; in the transaction: the event loop must not load prices."""
        model, provider = model or self.request.model, provider or self.request.provider
        cost_usd = None
        if usage is not None and model is not None:
            cost_usd = price_usd(usage, model=model, provider=provider, at_ms=started.at_ms)
        return Spent(usage, model, provider, cost_usd)

    def _lost(self, started: Started, result: Any, why: StorageError) -> NotRecordedError:
        lost = NotRecordedError(
            f"{self.request.kind} {self.request.name!r} (step {started.row}) was made and its "
            f"result could not be recorded: {why}; the result is in this error",
            step_id=str(started.row),
            result=result,
        )
        self.is_settled = True
        self._scope.attempt.failures.append(lost)
        return lost

    def _fail(
        self,
        error: BaseException,
        *,
        output: Any = None,
        usage: Usage | None = None,
        interrupts: int | None = None,
        is_made: bool = False,
    ) -> Flow[None]:
        if isinstance(error, tuple(CONTROL_FLOW)):
            yield from self._leave(error)
            return
        if not isinstance(error, Exception) and self._owner is not None and self._owner.forgo():
            return  # interrupted before it was made
        if self.is_settled:  # interrupted before its caller saw the result
            self._scope.free(self._key)
            return
        if self._owner is not None and self._owner.is_given_back:
            return  # its row says that it was not made
        started, request = self._started, self.request
        assert started is not None
        self.made()
        attempt, recorder = self._scope.attempt, self._recorder
        attempt.failures.append(error)
        in_doubt = (is_made and request.effect == "write") or leaves_in_doubt(
            error, kind=request.kind, effect=request.effect, not_done_on=request.not_done_on
        )
        try:
            self._scope.note_end(is_failure=True)
            stored = None if output is None else self._encode(output)[0]
            failure = None if in_doubt or self._scope.is_opaque(request) else failure_text(error)

            def work(tx: Tx) -> None:
                if self.is_settled:  # interrupted as its end was on the way
                    return
                self._settle(tx)
                fail_step(
                    tx,
                    recorder,
                    started,
                    stored,
                    status="in_doubt" if in_doubt else "failed",
                    error=recorder.describe(error, request.codec or attempt.codec),
                    failure=failure,
                    spent=self._spent(started, usage, None, None),
                    interrupts=self.asked() if interrupts is None else interrupts,
                )

            yield Write(work)
            attempt.open.discard(started.row)
        except StorageError:  # not in place of the error that the caller is about to raise
            log().warning("the failure of step %s is not recorded", started.row, exc_info=True)
        finally:
            recorder.calls.pop(started.row, None)
            attempt.has_doubts = attempt.has_doubts or in_doubt
            self._scope.free(self._key)  # the next one like it is this one made again

    def _leave(self, error: BaseException) -> Flow[None]:
        started = self._started
        assert started is not None
        self.made()
        try:
            yield Write(lambda tx: leave_step(tx, started, error))
            self._scope.attempt.open.discard(started.row)
        finally:
            self._recorder.calls.pop(started.row, None)
            self._scope.free(self._key)
