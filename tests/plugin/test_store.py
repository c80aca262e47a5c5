"""The store: how the file is opened, and what a transaction is."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rowtrail import Journal
from rowtrail.engine import Store, Tx
from rowtrail.errors import ClosedError, StorageError, UsageError
from tests.engines.sqlite_store import sqlite_store

JOBS = 200
SIGNALS = 1_200


def pragma(journal: Journal, name: str) -> Any:
    """Ask the connection that writes."""
    seen: list[Any] = []

    def work(tx: Tx) -> None:
        seen.extend(sqlite_store(journal).connection.execute(f"PRAGMA {name}").fetchone())

    journal.store.write(work)
    return seen[0]


def put(key: str) -> Callable[[Tx], str]:
    """Return a transaction that writes one row."""

    def work(tx: Tx) -> str:
        tx.run("meta_set", key=key, value="here")
        return key

    return work


def keys(store: Store) -> set[str]:
    """Return the rows that `put` wrote."""
    connection = sqlite3.connect(store.where)
    try:
        found = connection.execute("SELECT key FROM meta WHERE value = 'here'").fetchall()
    finally:
        connection.close()
    return {row[0] for row in found}


class Blocked:
    """Holds the writer thread inside a transaction until released."""

    def __init__(self, store: Store) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.done = store.submit(self._wait)
        assert self.entered.wait(60)

    def _wait(self, tx: Tx) -> None:
        self.entered.set()
        assert self.release.wait(60)


def commits(store: Store) -> list[str]:
    """Return a list that grows with every `COMMIT` of the connection that writes."""
    seen: list[str] = []
    sqlite_store(store).connection.set_trace_callback(
        lambda statement: seen.append(statement) if statement.startswith("COMMIT") else None
    )
    return seen


# Opening.


def test_a_commit_is_synced_to_disk_by_default(journal: Journal) -> None:
    assert pragma(journal, "journal_mode") == "wal"
    assert pragma(journal, "synchronous") == 2  # FULL


def test_normal_durability_syncs_at_checkpoints_only(db: Path) -> None:
    with Journal(db, durability="normal") as journal:
        assert pragma(journal, "journal_mode") == "wal"
        assert pragma(journal, "synchronous") == 1  # NORMAL


def test_an_owner_that_asks_for_full_durability_gets_it_from_a_shared_store(db: Path) -> None:
    with Journal(db, durability="normal") as first, Journal(db) as second:
        assert second.store is first.store
        assert pragma(first, "synchronous") == 2


def test_an_owner_that_asks_for_less_takes_nothing_from_the_others(db: Path) -> None:
    with Journal(db) as first, Journal(db, durability="normal"):
        assert pragma(first, "synchronous") == 2


def test_an_unknown_durability_is_refused(db: Path) -> None:
    with pytest.raises(UsageError, match="'fulll'"):
        Journal(db, durability="fulll")  # type: ignore[arg-type]
    assert not db.exists()


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        Journal("")


def test_a_new_file_has_large_pages_and_gives_them_back(journal: Journal) -> None:
    assert pragma(journal, "page_size") == 8192
    assert pragma(journal, "auto_vacuum") == 2  # INCREMENTAL


def test_only_the_owner_may_read_the_files(db: Path) -> None:
    before = os.umask(0)
    try:
        with Journal(db) as journal, journal.run("r"):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in db.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"agent.db": 0o600, "agent.db-wal": 0o600, "agent.db-shm": 0o600}


def test_closing_leaves_one_file(db: Path) -> None:
    with Journal(db) as journal, journal.run("r"):
        journal.runs()  # an idle reader must not keep the WAL alive
    assert [path.name for path in db.parent.iterdir()] == ["agent.db"]


@pytest.mark.parametrize("name", ["ünï cödé.db", "a?b#c%20.db", "file:x.db", "quo'te\".db"])
def test_a_path_may_hold_any_character(tmp_path: Path, name: str) -> None:
    with Journal(tmp_path / name) as journal, journal.run("r"):
        assert [run["run_id"] for run in journal.runs()] == ["r"]
    assert (tmp_path / name).exists()


def test_a_path_may_be_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.db"
    with Journal(os.fsdecode(path)) as journal, journal.run("r"):
        assert [run["run_id"] for run in journal.runs()] == ["r"]
    assert os.path.exists(path)


def test_a_relative_path_stays_the_same_file_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Journal("agent.db") as journal:
        monkeypatch.chdir(tmp_path / "elsewhere")
        with journal.run("r"):
            pass
        assert [run["run_id"] for run in journal.runs()] == ["r"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_opening_an_open_file_again_shares_one_store(db: Path) -> None:
    first, second = Journal(db), Journal(str(db))
    assert first.store is second.store
    first.close()
    with second.run("r"):
        pass
    assert [run["run_id"] for run in second.runs()] == ["r"]
    second.close()


def test_a_symlink_and_its_target_share_one_store(db: Path) -> None:
    link = db.with_name("link.db")
    with Journal(db) as first:
        link.symlink_to(db)
        with Journal(link) as second:
            assert first.store is second.store


def test_memory_journals_have_nothing_in_common() -> None:
    with Journal(":memory:") as first, Journal(":memory:") as second:
        with first.run("r"):
            pass
        assert [run["run_id"] for run in first.runs()] == ["r"]
        assert second.runs() == []


# Transactions.


def test_transactions_that_wait_share_a_commit(journal: Journal) -> None:
    store = journal.store
    seen = commits(store)
    blocked = Blocked(store)
    futures: list[Future[str]] = [store.submit(put(str(n))) for n in range(JOBS)]
    blocked.release.set()

    assert [future.result() for future in futures] == [str(n) for n in range(JOBS)]
    assert len(seen) <= 3
    assert keys(store) == {str(n) for n in range(JOBS)}


def test_threads_that_write_at_once_make_fewer_commits_than_transactions(
    journal: Journal,
) -> None:
    store = journal.store
    seen = commits(store)
    start = threading.Barrier(16)

    def work(thread: int) -> None:
        start.wait()
        for n in range(25):
            assert store.write(put(f"{thread}/{n}")) == f"{thread}/{n}"

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert keys(store) == {f"{thread}/{n}" for thread in range(16) for n in range(25)}
    assert len(seen) < 16 * 25 / 2


@pytest.mark.parametrize("alone", [True, False])
def test_a_transaction_that_fails_leaves_nothing_and_takes_nobody_with_it(
    journal: Journal, alone: bool
) -> None:
    def fail(tx: Tx) -> None:
        tx.run("meta_set", key="half", value="here")
        raise LookupError("in the middle")

    store = journal.store
    blocked = Blocked(store)
    before = None if alone else store.submit(put("before"))
    failed = store.submit(fail)
    after = None if alone else store.submit(put("after"))
    blocked.release.set()

    with pytest.raises(LookupError, match="in the middle"):
        failed.result()
    for future in (before, after):
        assert future is None or future.result()
    assert keys(store) == (set() if alone else {"before", "after"})


def test_an_error_of_sqlite_in_one_transaction_takes_nobody_with_it(journal: Journal) -> None:
    def fail(tx: Tx) -> None:
        tx.run("meta_set", key="half", value="here")
        sqlite_store(journal).connection.execute("SELECT json_extract('{', '$')")  # malformed JSON

    store = journal.store
    blocked = Blocked(store)
    before, failed, after = (store.submit(work) for work in (put("a"), fail, put("b")))
    blocked.release.set()

    with pytest.raises(StorageError, match="malformed JSON") as caught:
        failed.result()
    assert caught.value.path == store.where
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert (before.result(), after.result()) == ("a", "b")
    assert keys(store) == {"a", "b"}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a group"])
def test_the_end_of_each_transaction_is_told_to_what_waits_for_it(
    journal: Journal, alone: bool
) -> None:
    store, told = journal.store, list[str]()

    def work(name: str, *, fails: bool) -> Callable[[Tx], None]:
        def waiting(tx: Tx) -> None:
            tries[name] += 1
            tx.after_commit(lambda: told.append(f"{name} committed"))
            tx.after_rollback(lambda: told.append(f"{name} undone"))
            if fails:
                raise LookupError("in the middle")

        tries[name] = 0
        return waiting

    tries: dict[str, int] = {}
    works = [] if alone else [work("before", fails=False)]
    works += [work("failed", fails=True)]
    works += [] if alone else [work("after", fails=False)]
    blocked = Blocked(store)
    futures = [store.submit(each) for each in works]
    blocked.release.set()
    for future in futures:
        with suppress(LookupError):
            future.result()
    # A group is tried as a whole first: what was undone is told each time.
    assert sorted(set(told)) == (
        ["failed undone"]
        if alone
        else ["after committed", "before committed", "before undone", "failed undone"]
    )
    assert [told.count(f"{name} committed") for name in ("before", "after")] == [not alone] * 2
    assert told.count("failed undone") == tries["failed"]


def test_what_waits_for_a_commit_may_raise_and_takes_nothing_with_it(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    def work(tx: Tx) -> str:
        tx.after_commit(lambda: 1 // 0)
        tx.after_commit(lambda: told.append("still told"))
        return put("here")(tx)

    told: list[str] = []
    assert journal.store.write(work) == "here"
    assert (keys(journal.store), told) == ({"here"}, ["still told"])
    assert "ZeroDivisionError" in caplog.text


def test_a_cancelled_transaction_is_not_made_and_the_writer_lives_on(journal: Journal) -> None:
    store = journal.store
    blocked = Blocked(store)
    cancelled = store.submit(put("cancelled"))
    assert cancelled.cancel()
    assert not blocked.done.cancel()  # it runs already: nobody could tell whether it committed
    blocked.release.set()

    store.write(put("later"))
    assert keys(store) == {"later"}


def test_a_transaction_cannot_wait_for_another(journal: Journal) -> None:
    with pytest.raises(RuntimeError, match="cannot wait"):
        journal.store.write(lambda tx: journal.store.write(put("inner")))
    assert journal.store.write(put("later"))


def test_a_read_cannot_write(journal: Journal) -> None:
    with pytest.raises(StorageError, match="readonly"):
        journal.store.read(put("x"))
    assert keys(journal.store) == set()


def test_a_read_sees_one_snapshot(journal: Journal) -> None:
    def look(tx: Tx) -> tuple[int, int]:
        first = len(tx.all("runs_by_status"))
        with journal.run("meanwhile"):
            pass
        return first, len(tx.all("runs_by_status"))

    assert journal.store.read(look) == (0, 0)
    assert len(journal.runs()) == 1


def test_text_that_utf8_cannot_hold_is_escaped_and_found_again(journal: Journal) -> None:
    store, half = journal.store, "call_\ud83d"
    store.write(lambda tx: tx.run("meta_set", key=half, value="here"))
    assert store.read(lambda tx: tx.value("meta_value", key=half)) == "here"
    assert keys(store) == {"call_\\ud83d"}


# Closing.


def test_a_closed_store_says_so(db: Path) -> None:
    journal = Journal(db)
    store = journal.store
    journal.close()
    for use in (store.write, store.read, store.submit):
        with pytest.raises(ClosedError, match="closed"):
            use(put("x"))


def test_closing_commits_what_is_queued(db: Path) -> None:
    journal = Journal(db)
    store = journal.store
    blocked = Blocked(store)
    futures = [store.submit(put(str(n))) for n in range(JOBS)]
    threading.Timer(0.05, blocked.release.set).start()
    journal.close()

    assert all(future.done() for future in futures)
    assert keys(store) == {str(n) for n in range(JOBS)}


def test_many_threads_may_close_while_others_write(db: Path) -> None:
    journal = Journal(db)
    store = journal.store
    committed: list[str] = []
    start = threading.Barrier(9)

    def write(thread: int) -> None:
        start.wait()
        with suppress(ClosedError):
            committed.extend(store.write(put(f"{thread}/{n}")) for n in range(1000))

    def close() -> None:
        start.wait()
        journal.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    threads += [threading.Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert keys(store) == set(committed)


def test_a_file_can_be_opened_again_at_once(db: Path) -> None:
    for n in range(20):
        with Journal(db) as journal, journal.run(str(n)):
            pass
    with Journal(db) as journal:
        assert len(journal.runs()) == 20


class Rang(BaseException):
    """What the handler of the timer raises, as Ctrl-C does."""


def ring(*_: object) -> None:
    raise Rang


@pytest.fixture
def timer() -> Iterator[Callable[[float], None]]:
    """Return what sets the timer: `Rang` is raised on the main thread after so many seconds."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no interval timers")
    before = signal.signal(signal.SIGALRM, ring)

    def set_timer(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield set_timer
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a callback
def test_a_signal_in_the_middle_of_a_write_loses_none_that_has_begun(
    journal: Journal, timer: Callable[[float], None]
) -> None:
    begun: set[str] = set()
    told: set[str] = set()

    def write(key: str) -> None:
        def work(tx: Tx) -> None:
            begun.add(key)
            put(key)(tx)

        journal.store.write(work)
        told.add(key)

    started = time.perf_counter()
    for n in range(20):
        write(f"undisturbed {n}")
    usual_s = (time.perf_counter() - started) / 20
    for n in range(SIGNALS):
        with suppress(Rang):
            timer(max(1e-6, (n % 60) / 30 * usual_s))
            write(str(n))
            timer(0)
    timer(0)
    assert 20 < len(told) < 20 + SIGNALS
    write("at the end")
    assert told <= begun == keys(journal.store)


def test_a_write_inside_a_transaction_is_refused(journal: Journal) -> None:
    with pytest.raises(RuntimeError, match="cannot wait for another"):
        journal.store.write(lambda tx: journal.store.write(put("inner")))
    journal.store.write(put("after"))
    assert keys(journal.store) == {"after"}


def test_writes_of_one_thread_are_committed_in_their_order(journal: Journal) -> None:
    order: list[int] = []
    for n in range(JOBS):
        act: Callable[..., object] = journal.store.submit if n % 2 else journal.store.write
        act(lambda tx, n=n: order.append(n))
    journal.store.write(lambda tx: None)
    assert order == list(range(JOBS))


def test_text_that_utf8_cannot_hold_is_escaped_in_the_middle_of_many_rows(journal: Journal) -> None:
    wanted = ("before", "half \udfff", "\ud83d", "after")
    rows = [{"key": key, "value": "here"} for key in wanted]
    journal.store.write(lambda tx: tx.many("meta_set", rows))
    assert keys(journal.store) == {"before", "half \\udfff", "\\ud83d", "after"}
