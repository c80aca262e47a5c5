"""What is asked of the journal before a call is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

from rowtrail.content import Codec, Prepared, canonical_json
from rowtrail.journal._current import Step
from rowtrail.replay import Effect, Kind

FINGERPRINT_BYTES = 16


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


@dataclass(frozen=True)
class Request:
    """One call that is about to be made.

    Attributes:
        fingerprint: Hash of the canonical request, from `fingerprint_of`.
        encode: Returns the stored form of the arguments, or of the parameters of an LLM request;
            a request that is replayed needs none.
        prompt: Messages of an LLM request, and the log that they belong to.
        arguments: The arguments as a person or a reconciling function reads them.
        place: Where the call is made, in the framework's words.
        records: The function under `@rowtrail.step` that the call runs, if it runs one.
        tool: The tool that is called, if one is.
        codec: Reads and writes the result; the attempt's when None.
        shape: Makes a step's result out of what a person or a function answered.
        readdress: Makes a result that was recorded under another `tool_call_id` one of this call.
        not_done_on: Exceptions with which a `write` says that it did not happen.
        ask: Asks a person about a step in doubt, or with None takes the position of a question that
            was answered before; None where there is nobody to ask.
    """

    kind: Kind
    name: str
    fingerprint: bytes
    encode: Callable[[], Prepared]
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
    ask: Callable[[Step | None], Any] | None = None

    @functools.cached_property
    def input(self) -> Prepared:
        """Return what `encode` returned when it was first needed."""
        return self.encode()


def fingerprint_of(kind: str, name: str, canonical: Any) -> bytes:
    """Return the fingerprint of a request: a hash of what is asked, the same in every attempt."""
    from hashlib import blake2b  # it loads OpenSSL: not for `import rowtrail`

    text = f"{kind}\0{name}\0{canonical_json(canonical)}".encode("utf-8", "backslashreplace")
    return blake2b(text, digest_size=FINGERPRINT_BYTES).digest()
