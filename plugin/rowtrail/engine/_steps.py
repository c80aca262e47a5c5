"""The two writes of a step that an engine makes in one round trip each: its row, and its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class NewStep(NamedTuple):
    """A step that is about to be made.

    Attributes:
        run: Row of its run, `attempt` and `scope` likewise.
        n: Which of the equal requests of its scope it is, from 1.
        arguments: What was asked, a JSON object.
        parent: Row of the step in whose code it is made.
        masked: Fingerprint of a request as `canonical=` masks it.
        object_free: Fingerprint of a `write` without its object.
        thread: Row of the thread in whose other runs a `write` that asks for the same stands
            against it, as long as it is in doubt or goes on.
    """

    run: int
    attempt: int
    scope: int
    kind: str
    name: str
    effect: str
    reason_code: str
    reason: str
    fingerprint: bytes
    n: int
    arguments: str
    parent: int | None = None
    tool_call_id: str | None = None
    masked: bytes | None = None
    object_free: bytes | None = None
    thread: int | None = None


class NewResult(NamedTuple):
    """What a step returned.

    Attributes:
        step: Its row, `attempt` likewise.
        interrupts: How many answers of people it took.
        type: Of the value: with `text` and `data` its stored form.
        digest: What the value is found by; None where it is shared with no other.
    """

    step: int
    attempt: int
    duration_us: int
    interrupts: int
    seal: bytes
    type: str
    text: str | None
    data: bytes | None
    digest: bytes | None


NoteStep = Callable[[int, int], object]
"""Is given the row of a step and when it began: UTC milliseconds."""

NoteResult = Callable[[], object]
"""Is called once a result is written."""
