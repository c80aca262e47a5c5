"""Why a call was made and not replayed, and why a step was set aside: codes and sentences."""

from __future__ import annotations

from enum import StrEnum


class ReasonCode(StrEnum):
    """Why a call was made and not replayed: the values of the column `reason_code`."""

    FIRST = "first"
    CHANGED = "changed"
    FAILED_BEFORE = "failed_before"
    CRASHED = "crashed"
    IN_DOUBT = "in_doubt"
    NOT_STORED = "not_stored"
    NOT_TOLD_APART = "not_told_apart"
    DAMAGED = "damaged"
    ASKED_AGAIN = "asked_again"
    INTERRUPTED = "interrupted"
    SETTLED = "settled"
    NEVER = "never"
    FORKED = "forked"
    MEMO = "memo"


class Aside(StrEnum):
    """Why a step was set aside (`superseded`): no code reads the sentence beside it."""

    ASKED_AGAIN = "asked_again"
    """The code after an LLM answer raised."""
    INTERRUPTED = "interrupted"
    """The framework left the call to ask a person; it runs from its top again."""
    DOUBTED = "doubted"
    """In doubt, and made again by the rule of its effect."""
    RETRIED = "retried"
    """In doubt, and somebody decided to make it again."""
    NOT_HAPPENED = "not_happened"
    """In doubt, and somebody found that it did not happen."""
    NEVER_MADE = "never_made"
    """Its caller was cancelled before the call was made."""
    STARTED_OVER = "started_over"
    """The run was begun afresh."""
    CRASHED = "crashed"
    """Not superseded, but failed: an LLM call whose attempt ended before its answer came."""
    LEFT_BEHIND = "left_behind"
    """The run was done while the call, which only reads, went on."""


_SENTENCES = {
    ReasonCode.FIRST: "first call",
    ReasonCode.CHANGED: "changed: the recorded calls of this scope were made with other requests",
    ReasonCode.FAILED_BEFORE: "the recorded call failed",
    ReasonCode.CRASHED: "the recorded call ended before its answer was recorded",
    ReasonCode.IN_DOUBT: "in doubt: made again, the effect is {effect}",
    ReasonCode.NOT_STORED: "the recorded result could not be stored",
    ReasonCode.NOT_TOLD_APART: "not told apart: the object it is made on has no state to see",
    ReasonCode.DAMAGED: "the recorded result is damaged",
    ReasonCode.ASKED_AGAIN: "the recorded answer was set aside",
    ReasonCode.INTERRUPTED: "interrupted: the call asked a person and runs from its top again",
    ReasonCode.SETTLED: "in doubt: decided to make it again",
    ReasonCode.NEVER: "never: the caller asked for live calls",
    ReasonCode.FORKED: "forked: an earlier step of the fork has another result",
    ReasonCode.MEMO: "memo: no earlier run has this result",
}


def sentence(code: ReasonCode, effect: str) -> str:
    """Return what a reason code says, for people; `effect` is that of the step."""
    return _SENTENCES[code].format(effect=effect)
