"""How an attempt begins: what is asked for, and what came of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rowtrail.engine import Row, WriteKey
from rowtrail.errors import UsageError

Intent = Literal["name", "input", "resume", "fork"]
ReplayMode = Literal["default", "always", "never", "resume"]
Multitask = Literal["allow", "enqueue", "reject"]

MULTITASKS = ("allow", "enqueue", "reject")
RESEND_WITHIN_S = 24 * 60 * 60
"""A day: what is sent again later is meant as a new request."""


class Beginning(NamedTuple):
    """How an attempt begins, and so which run it belongs to.

    Attributes:
        intent: `name`: the run of this id, whatever its state. `input`: a new request; if the last
            run of the thread was left unfinished on the same input it is continued. `resume`: the
            last run of the thread, unless it is done. `fork`: a new run.
        run_id: The run of this id, for `name`; else the id that a new run is given.
        input_digest: The same for equal inputs; None without one.
        answer_digest: Likewise the answer to a person's question with which a run is resumed.
        base_step: Superstep from which the scopes of a new run count.
        base_shift: By how much the framework's numbering of supersteps moved since, for `resume`.
        head: Id of the checkpoint that the framework goes on from, and its superstep.
        exclusive: Refuse when a live attempt holds the run.
        gives_back: A run that is done is not begun again: where it ended is returned.
        fresh: Set the recorded steps aside.
        replay: `never` begins anew; `resume` continues a failed run too that is sent again.
        resend_within_s: How long after its end an unfinished run is continued by the same input.
        multitask: What becomes of a second attempt in a thread: it begins beside the first, waits
            for its end, or is refused.
    """

    intent: Intent
    run_id: str | None = None
    thread_id: str | None = None
    agent: str | None = None
    input_digest: bytes | None = None
    answer_digest: bytes | None = None
    base_step: int | None = None
    base_shift: int = 0
    head: str | None = None
    head_step: int | None = None
    exclusive: bool = False
    gives_back: bool = False
    fresh: bool = False
    replay: ReplayMode = "default"
    resend_within_s: float = RESEND_WITHIN_S
    multitask: Multitask = "allow"

    @property
    def write_key(self) -> WriteKey | None:
        """Return what its transactions belong to: those of a thread follow one another."""
        if self.thread_id is not None:
            return ("thread", self.thread_id)
        return None if self.run_id is None else ("run", self.run_id)


class Begun(NamedTuple):
    """An attempt whose rows are written; `before` is the attempt of the run before it."""

    run: int
    run_id: str
    attempt: int
    n: int
    thread: int | None
    base_step: int | None
    nonce: str
    status_before: str | None = None
    error_before: str | None = None
    ended_before: int | None = None
    before: Row | None = None
    holds_input: bool = False
    keeps_doubts: bool = False
    beside: str | None = None
    """The run of another attempt that goes on in the thread."""


class Hold(NamedTuple):
    """Why an attempt cannot begin yet."""

    run_id: str
    says: str


class Finished(NamedTuple):
    """The run is done: its state is that of a checkpoint, and nothing is called."""

    run_id: str
    checkpoint_id: bytes | str | None


def check_multitask(multitask: object) -> None:
    """Refuse an invalid word for what becomes of a second attempt in a thread.

    Raises:
        UsageError: It is invalid.
    """
    if multitask not in MULTITASKS:
        raise UsageError(f"multitask={multitask!r} is unknown: use one of {', '.join(MULTITASKS)}")
