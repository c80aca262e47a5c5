"""Steps that the main thread writes on a connection of its own, beside the writer thread."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from itertools import count, groupby
from pathlib import Path

import pytest

from rowtrail import Journal, RowtrailError, step
from rowtrail.engine import Store, Tx
from rowtrail.engine.sqlite import SqliteStore
from rowtrail.engine.sqlite._unsynced import Unsynced
from rowtrail.errors import ReplacedError

EACH = 40
WAIT_S = 60


@step(kind="tool", effect="write")
def pay(n: int) -> int:
    return n


@step(kind="tool", effect="read")
def look(n: int) -> int:
    return n


def sqlite_store(store: Store) -> SqliteStore:
    assert isinstance(store, SqliteStore)
    return store


def connection_of_main(journal: Journal) -> sqlite3.Connection:
    connection = sqlite_store(journal.store).writer.main.connection
    assert connection is not None
    return connection


def steps_in(db: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT seq, status FROM steps ORDER BY seq").fetchall()


def test_a_write_on_the_main_thread_is_two_statements(db: Path) -> None:
    seen: list[str] = []
    with Journal(db) as journal, journal.run("r"):
        pay(1)  # the scope gets its row
        pay(2)
        connection_of_main(journal).set_trace_callback(seen.append)
        pay(3)
        connection_of_main(journal).set_trace_callback(None)
    words = [text.split("(")[0].strip() for text in seen]  # each again for what a trigger does
    assert [word for word, _ in groupby(words)] == ["INSERT INTO step", "INSERT INTO step_result"]


def test_main_and_other_threads_write_steps_at_once(db: Path) -> None:
    numbers = count()
    with Journal(db, durability="normal") as journal, journal.run("r"):

        def work() -> None:
            for _ in range(EACH):
                pay(next(numbers))
                look(next(numbers))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join(WAIT_S)
    assert steps_in(db) == [(n, "done") for n in range(1, 8 * EACH + 1)]


def test_a_step_waits_for_a_transaction_of_another_thread(db: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    with Journal(db) as journal, journal.run("r"):
        pay(1)
        pay(2)

        def hold(_: Tx) -> None:
            begun.set()
            go_on.wait(WAIT_S)

        thread = threading.Thread(target=journal.store.write, args=(hold,))
        thread.start()
        assert begun.wait(WAIT_S)
        threading.Timer(0.05, go_on.set).start()
        pay(3)
        assert go_on.is_set()
        thread.join(WAIT_S)
    assert steps_in(db) == [(1, "done"), (2, "done"), (3, "done")]


def test_another_thread_may_close_the_journal_between_steps(db: Path) -> None:
    with Journal(db, durability="normal") as journal:
        thread = threading.Thread(target=journal.close)
        with pytest.raises(RowtrailError), journal.run("r"):
            for n in range(1_000):
                pay(n)
                if n == EACH:
                    thread.start()
        thread.join(WAIT_S)
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection_of_main(journal).execute("SELECT 1")
    assert not Path(f"{db}-wal").exists()
    assert len(steps_in(db)) >= EACH


def test_a_step_is_refused_once_the_file_is_gone(db: Path, tmp_path: Path) -> None:
    with pytest.raises(ReplacedError), Journal(db) as journal, journal.run("r"):
        pay(1)
        pay(2)
        db.rename(tmp_path / "elsewhere.db")
        pay(3)
    assert not db.exists()
    assert steps_in(tmp_path / "elsewhere.db") == [(1, "done"), (2, "done")]


def test_a_journal_in_memory_has_one_connection() -> None:
    with Journal(":memory:") as journal, journal.run("r"):
        pay(1)
        pay(2)
        assert [row["status"] for row in journal.sql("SELECT status FROM steps")] == ["done"] * 2
        assert sqlite_store(journal.store).writer.main.connection is None


@pytest.fixture
def unsynced(db: Path) -> Unsynced:
    return Unsynced(str(db))


def commit(unsynced: Unsynced, step: int, *, is_synced: bool) -> None:
    unsynced.begin()
    unsynced.changed.add(step)
    unsynced.note(is_synced=is_synced)


def commit_apart(unsynced: Unsynced, step: int, *, is_synced: bool) -> None:
    unsynced.note_apart(step, is_synced=is_synced, before=unsynced.commits)


def test_a_sync_of_either_connection_covers_what_both_have_committed(unsynced: Unsynced) -> None:
    commit(unsynced, 1, is_synced=False)
    commit_apart(unsynced, 2, is_synced=False)
    assert unsynced.steps() == {1, 2}
    commit_apart(unsynced, 3, is_synced=True)
    assert unsynced.steps() == set()
    commit_apart(unsynced, 4, is_synced=False)
    commit(unsynced, 5, is_synced=False)
    commit(unsynced, 6, is_synced=True)
    assert unsynced.steps() == set()


def test_a_sync_covers_nothing_that_was_committed_since_it_began(unsynced: Unsynced) -> None:
    before = unsynced.commits
    commit(unsynced, 1, is_synced=False)
    unsynced.note_apart(2, is_synced=True, before=before)
    assert unsynced.steps() == {1}
    unsynced.begin()
    commit_apart(unsynced, 3, is_synced=False)
    unsynced.note(is_synced=True)
    assert unsynced.steps() == {3}
