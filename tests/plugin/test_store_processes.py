"""One file and processes, forks, event loops, the garbage collector, and the end of Python."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal, schema
from rowtrail.engine import Store, Tx
from rowtrail.errors import ClosedError, ForkedError
from tests.conftest import Child, Rows
from tests.engines.sqlite_store import sqlite_store

PROCESSES = 8


def together(code: str, *args: object, count: int = PROCESSES) -> list[str]:
    """Run the same code in processes that begin at the same moment, and return what they print."""
    prelude = "import sys, rowtrail\nprint('ready', flush=True)\nsys.stdin.readline()\n"
    command = [sys.executable, "-c", prelude + code, *map(str, args)]
    pipe = subprocess.PIPE
    begun = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(count)
    ]
    for process in begun:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in begun:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said: list[str] = []
    for process in begun:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        said.append(out.strip())
    return said


def put(key: str) -> Callable[[Tx], int]:
    """Return a transaction that writes one row."""
    return lambda tx: tx.changed("meta_set", key=key, value="here")


# Several processes.


def test_processes_may_open_a_new_file_at_once(db: Path, rows: Rows) -> None:
    code = """
with rowtrail.Journal(sys.argv[1]) as journal:
    for n in range(5):
        with journal.run(f"{__import__('os').getpid()}-{n}"):
            pass
    print(journal.store.journal_id)
"""
    said = together(code, db)
    assert len(set(said)) == 1  # one of them made the file, the others use it
    assert rows("SELECT count(*) AS runs, count(DISTINCT run_id) AS ids FROM runs") == [
        {"runs": 5 * PROCESSES, "ids": 5 * PROCESSES}
    ]
    assert rows("SELECT count(*) AS n FROM meta WHERE key = 'journal_id'") == [{"n": 1}]
    assert rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


def test_a_migration_that_dies_leaves_the_file_as_it_was(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = schema.migration

    def broken(version: int) -> list[str]:
        return [*real(version), "CREATE TABLE run (x)"]  # it is there already

    monkeypatch.setattr(schema, "migration", broken)
    with pytest.raises(rowtrail.RowtrailError, match="already exists"):
        Journal(db)
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)
    monkeypatch.undo()
    with Journal(db) as journal, journal.run("r"):
        pass


def test_views_of_another_version_are_replaced_and_rows_kept(db: Path) -> None:
    with Journal(db) as journal, journal.run("r"):
        pass
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript("DROP VIEW runs; CREATE VIEW runs AS SELECT 1 AS old")
    with Journal(db) as journal:
        assert [run["run_id"] for run in journal.runs()] == ["r"]


def test_processes_that_write_at_once_lose_nothing(db: Path, rows: Rows) -> None:
    code = """
import os
with rowtrail.Journal(sys.argv[1]) as journal:
    @rowtrail.step
    def note(n): return f"shared {n % 5}"
    with journal.run(f"run-{os.getpid()}"):
        for n in range(30): note(n)
"""
    together(code, db, count=4)
    assert rows("SELECT status, count(*) AS n FROM steps GROUP BY status") == [
        {"status": "done", "n": 120}
    ]
    stored = rows("SELECT count(*) AS n FROM item WHERE text LIKE '\"shared%'")
    assert stored == [{"n": 5}]  # each value once, whoever wrote it


# fork().


def in_child(work: Callable[[], object]) -> str:
    """Fork, run `work` in the child, and return what it came to."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads
        pid = os.fork()
    if pid == 0:
        try:
            said = repr(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return said


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")


@needs_fork
def test_a_forked_child_cannot_use_its_parents_journal(journal: Journal, rows: Rows) -> None:
    with journal.run("before"):
        pass
    said = [
        in_child(lambda: journal.run("child").__enter__()),
        in_child(journal.runs),
        in_child(lambda: asyncio.run(journal.store.aread(lambda tx: None))),
    ]
    assert [text.partition(":")[0] for text in said] == ["ForkedError"] * 3
    with journal.run("after"):
        pass
    assert rows("SELECT run_id FROM runs ORDER BY run_id") == [
        {"run_id": "after"},
        {"run_id": "before"},
    ]


@needs_fork
def test_a_forked_child_cannot_open_the_file_that_its_parent_had_open(journal: Journal) -> None:
    # SQLite in the child believes that it holds the parent's locks: the parent would delete the
    # WAL under it, and what the child commits would be gone (seen: 50 runs of 50).
    said = in_child(lambda: Journal(journal.path))
    assert said.startswith("ForkedError") and "'spawn'" in said
    with pytest.raises(ForkedError):
        raise ForkedError(said, path=journal.path)


@needs_fork
def test_a_forked_child_may_open_what_its_parent_had_closed(db: Path, rows: Rows) -> None:
    def write() -> list[str]:
        with Journal(db) as own, own.run("child"):
            return [run["run_id"] for run in own.runs()]

    with Journal(db) as journal, journal.run("parent"):
        pass
    assert in_child(write) == "['child', 'parent']"
    assert len(rows("SELECT * FROM runs")) == 2


@needs_fork
def test_a_forked_child_that_closes_and_collects_harms_nothing(journal: Journal) -> None:
    def abandon() -> str:
        journal.close()
        journal.close()
        gc.collect()
        return "closed"

    with journal.run("r"):
        assert in_child(abandon) == "'closed'"
    assert [run["status"] for run in journal.runs()] == ["done"]
    with closing(sqlite3.connect(journal.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@needs_fork
def test_a_parent_loses_nothing_while_it_forks_and_writes(journal: Journal, rows: Rows) -> None:
    stop = threading.Event()
    made: list[int] = []

    def write() -> None:
        while not stop.is_set():
            with journal.run(str(len(made))):
                made.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(10):
        assert in_child(journal.close) == "None"
    stop.set()
    thread.join()
    assert rows("SELECT count(*) AS n FROM runs WHERE status = 'done'") == [{"n": len(made)}]


# The end of a journal that nobody closed.


def test_an_unclosed_journal_warns_and_loses_nothing(db: Path) -> None:
    journal = Journal(db)
    store = journal.store
    with journal.run("r"):
        pass
    pending = [store.submit(put(key)) for key in "ab"]
    with pytest.warns(ResourceWarning, match="was not closed"):
        del journal
        gc.collect()
    assert [future.result(10) for future in pending] == [1, 1]
    sqlite_store(store).writer.close(lambda tx: None)  # waits for the end
    with pytest.raises(ClosedError):
        store.write(lambda tx: None)


def test_a_journal_may_be_collected_on_its_own_writer_thread(db: Path) -> None:
    journals = [Journal(db)]
    store = journals[0].store

    def collect(tx: Tx) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            journals.clear()
            gc.collect()

    store.submit(collect).result(10)
    sqlite_store(store).writer.close(lambda tx: None)
    assert not sqlite_store(store).is_open


def test_a_closed_journal_does_not_warn(db: Path) -> None:
    Journal(db).close()
    gc.collect()  # warnings are errors here


AT_EXIT = """
import sys, rowtrail
journal = rowtrail.Journal(sys.argv[1])
run = journal.run("left open")
run.__enter__()
@rowtrail.step
def note(n): return n
note(1)
for n in range(500):
    journal.store.submit(lambda tx, n=n: tx.run("meta_set", key=f"k{n}", value="queued"))
"""


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "raise KeyboardInterrupt"])
def test_what_is_queued_when_python_ends_is_committed(
    db: Path, child: Child, rows: Rows, end: str
) -> None:
    done = child(AT_EXIT + end, db, options=("-W", "default"), status=None)
    assert "was not closed" in done.stderr
    assert [path.name for path in db.parent.iterdir()] == ["agent.db"]
    assert rows("SELECT count(*) AS n FROM meta WHERE value = 'queued'") == [{"n": 500}]
    assert rows("SELECT run_id, status FROM runs") == [{"run_id": "left open", "status": "crashed"}]
    assert rows("SELECT name, status FROM steps") == [{"name": "note", "status": "done"}]


def test_python_ends_while_other_threads_write(db: Path, child: Child, rows: Rows) -> None:
    code = """
import sys, threading, time, rowtrail
journal = rowtrail.Journal(sys.argv[1])
count = 0
def write():
    global count
    while True:
        journal.store.write(lambda tx: tx.run("meta_set", key=f"k{count}", value="busy"))
        count += 1
threading.Thread(target=write, daemon=True).start()
while count < 50: time.sleep(0.01)
print(count)
"""
    counted = int(child(code, db, options=("-W", "ignore")).stdout)
    (kept,) = rows("SELECT count(*) AS n FROM meta WHERE value = 'busy'")
    assert kept["n"] >= counted


# The event loop.


class Watched:
    """Tells on which threads SQLite was used."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: set[int] = set()
        sqlite_store(store).connection.set_trace_callback(self._note)
        connect = sqlite3.connect

        def watched(*args: Any, **options: Any) -> sqlite3.Connection:
            self._note()
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(self._note)
            return connection

        monkeypatch.setattr(sqlite3, "connect", watched)

    def _note(self, statement: str = "") -> None:
        self.threads.add(threading.get_ident())


async def one_run(journal: Journal) -> list[int]:
    """Use every async way into the journal, twice, so that the second replays."""
    made: list[int] = []

    @rowtrail.step
    async def double(n: int) -> int:
        made.append(n)
        return 2 * n

    for _ in range(2):
        async with journal.run("r"):
            assert await asyncio.gather(*(double(n) for n in range(5))) == [0, 2, 4, 6, 8]
            with pytest.raises(ZeroDivisionError):
                await failing()
    assert await journal.store.aread(lambda tx: tx.value("meta_value", key="generation")) == "0"
    return made


@rowtrail.step
async def failing() -> float:
    return 1 / 0


def test_async_methods_never_use_sqlite_on_the_event_loop(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(journal.store, monkeypatch)
    assert asyncio.run(one_run(journal)) == [0, 1, 2, 3, 4]
    assert len(watched.threads) >= 2
    assert threading.get_ident() not in watched.threads


def test_the_event_loop_goes_on_while_a_commit_waits(journal: Journal) -> None:
    release = threading.Event()
    journal.store.submit(lambda tx: release.wait(60))

    async def main() -> int:
        waiting = asyncio.ensure_future(journal.store.awrite(lambda tx: 7))
        for _ in range(3):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        release.set()
        return await waiting

    assert asyncio.run(main()) == 7


def test_cancelling_a_task_that_waits_for_a_commit_does_not_lose_it(journal: Journal) -> None:
    release = threading.Event()
    journal.store.submit(lambda tx: release.wait(60))

    async def main() -> None:
        waiting = asyncio.ensure_future(
            journal.store.awrite(lambda tx: tx.run("meta_set", key="paid", value="x"))
        )
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()

    asyncio.run(main())
    assert journal.store.write(lambda tx: tx.value("meta_value", key="paid")) == "x"


def test_a_store_serves_several_event_loops_at_once(journal: Journal) -> None:
    def loop(name: str) -> None:
        async def main() -> None:
            for n in range(10):
                async with journal.run(f"{name}-{n}"):
                    await failing_safely()

        asyncio.run(main())

    async def failing_safely() -> None:
        with pytest.raises(ZeroDivisionError):
            await failing()

    threads = [threading.Thread(target=loop, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.runs()) == 40


def test_async_reads_after_closing_say_so(db: Path) -> None:
    async def use(store: Store) -> list[str]:
        calls: list[Coroutine[Any, Any, Any]] = [
            store.aread(lambda tx: None),
            store.awrite(lambda tx: None),
        ]
        return [type(e).__name__ for e in await asyncio.gather(*calls, return_exceptions=True)]

    journal = Journal(db)
    journal.close()
    assert asyncio.run(use(journal.store)) == ["ClosedError", "ClosedError"]


CLOSED_BY_A_HANDLER = """
import os, signal, sys, threading, rowtrail
journal = rowtrail.Journal(sys.argv[1])
@rowtrail.step
def note(n): return n
def close(*_):
    journal.close()
    sys.exit(0)
signal.signal(signal.SIGTERM, close)
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGTERM)).start()
with journal.run("r"):
    n = 0
    while True:
        note(n)
        print(n, flush=True)
        n += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="its processes get no SIGTERM")
@pytest.mark.parametrize("after_s", [0.05, 0.1003, 0.1507])
def test_a_signals_handler_may_close_the_journal(
    db: Path, child: Child, rows: Rows, after_s: float
) -> None:
    done = child(CLOSED_BY_A_HANDLER, db, str(after_s), options=("-W", "ignore"))
    told = len(done.stdout.split())
    (kept,) = rows("SELECT count(*) AS n FROM steps WHERE status = 'done'")
    assert kept["n"] >= told
    assert rows("SELECT status FROM runs") == [{"status": "crashed"}]


def test_a_generator_that_is_collected_inside_a_transaction_ends_its_run(journal: Journal) -> None:
    def stream() -> Generator[int]:
        with journal.run("r"):
            yield 1

    begun = stream()
    contextvars.copy_context().run(next, begun)  # what is left behind does not reach other tests
    journal.store.write(lambda tx: begun.close())
    journal.store.write(lambda tx: None)  # the end of the run is queued behind the first
    assert [run["status"] for run in journal.runs()] == ["cancelled"]
    with journal.run("r"):
        pass


COLLECTED = """
import gc, sys, time, rowtrail
from rowtrail.engine.sqlite import SqliteStore
end = SqliteStore._end
def slowly(self, tx):
    time.sleep(0.3)
    end(self, tx)
SqliteStore._end = slowly
journal = rowtrail.Journal(sys.argv[1])
del journal
gc.collect()
time.sleep(0.1)
"""


def test_python_waits_for_a_collected_journal_that_is_closing(db: Path, child: Child) -> None:
    child(COLLECTED, db, options=("-W", "ignore"))
    assert [path.name for path in db.parent.iterdir()] == ["agent.db"]
