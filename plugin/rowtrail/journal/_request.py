"""What is asked of the journal before a call is made, and how equal requests are numbered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final, Literal, final

from rowtrail.content import Codec, Encoded, Prepared
from rowtrail.replay import Effect, Kind


@dataclass(frozen=True)
class Step:
    """One step, as its own code sees it, or a function that is asked what became of it.

    Attributes:
        id: Id of the row in the view `steps`.
        idempotency_key: The same for every attempt to make this very call; hand it to whatever
            can recognise a request that it has had before.
        attempt: Which attempt of the run this is, from 1.
        name: Name of the tool or function.
        input: Its arguments: a dict for a tool, `{"args": [...], "kwargs": {...}}` for a function.
        error: Of a step in doubt, what it raised, where that is known.
    """

    id: str
    idempotency_key: str
    attempt: int
    name: str
    input: Any = field(repr=False, default=None)
    error: str | None = None

    @property
    def doubt(self) -> str:
        """Return what a person is asked about the step where it is in doubt."""
        came = "its result was not recorded" if self.error is None else f"ended with {self.error}"
        return f"{self.name} was called and {came}. It may or may not have happened."


@final
class NotDone:
    """The type of `NOT_DONE`."""

    def __repr__(self) -> str:
        return "rowtrail.NOT_DONE"


NOT_DONE: Final = NotDone()
"""What a function that looks whether a step happened returns when it did not."""

OnDoubt = Literal["fail", "ask", "retry"] | Callable[[Step], Any]
"""What decides about a `write` step in doubt; a function returns its result or `NOT_DONE`."""

ON_DOUBT_WORDS = ("fail", "ask", "retry")
EFFECTS = ("read", "idempotent", "write")


def _unchanged(result: Any) -> Any:
    return result


@dataclass(slots=True, eq=False)
class Request:
    """One call that is about to be made; nobody changes it, and each step makes one.

    Attributes:
        fingerprint: Hash of the canonical request, from `identity_of` or `fingerprint_of`.
        masked_fingerprint: The same with the journal's `canonical=` applied, to be looked for after
            an exact miss; None without one, and for a `write`.
        object_free_fingerprint: The same without the object that a `write` is a method of, or what
            its function is bound to; None where there is none.
        not_told_apart: What in the request cannot be told from others: the call is made live, and
            its fingerprint is that of no other call.
        encode: Returns the stored form of the arguments, or of the parameters of an LLM request;
            a request that is replayed needs none.
        prompt: Messages of an LLM request, each a `rowtrail.vocabulary.Message` in its stored form,
            and the log that they belong to.
        arguments: The arguments as a person or a reconciling function reads them.
        place: Where the call is made, in the framework's words.
        records: The function under `@rowtrail.step` that the call runs, if it runs one.
        tool: The tool that is called, if one is.
        codec: Reads and writes the result; the attempt's when None.
        shape: Makes a step's result out of what a person or a function answered.
        readdress: Makes a result that was recorded under another `tool_call_id` one of this call.
        not_done_on: Exceptions with which a `write` says that it did not happen.
        is_declared: Somebody has said what the call does to the world: that it is made again after
            a crash surprises nobody.
        ask: Asks a person about a step in doubt, or with None takes the position of a question that
            was answered before; None where there is nobody to ask.
    """

    kind: Kind
    name: str
    fingerprint: bytes
    encode: Callable[[], Prepared]
    masked_fingerprint: bytes | None = None
    object_free_fingerprint: bytes | None = None
    not_told_apart: str | None = None
    effect: Effect = "read"
    on_doubt: OnDoubt | None = None
    tool_call_id: str | None = None
    prompt: tuple[Prepared, ...] | None = None
    prompt_owner: str = ""
    model: str | None = None
    provider: str | None = None
    arguments: Any = None
    place: str = ""
    records: Any = None
    tool: Any = None
    codec: Codec | None = None
    shape: Callable[[Any], Any] = field(default=_unchanged)
    readdress: Callable[[Any], Any] = field(default=_unchanged)
    not_done_on: tuple[type[BaseException], ...] = ()
    is_declared: bool = False
    ask: Callable[[Step | None], Any] | None = None
    _input: Prepared | None = field(default=None, init=False, repr=False)

    @property
    def input(self) -> Prepared:
        """Return what `encode` returned when it was first needed."""
        if self._input is None:
            self._input = self.encode()
        return self._input


MAX_TEXT_IN_ROW = 1_000
"""How many characters of arguments the row of their step keeps itself."""


def text_in_row(encoded: Encoded) -> str | None:
    """Return the text of arguments that the row of their step keeps: a row of their own costs more.

    None where they have a row of their own, and are found by a digest.
    """
    if encoded.type != "dict" or encoded.data is not None:
        return None
    text = encoded.text
    return text if text is not None and len(text) <= MAX_TEXT_IN_ROW else None


Key = tuple[bytes, str | None, int]
"""What a step is found by: fingerprint, `tool_call_id`, and which of the equal ones it is."""


class Numbers:
    """Which of the equal requests of a scope the next one is, from 1.

    A run of a million steps keeps one entry for each: 8 bytes of the fingerprint stand for it.
    Requests that agree in them are numbered together, in every attempt alike.
    """

    def __init__(self) -> None:
        self._counts: dict[int | tuple[int, str], int] = {}
        self._freed: dict[int | tuple[int, str], list[int]] = {}

    def next(self, request: Request) -> Key:
        """Number a request."""
        fingerprint, call = request.fingerprint, request.tool_call_id
        kind = _short(fingerprint, call)
        freed = self._freed.get(kind)
        if freed:
            n = heappop(freed)
            if not freed:
                del self._freed[kind]
            return (fingerprint, call, n)
        n = self._counts.get(kind, 0) + 1
        self._counts[kind] = n
        return (fingerprint, call, n)

    def free(self, key: Key) -> None:
        """Give back a number, to the next request like it."""
        fingerprint, call, n = key
        heappush(self._freed.setdefault(_short(fingerprint, call), []), n)

    def has(self, fingerprint: bytes, call: str | None) -> bool:
        """Return whether a request like this was numbered."""
        return _short(fingerprint, call) in self._counts


def _short(fingerprint: bytes, call: str | None) -> int | tuple[int, str]:
    short = int.from_bytes(fingerprint[:8], "big")
    return short if call is None else (short, call)
