"""The protocol of a recorded call, in its four forms.

Find what is recorded and hand it back; else put the row on disk, make the call as the current step,
and put its result on disk before the caller sees it. Ctrl-C at any place leaves no row behind that
says `running`: before the call it takes the row back, after it the row is in doubt, or done.
So it is where a form cannot make of a result what is stored.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from rowtrail.journal import Request, Scope, abegin_call, begin_call
from rowtrail.journal.places import log
from rowtrail.usage import Usage

R = TypeVar("R")
C = TypeVar("C")


class Replayed(Protocol):
    """A recorded call that is handed back instead of being made."""

    @property
    def result(self) -> Any:
        """What was stored of its result."""
        ...

    @property
    def interrupts(self) -> int:
        """How many questions it asked a person when it was made."""
        ...

    def pass_interrupts(self) -> None:
        """Take the positions of those questions, where the framework counts them."""
        ...


def _same(result: Any) -> Any:
    return result


def _as_stored(replayed: Replayed) -> Any:
    return replayed.result


def _unknown(_: Any) -> None:
    return None


def _nothing() -> None:
    return None


Guard = Callable[[], AbstractContextManager[Any]]
"""Returns what the journal's own errors pass through, on their way to the framework."""


class Form(NamedTuple, Generic[R]):
    """How the results of a call are stored, counted and handed back.

    Attributes:
        store: Returns what is stored of a result: plain data, or what the request's codec writes.
        restore: Returns the result of a replayed call; in `arecord` it may be a coroutine function.
        usage: Returns the tokens that a result tells of.
        failure: Returns what went wrong where the framework reports a failure as a result.
        interrupts: Returns how many questions the call asked; None leaves that to the run.
        guard: What the journal's own errors pass through.
    """

    store: Callable[[R], Any] = _same
    restore: Callable[[Replayed], Any] = _as_stored
    usage: Callable[[R], Usage | None] = _unknown
    failure: Callable[[R], BaseException | None] = _unknown
    interrupts: Callable[[], int | None] = _nothing
    guard: Guard = nullcontext


class Chunks(Protocol[C]):
    """Collects the chunks of one streamed answer."""

    def take(self, chunk: C) -> Iterable[C]:
        """Keep a chunk, and return those that may be handed on before the answer is on disk."""
        ...

    def held(self) -> Iterable[C]:
        """Return those that were not handed on, the last one among them."""
        ...

    def stored(self) -> Any:
        """Return what is stored of the answer, as far as it came; None where nothing did."""
        ...

    def usage(self) -> Usage | None:
        """Return the tokens that the whole answer tells of."""
        ...


class ListOfChunks(Generic[C]):
    """Stores an answer as the list of its chunks, and holds back the newest.

    So nobody has an answer whole that is not on disk, at the price of one chunk's delay.

    Args:
        usage: Returns the tokens that the chunks of an answer tell of.
    """

    def __init__(self, usage: Callable[[list[C]], Usage | None] = _unknown) -> None:
        self._chunks: list[C] = []
        self._usage = usage

    def take(self, chunk: C) -> list[C]:
        """Keep a chunk, and return the one before it."""
        self._chunks.append(chunk)
        return self._chunks[-2:-1]

    def held(self) -> list[C]:
        """Return the last chunk."""
        return self._chunks[-1:]

    def stored(self) -> list[C] | None:
        """Return the chunks, None where none came."""
        return self._chunks or None

    def usage(self) -> Usage | None:
        """Return the tokens of the answer."""
        return self._usage(self._chunks)


class WholeAnswer(Generic[C, R]):
    """Stores what the framework itself makes of the chunks, and hands on each as it comes.

    For frameworks whose streams say by a last event of their own, or by their end, that an answer
    is whole: that comes once it is on disk.

    Args:
        answer: Returns the answer as far as it came; None where nothing did.
        form: How it is stored and counted.
    """

    def __init__(self, answer: Callable[[], R | None], form: Form[R]) -> None:
        self._answer = answer
        self._form = form

    def take(self, chunk: C) -> tuple[C]:
        """Return the chunk."""
        return (chunk,)

    def held(self) -> tuple[()]:
        """Return nothing."""
        return ()

    def stored(self) -> Any:
        """Return what is stored of the answer."""
        answer = self._answer()
        return None if answer is None else self._form.store(answer)

    def usage(self) -> Usage | None:
        """Return the tokens of the answer."""
        answer = self._answer()
        return None if answer is None else self._form.usage(answer)


class StreamForm(NamedTuple, Generic[C]):
    """How a streamed answer is collected and handed back.

    Attributes:
        chunks: Makes the collector of one answer.
        replay: Returns the chunks of a replayed answer, as an iterator; in `arecord_stream` as an
            asynchronous one.
        guard: What the journal's own errors pass through.
    """

    chunks: Callable[[], Chunks[C]]
    replay: Callable[[Replayed], Any]
    guard: Guard = nullcontext


PLAIN: Form[Any] = Form()


def record(scope: Scope, request: Request, make: Callable[[], R], form: Form[R] = PLAIN) -> R:
    """Hand back the recorded result of a request, or make the call and record it.

    Args:
        scope: Where the call is made, from `scope_here`.
        request: What is asked.
        make: Makes the call; what it raises is recorded and raised.
        form: How the result is stored, counted and handed back.

    Raises:
        InDoubtError: The call may or may not have happened, and nobody decided.
        DivergedError: With `strict`, a resumed scope asks for something new.
        NotRecordedError: The call was made and its result could not be written; it is in the error.
        UsageError: The call would wait for its own end.
    """
    with form.guard():
        call = begin_call(scope, request)
    if call.replayed:
        restored: R = form.restore(call)
        return restored
    is_made = False
    try:
        with call.running():
            result = make()
        is_made = True
        with form.guard():
            failure = form.failure(result)
            if failure is None:
                call.complete(form.store(result), **_told(form, result))
            else:
                call.fail(failure, output=form.store(result), interrupts=form.interrupts())
    except BaseException as error:  # Ctrl-C and cancellation too: no row may stay open
        if not call.is_settled or not isinstance(error, Exception):
            with form.guard():
                call.fail(error, interrupts=_counted(form), is_made=is_made)
        raise
    return result


async def arecord(
    scope: Scope, request: Request, make: Callable[[], Awaitable[R]], form: Form[R] = PLAIN
) -> R:
    """Async twin of `record`; `form.restore` may be a coroutine function."""
    with form.guard():
        call = await abegin_call(scope, request)
    if call.replayed:
        restored: Any = form.restore(call)
        handed_back: R = await restored if inspect.isawaitable(restored) else restored
        return handed_back
    is_made = False
    try:
        with call.running():
            result = await make()
        is_made = True
        with form.guard():
            failure = form.failure(result)
            if failure is None:
                await call.acomplete(form.store(result), **_told(form, result))
            else:
                output = form.store(result)
                await call.afail(failure, output=output, interrupts=form.interrupts())
    except BaseException as error:  # Ctrl-C and cancellation too: no row may stay open
        if not call.is_settled or not isinstance(error, Exception):
            with form.guard():
                await call.afail(error, interrupts=_counted(form), is_made=is_made)
        raise
    return result


def record_stream(
    scope: Scope, request: Request, make: Callable[[], Iterator[C]], form: StreamForm[C]
) -> Iterator[C]:
    """Hand back the chunks of a recorded answer, or hand on those of a call that is made.

    What the collector holds back, the last chunk, comes once the answer is on disk. A consumer that
    leaves early leaves the output so far, in a row that is `failed` for a model's answer and in
    doubt for any other call: unless it writes, it is made again.
    """
    with form.guard():
        call = begin_call(scope, request)
    if call.replayed:
        yield from form.replay(call)
        return
    chunks = form.chunks()
    is_made = False
    try:
        call.made()
        for chunk in make():
            yield from chunks.take(chunk)
        is_made = True
        with form.guard():
            call.complete(chunks.stored(), usage=chunks.usage())
    except BaseException as error:  # Ctrl-C and cancellation too: no row may stay open
        if not call.is_settled or not isinstance(error, Exception):
            with form.guard():
                call.fail(error, output=_so_far(chunks), is_made=is_made)
        raise
    yield from chunks.held()


async def arecord_stream(
    scope: Scope,
    request: Request,
    make: Callable[[], AsyncGenerator[C]],
    form: StreamForm[C],
) -> AsyncGenerator[C]:
    """Async twin of `record_stream`; `form.replay` returns an asynchronous iterator."""
    with form.guard():
        call = await abegin_call(scope, request)
    if call.replayed:
        async for chunk in form.replay(call):
            yield chunk
        return
    chunks = form.chunks()
    is_made = False
    try:
        call.made()
        async with aclosing(make()) as coming:
            async for chunk in coming:
                for ready in chunks.take(chunk):
                    yield ready
        is_made = True
        with form.guard():
            await call.acomplete(chunks.stored(), usage=chunks.usage())
    except BaseException as error:  # Ctrl-C and cancellation too: no row may stay open
        if not call.is_settled or not isinstance(error, Exception):
            with form.guard():
                await call.afail(error, output=_so_far(chunks), is_made=is_made)
        raise
    for held in chunks.held():
        yield held


def _told(form: Form[R], result: R) -> dict[str, Any]:
    return {"usage": form.usage(result), "interrupts": form.interrupts()}


def _counted(form: Form[Any]) -> int | None:
    """Return how many questions a failed call asked; what else is wrong must not hide the error."""
    try:
        return form.interrupts()
    except Exception:
        log().warning("how often a call asked is not known", exc_info=True)
        return None


def _so_far(chunks: Chunks[Any]) -> Any:
    """Return what is stored of an answer that broke off; likewise."""
    try:
        return chunks.stored()
    except Exception:  # a form is an adapter's: whatever it raises, the call failed before
        log().warning("what came of an answer is not stored", exc_info=True)
        return None
