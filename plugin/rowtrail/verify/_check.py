"""Checking a journal: everything that one row says about another, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module

from rowtrail import schema
from rowtrail.checkpoint import body_fault, values_fault
from rowtrail.content import Encoded, is_sweeping
from rowtrail.engine import Row, id_text
from rowtrail.engine.files import DamagedFile
from rowtrail.errors import BusyError, DamagedError, NotAJournalError
from rowtrail.retention import Bits, find_garbage
from rowtrail.verify._contents import (
    MAX_ROW,
    Contents,
    ValueFault,
    counted,
    hash_key,
    metadata_fault,
    read_contents,
    unsealed_steps,
)
from rowtrail.verify._report import (
    MAX_AFFECTED,
    Check,
    Findings,
    Progress,
    Verification,
)

REFERENCES = {
    "thread": (),
    "process": (),
    "label": (),
    "run": (("thread", "thread"),),
    "attempt": (("run", "run"), ("process", "process")),
    "scope": (("run", "run"),),
    "step": (("scope", "scope"), ("attempt", "attempt"), ("parent", "step")),
    "replay": (("step", "step"), ("attempt", "attempt")),
    "question": (("thread", "thread"), ("run", "run"), ("scope", "scope")),
    "checkpoint": (("thread", "thread"),),
    "channel_value": (("checkpoint", "checkpoint"), ("channel", "label")),
    "pending_write": (("checkpoint", "checkpoint"), ("task_path", "label"), ("channel", "label")),
}
"""By table, the columns that name a row of another, in an order in which that one comes first."""

CONTENT = {
    "step": (("input", "output"), "prompt"),
    "channel_value": (("item",), "list"),
    "pending_write": (("item",), "list"),
}
"""By table, the columns that name an item, and the one that names a list."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report no progress."""


def verify(
    path: str, *, quick: bool = False, values: bool = True, progress: Progress | None = None
) -> Verification:
    """Check a journal's file over one snapshot; nothing is written, and others may write.

    Args:
        path: The file.
        quick: Leave out the hashes of the content, what nothing refers to, and the values.
        values: Ask whether values are read back as what they were.
        progress: Called with what is read, how much of it, and of how much.

    Raises:
        BusyError: The file stayed locked.
        StorageError: There is no such file, or it may not be read.
        NewerSchemaError: A newer rowtrail wrote it.
    """
    findings = Findings()
    try:
        with DamagedFile(path) as file:
            _Journal(
                file, findings, progress or no_progress, quick=quick, values=values and not quick
            ).check()
    except BusyError:
        raise
    except (NotAJournalError, DamagedError) as error:
        findings.add("file", path, str(error))
    return findings.report(path, quick=quick)


class _Journal:
    """One check of one file."""

    def __init__(
        self,
        file: DamagedFile,
        findings: Findings,
        progress: Progress,
        *,
        quick: bool,
        values: bool,
    ) -> None:
        self._fault_of = _value_judge(findings) if values else None
        self._file, self._findings, self._progress, self._quick = file, findings, progress, quick
        self._rows: dict[str, Bits] = defaultdict(Bits)
        self._contents = Contents()
        self._users: dict[tuple[str, int], list[str]] = {}
        """By table and row of broken content, what uses it."""

    def check(self) -> None:
        """Check all there is."""
        self._check_file()
        key = hash_key(self._file)
        if key is None:
            self._findings.add("reference", "meta 'hash_key'", "the key of the hashes is lost")
        if not self._answer("meta_value", key="journal_id"):
            self._findings.add("reference", "meta 'journal_id'", "the id of the journal is lost")
        self._contents = read_contents(
            self._file, self._progress, key=key, quick=self._quick, fault_of=self._fault_of
        )
        self._findings.rows.update(self._contents.rows)
        for table in REFERENCES:
            self._check_table(table)
        self._add_broken_contents()
        if not self._quick:
            self._check_seals(key)
        self._check_counts()
        self._check_statuses()
        for hole in self._file.holes:
            self._findings.add("unreadable", str(hole), f"cannot be read: {hole.why}")
        self._note()

    def _check_file(self) -> None:
        self._progress("file", 0, 1)
        wrong, foreign = self._file.layout_faults()
        for line in wrong:
            self._findings.add("layout", "schema", line)
        if foreign:
            self._findings.notes.append(f"not of rowtrail: {', '.join(foreign[:MAX_AFFECTED])}")
        for line in self._file.integrity(quick=self._quick):
            self._findings.add("integrity", "file", line)

    def _check_table(self, table: str) -> None:
        """Look at the references of each row of a table, and at its content."""
        late: list[tuple[Row, str, str]] = []
        for row in counted(self._file, table, self._findings.rows, self._progress):
            if not 0 <= row[0] < MAX_ROW:
                self._findings.add(
                    "reference", f"{table} {row[0]}", "its number is not one of a row"
                )
                continue
            self._rows[table].add(row[0])
            for column, target in REFERENCES[table]:
                if not self._is_there(row[column], target):
                    late.append((row, column, target))
            self._check_lists(table, row)
            self._check_content(table, row)
            if table == "checkpoint" and row["body"] is not None:
                self._check_checkpoint(row)
        for row, column, target in late:
            if not self._is_there(row[column], target):  # a parent may come after its child
                says = f"its {column}, {target} {row[column]}, is missing"
                affected = self._user(table, row)
                self._findings.add("reference", f"{table} {row[0]}", says, affected)

    def _check_lists(self, table: str, row: Row) -> None:
        # SQLite's own check leaves the rules of tables out where the file is opened for reading.
        for column, listed in _closed_lists().get(table, ()):
            value = row[column]
            if value is not None and value not in listed:
                says = f"its {column} {value!r} is not one of {', '.join(listed)}"
                self._findings.add("integrity", f"{table} {row[0]}", says, self._user(table, row))

    def _check_checkpoint(self, row: Row) -> None:
        faults = (
            body_fault(row["body"], row["checkpoint_id"]),
            metadata_fault(row["metadata"]),
            self._values_fault(row),
        )
        for fault in faults:
            if fault is not None:
                user = self._user("checkpoint", row)
                self._findings.add("checkpoint", f"checkpoint {row['id']}", fault, user)

    def _values_fault(self, row: Row) -> str | None:
        try:
            (found,) = self._file.all("checkpoint_values", checkpoint=row["id"])
        except DamagedError as error:
            return f"its values cannot be read: {error}"
        return values_fault(row["body"], found[0])

    def _is_there(self, row: int | None, table: str) -> bool:
        return row is None or (0 <= row < MAX_ROW and row in self._rows[table])

    def _check_content(self, table: str, row: Row) -> None:
        if table not in CONTENT:
            return
        items, listed = CONTENT[table]
        for column in items:
            if row[column] is not None and self._contents.item_fault(row[column]) is not None:
                self._use("item", row[column], table, row)
            if row[column] in self._contents.unreadable:
                self._use("value", row[column], table, row)
        if row[listed] in self._contents.unreadable_lists:
            self._use("value", self._contents.unreadable_lists[row[listed]], table, row)
        if row[listed] and self._contents.list_fault(row[listed]) is not None:
            self._use("list", row[listed], table, row)
        if table != "step" and row["item"] is None and not row["list"]:
            name = f"{table} {row[0]}"
            self._findings.add("reference", name, "it has no value", self._user(table, row))

    def _use(self, kind: str, content: int, table: str, row: Row) -> None:
        users = self._users.setdefault((kind, content), [])
        if len(users) < MAX_AFFECTED:
            users.append(self._user(table, row))

    def _user(self, table: str, row: Row) -> str:
        """Name a row as its user knows it."""
        with suppress(DamagedError):  # its name is lost too: its row number is what remains
            if table == "step":
                return self._step(row["id"])
            if table in ("channel_value", "pending_write", "checkpoint"):
                return self._checkpoint(row[0])
        known = row["run_id"] if table == "run" else None
        return f"{table} {row[0]}" if known is None else f"run {known!r}"

    def _step(self, step: int) -> str:
        found = self._file.all("step_names", id=step)
        if not found:
            return f"step {step}"
        [row] = found
        of = f", run {row['run_id']!r}" if row["run_id"] is not None else ""
        on = f", thread {row['thread_id']!r}" if row["thread_id"] is not None else ""
        return f"step {step} ({row['status']} {row['kind']} {row['name']!r}{of}{on})"

    def _checkpoint(self, checkpoint: int) -> str:
        found = self._file.all("checkpoint_names", id=checkpoint)
        if not found:
            return f"checkpoint {checkpoint}"
        [row] = found
        within = f", namespace {row['ns']!r}" if row["ns"] else ""
        return f"checkpoint {id_text(row['checkpoint_id'])} of thread {row['thread_id']!r}{within}"

    def _add_broken_contents(self) -> None:
        """Add what content is broken, with what uses it."""
        for log in sorted(self._contents.missing_logs):
            self._findings.add("reference", f"log {log}", "it is missing, and lists are over it")
        contents = self._contents
        kinds: tuple[tuple[str, Check, dict[int, str], set[int]], ...] = (
            ("item", "hash", contents.bad_items, contents.missing_items),
            ("list", "list", contents.bad_lists, contents.missing_lists),
        )
        for kind, check, bad, missing in kinds:
            for row, why in sorted(bad.items()):
                of: Check = "reference" if row in missing else check
                users = self._users.get((kind, row), ())
                self._findings.add(of, f"{kind} {row}", why, *users)

        for row, why in sorted(self._contents.unreadable.items()):
            self._findings.add("value", f"item {row}", why, *self._users.get(("value", row), ()))

    def _check_seals(self, key: bytes | None) -> None:
        known = list(self._file.holes)
        for step, item in unsealed_steps(self._file, key):
            if item in self._contents.bad_items:
                continue  # a fault of the item says it
            says = "its seal is wrong: the result, or the step, is another"
            self._findings.add("hash", f"step {step}", says, self._step(step))
        self._file.holes[:] = known  # added when the steps were read

    def _check_counts(self) -> None:
        """Compare what is counted as it happens with the steps that are there."""
        for row in self._asked("run"):
            for totals in self._answer("run_totals", run=row["id"]):
                wrong = [
                    f"{name} is {row[name]!r}, and its steps come to {totals[name]!r}"
                    for name in totals.keys()  # noqa: SIM118  (a row is not a mapping)
                    if not _is_near(row[name], totals[name])
                ]
                if wrong:
                    says = "; ".join(wrong)
                    name = f"run {row['id']}"
                    self._findings.add("count", name, says, f"run {row['run_id']!r}")
        for row in self._answer("days_too_low"):
            says = f"its steps come to {row['calls']} calls: fewer, or fewer tokens, are counted"
            self._findings.add("count", f"spend_day {row['day']} {row['model']}", says)

    def _asked(self, table: str) -> Iterator[Row]:
        known = list(self._file.holes)
        yield from self._file.scan(table, f"{table}_scan")
        self._file.holes[:] = known  # added when the table was read first

    def _answer(self, name: str, **params: object) -> list[Row]:
        try:
            return self._file.all(name, **params)
        except DamagedError as error:
            self._findings.notes.append(f"not checked ({name.replace('_', ' ')}): {error}")
            return []

    def _check_statuses(self) -> None:
        self._progress("statuses", 0, 1)
        for row in self._answer("runs_contradicting"):
            self._findings.add("status", f"run {row['id']}", row["says"])
        for row in self._answer("attempts_contradicting"):
            self._findings.add("status", f"attempt {row['id']}", row["says"])
        for row in self._answer("steps_contradicting"):
            name = f"step {row['id']}"
            self._findings.add("status", name, row["says"], self._step(row["id"]))
        for row in self._answer("steps_of_two_runs"):
            says = "its scope and its attempt are of two runs"
            name = f"step {row['id']}"
            self._findings.add("reference", name, says, self._step(row["id"]))
        for row in self._answer("results_of_other_calls"):
            says = f"its result answers the call {row['answers']!r}"
            name = f"step {row['id']}"
            self._findings.add("hash", name, says, self._step(row["id"]))

    def _note(self) -> None:
        notes = self._findings.notes
        for row in self._answer("steps_left_running"):
            if row[0]:
                notes.append(f"{row[0]} steps are running in attempts that have ended: in doubt")
        for row in self._answer("meta_value", key="generation"):
            if not str(row["value"]).isdecimal():
                self._findings.add("reference", "meta 'generation'", "it is not a number")
            elif is_sweeping(row["value"]):
                notes.append("a prune is under way, or was killed: the next one finishes it")
        if self._findings.count == 0 and not self._quick:
            self._progress("orphans", 0, 1)
            garbage = find_garbage(self._file.tx)
            self._findings.orphans = {
                "lists": len(garbage.lists),
                "positions": len(garbage.positions),
                "items": len(garbage.items),
                "bytes": garbage.item_bytes,
            }


@cache
def _closed_lists() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return, by table, its columns with few values, and these."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, listed in schema.values().items():
        table, _, column = name.partition(".")
        found.setdefault(table, []).append((column, listed))
    return found


def _value_judge(findings: Findings) -> ValueFault:
    """Return what asks the adapter that wrote a value; without it, a note says that none was."""
    try:
        adapter = import_module("rowtrail_langgraph.verifying")
    except ImportError as error:
        note = f"values that are more than JSON were not looked into: {error}"
    else:
        judge: ValueFault = adapter.value_fault
        return judge

    def leave(_: Encoded) -> None:
        if note not in findings.notes:
            findings.notes.append(note)

    return leave


def _is_near(counted_before: float | None, summed: float | None) -> bool:
    if counted_before == summed:
        return True
    if counted_before is None or summed is None:
        return not (counted_before or summed)
    return abs(counted_before - summed) <= 1e-6 * max(abs(counted_before), abs(summed))
