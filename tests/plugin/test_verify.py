"""`rowtrail verify`: what is wrong, in which row, whom it concerns; nothing where nothing is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rowtrail import Journal, schema, step
from rowtrail.adapter import record_question, scope_here
from rowtrail.cli import main
from rowtrail.engine.sqlite import _damaged
from rowtrail.errors import BusyError, NewerSchemaError, StorageError, UsageError
from rowtrail.verify import Fault, verify
from tests.conftest import cli_runner
from tests.plugin.conftest import World
from tests.programs.killed_run import (
    PAGE_BYTES,
    PROGRAM,
    Agent,
    flip,
    overwrite,
    pages,
    sql,
)

LARGE_ROWS = int(os.environ.get("ROWTRAIL_LARGE_ROWS", "150000"))
MAX_GROWTH_MB = 60


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the journal of a finished run and of one that crashed."""
    path = tmp_path_factory.mktemp("sound") / "agent.db"
    with Journal(path) as journal:
        with journal.run("one", thread_id="t1", agent="a"):
            Agent([]).work(12)
            scope = scope_here("ask")
            assert scope is not None
            record_question(scope, "Go on?")
        with pytest.raises(LookupError), journal.run("two", thread_id="t2"):
            Agent([]).work(4)
            raise LookupError
    return path


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Path:
    """Return a copy of it to damage."""
    return Path(shutil.copy(sound, tmp_path / "broken.db"))


def faults(path: Path) -> list[Fault]:
    return list(verify(str(path)).faults)


def cli(*arguments: object) -> Any:
    return cli_runner().invoke(main, [str(argument) for argument in arguments])


def test_a_sound_journal_passes(sound: Path) -> None:
    found = verify(str(sound))
    assert (found.ok, found.faults, found.notes) == (True, (), ())
    assert found.rows["step"] == 16
    assert found.orphans == {"lists": 0, "positions": 0, "items": 0, "bytes": 0}


def test_a_killed_run_is_no_fault(world: World) -> None:
    world.kill(PROGRAM, "here")
    assert Path(f"{world.db}-wal").stat().st_size > 0
    found = verify(str(world.db))
    assert found.ok
    assert found.rows["step"] == 45


def test_a_changed_byte_names_the_item_the_step_its_run_and_its_thread(broken: Path) -> None:
    flip(broken, b"thought 9 so", b"thought 8 so")
    [fault] = faults(broken)
    assert (fault.check, fault.row.split()[0]) == ("hash", "item")
    assert fault.affects == ("step 10 (done llm 'think', run 'one', thread 't1')",)
    assert "made again" in fault.saves
    assert verify(str(broken), quick=True).ok  # which leaves the hashes out


@pytest.mark.parametrize(
    ("damage", "check", "row", "says"),
    [
        ("DELETE FROM item WHERE id = 3", "reference", "item 3", "is missing"),
        ("DELETE FROM scope WHERE run = 2", "reference", "step 13", "scope 2"),
        ("DELETE FROM attempt WHERE id = 2", "reference", "step 13", "attempt 2"),
        ("DELETE FROM run WHERE id = 2", "reference", "scope 2", "run 2"),
        ("DELETE FROM thread WHERE id = 2", "reference", "run 2", "thread 2"),
        ("DELETE FROM process", "reference", "attempt 1", "process"),
        ("UPDATE step SET parent = 77 WHERE id = 2", "reference", "step 2", "step 77"),
        ("UPDATE step SET attempt = 2 WHERE id = 2", "reference", "step 2", "two runs"),
        ("INSERT INTO replay (step, attempt, at) VALUES (9, 8, 7)", "reference", "replay 1", "8"),
        ("DELETE FROM step WHERE id = 16", "count", "run 2", "steps is 4"),
        ("UPDATE run SET tool_calls = 9 WHERE id = 1", "count", "run 1", "tool_calls is 9"),
        ("UPDATE run SET cost_usd = 0.5 WHERE id = 1", "count", "run 1", "cost_usd"),
        ("UPDATE spend_day SET calls = 1", "count", "spend_day", "come to"),
        ("UPDATE run SET ended_at = NULL WHERE id = 1", "status", "run 1", "and has no end"),
        ("UPDATE run SET status = 'running' WHERE id = 1", "status", "run 1", "none of its"),
        ("UPDATE attempt SET outcome = NULL WHERE id = 1", "status", "attempt 1", "no outcome"),
        ("UPDATE step SET status = 'running' WHERE id = 1", "status", "step 1", "has a result"),
        ("UPDATE step SET status = 'failed' WHERE id = 1", "status", "step 1", "not how"),
        ("DROP INDEX step_key", "layout", "schema", "step_key is missing"),
        ("DELETE FROM meta WHERE key = 'hash_key'", "reference", "meta", "key of the hashes"),
        ("UPDATE meta SET value = '-' WHERE key = 'generation'", "reference", "meta", "number"),
        ("UPDATE item SET id = 9000000000000000000 WHERE id = 3", "hash", "item 9", "not one of a"),
        ("UPDATE item SET digest = NULL WHERE id = 3", "hash", "item 3", "hash is wrong"),
        ("UPDATE item SET type = 'int' WHERE id = 3", "hash", "item 3", "hash is wrong"),
        ("UPDATE item SET data = x'00' WHERE id = 3", "hash", "item 3", "hash is wrong"),
    ],
)
def test_each_kind_of_fault_is_found_and_named(
    broken: Path, damage: str, check: str, row: str, says: str
) -> None:
    sql(broken, damage)
    found = faults(broken)
    assert any(
        (fault.check, says in fault.says) == (check, True) and fault.row.startswith(row)
        for fault in found
    ), found
    assert all(fault.saves for fault in found)


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "whole"])
@pytest.mark.parametrize("name", schema.values())
def test_a_value_outside_its_closed_list_is_found(broken: Path, name: str, quick: bool) -> None:
    table, _, column = name.partition(".")
    unchecked = "PRAGMA ignore_check_constraints = ON"
    sql(broken, unchecked, f"UPDATE {table} SET {column} = 'other' WHERE id = 1")
    found = verify(str(broken), quick=quick).faults
    says = f"its {column} 'other' is not one of {', '.join(schema.values()[name])}"
    assert (f"{table} 1", says) in [(fault.row, fault.says) for fault in found], found


def test_content_that_nothing_refers_to_is_no_fault(broken: Path) -> None:
    sql(broken, "UPDATE step SET output = NULL WHERE id = 10")
    found = verify(str(broken))
    assert found.ok
    assert found.orphans is not None
    assert found.orphans["items"] == 1
    assert "`rowtrail prune`" in cli("verify", "--db", broken).stdout


def test_a_pruned_journal_passes_though_its_days_count_more(broken: Path) -> None:
    with Journal(broken) as journal:
        journal.prune(thread_ids=["t1"])
    found = verify(str(broken))
    assert found.ok
    assert found.rows["step"] == 4


def test_every_page_that_is_destroyed_is_noticed(sound: Path, tmp_path: Path) -> None:
    for page in range(1, pages(sound) + 1):
        broken = Path(shutil.copy(sound, tmp_path / "broken.db"))
        overwrite(broken, page, b"\0" * PAGE_BYTES)
        assert not verify(str(broken)).ok, page


def test_rows_that_cannot_be_read_are_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with Journal(path) as journal, journal.run("r"):

        @step(name="f")
        def f(n: int) -> str:
            return f"result {n} " + "x" * 900

        for number in range(400):
            f(number)
    page = path.read_bytes().index(b"result 200 ") // PAGE_BYTES + 1
    overwrite(path, page, b"\0" * PAGE_BYTES)
    sql(path, "UPDATE item SET text = '\"wrong\"' WHERE id = (SELECT max(id) FROM item)")
    seen = verify(str(path))
    [lost] = [fault for fault in seen.faults if fault.check == "unreadable"]
    assert lost.row.startswith("item ")
    first, last = (int(word) for word in lost.row.split()[1::2])
    assert 0 < last - first < 20
    assert seen.rows["item"] == 400 - (last - first + 1)
    assert any(fault.check == "hash" and fault.says == "its hash is wrong" for fault in seen.faults)
    missing = [fault for fault in seen.faults if fault.says == "it is missing"]
    assert len(missing) == last - first + 1
    assert all("step " in fault.affects[0] for fault in missing)


def test_something_that_is_no_journal_does_not_pass(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sql(other, "CREATE TABLE t (x)")
    [fault] = faults(other)
    assert fault.check == "file"
    other.write_bytes(b"text " * 4000)
    assert faults(other)[0].check == "file"
    with pytest.raises(StorageError, match="there is no journal"):
        verify(str(tmp_path / "missing.db"))


def test_a_newer_journal_is_not_judged(broken: Path) -> None:
    sql(broken, "PRAGMA user_version = 99")
    with pytest.raises(NewerSchemaError):
        verify(str(broken))


def test_others_write_while_it_reads(db: Path) -> None:
    with Journal(db) as journal:
        ended = threading.Event()

        def write() -> None:
            number = 0
            while not ended.is_set():
                with journal.run(f"r{number}"):
                    Agent([]).work(6)
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            checks, runs = 0, 0
            while checks < 15 or runs < 2:  # a writer that never gets its turn ends in a time-out
                found = journal.verify()
                assert found.ok, found.faults
                checks, runs = checks + 1, found.rows["run"]
        finally:
            ended.set()
            writer.join()


def test_nothing_is_written(broken: Path) -> None:
    before = broken.read_bytes()
    flip(broken, b"thought 9 so", b"thought 8 so")
    damaged = broken.read_bytes()
    verify(str(broken))
    assert broken.read_bytes() == damaged != before


def test_a_read_only_folder_is_fine(broken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = Path(shutil.copy(broken, folder / "agent.db"))
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert verify(str(path)).ok
    finally:
        folder.chmod(0o755)


def test_a_journal_in_memory_has_no_file() -> None:
    with Journal(":memory:") as journal, pytest.raises(UsageError, match="memory"):
        journal.verify()


def test_progress_is_told(sound: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify(str(sound), progress=lambda *what: told.append(what))
    assert ("step", 0, 16) in told
    assert {"item", "run", "attempt", "orphans"} <= {what for what, _, _ in told}


PEAK = """
import resource, sys
from rowtrail.verify import verify
print(verify(sys.argv[1]).ok, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_large_journal_takes_no_more_memory(broken: Path) -> None:
    def peak() -> int:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(broken)], capture_output=True, text=True, check=True
        )
        ok, megabytes = done.stdout.split()
        assert ok == "True"
        return int(megabytes)

    small = peak()
    numbers = f"SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {LARGE_ROWS}"
    series = f"WITH RECURSIVE c(x) AS ({numbers})"
    sql(
        broken,
        f"{series} INSERT INTO item (type, text) SELECT 'x', NULL FROM c",
        f"{series} INSERT INTO thread (thread_id, created_at) SELECT 'thread ' || x, 0 FROM c",
        f"{series} INSERT INTO log (owner) SELECT 'log ' || x FROM c",
    )
    assert peak() - small < MAX_GROWTH_MB


# The command.


def test_the_command_ends_with_what_it_found(broken: Path) -> None:
    done = cli("verify", "--db", broken)
    assert (done.exit_code, done.stdout[:14]) == (0, "sound: 16 item")
    flip(broken, b"thought 9 so", b"thought 8 so")
    done = cli("verify", "--db", broken)
    assert done.exit_code == 4
    assert "concerns step 10 (done llm 'think', run 'one', thread 't1')" in done.stdout
    assert "rowtrail repair" in done.stderr
    told = json.loads(cli("verify", "--db", broken, "--json").stdout)
    assert (told["ok"], told["fault_count"], told["faults"][0]["check"]) == (False, 1, "hash")
    assert cli("verify", "--quick", "--db", broken).exit_code == 0
    assert cli("verify", "--db", broken.with_name("missing.db")).exit_code == 3


def test_the_command_spells_out_what_would_move_the_cursor(broken: Path) -> None:
    sql(broken, "UPDATE step SET output = 999, name = char(27) || '[2J' || char(10) WHERE id = 1")
    done = cli("verify", "--db", broken)
    assert done.exit_code == 4
    assert "\x1b" not in done.stdout
    assert "concerns step 1 (done llm " in done.stdout


def test_a_file_that_stays_locked_is_busy(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_damaged, "BUSY_TIMEOUT_MS", 50)
    holder = sqlite3.connect(broken, isolation_level=None)
    try:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("UPDATE meta SET value = value")
        with pytest.raises(BusyError):
            verify(str(broken))
        assert cli("verify", "--db", broken).exit_code == 5
    finally:
        holder.close()
