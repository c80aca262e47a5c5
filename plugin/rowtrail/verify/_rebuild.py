"""Copying the rows of a damaged journal into a new one, in the order in which they refer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from rowtrail.engine import Row
from rowtrail.engine.files import DamagedFile, NewFile
from rowtrail.errors import DamagedError
from rowtrail.replay import scope_key
from rowtrail.verify._contents import (
    MAX_ROW,
    Contents,
    counted,
    hash_key,
    read_contents,
    unsealed_steps,
)
from rowtrail.verify._rebuild_state import State
from rowtrail.verify._report import Progress

LOST_RESULT = "the recorded result was damaged, and left out by `rowtrail repair`"
STUB = "its row was damaged: `rowtrail repair` knows of it from an index"

_INDEXED = frozenset(("thread", "label", "run", "scope"))
"""Tables with an index that holds enough of a row to rebuild it."""

_STEP_STUB: dict[str, Any] = {
    "parent": None,
    "kind": "function",
    "name": "(lost)",
    "status": "in_doubt",
    "reason_code": None,
    "reason": STUB,
    "aside": None,
    "key_n": 1,
    "key_scope": None,
    "effect": "write",
    "started_at": 0,
    "interrupts": 0,
    "asked": 0,
    "answers": 1,
}
_STEP_EMPTY = (
    *(
        "duration_us",
        "arguments",
        "input",
        "prompt",
        "output",
        "seal",
        "error",
        "failure",
        "ended_seq",
        "late_output",
        "late_error",
        "twin",
        "asked_in",
        "masked",
        "object_free",
        "tool_call_id",
        "model",
    ),
    *("provider", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "tokens_source", "cost_usd"),
)


class Rebuild:
    """One repair: what is sound is copied, and the rest is named in `losses`."""

    def __init__(self, file: DamagedFile, new: NewFile, progress: Progress) -> None:
        self._file, self._new, self._progress = file, new, progress
        self.losses: list[tuple[str, str]] = []
        self._rows: dict[str, dict[int, int | None]] = {}
        """By table, the rows that the new journal has; of scopes and attempts with their run."""
        self._newest_attempt: dict[int, int] = {}
        self._key: bytes | None = None
        self._contents = Contents()
        self._has_left_out = False
        """Whether a step is left out of which an index may still have the key."""
        self._stubs: list[tuple[int, bytes, int]] = []

    def build(self) -> None:
        """Copy everything that can be."""
        self._key = self._copy_facts()
        self._contents = read_contents(self._file, self._progress, key=self._key)
        self._copy_contents()
        for table in ("process", "thread", "label", "run", "scope", "attempt"):
            self._copy_plain(table)
        self._copy_steps()
        self._add_stubs()
        self._copy_questions()
        state = State(self._file, self._new, self._contents, self._progress, self.losses)
        state.copy(threads=self._rows["thread"], labels=self._rows["label"])
        self._copy_counts()
        for hole in dict.fromkeys(self._file.holes):  # a table may be read twice
            self.losses.append((str(hole), f"cannot be read: {hole.why}"))

    def _lose(self, row: str, says: str) -> None:
        self.losses.append((row, says))

    def _fact(self, key: str) -> str | None:
        try:
            found = self._file.all("meta_value", key=key)
        except DamagedError:
            return None
        return str(found[0]["value"]) if found else None

    def _copy_facts(self) -> bytes | None:
        key = hash_key(self._file)
        if key is None:
            self._lose("meta 'hash_key'", "lost: no stored value can be proved, all are left out")
        journal_id = self._fact("journal_id")
        if journal_id is None or len(journal_id) != 32:
            says = "lost: idempotency keys of calls that are made again will be others"
            self._lose("meta 'journal_id'", says)
            journal_id = os.urandom(16).hex()
        created_at = self._fact("created_at")
        generation = self._fact("generation") or ""
        facts = {
            "journal_id": journal_id,
            "hash_key": (key or os.urandom(16)).hex(),
            "created_at": created_at if created_at and created_at.isdecimal() else "0",
            # Even: no sweep goes on in the new file.
            "generation": str(int(generation) // 2 * 2 + 2) if generation.isdecimal() else "2",
        }
        for name, value in facts.items():
            self._new.tx.run("meta_set", key=name, value=value)
        return key

    def _copy_contents(self) -> None:
        contents = self._contents
        for row in counted(self._file, "item", {}, self._progress):
            if row["id"] not in contents.bad_items and not self._new.add("item_salvage", dict(row)):
                contents.bad_items[row["id"]] = "a second one has its hash"
        for item, why in contents.bad_items.items():
            self._lose(f"item {item}", f"left out: {why}")
        self._copy_logs()
        for row in counted(self._file, "list", {}, self._progress):
            if row["id"] not in contents.bad_lists:
                self._new.add("list_salvage", dict(row))
        for listed, why in contents.bad_lists.items():
            self._lose(f"list {listed}", f"left out: {why}")

    def _copy_logs(self) -> None:
        contents = self._contents
        done: set[int] = set()
        for row in counted(self._file, "log", {}, self._progress):
            newest = row["newest"]
            if newest is not None and contents.list_fault(newest) is not None:
                newest = None
            done.add(row["id"])
            if not self._new.add("log_salvage", {**dict(row), "newest": newest}):
                done.discard(row["id"])
        for log in contents.spans:
            if log not in done:
                self._lose(f"log {log}", "its row is lost: its lists are kept, new ones begin anew")
                self._new.add("log_salvage", {"id": log, "owner": f"lost/{log}", "newest": None})
            known = list(self._file.holes)
            for row in self._file.scan(
                "log_item", "log_item_scan", label=f"log_item of log {log}", log=log
            ):
                if contents.holds(log, row["pos"], row["pos"] + 1):
                    self._new.add("log_item_salvage", dict(row))
            self._file.holes[:] = known  # added when the contents were read

    def _suspects(self, table: str) -> set[int]:
        """Return the rows that their index has otherwise: nobody knows which is right."""
        try:
            return {row[0] for row in self._file.all(f"{table}_suspects")}
        except DamagedError as error:
            self._lose(table, f"could not be compared with its index: {error}")
            return set()

    def _spares(self, table: str) -> list[Row]:
        """Return what the index of a damaged table still holds."""
        try:
            return self._file.all(f"{table}_spare")
        except DamagedError:
            return []

    def _rows_of(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table, and of those that are lost what its index holds."""
        seen: set[int] = set()
        suspects = self._suspects(table) if table in _INDEXED else set[int]()
        holes = len(self._file.holes)
        for row in counted(self._file, table, {}, self._progress):
            if row["id"] in suspects:
                self._lose(f"{table} {row['id']}", "left out: its index has another name for it")
            elif 0 <= row["id"] < MAX_ROW:
                yield dict(row)
            seen.add(row["id"])
        if table in _INDEXED and len(self._file.holes) > holes:
            for row in self._spares(table):
                if row["id"] not in seen:
                    self._lose(f"{table} {row['id']}", "rebuilt from its index: the rest is lost")
                    yield dict(row)

    def _copy_plain(self, table: str) -> None:
        have = self._rows[table] = {}
        for row in self._rows_of(table):
            name = f"{table} {row['id']}"
            if table in ("scope", "attempt") and row["run"] not in self._rows["run"]:
                self._lose(name, f"left out: its run {row['run']} is lost")
                continue
            is_stray = table == "run" and row["thread"] is not None
            if is_stray and row["thread"] not in self._rows["thread"]:
                self._lose(name, f"run {row['run_id']!r} is of no thread: that row is lost")
                row["thread"] = None
            if table == "scope" and row["key"] is None:
                row["key"] = scope_key(row["name"])
            if table == "attempt" and row["process"] not in self._rows["process"]:
                self._add_process(row["process"])
            if not self._new.add(f"{table}_salvage", row):
                self._lose(name, "left out: it breaks a rule of its table")
                continue
            have[row["id"]] = row.get("run")
            if table == "attempt":
                self._newest_attempt[row["run"]] = row["id"]

    def _add_process(self, process: int) -> None:
        unknown = dict.fromkeys(("pid_start", "boot_id", "pid_space", "host"), "lost")
        row = {"id": process, "pid": 0, "last_seen_at": 0, **unknown}
        if self._new.add("process_salvage", row):
            self._rows["process"][process] = None

    def _attempt_of(self, run: int, wanted: int | None = None) -> int:
        """Return an attempt of a run; one is made where there is none, or `wanted` is lost."""
        attempts = self._rows["attempt"]
        if wanted is None:
            if run in self._newest_attempt:
                return self._newest_attempt[run]
            wanted = max(attempts, default=0) + 1
        n = self._new.tx.value("attempt_next", run=run)
        self._add_process(0)
        crashed = {"process": 0, "started_at": 0, "ended_at": 0, "outcome": "crashed"}
        crashed |= {"left_open": 0, "answer": None, "head": None, "head_step": None}
        if self._new.add("attempt_salvage", {"id": wanted, "run": run, "n": n, **crashed}):
            attempts[wanted] = run
            self._newest_attempt[run] = wanted
            return wanted
        return self._attempt_of(run)

    def _copy_steps(self) -> None:
        have = self._rows["step"] = {}
        suspects = self._suspects("step")
        mismatched = self._mismatched()
        holes = len(self._file.holes)
        for found in counted(self._file, "step", {}, self._progress):
            row = dict(found)
            self._copy_step(row, doubtful=row["id"] in suspects, mismatched=row["id"] in mismatched)
        if suspects or self._has_left_out or len(self._file.holes) > holes:
            for spare in self._spares("step"):
                if self._new.tx.one("step_has_key", **dict(spare)) is None:
                    self._stubs.append((spare["scope"], spare["fingerprint"], spare["n"]))
        for made in counted(self._file, "replay", {}, self._progress):
            if made["step"] in have and made["attempt"] in self._rows["attempt"]:
                self._new.add("replay_salvage", dict(made))

    def _mismatched(self) -> set[int]:
        """Return the steps whose result is that of another call."""
        found = {step for step, _ in unsealed_steps(self._file, self._key)}
        with contextlib.suppress(DamagedError):
            found |= {row["id"] for row in self._file.all("results_of_other_calls")}
        return found

    def _copy_step(self, row: dict[str, Any], *, doubtful: bool, mismatched: bool) -> None:
        scopes, attempts = self._rows["scope"], self._rows["attempt"]
        name = f"step {row['id']}"
        what = f"{row['status']} {row['kind']} {row['name']!r}"
        run = scopes.get(row["scope"])
        if run is None or not 0 <= row["id"] < MAX_ROW:
            self._lose(name, f"left out ({what}): its scope {row['scope']} is lost")
            return
        if attempts.get(row["attempt"]) != run:
            doubtful = doubtful or row["attempt"] in attempts
            wanted = None if row["attempt"] in attempts else row["attempt"]
            row["attempt"] = self._attempt_of(run, wanted)
        self._clear_content(row, name, what, mismatched=mismatched)
        if doubtful and row["status"] in ("done", "running", "in_doubt"):
            self._lose(name, f"in doubt ({what}): its row and its index differ")
            row.update(status="in_doubt", output=None, reason=STUB)
        if row["status"] == "failed" and row["error"] is None:
            row["error"] = "lost"
        if not self._new.add("step_salvage", row):
            self._lose(name, f"left out ({what}): it breaks a rule of its table")
            self._has_left_out = True
            return
        self._rows["step"][row["id"]] = None

    def _clear_content(
        self, row: dict[str, Any], name: str, what: str, *, mismatched: bool
    ) -> None:
        """Leave out what a step refers to and cannot be proved."""
        contents = self._contents
        if row["input"] is not None and contents.item_fault(row["input"]) is not None:
            self._lose(name, f"without its input ({what})")
            row["input"] = None
        if row["prompt"] is not None and contents.list_fault(row["prompt"]) is not None:
            self._lose(name, f"without its messages ({what})")
            row["prompt"] = None
        if row["output"] is None:
            return
        if mismatched or contents.item_fault(row["output"]) is not None:
            then = (
                "nobody knows what it returned: in doubt"
                if row["effect"] == "write"
                else ("it is made again")
            )
            self._lose(name, f"without its result ({what}): {then}")
            row["output"] = None
            if row["status"] == "done":
                row["reason"] = LOST_RESULT

    def _copy_questions(self) -> None:
        for found in counted(self._file, "question", {}, self._progress):
            row = dict(found)
            for column in ("thread", "run", "scope"):
                if row[column] not in self._rows[column]:
                    row[column] = None
            if not self._new.add("question_salvage", row):
                self._lose(f"question {row['id']}", "left out: it breaks a rule of its table")

    def _add_stubs(self) -> None:
        """Put steps in doubt of which only the key is known, so that no `write` is made twice."""
        next_row = max(self._rows["step"], default=0) + 1
        for scope, fingerprint, n in self._stubs:
            run = self._rows["scope"].get(scope)
            if run is None:
                continue
            self._lose(f"step of scope {scope}", f"in doubt: {STUB}")
            calls = self._new.tx.all("calls_unanswered", run=run)
            for call in (None, *(str(row[0]) for row in calls)):
                row = {**dict.fromkeys(_STEP_EMPTY), **_STEP_STUB, "tool_call_id": call}
                row.update(id=next_row, scope=scope, fingerprint=fingerprint, n=n, seq=next_row)
                row["attempt"] = self._attempt_of(run)
                if self._new.add("step_salvage", row):
                    self._rows["step"][next_row] = None
                    next_row += 1

    def _copy_counts(self) -> None:
        """Settle what nobody works on any more, and count again."""
        tx = self._new.tx
        for statement in ("steps_settle", "attempts_settle", "runs_settle", "parents_clear"):
            tx.run(statement)
        try:
            days = self._file.all("spend_day_all")
        except DamagedError as error:
            self._lose("spend_day", f"counted again from the steps that are left: {error}")
            days = []
        for row in days:
            self._new.add("spend_day_salvage", dict(row))
        for row in tx.all("days_too_low"):
            tx.run("spend_raise", **dict(row))
        for run in tx.all("runs_all"):
            totals = tx.one("run_totals", run=run["id"])
            assert totals is not None
            order = tx.all("steps_in_order", run=run["id"])
            gone = max((row["seq"] for row in order), default=0) - len(order)
            if gone > 0:
                says = f"{gone} steps of run {run['run_id']!r} are lost: they are made again"
                self._lose(f"run {run['id']}", says)
            for seq, row in enumerate(order, 1):
                if row["seq"] != seq:
                    tx.run("step_renumber", id=row["id"], seq=seq)
            tx.run("run_recount", run=run["id"], **dict(totals))
