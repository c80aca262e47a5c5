"""What the store says to files, disks and locks that it cannot work with; nothing is lost."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal, schema
from rowtrail.engine import Tx
from rowtrail.engine.sqlite._open import _refuse_foreign  # what races with other processes
from rowtrail.errors import (
    BusyError,
    DamagedError,
    DiskFullError,
    NewerSchemaError,
    NotAJournalError,
    NotRecordedError,
    ReadOnlyError,
    StorageError,
    UnsupportedError,
)
from tests.conftest import Child
from tests.engines.sqlite_store import sqlite_store

TINY_DISK_KB = 1500


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


# Files that are something else.


@pytest.mark.parametrize(
    "content", [b"to be or not to be\n" * 500, b"SQLite format 3\0" + b"\xff" * 5000, b"x"]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(db: Path, content: bytes) -> None:
    db.write_bytes(content)
    with pytest.raises(NotAJournalError, match="is not a rowtrail journal") as caught:
        Journal(db)
    assert caught.value.path == str(db)
    assert db.read_bytes() == content


@pytest.mark.parametrize(
    "made_by",
    [
        "CREATE TABLE checkpoints (thread_id TEXT)",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 1",
        "PRAGMA auto_vacuum = FULL; CREATE TABLE t (x)",
        "PRAGMA journal_mode = WAL; CREATE TABLE t (x)",
    ],
)
def test_a_database_of_another_program_is_refused_and_left_alone(db: Path, made_by: str) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript(made_by)
    before = db.read_bytes()
    with pytest.raises(NotAJournalError, match="another program"):
        Journal(db)
    assert db.read_bytes() == before


def test_an_empty_file_becomes_a_journal(db: Path) -> None:
    db.touch()
    with Journal(db) as journal, journal.run("r"):
        pass
    assert query(db, "PRAGMA application_id") == [(schema.APPLICATION_ID,)]


def test_a_newer_file_is_refused_and_left_alone(db: Path) -> None:
    Journal(db).close()
    newer = schema.VERSION + 1
    query(db, f"PRAGMA user_version = {newer}")
    before = db.read_bytes()
    with pytest.raises(NewerSchemaError, match=f"version {newer}") as caught:
        Journal(db)
    assert (caught.value.found, caught.value.supported) == (newer, schema.VERSION)
    assert db.read_bytes() == before


def test_a_damaged_file_is_told_from_one_of_another_program(db: Path) -> None:
    with Journal(db) as journal:
        for n in range(200):
            with journal.run(str(n), agent="x" * 200):
                pass
    content = bytearray(db.read_bytes())
    content[8192 * 2 :] = os.urandom(len(content) - 8192 * 2)  # the schema's pages stay
    db.write_bytes(content)
    with pytest.raises(DamagedError, match="is damaged"), Journal(db) as journal:
        journal.runs()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyError, match="cannot be opened"):
        Journal(tmp_path)


def test_a_missing_folder_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyError, match="folder exists"):
        Journal(tmp_path / "missing" / "agent.db")
    assert not (tmp_path / "missing").exists()


def test_an_old_sqlite_is_refused(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(UnsupportedError, match=r"needs 3\.37\.0 or newer"):
        Journal(db)
    assert not db.exists()


def test_a_file_system_without_shared_memory_is_refused(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def without_shared_memory(path: str, **options: Any) -> sqlite3.Connection:
        opened: sqlite3.Connection = connect(f"file:{path}?vfs=unix-none", uri=True, **options)
        return opened

    monkeypatch.setattr(sqlite3, "connect", without_shared_memory)
    with pytest.raises(UnsupportedError, match="shared memory"):
        Journal(db)


# Files that cannot be written.

AS_NOBODY = """
import os, sys
import rowtrail
from rowtrail.errors import ReadOnlyError
from rowtrail.engine.sqlite import _open
_open.BUSY_TIMEOUT_MS = 3_600_000  # who waits is not done in time
with rowtrail.Journal(":memory:") as journal, journal.run("imports what is needed"):
    pass
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with rowtrail.Journal(sys.argv[1]) as journal, journal.run("new"):
        print("written")
except ReadOnlyError as error:
    print("refused", type(error.__cause__).__module__)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may enter, as pytest's own is not."""
    made = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True)
    folder = Path(made.stdout.strip())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("wal_is_left", [False, True])
def test_a_read_only_file_is_refused_at_once(
    open_folder: Path, child: Child, wal_is_left: bool
) -> None:
    db = open_folder / "agent.db"
    journal = Journal(db)
    with journal.run("old"):
        pass
    if not wal_is_left:
        journal.close()
    for path in open_folder.iterdir():
        path.chmod(0o444)
    open_folder.chmod(0o555)
    before = db.read_bytes()
    assert child(AS_NOBODY, db).stdout.split() == ["refused", "sqlite3"]
    assert db.read_bytes() == before
    journal.close()


def test_a_read_only_folder_is_refused_at_once(open_folder: Path, child: Child) -> None:
    open_folder.chmod(0o555)
    assert child(AS_NOBODY, open_folder / "agent.db").stdout.startswith("refused")


OUT_OF_FILES = """
import os, resource, sys
import rowtrail
from rowtrail.errors import ReadOnlyError
with rowtrail.Journal(":memory:") as journal, journal.run("imports what is needed"):
    pass
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    rowtrail.Journal(sys.argv[1])
except ReadOnlyError as error:
    print(error)
"""


def test_running_out_of_files_is_among_the_reasons_named(db: Path, child: Child) -> None:
    assert "may open more files" in child(OUT_OF_FILES, db).stdout


# Disks without room.


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of its own, with little room."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TINY_DISK_KB}k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take what room is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def put(key: str, size: int) -> Any:
    return lambda tx: tx.run("meta_set", key=key, value="v" * size)


def count_put(path: Path) -> int:
    return int(query(path, "SELECT count(*) FROM meta WHERE value LIKE 'vvv%'")[0][0])


def test_a_full_disk_fails_the_transaction_and_keeps_what_was_committed(tiny_disk: Path) -> None:
    db, ballast = tiny_disk / "agent.db", tiny_disk / "ballast"
    with Journal(db) as journal:
        journal.store.write(put("first", 1000))
        fill(ballast)
        committed = 0
        with pytest.raises(DiskFullError, match="its file system is full") as caught:
            for n in range(10_000):
                journal.store.write(put(str(n), 10_000))
                committed += 1
        assert isinstance(caught.value.__cause__, sqlite3.Error)

        ballast.unlink()
        journal.store.write(put("last", 1000))
        assert count_put(db) == committed + 2
    assert query(db, "PRAGMA integrity_check") == [("ok",)]


def test_a_transaction_too_large_for_the_disk_does_not_take_its_group_with_it(
    tiny_disk: Path,
) -> None:
    db = tiny_disk / "agent.db"
    with Journal(db) as journal:
        store, begun = journal.store, threading.Event()
        store.submit(lambda tx: begun.wait(60))
        small, large, later = (
            store.submit(put(key, size))
            for key, size in (("small", 100), ("large", 50_000_000), ("later", 100))
        )
        begun.set()
        with pytest.raises(DiskFullError):
            large.result()
        outcomes = {future.exception() is None for future in (small, later)}
        # SQLite may end the whole transaction: then both say that nothing was stored.
        assert count_put(db) == 2 * (outcomes == {True})
        assert len(outcomes) == 1
        store.write(put("again", 100))
    assert query(db, "PRAGMA integrity_check") == [("ok",)]


def test_a_result_that_finds_no_room_is_handed_over_and_the_run_resumes(tiny_disk: Path) -> None:
    ballast, made = tiny_disk / "ballast", []

    @rowtrail.step(name="draft")
    def draft() -> str:
        made.append("draft")
        if len(made) == 1:
            fill(ballast)
        return "what was paid for" + "." * 400_000

    with Journal(tiny_disk / "agent.db") as journal:
        with pytest.raises(NotRecordedError, match="could not be") as caught, journal.run("r"):
            draft()
        assert caught.value.result.startswith("what was paid for")
        assert isinstance(caught.value.__cause__, DiskFullError)

        ballast.unlink()
        with journal.run("r"):  # its end could not be written, and holds nobody up
            draft()
        first, second = journal.steps("r")
        assert (first["step_id"], first["status"]) == (caught.value.step_id, "superseded")
        assert (second["status"], second["replays"], len(made)) == ("done", 0, 2)
        assert [run["status"] for run in journal.runs()] == ["done"]


def test_opening_on_a_full_disk_is_a_clear_error(tiny_disk: Path) -> None:
    fill(tiny_disk / "ballast")
    with pytest.raises(DiskFullError):
        Journal(tiny_disk / "agent.db")


LIMITED = """
import resource, signal, sys
import rowtrail
from rowtrail.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = rowtrail.Journal(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
written = 0
try:
    while True:
        journal.store.write(lambda tx: tx.run("meta_set", key=str(written), value="v" * 10_000))
        written += 1
except StorageError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.store.write(lambda tx: tx.run("meta_set", key="last", value="v" * 10))
    print(type(error).__name__, written)
journal.close()
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="POSIX only")
def test_a_limit_on_the_size_of_files_loses_nothing(db: Path, child: Child) -> None:
    name, written = child(LIMITED, db, 2_000_000).stdout.split()
    assert name == "StorageError"
    assert int(written) > 10
    assert count_put(db) == int(written) + 1
    assert query(db, "PRAGMA integrity_check") == [("ok",)]


# Locks of others.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("_open", "_tx"):
        monkeypatch.setattr(f"rowtrail.engine.sqlite.{room}.BUSY_TIMEOUT_MS", 200)


@pytest.mark.usefixtures("impatient")
def test_a_lock_held_too_long_is_a_clear_error_and_passes(db: Path) -> None:
    with Journal(db) as journal, closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="stayed locked"):
            journal.store.write(put("x", 10))
        assert journal.runs() == []  # readers do not wait
        other.execute("COMMIT")
        journal.store.write(put("x", 10))
    assert count_put(db) == 1


@pytest.mark.usefixtures("impatient")
def test_a_new_file_that_another_program_holds_is_a_clear_error(db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError):
            Journal(db)
    Journal(db).close()


def test_a_short_lock_of_another_process_is_waited_for(journal: Journal, db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, other.execute, ["COMMIT"]).start()
        journal.store.write(put("x", 10))
        time.sleep(0.05)
    assert count_put(db) == 1


def test_an_error_that_quotes_the_words_of_another_is_not_taken_for_it(journal: Journal) -> None:
    def misspelt(tx: Tx) -> None:
        sqlite_store(journal).connection.execute("SELECT full_locked_readonly")

    with pytest.raises(StorageError, match="full_locked_readonly") as caught:
        journal.store.write(misspelt)
    assert type(caught.value) is StorageError


@pytest.mark.parametrize("reads", range(4))
def test_a_file_that_becomes_a_journal_while_it_is_looked_at_is_one(db: Path, reads: int) -> None:
    class Looking(sqlite3.Connection):
        left = reads

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if self.left == 0:
                Journal(db).close()
            self.left -= 1
            return super().execute(*arguments)

    with closing(sqlite3.connect(db, factory=Looking)) as connection:
        _refuse_foreign(connection, str(db))
