"""Flows: code with waiting points, written once and driven by plain calls or by a coroutine.

A flow is a generator that yields what it waits for and is sent the outcome.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from rowtrail.engine import NewResult, NewStep, NoteResult, NoteStep, Store, Tx, WriteKey
from rowtrail.errors import StorageError, UsageError
from rowtrail.journal._log import log

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Write:
    """Wait for a transaction to be committed, and on disk as `synced` says (`Store.write`)."""

    work: Callable[[Tx], Any]
    synced: bool | None = None


@dataclass(eq=False, slots=True)
class Begin:
    """Wait for the row of a step to be committed (`Store.begin_step`)."""

    step: NewStep
    note: NoteStep


@dataclass(eq=False, slots=True)
class Complete:
    """Wait for the result of a step to be committed (`Store.complete_step`)."""

    result: NewResult
    note: NoteResult


@dataclass(eq=False, slots=True)
class Read:
    """Wait for a read of one snapshot."""

    work: Callable[[Tx], Any]


@dataclass(eq=False, slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


@dataclass(eq=False, slots=True)
class Ask:
    """Wait for code of the user, which may be a plain function or a coroutine function."""

    question: Callable[[], Any]


Wait = Write | Begin | Complete | Read | Sleep | Ask
Flow = Generator[Wait, Any, T]


def drive(flow: Flow[T], store: Store, key: WriteKey | None = None) -> T:
    """Run a flow to its end on the calling thread; `key` is that of what it writes."""
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            wait = flow.send(outcome) if error is None else flow.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        outcome, error = None, None
        try:
            outcome = _now(wait, store, key)
        except BaseException as raised:  # the flow decides what becomes of it
            error = raised


def launch(flow: Flow[Any], store: Store, key: WriteKey | None = None) -> None:
    """Queue what a flow writes, and wait for none of it.

    For callers that must not wait: a coroutine that is being closed, or the garbage collector. What
    a crash takes of it is the end of a step: the next attempt finds it as a crash leaves one.
    """
    try:
        for wait in flow:
            assert isinstance(wait, Write)
            store.submit(wait.work, key=key)
    except StorageError:
        log().warning("what became of a step could not be recorded", exc_info=True)


def finish(flow: Flow[Any], store: Store, key: WriteKey | None = None) -> None:
    """Run a flow that only writes; it is queued where the caller is inside a transaction.

    The garbage collector may close a generator, and so end a run, anywhere.
    """
    if store.is_in_transaction:
        launch(flow, store, key)
    else:
        drive(flow, store, key)


async def adrive(flow: Flow[T], store: Store, key: WriteKey | None = None) -> T:
    """Run a flow to its end without blocking the event loop."""
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            wait = flow.send(outcome) if error is None else flow.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        outcome, error = None, None
        try:
            outcome = await _later(wait, store, key)
        except BaseException as raised:  # likewise, a cancellation too
            error = raised


def _now(wait: Wait, store: Store, key: WriteKey | None) -> Any:
    if isinstance(wait, Write):
        return store.write(wait.work, key=key, synced=wait.synced)
    if isinstance(wait, Begin):
        return store.begin_step(wait.step, wait.note, key=key)
    if isinstance(wait, Complete):
        return store.complete_step(wait.result, wait.note, key=key)
    if isinstance(wait, Read):
        return store.read(wait.work)
    if isinstance(wait, Sleep):
        return store.clock.sleep(wait.seconds)
    answer = wait.question()
    if inspect.iscoroutine(answer):
        answer.close()
        raise UsageError(
            "a coroutine function cannot answer for a synchronous call: use a function"
        )
    return answer


async def _later(wait: Wait, store: Store, key: WriteKey | None) -> Any:
    if isinstance(wait, Write):
        return await store.awrite(wait.work, key=key, synced=wait.synced)
    if isinstance(wait, Begin):
        return await store.abegin_step(wait.step, wait.note, key=key)
    if isinstance(wait, Complete):
        return await store.acomplete_step(wait.result, wait.note, key=key)
    if isinstance(wait, Read):
        return await store.aread(wait.work)
    if isinstance(wait, Sleep):
        import asyncio  # 20 ms: not for `import rowtrail`

        return await asyncio.sleep(wait.seconds)
    answer = wait.question()
    return await answer if inspect.isawaitable(answer) else answer
