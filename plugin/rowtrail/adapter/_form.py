"""What an adapter says of the results of its framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

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


@dataclass(frozen=True, slots=True)
class Form(Generic[R]):
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


@dataclass(frozen=True, slots=True)
class StreamForm(Generic[C]):
    """How a streamed answer is collected and handed back.

    Attributes:
        chunks: Makes the collector of one answer.
        replay: Returns the chunks of a replayed answer, as an iterator; in `arecord_stream` as an
            asynchronous one.
        guard: What the journal's own errors pass through.
    """

    chunks: Callable[[], Chunks[C]]
    replay: Callable[[Replayed], Any]
    guard: Guard = field(default=nullcontext)
