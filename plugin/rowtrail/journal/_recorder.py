"""Writing steps: begun, completed, replayed. Every method that takes a `Tx` runs inside one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rowtrail.content import Codec, Content, Prepared
from rowtrail.errors import UsageError
from rowtrail.journal._call import Call, Spent, Started
from rowtrail.journal._decisions import set_twins_aside, settle_twins
from rowtrail.journal._log import log
from rowtrail.journal._owners import Owner
from rowtrail.journal._recovery import record_crashes
from rowtrail.journal._replays import Replays
from rowtrail.journal._request import Request
from rowtrail.journal._spend import UNKNOWN_MODEL, utc_day
from rowtrail.replay import ReasonCode, Status, sentence
from rowtrail.store import Row, Store, Tx

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt
    from rowtrail.journal._matching import Doubtful
    from rowtrail.journal._numbers import Key
    from rowtrail.journal._scope import Scope

MAX_ERROR_CHARS = 20_000
MAX_SHORT_CHARS = 1_000


class Recorder:
    """Writes the rows of steps and what is counted from them."""

    def __init__(self, store: Store, content: Content) -> None:
        self.store = store
        self.content = content
        self.calls: weakref.WeakValueDictionary[int, Owner] = weakref.WeakValueDictionary()
        """By step, who makes the calls of this process that are being made."""
        self.attempts: weakref.WeakValueDictionary[int, Attempt] = weakref.WeakValueDictionary()
        """The attempts of this process; one that nobody holds any more is over."""
        self.owed: dict[int, Callable[[Tx], None]] = {}
        """By attempt, its end, where that could not be written: done before the next one begins."""
        self.replays = Replays(store)

    def new_scope(self, tx: Tx, scope: Scope) -> int:
        """Write the row of a scope and return it."""
        return tx.insert(
            "scope_insert",
            run=scope.attempt.run,
            name=scope.name,
            node=scope.node,
            key=scope.key,
        )

    def start_step(
        self,
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
        fingerprint, tool_call_id, n = key
        self.replays.write(tx)
        if code == ReasonCode.IN_DOUBT and not request.is_declared:
            _tell_made_again(scope, request)
        prompt = None
        if request.prompt is not None:
            prompt = self.content.put_list(tx, request.prompt_owner, request.prompt)
        arguments = _short_arguments(request)
        started_at = self.store.clock.now_ms()
        seq = _next_seq(tx, attempt, request)
        key_n, key_scope = _key_parts(tx, scope, scope_row, request, before)
        row = tx.insert(
            "step_insert",
            scope=scope_row,
            attempt=attempt.row,
            parent=scope.parent_row,
            seq=seq,
            kind=request.kind,
            name=request.name,
            status="running" if doubt is None else "in_doubt",
            error=None if doubt is None else doubt.says(request),
            reason_code=code,
            reason=sentence(code, request.effect),
            effect=request.effect,
            fingerprint=fingerprint,
            n=n,
            key_n=key_n,
            key_scope=key_scope,
            now=started_at,
            arguments=arguments,
            input=self.content.put(tx, request.input) if arguments is None else None,
            prompt=prompt,
            tool_call_id=tool_call_id,
            model=request.model,
            provider=request.provider,
            twin=None if doubt is None or doubt.twin is None else doubt.twin["root"],
            masked=request.masked_fingerprint,
            object_free=request.object_free_fingerprint,
        )
        return Started(row, scope_row, key_n, key_scope, started_at, self.store.clock.elapsed_s())

    def complete_step(
        self,
        tx: Tx,
        call: Call,
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
        item = None if output is None else self.content.put(tx, output)
        was_open = tx.run(
            "step_complete",
            id=started.row,
            attempt=call.attempt_row,
            duration_us=self.duration_us(started),
            output=item,
            seal=None if output is None else self.content.seal(output.encoded, *call.identity),
            reason_code=None if output is not None else ReasonCode.NOT_STORED,
            reason=reason,
            model=spent.model,
            provider=spent.provider,
            interrupts=interrupts,
            **_usage_columns(spent),
        )
        if was_open and call.request.effect == "write":
            settle_twins(tx, self.content, started.row, output)
        elif not was_open:
            self._keep_late(tx, call, started, output, None)
        if call.request.kind == "llm":
            self._add_usage(tx, call.run, started.at_ms, spent)

    def fail_step(
        self,
        tx: Tx,
        call: Call,
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
        item = None if output is None else self.content.put(tx, output)
        was_open = tx.run(
            "step_fail",
            id=started.row,
            attempt=call.attempt_row,
            status=status,
            error=error,
            failure=failure,
            output=item,
            interrupts=interrupts,
            duration_us=self.duration_us(started),
            **_usage_columns(spent),
        )
        if was_open and status == "failed" and call.request.effect == "write":
            set_twins_aside(tx, started.row)
        elif not was_open:
            self._keep_late(tx, call, started, output, error)
        if spent.usage is not None:
            self._add_usage(tx, call.run, started.at_ms, spent)

    @staticmethod
    def _keep_late(
        tx: Tx, call: Call, started: Started, output: Prepared | None, error: str | None
    ) -> None:
        """Keep what came after somebody had decided beside the decision, never over it."""
        text = None if output is None else output.encoded.text
        tx.run("step_late", id=started.row, attempt=call.attempt_row, output=text, error=error)
        log().warning(
            "step %s (%r) ended after it was decided what became of it: the decision stands, and "
            "what came late is kept beside it",
            started.row,
            call.request.name,
        )

    def _add_usage(self, tx: Tx, run: int, at_ms: int, spent: Spent) -> None:
        usage, cost = spent.usage, spent.cost_usd
        tokens = {
            "input_tokens": usage.input_tokens if usage else 0,
            "output_tokens": usage.output_tokens if usage else 0,
        }
        tx.run("run_add_usage", run=run, cost_usd=cost, **tokens)
        tx.run(
            "spend_add",
            day=utc_day(at_ms),
            model=spent.model or UNKNOWN_MODEL,
            calls=1,
            cost_usd=cost,
            saved_tokens=0,
            saved_usd=None,
            **tokens,
        )

    def goes_on(self, row: Row) -> bool:
        """Return whether an attempt, as a row with the columns of `process`, may still go on.

        Of this process it is known; another's process must be told dead first.
        """
        if row["process"] != self.store.process_row:
            return self.store.is_alive(row)
        attempt = self.attempts.get(row["id"])
        if attempt is not None and not attempt.is_left:
            return True
        return any(
            owner.attempt == row["id"] and self.call_goes_on(step)
            for step, owner in list(self.calls.items())
        )

    def verdict_in_s(self, row: Row) -> float | None:
        """Return after how many seconds of silence an owner counts as dead; None: it lives."""
        if row["process"] == self.store.process_row:
            return None
        return self.store.verdict_in_s(row)

    def step_goes_on(self, tx: Tx, step: int, attempt: int, asker: Owner) -> bool:
        """Return whether a step that is `running` may still be made by its owner."""
        row = tx.one("attempt_owner", attempt=attempt)
        if row is None:
            return False
        if row["process"] == self.store.process_row:
            return self.call_goes_on(step, asker)
        if row["ended_at"] is not None and not row["left_open"]:
            return False
        return self.store.is_alive(row)

    def call_goes_on(self, step: int, asker: Owner | None = None) -> bool:
        """Return whether a call of this process is still being made."""
        owner = self.calls.get(step)
        return owner is not None and not owner.is_gone(self.store.clock.elapsed_s(), step, asker)

    def beat(self, tx: Tx) -> None:
        """Do what is done with every heartbeat: write replays, and which attempts are gone.

        Of those of this process nobody else can tell: a closed loop, or a run that nobody holds.
        """
        self.replays.write(tx)
        record_crashes(tx, self)

    def describe(self, error: BaseException, codec: Codec | None = None) -> str:
        """Return the type and the message of an error, cut to a length that a row can bear.

        Where the codec encrypts, only the type: messages often quote what went wrong.
        """
        if codec is not None and codec.is_opaque:
            return type(error).__name__
        text = f"{type(error).__name__}: {error}"
        return text.encode("utf-8", "backslashreplace").decode()[:MAX_ERROR_CHARS]

    def duration_us(self, started: Started) -> int:
        """Return how long a step has taken so far, in microseconds."""
        return int((self.store.clock.elapsed_s() - started.clock_s) * 1_000_000)


def _key_parts(
    tx: Tx, scope: Scope, scope_row: int, request: Request, before: Row | None
) -> tuple[int, str | None]:
    """Return which of the equal calls of its scope a call is, and of which scope if another."""
    if before is not None:
        return before["key_n"], before["key_scope"] if before["key_scope"] != scope.key else None
    if request.kind == "llm":
        return 1, None
    return tx.value("step_key_n", scope=scope_row, fingerprint=request.fingerprint), None


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


def _tell_made_again(scope: Scope, request: Request) -> None:
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


def _short_arguments(request: Request) -> str | None:
    """Return the arguments that the step's own row holds: a row of their own costs more."""
    encoded = request.input.encoded
    if request.kind == "llm" or encoded.type != "dict" or encoded.data is not None:
        return None
    text = encoded.text
    return text if text is not None and len(text) <= MAX_SHORT_CHARS else None
