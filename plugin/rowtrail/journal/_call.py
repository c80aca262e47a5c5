"""One call: replayed, or begun and then completed or failed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rowtrail.content import Prepared
from rowtrail.errors import NotRecordedError, StorageError, UnstorableError
from rowtrail.journal._current import Frame, Step, current_frame
from rowtrail.journal._flow import Flow, Write, adrive, drive, finish, launch
from rowtrail.journal._log import log
from rowtrail.journal._request import Request
from rowtrail.store import Tx
from rowtrail.usage import Usage, price_usd

if TYPE_CHECKING:
    from rowtrail.journal._scope import Key, Scope


CONTROL_FLOW: list[type[BaseException]] = []
"""Exceptions by which a framework leaves a call that has not failed; adapters add theirs."""


@dataclass(frozen=True)
class Started:
    """A step whose row is on disk and whose call may now be made."""

    row: int
    scope_row: int
    at_ms: int
    clock_s: float


class Call:
    """What became of a request.

    When `replayed`, `result` is what was recorded and there is nothing to do. Else make the call
    inside `with call.running()`, and end with `complete` or `fail`.
    """

    def __init__(
        self,
        scope: Scope,
        request: Request,
        key: Key,
        *,
        started: Started | None = None,
        result: Any = None,
        replayed_row: int | None = None,
        interrupts: int = 0,
    ) -> None:
        self.request = request
        self.result = result
        self.replayed = replayed_row is not None
        self.interrupts = interrupts
        self._scope = scope
        self._key = key
        self._started = started
        if started is not None:
            scope.remember_row(started.scope_row)
            scope.attempt.active.add(started.row)
            scope.attempt.open.add(started.row)

    @property
    def identity(self) -> tuple[bytes, int]:
        """Return the fingerprint of the request, and which of the equal ones of its scope it is."""
        return self._key[0], self._key[2]

    @property
    def step(self) -> Step:
        """Return the step as its own code sees it."""
        assert self._started is not None
        return self._scope.step_of(
            self._started.row, self._started.scope_row, self.request, self._key
        )

    @contextmanager
    def running(self) -> Generator[Step]:
        """Make this the current step of the code inside the block."""
        assert self._started is not None
        fingerprint, _, n = self._key
        place = f"{self.request.name}:{fingerprint.hex()[:16]}.{n}"
        inside = self._scope.inside(place, self._started.row)
        request = self.request
        frame = Frame(
            self.step,
            self._started.row,
            inside,
            request.place,
            request.records,
            request.tool,
            request.tool_call_id,
        )
        token = current_frame.set(frame)
        try:
            yield frame.step
        finally:
            frame.has_ended = True  # what the call left running carries the frame on
            current_frame.reset(token)

    def complete(self, result: Any, **details: Any) -> None:
        """Record the result; committed before it returns.

        Args:
            result: What the caller gets.
            details: `usage` (a `Usage`), `model`, `provider`, and `interrupts`: how many answers
                of people the call consumed.

        Raises:
            NotRecordedError: The result could not be written; it is in the error.
        """
        drive(self._complete(result, **details), self._scope.attempt.recorder.store)

    async def acomplete(self, result: Any, **details: Any) -> None:
        """Async twin of `complete`; committed also when the task is cancelled meanwhile."""
        await adrive(self._complete(result, **details), self._scope.attempt.recorder.store)

    def fail(self, error: BaseException, *, output: Any = None, interrupts: int = 0) -> None:
        """Record that the call raised; a kill or a cancellation leaves a tool in doubt.

        What a framework raises to leave a call (`CONTROL_FLOW`) is no failure: it is set aside.
        """
        finish(self._fail(error, output, interrupts), self._scope.attempt.recorder.store)

    async def afail(self, error: BaseException, *, output: Any = None, interrupts: int = 0) -> None:
        """Async twin of `fail`."""
        flow = self._fail(error, output, interrupts)
        store = self._scope.attempt.recorder.store
        if isinstance(error, GeneratorExit):  # the coroutine is being closed, and must not wait
            launch(flow, store)
        else:
            await adrive(flow, store)

    def _encode(self, result: Any) -> tuple[Prepared | None, str | None]:
        attempt = self._scope.attempt
        try:
            codec = self._scope.codec_of(self.request)
            return attempt.prepare(codec.encode(result)), None
        except UnstorableError as error:
            return None, f"not stored: {error}"

    def _complete(
        self,
        result: Any,
        *,
        usage: Usage | None = None,
        model: str | None = None,
        provider: str | None = None,
        interrupts: int = 0,
    ) -> Flow[None]:
        started = self._started
        assert started is not None
        output, reason = self._encode(result)
        model, provider = model or self.request.model, provider or self.request.provider
        attempt = self._scope.attempt
        recorder = attempt.recorder

        def work(tx: Tx) -> None:
            cost_usd = None
            if usage is not None and model is not None:  # here: the event loop must not load prices
                cost_usd = price_usd(usage, model=model, provider=provider, at_ms=started.at_ms)
            recorder.complete_step(
                tx,
                self,
                started,
                output,
                reason=reason,
                usage=usage,
                model=model,
                provider=provider,
                cost_usd=cost_usd,
                interrupts=interrupts,
            )

        self._scope.note_end(is_failure=False)
        try:
            yield Write(work)
            attempt.open.discard(started.row)
        except StorageError as error:
            raise self._lost(started, result, error) from error
        finally:
            attempt.active.discard(started.row)

    def _lost(self, started: Started, result: Any, why: StorageError) -> NotRecordedError:
        lost = NotRecordedError(
            f"{self.request.kind} {self.request.name!r} (step {started.row}) was made and its "
            f"result could not be recorded: {why}; the result is in this error",
            step_id=str(started.row),
            result=result,
        )
        self._scope.attempt.failures.append(lost)
        return lost

    def _fail(self, error: BaseException, output: Any, interrupts: int) -> Flow[None]:
        if isinstance(error, tuple(CONTROL_FLOW)):
            yield from self._leave(f"left by {type(error).__name__}: made again on resume")
            return
        started = self._started
        assert started is not None
        attempt = self._scope.attempt
        attempt.failures.append(error)
        self._scope.note_end(is_failure=True)
        # Cancelled or killed: nobody knows how far the tool got.
        interrupted = not isinstance(error, Exception) and self.request.kind != "llm"
        stored = None if output is None else self._encode(output)[0]

        def work(tx: Tx) -> None:
            row = None if stored is None else attempt.recorder.content.put(tx, stored)
            tx.run(
                "step_fail",
                id=started.row,
                attempt=attempt.row,
                status="in_doubt" if interrupted else "failed",
                error=attempt.recorder.describe(error, self.request.codec or attempt.codec),
                output=row,
                reason=None,
                interrupts=interrupts,
                duration_us=attempt.recorder.duration_us(started),
            )

        try:
            yield Write(work)
            attempt.open.discard(started.row)
        except StorageError:  # not in place of the error that the caller is about to raise
            log().warning("the failure of step %s is not recorded", started.row, exc_info=True)
        finally:
            attempt.active.discard(started.row)
            if not interrupted:
                self._scope.free(self._key)

    def _leave(self, reason: str) -> Flow[None]:
        started = self._started
        assert started is not None
        try:
            yield Write(
                lambda tx: tx.run(
                    "step_left", id=started.row, attempt=self.attempt_row, reason=reason
                )
            )
            self._scope.attempt.open.discard(started.row)
        finally:
            self._scope.attempt.active.discard(started.row)
            self._scope.free(self._key)

    @property
    def run(self) -> int:
        """Return the row of the run that the call belongs to."""
        return self._scope.attempt.run

    @property
    def attempt_row(self) -> int:
        """Return the row of the attempt that makes the call."""
        return self._scope.attempt.row
