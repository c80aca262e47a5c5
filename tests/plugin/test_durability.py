"""What is on disk, and when: `Journal.durability`, and the rows of calls that change the world."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from rowtrail import InDoubtError, Journal, step
from rowtrail.engine.reading import open_reader
from rowtrail.verify import recent_durability
from tests.conftest import Child
from tests.engines.sqlite_store import sqlite_store

# Writes a line to a file of its own for each call and for each answer that its caller has, so that
# the trace has all in one order; copies of the files are what a cut before the end leaves at most.
PROGRAM = """
import asyncio, os, shutil, sys
from rowtrail import Journal, step
DB, LEDGER, DURABILITY, HOW = sys.argv[1:]
ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

@step(kind="tool", effect="read")
def look(what):
    os.write(ledger, b"look\\n")
    return what

@step(kind="tool", effect="write")
def send(what):
    os.write(ledger, b"send\\n")
    return what

@step(kind="tool", effect="write")
async def asend(what):
    os.write(ledger, b"send\\n")
    return what

async def gather():
    async with journal.run("r"):
        look(0)
        await asyncio.gather(*(asend(n) for n in range(5)))

with Journal(DB, durability=DURABILITY) as journal:
    os.write(ledger, b"begin\\n")
    if HOW == "async":
        asyncio.run(gather())
    else:
        with journal.run("r"):
            for n in range(5):
                look(n)
                os.write(ledger, b"told\\n")
                send(n)
                os.write(ledger, b"told\\n")
    os.write(ledger, b"end\\n")
    for suffix in ("", "-wal"):
        shutil.copyfile(DB + suffix, DB + ".copy" + suffix)
    os.write(ledger, repr([s.on_disk for s in journal.durability().steps]).encode() + b"\\n")
"""

T = TypeVar("T")

MADE: list[tuple[str, Any]] = []
"""The calls of `look` and `send` in this process."""

CALL = re.compile(
    r"(fdatasync|fsync|pwrite64|write)\((\d+)<([^>]*)>(?:, \"(\w+))?"
    r"(?:.*, (\d+), (\d+)(?:\)| <unfinished))?"  # cut where another thread calls meanwhile
)


@step(kind="tool", name="look", effect="read")
def look(what: T) -> T:
    MADE.append(("look", what))
    return what


@step(kind="tool", name="send", effect="write")
def send(what: T) -> T:
    MADE.append(("send", what))
    return what


class Event(NamedTuple):
    """What the program did: `look`, `send` and `told`, or `wal` and `sync`, of the WAL.

    Attributes:
        end: Up to which byte the WAL is written.
    """

    name: str
    end: int = 0


def traced(tmp_path: Path, durability: str, how: str = "sync") -> list[str]:
    """Run the program under strace and return what it did."""
    return [event.name for event in events(tmp_path, durability, how)]


def events(tmp_path: Path, durability: str, how: str = "sync") -> list[Event]:
    """Run the program under strace and return what it did, with the places in the WAL."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed here")
    trace, ledger = tmp_path / "trace", tmp_path / "ledger"
    watched = "trace=fdatasync,fsync,pwrite64,write"
    command = ["strace", "-f", "-y", "-e", watched, "-o", str(trace), sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        [*command, str(tmp_path / "agent.db"), str(ledger), durability, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: list[Event] = []
    for line in trace.read_text(errors="replace").splitlines():
        found = CALL.search(line)
        if found is None:
            continue
        name, _, path, text, size, offset = found.groups()
        if path == str(ledger):
            seen.append(Event(text or ""))
        elif path.endswith("agent.db-wal"):
            is_sync = "sync" in name
            seen.append(Event("sync") if is_sync else Event("wal", int(size) + int(offset)))
    return seen


def in_the_run(seen: list[str]) -> list[str]:
    return seen[seen.index("begin") + 1 : seen.index("end")]


def before(seen: list[str], call: str) -> list[set[str]]:
    """Give what happened to the WAL right before each call of a tool, or each answer."""
    found: list[set[str]] = []
    since: set[str] = set()
    for event in in_the_run(seen):
        if event in ("look", "send", "told"):
            if event == call:
                found.append(since)
            since = set()
        elif event == "sync":
            since.discard("wal")  # what was written before it is on disk
            since.add("sync")
        else:
            since.add(event)
    return found


def test_with_normal_durability_the_row_of_a_write_is_synced_before_it_is_made(
    tmp_path: Path,
) -> None:
    seen = traced(tmp_path, "normal")
    assert before(seen, "send") == [{"sync"}] * 5
    assert all("sync" not in what for what in before(seen, "look") + before(seen, "told"))
    assert Counter(in_the_run(seen))["sync"] == 5


def test_writes_made_together_share_their_sync_and_none_begins_before_it(tmp_path: Path) -> None:
    seen = in_the_run(traced(tmp_path, "normal", "async"))
    syncs = [index for index, event in enumerate(seen) if event == "sync"]
    sends = [index for index, event in enumerate(seen) if event == "send"]
    assert len(sends) == 5
    assert syncs
    assert min(syncs) < min(sends)
    assert len(syncs) <= 5
    assert "sync" not in seen[: seen.index("look")]


def test_with_full_durability_all_is_synced_but_that_a_call_begins_which_reads(
    tmp_path: Path,
) -> None:
    seen = traced(tmp_path, "full")
    assert before(seen, "send") == [{"sync"}] * 5
    assert before(seen, "told") == [{"sync"}] * 10
    assert [what - {"sync"} for what in before(seen, "look")] == [{"wal"}] * 5
    # The run begins and ends, five reads and five writes.
    assert Counter(in_the_run(seen))["sync"] == 2 + 5 + 2 * 5


CALLS = [(name, n) for n in range(5) for name in ("look", "send")]


def test_a_power_cut_takes_nothing_told_and_no_write_that_was_begun(tmp_path: Path) -> None:
    """After each event the WAL is cut to what was synced, and to all that was written."""
    seen = events(tmp_path, "full")
    start, end = (seen.index(Event(name)) for name in ("begin", "end"))
    vanished: set[int] = set()
    judged: set[tuple[int, int, int]] = set()
    for at in range(start, end):
        done = [event.name for event in seen[start : at + 1]]
        told, begun = done.count("told"), done.count("look") + done.count("send")
        if told == 4:  # two of each; the others are no different
            break
        last_sync = max(n for n in range(at + 1) if seen[n].name == "sync")
        for until in {last_sync, at}:
            length = max(event.end for event in seen[: until + 1])
            if (length, told, begun) in judged:
                continue
            judged.add((length, told, begun))
            cut = cut_copy(tmp_path, length)
            if steps_in(cut) < begun:
                vanished.add(begun - 1)
            MADE.clear()
            if go_on(cut):
                assert MADE == []
                assert CALLS[told][0] == "send", at  # its row may be on disk before it is made
                continue
            replayed = len(CALLS) - len(MADE)
            assert CALLS[replayed:] == MADE, at
            is_write_begun = begun > told and CALLS[told][0] == "send"
            assert (begun if is_write_begun else told) <= replayed <= begun, at
    assert vanished == {0, 2}  # only calls that read


def steps_in(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        return int(connection.execute("SELECT count(*) FROM step").fetchone()[0])


def cut_copy(tmp_path: Path, length: int) -> Path:
    """Return a copy of the file with so many bytes of its WAL."""
    folder = tmp_path / "cut"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copy = folder / "agent.db"
    shutil.copyfile(tmp_path / "agent.db.copy", copy)
    wal = (tmp_path / "agent.db.copy-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(wal[:length])
    return copy


def go_on(db: Path) -> bool:
    """Continue the run of the program, and return whether a call in doubt ends it."""
    with Journal(db, durability="normal") as journal:
        try:
            with journal.run("r"):
                for name, n in CALLS:
                    {"look": look, "send": send}[name](n)
        except InDoubtError:
            return True
    return False


def places(journal: Journal) -> dict[str, tuple[bool | None, bool]]:
    """Give, by step, whether it is on disk and whether a power cut could take it."""
    return {
        found.step_id: (found.on_disk, "power cut" in found.may_vanish)
        for found in journal.durability().steps
    }


def test_with_full_durability_only_the_loss_of_the_disk_takes_a_step(journal: Journal) -> None:
    with journal.run("r"):
        look("a")
        send("b")
    report = journal.durability()
    assert [found.name for found in report.steps] == ["send", "look"]
    assert {found.may_vanish for found in report.steps} == {("disk loss",)}
    assert report.at_risk == ()


def test_with_normal_durability_a_power_cut_may_take_what_was_not_synced(db: Path) -> None:
    with Journal(db, durability="normal") as journal, journal.run("r"):
        look("a")
        assert places(journal) == {"1": (False, True)}
        send("b")  # its row is synced, and with it all before
        assert places(journal) == {"1": (True, False), "2": (False, True)}
        [result, _] = journal.durability().steps
        assert "in doubt" in result.says
        sqlite_store(journal).require("full")
        look("c")
        assert {place for place, _ in places(journal).values()} == {True}


def what_a_power_cut_leaves(db: Path, synced: bytes, folder: Path) -> dict[int, str]:
    """Open the file with a WAL cut to what was synced, and give the steps in it."""
    folder.mkdir()
    copy = folder / "agent.db"
    copy.write_bytes(db.read_bytes())
    Path(f"{copy}-wal").write_bytes(synced)
    with closing(sqlite3.connect(copy)) as connection:
        return dict(connection.execute("SELECT id, status FROM step"))


def test_a_step_told_to_be_on_disk_is_in_what_was_synced(db: Path, tmp_path: Path) -> None:
    """The WAL as it was at each sync is what a power cut leaves at least."""
    wal = Path(f"{db}-wal")
    with Journal(db, durability="normal") as journal, journal.run("r"):
        synced = b""
        for number in range(40):
            look(f"{number} {'x' * 300}")
            if number % 7 == 3:
                connection = sqlite_store(journal).connection
                seen: list[str] = []
                connection.set_trace_callback(seen.append)
                at_intent: list[bytes] = []

                @step(kind="tool", name="act", effect="write")
                def act(number: int, kept: list[bytes] = at_intent) -> int:
                    kept.append(wal.read_bytes())  # the intent was synced right before
                    return number

                act(number)
                connection.set_trace_callback(None)
                synced = at_intent[0]
            if synced:
                left = what_a_power_cut_leaves(db, synced, tmp_path / str(number))
                now = {int(row["step_id"]): row["status"] for row in journal.steps("r")}
                for found in journal.durability(limit=100).steps:
                    row = int(found.step_id)
                    assert (left.get(row) == now[row]) == found.on_disk, found


def test_a_checkpoint_of_the_wal_puts_what_was_before_it_on_disk(db: Path) -> None:
    with Journal(db, durability="normal") as journal, journal.run("r"):
        look("before")
        journal.store.shrink()  # moves the WAL into the file
        look("after")  # and this begins it anew
        assert places(journal) == {"1": (True, False), "2": (False, True)}


def test_what_is_rolled_back_or_read_syncs_nothing_that_was_told(db: Path) -> None:
    with Journal(db, durability="normal") as journal, journal.run("r"):
        look("a")
        journal.store.write(lambda tx: tx.value("meta_value", key="x"), synced=True)
        assert places(journal) == {"1": (False, True)}


def test_closing_syncs(db: Path) -> None:
    with Journal(db, durability="normal") as journal, journal.run("r"):
        look("a")
    with Journal(db) as journal:
        assert places(journal) == {"1": (True, False)}
        assert journal.durability().normal_processes == 0


def test_what_another_process_has_not_synced_is_unknown_here(db: Path) -> None:
    code = """
import sys
from rowtrail import Journal, step
@step(kind="tool", name="look")
def look(): return 1
@step(kind="tool", name="send", effect="write")
def send():
    print("in", flush=True)
    sys.stdin.readline()
with Journal(sys.argv[1], durability="normal") as journal, journal.run("r"):
    look()
    send()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(db)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    with open_reader(str(db)) as reader:  # as `rowtrail doctor` asks
        report = recent_durability(reader)
    assert [(s.name, s.on_disk) for s in report.steps] == [("send", True), ("look", None)]
    assert report.normal_processes == 1
    other.communicate("\n", timeout=110)
    with open_reader(str(db)) as reader:
        assert recent_durability(reader).at_risk == ()


def test_a_journal_in_memory_ends_with_its_process() -> None:
    with Journal(":memory:") as journal, journal.run("r"):
        look("a")
        [found] = journal.durability().steps
    assert (found.on_disk, found.may_vanish[0]) == (False, "process kill")


def test_asking_from_a_coroutine_and_for_few_steps(db: Path) -> None:
    with Journal(db, durability="normal") as journal:

        async def main() -> None:
            async with journal.run("r"):
                look("a")
                send("b")
                assert [s.name for s in journal.durability(limit=1).steps] == ["send"]

        asyncio.run(main())
        assert os.path.exists(db)


def test_a_process_out_of_descriptors_takes_no_step_for_synced(db: Path) -> None:
    resource = pytest.importorskip("resource")
    with Journal(db, durability="normal") as journal, journal.run("r"):
        look("a")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            journal.store.unsynced_steps()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [told.on_disk for told in journal.durability().steps] == [False]


def start_over(journal: Journal) -> None:
    with journal.run("r", fresh=True):
        pass


def settle(journal: Journal) -> None:
    [step_id] = [row["step_id"] for row in journal.steps("r") if row["name"] == "send"]
    journal.settle(step_id, result="sent")


def crash(journal: Journal) -> None:
    """Write down that a process died in the run."""
    assert journal.recover() == 1


DIE = """
import os, sys
from rowtrail import Journal, step
@step(kind="tool", name="send", effect="write")
def send(what): os._exit(1)
@step(kind="tool", name="look", effect="read")
def look(what): return what
journal = Journal(sys.argv[1])
journal.run("r").__enter__()
look("a")
send("b")
"""


@pytest.mark.parametrize("change", [start_over, crash, settle], ids=lambda change: change.__name__)
def test_whatever_changes_a_step_is_not_on_disk_before_a_sync(
    db: Path, child: Child, change: Callable[[Journal], None]
) -> None:
    """Each step told to be on disk is, in what was synced, as it is now."""
    child(DIE, db, status=1)
    wal = Path(f"{db}-wal")
    with Journal(db, durability="normal") as journal:
        if change is not crash:
            crash(journal)
            journal.store.write(lambda tx: tx.run("meta_set", key="x", value="1"), synced=True)
        else:
            assert journal.durability().at_risk == ()
        synced, before = wal.read_bytes(), statuses(journal)
        change(journal)
        changed = {step for step, status in statuses(journal).items() if before[step] != status}
        assert changed
        assert {int(step.step_id) for step in journal.durability().at_risk} >= changed
        left = what_a_power_cut_leaves(db, synced, db.parent / "cut")
        for step, status in statuses(journal).items():
            assert (left[step] == status) == (step not in changed)
        with Journal(db, durability="full") as other:  # asks the same store
            assert other.durability().at_risk != ()
        with open_reader(str(db)) as reader:  # as another process asks
            asked = recent_durability(reader)
        assert {int(step.step_id) for step in asked.at_risk} >= changed
        journal.store.write(lambda tx: tx.run("meta_set", key="x", value="2"), synced=True)
        assert journal.durability().at_risk == ()


def statuses(journal: Journal) -> dict[int, str]:
    return {int(row["step_id"]): row["status"] for row in journal.steps("r")}
