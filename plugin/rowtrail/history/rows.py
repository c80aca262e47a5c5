"""The rows that `rowtrail.history` returns: plain dicts with the columns of the views.

Ids are text, times UTC ISO-8601 text with milliseconds, durations milliseconds, costs US dollars;
an unknown figure is None, never 0. A row may have more columns than its type here names.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from rowtrail.vocabulary import Effect, Kind, Status

__all__ = [
    "AttemptRow",
    "Event",
    "LateResult",
    "ListedRun",
    "NearStep",
    "QuestionRow",
    "Replayed",
    "RunRow",
    "RunStatus",
    "SameStep",
    "SpendRow",
    "StepLine",
    "StepPart",
    "StepRow",
    "ThreadRow",
    "WhyStep",
]

RunStatus = Literal["running", "done", "failed", "waiting", "cancelled", "crashed"]
"""`waiting`: for a person; `cancelled`: by its caller; `crashed`: its process died."""


class RunRow(TypedDict):
    """A row of the view `runs`.

    `in_doubt` counts its steps in doubt; `saved_tokens` and `saved_usd` are what replay saved.
    """

    run_id: str
    thread_id: str | None
    agent: str | None
    status: RunStatus
    waiting_for: str | None
    started_at: str
    ended_at: str | None
    attempts: int
    steps: int
    llm_calls: int
    tool_calls: int
    in_doubt: int
    input_tokens: int
    output_tokens: int
    saved_tokens: int
    cost_usd: float | None
    saved_usd: float | None
    error: str | None


class ListedRun(RunRow):
    """A run as the listings show it.

    `worked_ms` is how long its attempts worked, without the time between them.
    """

    worked_ms: int


class AttemptRow(TypedDict):
    """A row of the view `attempts`. Without `ended_at` it goes on, or its process died unseen."""

    attempt_id: str
    run_id: str
    n: int
    pid: int
    host: str
    started_at: str
    last_seen_at: str
    ended_at: str | None
    outcome: str | None


class StepRow(TypedDict):
    """A row of the view `steps`.

    `input` and `output` are JSON text: the arguments, or the messages and parameters of an LLM
    call; what the caller got. `seq` is its number in the run, from 1.
    """

    step_id: str
    run_id: str
    thread_id: str | None
    attempt_id: str
    scope: str
    node: str | None
    agent: str | None
    seq: int
    parent_id: str | None
    kind: Kind
    name: str
    status: Status
    reason_code: str | None
    reason: str | None
    effect: Effect
    started_at: str
    ended_at: str | None
    duration_ms: float | None
    input: str | None
    output: str | None
    error: str | None
    tool_call_id: str | None
    idempotency_key: str
    model: str | None
    provider: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    tokens_source: str | None
    cost_usd: float | None
    replays: int
    fingerprint: str


class StepLine(TypedDict):
    """A step in short.

    `input` is of a prompt its last message; `output` is the error, the text of an answer, or the
    tool calls of one without text. `replayed_at` are the times at which it was replayed.
    """

    seq: int
    step_id: str
    parent_id: str | None
    scope: str
    node: str | None
    agent: str | None
    model: str | None
    kind: Kind
    name: str
    status: Status
    reason: str | None
    replays: int
    attempt_id: str
    started_at: str
    ended_at: str | None
    duration_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    replayed_at: list[str]
    input: str | None
    output: str | None


class StepPart(TypedDict):
    """A step whose long values are read a part at a time: `..._chars` say how long each is."""

    step_id: str
    run_id: str
    thread_id: str | None
    node: str | None
    seq: int
    parent_id: str | None
    kind: Kind
    name: str
    status: Status
    reason: str | None
    effect: Effect
    started_at: str
    duration_ms: float | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    replays: int
    tool_call_id: str | None
    idempotency_key: str
    input_chars: int | None
    input: str | None
    output_chars: int | None
    output: str | None
    error_chars: int | None
    error: str | None


class ThreadRow(TypedDict):
    """A row of the view `threads`; the figures are sums over its runs."""

    thread_id: str
    first_at: str
    last_at: str
    runs: int
    steps: int
    input_tokens: int
    output_tokens: int


class QuestionRow(TypedDict):
    """What waits for a person: an interrupt of a run, or a step in doubt.

    `question` is its text, where it is recorded; `step_id` is the step that it is about.
    """

    question_id: str
    run_id: str | None
    thread_id: str | None
    node: str | None
    step_id: str | None
    kind: Literal["interrupt", "in_doubt", "approval"]
    asked_at: str
    question: str | None
    answered_at: str | None
    answer: str | None


class SpendRow(TypedDict, total=False):
    """What a group of calls took. It has the column that names the group, and some of the others.

    Times are milliseconds, costs US dollars; `cost_usd` is None where no price is known, and the
    sum of the known prices else. `failed`, the times and `replays` are known of tools only.
    """

    model: str
    tool: str
    thread: str | None
    agent: str | None
    node: str | None
    day: str
    runs: int
    calls: int
    failed: int
    duration_ms: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    replays: int
    saved_ms: float
    saved_tokens: int
    saved_usd: float | None


class WhyStep(TypedDict):
    """Columns of the view `steps`, of the step that is asked about."""

    step_id: str
    run_id: str
    thread_id: str | None
    attempt_id: str
    scope: str
    node: str | None
    seq: int
    kind: Kind
    name: str
    status: Status
    reason_code: str | None
    reason: str | None
    effect: Effect
    started_at: str
    replays: int
    fingerprint: str


class Replayed(TypedDict):
    """A replay of the step: `attempt` counts those of the run, from 1; costs are US dollars."""

    at: str
    attempt: int
    run_id: str
    saved_input_tokens: int | None
    saved_output_tokens: int | None
    saved_usd: float | None


class NearStep(TypedDict):
    """The recorded step that comes nearest."""

    step_id: str
    seq: int
    name: str
    status: Status


class SameStep(TypedDict):
    """A step of another run with the very same request."""

    run_id: str
    step_id: str


class LateResult(TypedDict):
    """What a call came to after a person had decided: `output` is JSON text."""

    output: str | None
    error: str | None


class Event(TypedDict):
    """What happened to a step: it was `begun`, it `ended`, or its result was `replayed`.

    Of a replay, the tokens and the cost (US dollars) are what it saved. `duration_ms` is
    milliseconds, `status` that of the step, or `replayed`.
    """

    event: Literal["begun", "ended", "replayed"]
    at: str
    step_id: str
    run_id: str
    node: str | None
    seq: int
    kind: Kind
    name: str
    status: Status | Literal["replayed"]
    error: str | None
    duration_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
