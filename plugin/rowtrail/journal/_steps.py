"""The rows of steps: begun, completed, failed. Every function that takes a `Tx` runs inside one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rowtrail.content import Prepared
from rowtrail.engine import NewResult, NewStep, Row, Tx
from rowtrail.errors import UsageError
from rowtrail.journal._attempt import Attempt, Scope
from rowtrail.journal._flow import Complete, Flow, Write
from rowtrail.journal._log import log
from rowtrail.journal._matching import Doubtful
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._replays import UNKNOWN_MODEL, utc_day
from rowtrail.journal._request import Key, Request, text_in_row
from rowtrail.journal.decisions import set_twins_aside, settle_twins
from rowtrail.replay import Aside, ReasonCode, Status, sentence
from rowtrail.usage import Usage


class Started(NamedTuple):
    """A step whose row is on disk and whose call may now be made."""

    row: int
    request: Request
    key: Key
    key_n: int
    key_scope: str | None
    """Of the scope whose call it makes again, where that is another one."""
    run: int
    attempt: int
    scope: int
    at_ms: int
    clock_s: float


class Spent(NamedTuple):
    """What a call used: the model that was asked, the tokens, and what they cost."""

    usage: Usage | None = None
    model: str | None = None
    provider: str | None = None
    cost_usd: float | None = None


def start_step(
    tx: Tx,
    scope: Scope,
    scope_row: int,
    request: Request,
    key: Key,
    *,
    code: ReasonCode,
    before: Row | None,
    doubt: Doubtful | None,
) -> Started:
    """Write the row of a step that is about to be made.

    Args:
        tx: The transaction.
        scope: Where the call is made.
        scope_row: The row of the scope.
        request: What is asked.
        key: What the step is found by.
        code: Why the call is made.
        before: The step that it makes again: it keeps its idempotency key.
        doubt: Why it is in doubt before it is made, None where it is not.
    """
    attempt = scope.attempt
    recorder, content = attempt.recorder, attempt.recorder.content
    recorder.replays.write(tx)
    if code == ReasonCode.IN_DOUBT and not request.is_declared:
        tx.after_commit(partial(_warn_made_again, scope, request))
    prompt = None
    if request.prompt is not None:
        prompt = content.put_list(tx, request.prompt_owner, request.prompt)
    arguments = None if request.kind == "llm" else text_in_row(request.input.encoded)
    started_at = tx.now_ms()
    seq = _next_seq(tx, attempt, request)
    key_n, key_scope = _key_parts(tx, scope, scope_row, request, before)
    row = tx.insert(
        "step_insert",
        scope=scope_row,
        attempt=attempt.row,
        parent=scope.parent_row,
        seq=seq,
        n=key[2],
        key_n=key_n,
        key_scope=key_scope,
        now=started_at,
        arguments=arguments,
        input=None
        if arguments is not None
        else content.put(tx, request.input, refreshed=prompt is not None),
        prompt=prompt,
        reason_code=code,
        reason=sentence(code, request.effect),
        **_doubt_columns(request, doubt),
        **_request_columns(request),
    )
    return Started(
        row,
        request,
        key,
        key_n,
        key_scope,
        attempt.run,
        attempt.row,
        scope_row,
        started_at,
        recorder.store.clock.elapsed_s(),
    )


def new_step(scope: Scope, request: Request, key: Key, code: ReasonCode) -> NewStep | None:
    """Return the row of a call of which nothing can be recorded, None where something may be.

    Or where more than this row is to be written.
    """
    attempt, scope_row = scope.attempt, scope.known_row
    arguments = None if request.kind == "llm" else text_in_row(request.input.encoded)
    if (
        scope_row is None
        or arguments is None
        or request.prompt is not None
        or attempt.replay_always
        or attempt.recorder.replays.are_waiting
        or (attempt.strict and code == ReasonCode.CHANGED)
        or (request.effect != "read" and _may_stand_for_another(scope))
    ):
        return None
    doubts_count = request.effect == "write" and not attempt.begun.keeps_doubts
    return NewStep(
        run=attempt.run,
        attempt=attempt.row,
        scope=scope_row,
        kind=request.kind,
        name=request.name,
        effect=request.effect,
        reason_code=code,
        reason=sentence(code, request.effect),
        fingerprint=request.fingerprint,
        n=key[2],
        arguments=arguments,
        parent=scope.parent_row,
        tool_call_id=request.tool_call_id,
        masked=request.masked_fingerprint,
        object_free=request.object_free_fingerprint,
        thread=attempt.thread if doubts_count else None,
    )


def _may_stand_for_another(scope: Scope) -> bool:
    """Return whether a call that changes the world may be one that is recorded elsewhere."""
    attempt = scope.attempt
    return attempt.continues or attempt.has_doubts or any(scope.generation)


def started_step(
    scope: Scope, request: Request, key: Key, step: NewStep, row: int, at_ms: int
) -> Started:
    """Return a step whose row was written at once."""
    attempt = scope.attempt
    clock_s = attempt.recorder.store.clock.elapsed_s()
    return Started(
        row, request, key, step.n, None, step.run, step.attempt, step.scope, at_ms, clock_s
    )


def completing(
    recorder: Recorder,
    started: Started,
    output: Prepared | None,
    *,
    settle: Callable[[Tx | None], None],
    spend: Callable[[], Spent] | None,
    reason: str | None,
    interrupts: int,
) -> Flow[None]:
    """Write a step's result: in one statement, or where more is to be written, a transaction.

    Args:
        recorder: What the step is written with.
        started: The step.
        output: Its result, None where that cannot be stored.
        settle: Called once the result is written, with the transaction if that may be undone yet.
        spend: Returns what the call used, None where it used nothing; it may take long, and is
            called in a transaction.
        reason: Why the result is not stored, or who gave it.
        interrupts: How many answers of people the call consumed.
    """
    if output is not None and reason is None and spend is None:
        result = _new_result(recorder, started, output, interrupts)
        if (yield Complete(result, lambda: settle(None))):
            return

    def work(tx: Tx) -> None:
        spent = Spent() if spend is None else spend()
        complete_step(
            tx, recorder, started, output, reason=reason, spent=spent, interrupts=interrupts
        )
        settle(tx)

    yield Write(work)


def _new_result(
    recorder: Recorder, started: Started, output: Prepared, interrupts: int
) -> NewResult:
    encoded, (fingerprint, _, n) = output.encoded, started.key
    return NewResult(
        step=started.row,
        attempt=started.attempt,
        duration_us=_duration_us(recorder, started),
        interrupts=interrupts,
        seal=recorder.content.seal(encoded, fingerprint, n),
        type=encoded.type,
        text=encoded.text,
        data=encoded.data,
        digest=output.digest,
    )


def complete_step(
    tx: Tx,
    recorder: Recorder,
    started: Started,
    output: Prepared | None,
    *,
    reason: str | None,
    spent: Spent,
    interrupts: int,
) -> None:
    """Write a step's result, and add its usage to the run and to the day.

    Where somebody has decided meanwhile what became of it, the result is kept beside that.
    """
    content, (fingerprint, _, n) = recorder.content, started.key
    was_open = tx.changed(
        "step_complete",
        id=started.row,
        attempt=started.attempt,
        duration_us=_duration_us(recorder, started),
        output=None if output is None else content.put(tx, output),
        seal=None if output is None else content.seal(output.encoded, fingerprint, n),
        reason_code=None if output is not None else ReasonCode.NOT_STORED,
        reason=reason,
        model=spent.model,
        provider=spent.provider,
        interrupts=interrupts,
        **_usage_columns(spent),
    )
    if was_open and started.request.effect == "write":
        settle_twins(tx, content, started.row, output)
    elif not was_open:
        _keep_late(tx, started, output, None)
    if started.request.kind == "llm":
        _add_usage(tx, started, spent)


def fail_step(
    tx: Tx,
    recorder: Recorder,
    started: Started,
    output: Prepared | None,
    *,
    status: Status,
    error: str,
    failure: str | None,
    spent: Spent,
    interrupts: int,
) -> None:
    """Write that a step raised, and what it had used; what comes late is kept beside."""
    was_open = tx.changed(
        "step_fail",
        id=started.row,
        attempt=started.attempt,
        status=status,
        error=error,
        failure=failure,
        output=None if output is None else recorder.content.put(tx, output),
        interrupts=interrupts,
        duration_us=_duration_us(recorder, started),
        **_usage_columns(spent),
    )
    if was_open and status == "failed" and started.request.effect == "write":
        set_twins_aside(tx, started.row)
    elif not was_open:
        _keep_late(tx, started, output, error)
    if spent.usage is not None:
        _add_usage(tx, started, spent)


def leave_step(tx: Tx, started: Started, error: BaseException) -> None:
    """Write that a framework left a step which has not failed, to run it again from its top."""
    reason = f"left by {type(error).__name__}: it runs from its top again when it is resumed"
    tx.run(
        "step_left",
        id=started.row,
        attempt=started.attempt,
        aside=Aside.INTERRUPTED,
        reason=reason,
    )


def _keep_late(tx: Tx, started: Started, output: Prepared | None, error: str | None) -> None:
    """Keep what came after somebody had decided beside the decision, never over it."""
    text = None if output is None else output.encoded.text
    tx.run("step_late", id=started.row, attempt=started.attempt, output=text, error=error)
    tx.after_commit(partial(_warn_late, started))


def _warn_late(started: Started) -> None:
    log().warning(
        "step %s (%r) ended after it was decided what became of it: the decision stands, and "
        "what came late is kept beside it",
        started.row,
        started.request.name,
    )


def _add_usage(tx: Tx, started: Started, spent: Spent) -> None:
    usage, cost = spent.usage, spent.cost_usd
    tokens = {
        "input_tokens": usage.input_tokens if usage else 0,
        "output_tokens": usage.output_tokens if usage else 0,
    }
    tx.run("run_add_usage", run=started.run, cost_usd=cost, **tokens)
    tx.run(
        "spend_add",
        day=utc_day(started.at_ms),
        model=spent.model or UNKNOWN_MODEL,
        calls=1,
        cost_usd=cost,
        saved_tokens=0,
        saved_usd=None,
        **tokens,
    )


def _duration_us(recorder: Recorder, started: Started) -> int:
    return int((recorder.store.clock.elapsed_s() - started.clock_s) * 1_000_000)


def _key_parts(
    tx: Tx, scope: Scope, scope_row: int, request: Request, before: Row | None
) -> tuple[int, str | None]:
    """Return which of the equal calls of its scope a call is, and of which scope if another."""
    if before is not None:
        return before["key_n"], before["key_scope"] if before["key_scope"] != scope.key else None
    if request.kind == "llm":
        return 1, None
    return tx.value("step_key_n", scope=scope_row, fingerprint=request.fingerprint), None


def _request_columns(request: Request) -> dict[str, Any]:
    return {
        "kind": request.kind,
        "name": request.name,
        "effect": request.effect,
        "fingerprint": request.fingerprint,
        "masked": request.masked_fingerprint,
        "object_free": request.object_free_fingerprint,
        "tool_call_id": request.tool_call_id,
        "model": request.model,
        "provider": request.provider,
    }


def _doubt_columns(request: Request, doubt: Doubtful | None) -> dict[str, Any]:
    if doubt is None:
        return {"status": "running", "error": None, "twin": None}
    twin = None if doubt.twin is None else doubt.twin["root"]
    return {"status": "in_doubt", "error": doubt.says(request), "twin": twin}


def _usage_columns(spent: Spent) -> dict[str, Any]:
    usage = spent.usage
    return {
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "cache_read_tokens": usage and usage.cache_read_tokens,
        "cache_write_tokens": usage and usage.cache_write_tokens,
        "reasoning_tokens": usage and usage.reasoning_tokens,
        "tokens_source": usage and usage.source,
        "cost_usd": spent.cost_usd,
    }


def _warn_made_again(scope: Scope, request: Request) -> None:
    log().warning(
        "%s %r in scope %r may have happened before it was interrupted, and is made again",
        request.kind,
        request.name,
        scope.name,
    )


def _next_seq(tx: Tx, attempt: Attempt, request: Request) -> int:
    """Return the number of a new step of a run.

    Raises:
        UsageError: The run was deleted with its thread while it went on.
    """
    seq: int | None = tx.value("run_count_step", run=attempt.run, kind=request.kind)
    if seq is None:
        raise UsageError(
            f"{request.name} was not called: thread {attempt.thread_id!r} was deleted while "
            f"run {attempt.run_id!r} went on, and nothing can be recorded for it any more"
        )
    return seq
