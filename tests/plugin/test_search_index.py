"""The search index follows the journal: deletions, other files, other processes, damage."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
import pytest

from rowtrail import Journal, step
from rowtrail.checkpoint import Checkpoints
from rowtrail.errors import ReadOnlyError, StorageError
from rowtrail.history import Answer, _index_file
from rowtrail.history._index_file import IndexFile, with_index
from rowtrail.history.searching import Indexed

PROGRAM = """
import sys
from rowtrail import Journal, step

@step(name="note", kind="tool")
def note(text): return f"noted {text}"

with Journal(sys.argv[1]) as journal:
    for i in range(int(sys.argv[3])):
        with journal.run(f"{sys.argv[2]}-{i}"):
            note(f"{sys.argv[2]} word{i}")
        assert len(journal.search(f"{sys.argv[2]} word{i}", mode="keyword")), i
"""


@step(name="note", kind="tool")
def note(text: str) -> str:
    return f"noted {text}"


def write(journal: Journal, thread: str, *texts: str) -> None:
    """Record a run of a thread that notes each text."""
    with journal.run(f"run of {thread} {' '.join(texts)}", thread_id=thread):
        for text in texts:
            note(text)


def runs(answer: Answer) -> set[str]:
    return {row["thread_id"] for row in answer}


def tables(db: Path) -> dict[str, int]:
    """Return how many rows each table of the index has; no other process may have it open."""
    connection = apsw.Connection(str(index_of(db)), flags=apsw.SQLITE_OPEN_READONLY)
    names = ("doc", "text", "spot", "log_doc", "span", "run", "step", "open_step", "vector")
    counts = {
        name: int(str(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]))
        for name in names
    }
    connection.close()
    return counts


def index_of(db: Path) -> Path:
    return db.with_name(f"{db.name}-search")


@pytest.fixture
def two_threads(journal: Journal) -> Journal:
    write(journal, "north", "alpha", "shared")
    write(journal, "south", "beta", "shared")
    assert len(journal.search("alpha beta shared", limit=20)) == 6
    return journal


def test_a_pruned_thread_is_forgotten_and_what_others_said_too_is_kept(
    two_threads: Journal, db: Path
) -> None:
    two_threads.prune(thread_ids=["north"])

    assert len(two_threads.search("alpha")) == 0
    assert runs(two_threads.search("shared")) == {"south"}
    counts = tables(db)
    assert counts["run"] == 1
    assert counts["doc"] == counts["text"] == 4


def test_ids_that_deleted_steps_had_are_read_anew(two_threads: Journal) -> None:
    two_threads.prune(thread_ids=["south"])  # the newest steps: their ids are given again
    write(two_threads, "east", "gamma")

    (step_id,) = {row["step_id"] for row in two_threads.search("gamma")}
    assert int(step_id) == 3
    assert runs(two_threads.search("gamma")) == {"east"}
    assert len(two_threads.search("beta")) == 0


def test_new_steps_are_found_when_old_ones_went_unseen(two_threads: Journal) -> None:
    write(two_threads, "west", "delta")
    two_threads.prune(thread_ids=["north"])
    write(two_threads, "east", "gamma")

    assert runs(two_threads.search("delta gamma")) == {"west", "east"}


def test_everything_may_go(two_threads: Journal, db: Path) -> None:
    two_threads.prune(thread_ids=["north", "south"])

    assert len(two_threads.search("alpha beta shared")) == 0
    assert set(tables(db).values()) == {0}


def test_a_search_in_the_middle_of_a_prune_is_right_before_and_after(
    two_threads: Journal,
) -> None:
    seen: list[set[str]] = []

    def look(what: str, done: int, total: int) -> None:
        seen.append(runs(two_threads.search("shared")))

    two_threads.prune(thread_ids=["north"], progress=look)

    assert seen
    assert all(found in ({"north"}, {"south"}) for found in seen)
    assert runs(two_threads.search("shared")) == {"south"}


def test_another_journal_at_the_same_path_is_read_anew(db: Path) -> None:
    with Journal(db) as journal:
        write(journal, "north", "alpha")
        assert len(journal.search("alpha"))
    for file in db.parent.glob("agent.db*"):
        if "search" not in file.name:
            file.unlink()

    with Journal(db) as journal:
        write(journal, "south", "beta")

        assert len(journal.search("alpha")) == 0
        assert runs(journal.search("beta")) == {"south"}


def test_a_backup_that_was_put_back_is_read_anew(db: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Journal(db) as journal:
        write(journal, "north", "alpha")
    shutil.copy(db, backup)
    with Journal(db) as journal:
        write(journal, "lost", "beta")
        assert len(journal.search("beta"))
    shutil.copy(backup, db)

    with Journal(db) as journal:
        write(journal, "south", "gamma", "delta", "epsilon")

        assert len(journal.search("beta")) == 0
        assert runs(journal.search("alpha gamma")) == {"north", "south"}


@pytest.mark.parametrize("left", ["", "-wal"], ids=["all of it", "all but its WAL"])
def test_it_may_be_deleted_at_any_time(two_threads: Journal, db: Path, left: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        if suffix != left or not suffix:
            index_of(db).with_name(index_of(db).name + suffix).unlink(missing_ok=True)
    if left:
        index_of(db).with_name(index_of(db).name + left).write_bytes(os.urandom(50_000))

    assert runs(two_threads.search("shared")) == {"north"}
    write(two_threads, "east", "gamma")
    assert runs(two_threads.search("gamma")) == {"east"}


def test_it_may_be_deleted_while_it_is_filled(journal: Journal, db: Path) -> None:
    with journal.run("one"):
        for i in range(700):
            note(f"word{i}")
    told: list[int] = []

    def delete(what: str, done: int, total: int) -> None:
        told.append(done)
        if len(told) == 1:
            for file in db.parent.glob("agent.db-search*"):
                file.unlink()

    found = journal.index(progress=delete)

    assert found.texts == 1400
    assert len(journal.search("word0")) == len(journal.search("word699")) == 2
    assert tables(db)["text"] == 1400


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("when", ["_refuse_foreign", "_switch_to_wal", "_create"])
def test_it_may_be_deleted_while_it_is_made(
    journal: Journal, db: Path, monkeypatch: pytest.MonkeyPatch, when: str, times: int
) -> None:
    write(journal, "north", "alpha")
    original, left = getattr(_index_file, when), [times]

    def delete_first(*arguments: object) -> object:
        if left[0]:
            left[0] -= 1
            for file in db.parent.glob("agent.db-search*"):
                file.unlink()
        return original(*arguments)

    monkeypatch.setattr(_index_file, when, delete_first)

    assert runs(journal.search("alpha")) == {"north"}
    assert left == [0]


@pytest.mark.parametrize("size", [10, 5_000, 60_000], ids=["a stub", "the start", "the middle"])
def test_a_damaged_index_is_made_anew(two_threads: Journal, db: Path, size: int) -> None:
    content = index_of(db).read_bytes()
    index_of(db).write_bytes(content[:size] + os.urandom(len(content) - size))

    assert runs(two_threads.search("alpha")) == {"north"}
    assert tables(db)["run"] == 2


def test_an_index_of_another_version_is_made_anew(two_threads: Journal, db: Path) -> None:
    connection = apsw.Connection(str(index_of(db)))
    connection.execute("PRAGMA user_version = 99; DROP TABLE spot")
    connection.close()

    assert runs(two_threads.search("alpha")) == {"north"}


def test_a_file_of_another_program_is_not_touched(journal: Journal, db: Path) -> None:
    with closing(sqlite3.connect(index_of(db))) as connection:
        connection.execute("CREATE TABLE precious (x)")
        connection.commit()
    before = index_of(db).read_bytes()

    with pytest.raises(StorageError, match="another program: move it"):
        journal.search("alpha")

    assert index_of(db).read_bytes() == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user with limits")
def test_a_folder_that_cannot_be_written_is_named(journal: Journal, db: Path) -> None:
    db.parent.chmod(0o500)
    try:
        with pytest.raises(ReadOnlyError, match=r"agent\.db-search"):
            journal.search("alpha")
    finally:
        db.parent.chmod(0o700)


def test_an_index_path_that_is_a_folder_is_named(journal: Journal, db: Path) -> None:
    index_of(db).mkdir()

    with pytest.raises(ReadOnlyError, match=r"agent\.db-search"):
        journal.search("alpha")


def test_processes_that_write_and_search_at_once_find_their_own(db: Path) -> None:
    Journal(db).close()
    count = 25
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(db), name, str(count)], stderr=subprocess.PIPE
        )
        for name in ("ant", "bee", "cat")
    ]
    errors = [program.communicate(timeout=60)[1] for program in programs]

    assert [program.returncode for program in programs] == [0, 0, 0], errors
    with Journal(db) as journal:
        assert len(journal.search("noted", limit=500)) == 3 * count
    assert tables(db)["doc"] == 6 * count


def test_rebuilding_gives_the_same_index(two_threads: Journal, db: Path) -> None:
    def look(index: IndexFile) -> list[tuple[object, ...]]:
        return index.all("runs_known")

    before, known = tables(db), with_index(two_threads.store, look)

    found = two_threads.index(rebuild=True)

    assert found == Indexed(str(index_of(db)), before["doc"], 0)
    assert tables(db) == before
    assert with_index(two_threads.store, look) == known


def content(db: Path) -> set[tuple[object, ...]]:
    """Return what the index says, without the numbers of its own rows."""
    connection = apsw.Connection(str(index_of(db)), flags=apsw.SQLITE_OPEN_READONLY)
    spots = connection.execute(
        "SELECT s.step, s.place, st.run, st.kind, st.at, d.digest FROM spot s"
        " JOIN step st ON st.id = s.step JOIN doc d ON d.id = s.doc"
    ).fetchall()
    prompts = connection.execute(
        "SELECT s.run, s.step, ld.log, ld.pos, coalesce(d.digest, 0) FROM span s"
        " JOIN log_doc ld ON ld.log = s.log AND ld.pos >= s.lo AND ld.pos < s.hi"
        " LEFT JOIN doc d ON d.id = ld.doc"
    ).fetchall()
    unused = connection.execute(
        "SELECT rowid FROM text WHERE rowid NOT IN (SELECT doc FROM spot)"
        " AND rowid NOT IN (SELECT doc FROM log_doc)"
    ).fetchall()
    texts = connection.execute("SELECT count(*) FROM text").fetchall()
    docs = connection.execute("SELECT count(*), 'docs' FROM doc").fetchall()
    connection.close()
    assert unused == []
    return {*spots, *prompts, *texts, *docs}


@pytest.mark.parametrize("seed", range(int(os.environ.get("ROWTRAIL_SEARCH_SEEDS", "6"))))
def test_whatever_happens_it_says_what_one_made_anew_says(
    db: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.history._filling.PAGE_STEPS", 3)
    chance = random.Random(seed)

    def sometimes_search(*_: object) -> None:
        if chance.random() < 0.5:
            journal.index()

    with Journal(db, durability="normal") as journal:
        for number in range(25):
            threads = [row["thread_id"] for row in journal.sql("select thread_id from threads")]
            match chance.choice(["write", "write", "search", "prune", "delete", "interrupt"]):
                case "prune" if threads:
                    journal.prune(
                        thread_ids=chance.sample(threads, k=1),
                        progress=sometimes_search,
                    )
                case "delete" if threads:
                    row = threads[-1] if chance.random() < 0.5 else chance.choice(threads)
                    checkpoints = Checkpoints(journal.store, journal.recorder.content)
                    journal.store.write(partial(checkpoints.delete_thread, thread_id=row))
                case "interrupt":
                    with contextlib.suppress(InterruptedError):
                        journal.index(progress=interrupt)
                case "search":
                    journal.search("word1")
                case _:
                    thread = f"thread{chance.randrange(4)}-{number}"
                    write(journal, thread, *(f"word{chance.randrange(9)}" for _ in range(5)))
        journal.index()
        kept = content(db)
        journal.index(rebuild=True)
        assert kept == content(db)


def interrupt(what: str, done: int, total: int) -> None:
    raise InterruptedError
