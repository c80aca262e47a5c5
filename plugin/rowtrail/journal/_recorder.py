"""Writing steps: begun, completed, replayed. Every method that takes a `Tx` runs inside one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rowtrail.content import Codec, Content, Prepared
from rowtrail.journal._call import Call, Started
from rowtrail.journal._log import log
from rowtrail.journal._request import Request
from rowtrail.store import Store, Tx
from rowtrail.usage import Usage

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt
    from rowtrail.journal._scope import Key, Scope

MAX_ERROR_CHARS = 20_000
MAX_SHORT_CHARS = 1_000
MAX_WAITING_REPLAYS = 4_096
KEPT_S = 10.0
"""No transaction takes longer: what was written before is committed."""
UNKNOWN_MODEL = "unknown"


_Replay = tuple["Attempt", int, int]
"""Who replayed, the step, and when."""

_Written = tuple[float, int, _Replay]
"""When the row of a replay was written, and its id."""


class Recorder:
    """Writes the rows of steps and what is counted from them."""

    def __init__(self, store: Store, content: Content) -> None:
        self.store = store
        self.content = content
        self.owed: dict[int, Callable[[Tx], None]] = {}
        """By attempt, its end, where that could not be written: done before the next one begins."""
        self._replays: deque[_Replay] = deque()
        self._written: deque[_Written] = deque()
        """The last ones: they may be rolled back yet."""
        self._epoch = store.epoch

    def start_step(
        self, tx: Tx, scope: Scope, scope_row: int, request: Request, key: Key, reason: str
    ) -> Started:
        """Write the row of a step that is about to be made."""
        attempt = scope.attempt
        fingerprint, tool_call_id, n = key
        self.write_replays(tx)
        if reason.startswith("in doubt"):
            log().warning(
                "%s %r in scope %r may have happened before the process died, and is made again",
                request.kind,
                request.name,
                scope.name,
            )
        prompt = None
        if request.prompt is not None:
            prompt = self.content.put_list(tx, request.prompt_owner, request.prompt)
        arguments = _short_arguments(request)
        started_at = self.store.clock.now_ms()
        row = tx.insert(
            "step_insert",
            scope=scope_row,
            attempt=attempt.row,
            parent=scope.parent_row,
            seq=tx.value("run_count_step", run=attempt.run, kind=request.kind),
            kind=request.kind,
            name=request.name,
            reason=reason,
            effect=request.effect,
            fingerprint=fingerprint,
            n=n,
            now=started_at,
            arguments=arguments,
            input=self.content.put(tx, request.input) if arguments is None else None,
            prompt=prompt,
            tool_call_id=tool_call_id,
            model=request.model,
            provider=request.provider,
        )
        return Started(row, scope_row, started_at, self.store.clock.elapsed_s())

    def complete_step(
        self,
        tx: Tx,
        call: Call,
        started: Started,
        output: Prepared | None,
        *,
        reason: str | None,
        usage: Usage | None,
        model: str | None,
        provider: str | None,
        cost_usd: float | None,
        interrupts: int,
    ) -> None:
        """Write a step's result, and add its usage to the run and to the day."""
        tx.run(
            "step_complete",
            id=started.row,
            attempt=call.attempt_row,
            duration_us=self.duration_us(started),
            output=None if output is None else self.content.put(tx, output),
            seal=None if output is None else self.content.seal(output.encoded, *call.identity),
            reason=reason,
            model=model,
            provider=provider,
            input_tokens=usage and usage.input_tokens,
            output_tokens=usage and usage.output_tokens,
            cache_read_tokens=usage and usage.cache_read_tokens,
            cache_write_tokens=usage and usage.cache_write_tokens,
            reasoning_tokens=usage and usage.reasoning_tokens,
            tokens_source=usage and usage.source,
            cost_usd=cost_usd,
            interrupts=interrupts,
        )
        if call.request.kind == "llm":
            self._add_usage(tx, call.run, started.at_ms, model, usage, cost_usd)

    def _add_usage(
        self,
        tx: Tx,
        run: int,
        at_ms: int,
        model: str | None,
        usage: Usage | None,
        cost: float | None,
    ) -> None:
        tokens = {
            "input_tokens": usage.input_tokens if usage else 0,
            "output_tokens": usage.output_tokens if usage else 0,
        }
        tx.run("run_add_usage", run=run, cost_usd=cost, **tokens)
        tx.run(
            "spend_add",
            day=utc_day(at_ms),
            model=model or UNKNOWN_MODEL,
            calls=1,
            cost_usd=cost,
            saved_tokens=0,
            saved_usd=None,
            **tokens,
        )

    def record_replay(self, attempt: Attempt, step: int) -> None:
        """Remember a replay: its row is written with the next step, or after `HEARTBEAT_S`.

        Losing it in a crash costs nothing but the row; a transaction of its own would cost more
        than the replay.
        """
        self._replays.append((attempt, step, self.store.clock.now_ms()))
        if len(self._replays) == MAX_WAITING_REPLAYS:
            self.store.submit(self.write_replays)

    def write_replays(self, tx: Tx) -> None:
        """Write the rows of the replays so far."""
        self._take_back(tx)
        for _ in range(len(self._replays)):
            row = self._insert_replay(tx, *self._replays[0])
            replay = self._replays.popleft()
            if row is not None:
                self._written.append((self.store.clock.elapsed_s(), row, replay))

    def _take_back(self, tx: Tx) -> None:
        """Take replays back whose rows were rolled back, with the work of another caller, say."""
        if self._epoch != self.store.epoch:
            self._epoch = self.store.epoch
            kept: deque[_Written] = deque()
            lost: list[_Replay] = []
            for each in self._written:
                _, row, (attempt, step, now) = each
                if tx.one("replay_row", id=row, step=step, attempt=attempt.row, now=now):
                    kept.append(each)
                else:
                    lost.append(each[2])
            self._written = kept
            self._replays.extendleft(reversed(lost))
        while self._written and self._written[0][0] < self.store.clock.elapsed_s() - KEPT_S:
            self._written.popleft()

    def _insert_replay(self, tx: Tx, attempt: Attempt, step: int, now: int) -> int | None:
        """Write the row of a replay and return it; None where its run is there no more."""
        saved = tx.all("saved_by_step", step=step)
        costs = [row["cost_usd"] for row in saved if row["cost_usd"] is not None]
        total = sum(costs) if costs else None
        tokens_in = sum(row["input_tokens"] or 0 for row in saved)
        tokens_out = sum(row["output_tokens"] or 0 for row in saved)
        row = tx.insert_absent(
            "replay_insert",
            step=step,
            attempt=attempt.row,
            now=now,
            input_tokens=tokens_in if saved else None,
            output_tokens=tokens_out if saved else None,
            usd=total,
        )
        if not saved or row is None:
            return row
        tx.run("run_add_saved", run=attempt.run, tokens=tokens_in + tokens_out, usd=total)
        for each in saved:
            tx.run(
                "spend_add",
                day=utc_day(now),
                model=each["model"] or UNKNOWN_MODEL,
                calls=0,
                input_tokens=0,
                output_tokens=0,
                cost_usd=None,
                saved_tokens=(each["input_tokens"] or 0) + (each["output_tokens"] or 0),
                saved_usd=each["cost_usd"],
            )
        return row

    def is_alive(self, tx: Tx, attempt: int) -> bool:
        """Tell whether an attempt is still going on in a process that lives."""
        owner = tx.one("attempt_owner", attempt=attempt)
        if owner is None or owner["ended_at"] is not None:
            return False
        return self.store.is_alive(owner)

    def idempotency_key(self, scope_row: int, fingerprint: bytes, n: int) -> str:
        """Return the key of a step, as the view `steps` shows it."""
        return f"{self.store.journal_id[:8]}-{scope_row}-{fingerprint.hex()}-{n}"

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


def _short_arguments(request: Request) -> str | None:
    """Return the arguments that the step's own row holds: a row of their own costs more."""
    encoded = request.input.encoded
    if request.kind == "llm" or encoded.type != "dict" or encoded.data is not None:
        return None
    text = encoded.text
    return text if text is not None and len(text) <= MAX_SHORT_CHARS else None


def utc_day(ms: int) -> str:
    """Return the UTC day of a time, as YYYY-MM-DD."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
