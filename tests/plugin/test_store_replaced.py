"""A file that is removed, renamed, replaced or written over while it is open is found out."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.engine import Tx
from rowtrail.engine.files import back_up
from rowtrail.engine.reading import open_reader
from rowtrail.errors import NotRecordedError, ReplacedError, StorageError
from tests.conftest import Child
from tests.engines.sqlite_store import sqlite_store


@rowtrail.step
def look(what: str) -> str:
    return what


def put(tx: Tx) -> int:
    return tx.changed("meta_set", key="x", value="1")


def peek(tx: Tx) -> object:
    return tx.value("meta_value", key="x")


def another(path: Path) -> Path:
    """Make another journal beside the path, and return where."""
    made = path.with_name("another.db")
    with Journal(made) as journal, journal.run("another"):
        pass
    return made


def remove(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed.db"))


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replace(path: Path) -> None:
    another(path).replace(path)


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_text(path: Path) -> None:
    path.unlink()
    path.write_text("gone")


def restore(path: Path) -> None:
    """Put a backup of the journal itself in its place."""
    made = path.with_name("backup.db")
    back_up(str(path), str(made), lambda done, pages: None)
    made.replace(path)


def repoint(path: Path) -> None:
    target = path.with_name("target.db")
    path.rename(target)
    path.symlink_to(another(path))


def cut(path: Path) -> None:
    os.truncate(path, 0)


CHANGES: dict[str, Callable[[Path], None]] = {
    change.__name__: change
    for change in (
        *(remove, rename, rename_folder, replace, replace_by_a_folder, replace_by_text),
        *(restore, repoint, cut),
    )
}


def write_in_a_coroutine(journal: Journal) -> None:
    asyncio.run(journal.store.awrite(put))


def read_in_a_coroutine(journal: Journal) -> None:
    asyncio.run(journal.store.aread(peek))


def write_many(journal: Journal) -> None:
    for future in [journal.store.submit(put) for _ in range(3)]:
        future.result(10)


def run(journal: Journal) -> None:
    with journal.run("after"):
        pytest.fail("a call could be made")


USES: dict[str, Callable[[Journal], object]] = {
    "write": lambda journal: journal.store.write(put),
    "awrite": write_in_a_coroutine,
    "submit": write_many,
    "read": lambda journal: journal.store.read(peek),
    "aread": read_in_a_coroutine,
    "shrink": lambda journal: journal.store.shrink(),
    "run": run,
    "runs": lambda journal: journal.runs(),
    "sql": lambda journal: journal.sql("SELECT 1"),
    "verify": lambda journal: journal.verify(),
    "durability": lambda journal: journal.durability(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "agent.db"


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_not_at_its_path_any_more_is_refused_by_every_use(
    path: Path, change: str
) -> None:
    with Journal(path) as journal:
        with journal.run("before"):
            look("a")
        CHANGES[change](path)
        for use in (*USES, *USES):
            with pytest.raises(ReplacedError, match="while this process had it open"):
                USES[use](journal)


@pytest.mark.parametrize("use", USES)
def test_every_use_finds_it_out_by_itself(path: Path, use: str) -> None:
    with Journal(path) as journal:
        rename(path)
        with pytest.raises(ReplacedError):
            USES[use](journal)


def test_a_run_that_is_under_way_makes_no_further_call(path: Path) -> None:
    made: list[int] = []

    @rowtrail.step(effect="write")
    def charge(number: int) -> None:
        made.append(number)
        if number == 1:
            rename(path)

    with (
        Journal(path) as journal,
        pytest.raises((ReplacedError, NotRecordedError)),
        journal.run("r"),
    ):
        for number in range(3):
            charge(number)
    assert made == [0, 1]


def test_the_file_that_was_renamed_holds_what_was_committed(path: Path) -> None:
    with Journal(path) as journal:
        with journal.run("before"):
            look("a")
        rename(path)
        with pytest.raises(ReplacedError):
            journal.store.write(put)
    with Journal(path.with_name("renamed.db")) as found:
        assert [step["output"] for step in found.steps("before")] == ['"a"']


@pytest.mark.parametrize("change", ["remove", "rename"])
def test_a_journal_begun_in_its_place_shares_nothing_with_it(path: Path, change: str) -> None:
    """Also while the first has not noticed anything, in this process and in another."""
    with Journal(path) as first:
        with first.run("old"):
            look("old")
        CHANGES[change](path)
        with Journal(path) as second:
            assert second.store is not first.store
            with second.run("new"):
                look("new")
            with pytest.raises(ReplacedError):
                first.store.write(put)
            with second.run("newer"):
                look("newer")
    with Journal(path) as found:
        assert {run["run_id"] for run in found.runs()} == {"new", "newer"}
        assert found.verify().faults == ()


BEGIN_ANEW = """
import sys, rowtrail
with rowtrail.Journal(sys.argv[1]) as journal:
    for n in range(20):
        with journal.run(f"new {n}"): pass
"""


def test_another_process_begins_anew_in_its_place(path: Path, child: Child) -> None:
    with Journal(path) as first:
        with first.run("old"):
            look("old")
        rename(path)
        child(BEGIN_ANEW, path)
        with pytest.raises(ReplacedError):
            first.store.write(put)
    with Journal(path) as found, Journal(path.with_name("renamed.db")) as old:
        assert len(found.runs()) == 20
        assert [run["run_id"] for run in old.runs()] == ["old"]
        assert found.verify().faults == old.verify().faults == ()


def test_what_a_crash_left_beside_a_file_that_is_gone_is_kept(path: Path, child: Child) -> None:
    code = "journal.run('r').__enter__(); __import__('os').kill(__import__('os').getpid(), 9)"
    child(f"import sys, rowtrail\njournal = rowtrail.Journal(sys.argv[1])\n{code}", path, status=-9)
    renamed = path.with_name("renamed.db")
    path.rename(renamed)
    with Journal(path) as journal, journal.run("new"):
        pass
    shutil.move(f"{path}-wal.left", f"{renamed}-wal")
    with Journal(renamed) as found:
        assert [run["run_id"] for run in found.runs()] == ["r"]


def test_a_file_that_is_back_is_opened_anew(path: Path) -> None:
    with Journal(path) as journal:
        with journal.run("r"):
            pass
        rename(path)
        with pytest.raises(ReplacedError):
            journal.runs()
        path.with_name("renamed.db").rename(path)
        with pytest.raises(ReplacedError):
            journal.runs()
        with Journal(path) as again:
            assert again.store is not journal.store
            assert [run["run_id"] for run in again.runs()] == ["r"]


def test_closing_what_was_replaced_takes_nothing_from_its_successor(path: Path) -> None:
    with Journal(path) as first:
        with first.run("old"):
            pass
        remove(path)
        second = Journal(path)
        with second.run("new"):
            pass
    with closing(second), second.run("newer"):
        pass
    with Journal(path) as found:
        assert len(found.runs()) == 2


def test_a_reader_that_follows_a_journal_finds_it_out(path: Path) -> None:
    with Journal(path) as journal, journal.run("r"):
        pass
    with open_reader(str(path)) as reader:
        reader.read(peek)
        replace(path)
        with pytest.raises(ReplacedError):
            reader.read(peek)


# Written over in place: the same file by its inode.


def older_backup(path: Path, journal: Journal) -> bytes:
    made = path.with_name("older.db")
    back_up(str(path), str(made), lambda done, pages: None)
    with journal.run("since"):
        look("since")
    return made.read_bytes()


def other_journal(path: Path, journal: Journal) -> bytes:
    return another(path).read_bytes()


def text(path: Path, journal: Journal) -> bytes:
    return b"no journal " * 1000


@pytest.mark.parametrize("content", [older_backup, other_journal, text])
def test_a_file_that_is_written_over_is_found_out_with_a_heartbeat(
    path: Path, content: Callable[[Path, Journal], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.engine.sqlite._store.HEARTBEAT_S", 0.02)
    with Journal(path) as journal, journal.run("before"):
        look("before")
    with Journal(path) as journal:
        new = content(path, journal)
        journal.store.shrink()  # a checkpoint
        journal.store.write(put)
        wait_for_beats(journal)
        assert journal.runs()  # checkpoints are not taken for anything else
        path.write_bytes(new)
        until = time.monotonic() + 30
        with pytest.raises(StorageError):
            while time.monotonic() < until:
                journal.store.write(put)
                time.sleep(0.01)


def wait_for_beats(journal: Journal, count: int = 3) -> None:
    for _ in range(count):
        seen = sqlite_store(journal).writer.beats
        until = time.monotonic() + 30
        while sqlite_store(journal).writer.beats == seen and time.monotonic() < until:
            time.sleep(0.005)


def test_checkpoints_of_others_are_not_taken_for_another_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.engine.sqlite._store.HEARTBEAT_S", 0.01)
    code = """
import sys, rowtrail
@rowtrail.step
def look(n): return "x" * 20_000 + str(n)
with rowtrail.Journal(sys.argv[1]) as journal:
    for run in range(8):
        with journal.run(f"r{run} {sys.argv[2]}"):
            for n in range(30): look(n * run)
        journal.prune(keep=1, thread_ids=[]) if False else journal.store.shrink()
"""
    with Journal(path) as journal:
        others = [
            subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(2)
        ]
        while any(other.poll() is None for other in others):
            journal.store.write(put)
            time.sleep(0.002)
        assert [other.returncode for other in others] == [0, 0]
        assert len(journal.runs()) == 16
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
