"""Pruning: what goes is gone, what stays is whole, whoever writes and whenever it is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph

import rowtrail
import rowtrail.testing
from rowtrail.errors import BusyError, UnknownIdError, UsageError
from rowtrail_langgraph import RowtrailSaver

TURNS = 12


def graph(saver: RowtrailSaver) -> Any:
    """Return a graph that answers each message with as many characters."""

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("answer to " + str(state["messages"][-1].content))]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def talk(saver: RowtrailSaver, thread: str, turns: int = TURNS) -> None:
    compiled = graph(saver)
    for turn in range(turns):
        text = f"{thread} {turn} " + "word " * 60
        compiled.invoke({"messages": [HumanMessage(text)]}, config(thread))


def texts(saver: RowtrailSaver, thread: str) -> list[str]:
    values = graph(saver).get_state(config(thread)).values
    return [message.content for message in values.get("messages", [])]


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(tmp_path / "agent.db") as saver:
        yield saver


def count(saver: RowtrailSaver, table: str) -> int:
    connection = sqlite3.connect(saver.journal.path)
    try:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found
    finally:
        connection.close()


def test_a_policy_that_says_nothing_is_refused(saver: RowtrailSaver) -> None:
    with pytest.raises(UsageError, match="everything"):
        saver.journal.prune()
    with pytest.raises(UsageError, match="negative"):
        saver.journal.prune(keep=-1)
    with pytest.raises(UnknownIdError, match="nobody"):
        saver.journal.prune(thread_ids=["nobody"])


def test_a_dry_run_tells_what_goes_and_changes_nothing(saver: RowtrailSaver) -> None:
    talk(saver, "a")
    talk(saver, "b")
    before = {table: count(saver, table) for table in ("checkpoint", "item", "run", "list")}
    planned = saver.journal.prune(thread_ids=["a"], dry_run=True)
    assert {table: count(saver, table) for table in before} == before
    done = saver.journal.prune(thread_ids=["a"])
    assert planned.checkpoints == done.checkpoints == TURNS * 3
    assert (planned.runs, planned.threads, planned.items) == (done.runs, done.threads, done.items)
    assert planned.bytes == done.bytes > TURNS * 600


def test_keep_leaves_the_newest_of_each_thread_and_their_state(saver: RowtrailSaver) -> None:
    for thread in ("a", "b"):
        talk(saver, thread)
    before = {thread: texts(saver, thread) for thread in ("a", "b")}
    saver.journal.prune(keep=2)
    for thread in ("a", "b"):
        assert len(list(saver.list(config(thread)))) == 2
        assert texts(saver, thread) == before[thread]
    talk(saver, "a", turns=1)
    assert texts(saver, "a")[: len(before["a"])] == before["a"]


def test_age_is_that_of_the_last_activity(tmp_path: Path) -> None:
    clock = rowtrail.testing.FakeClock()
    with rowtrail.Journal(tmp_path / "agent.db", clock=clock) as journal:
        saver = RowtrailSaver(journal)
        talk(saver, "old", turns=2)
        with journal.run("old work"):
            pass
        clock.advance(3600)
        talk(saver, "new", turns=2)
        report = journal.prune(older_than=timedelta(minutes=30))
        assert report.threads == 1
        assert texts(saver, "old") == []
        assert len(texts(saver, "new")) == 4
        assert [run["run_id"] for run in journal.runs() if run["thread_id"] is None] == []


def test_deleted_content_is_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with RowtrailSaver(path) as saver:
        talk(saver, "secret")
        talk(saver, "other")
        saver.journal.prune(thread_ids=["secret"])
        assert len(texts(saver, "other")) == TURNS * 2
    assert b"secret 3" not in path.read_bytes()
    assert b"other 3" in path.read_bytes()


def test_space_returns_to_the_file_system(saver: RowtrailSaver) -> None:
    for number in range(6):
        talk(saver, f"t{number}", turns=30)
    saver.journal.prune(keep=1000)  # nothing goes; the WAL is in the file now
    size = os.path.getsize(saver.journal.path)
    report = saver.journal.prune(thread_ids=[f"t{number}" for number in range(5)])
    assert os.path.getsize(saver.journal.path) < 0.6 * size  # empty tables keep a page each
    assert report.file_bytes_after < 0.6 * report.file_bytes_before


def test_the_journal_may_be_kept(saver: RowtrailSaver) -> None:
    talk(saver, "a", turns=2)
    saver.journal.prune(thread_ids=["a"], keep_journal=True)
    assert texts(saver, "a") == []
    assert len(saver.journal.runs()) == 2


def test_a_thread_at_work_is_left_alone(saver: RowtrailSaver) -> None:
    talk(saver, "a", turns=2)
    with saver.journal.run("at work", thread_id="a"):
        report = saver.journal.prune(older_than=timedelta(0))
        assert (report.threads, report.checkpoints) == (0, 0)
        assert len(texts(saver, "a")) == 4
    assert saver.journal.prune(older_than=timedelta(0)).threads == 1


def test_what_is_stored_again_during_a_sweep_is_kept(
    saver: RowtrailSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk(saver, "a")
    told: list[str] = []

    def store_again(what: str, done: int, total: int) -> None:
        if what == "items" and not told:
            told.append(what)  # the garbage is found, and none of it deleted yet
            talk(saver, "twin of a", turns=1)
            messages = [HumanMessage("a 0 " + "word " * 60, id="same")]
            graph(saver).update_state(config("b"), {"messages": messages})
            graph(saver).update_state(config("b"), {"messages": messages})

    saver.put(config("c"), _checkpoint("a 0 " + "word " * 60), {}, {})
    saver.delete_thread("c")
    saver.journal.prune(thread_ids=["a"], progress=store_again)
    assert told
    assert texts(saver, "b") == ["a 0 " + "word " * 60]
    assert len(texts(saver, "twin of a")) == 2
    assert saver.journal.prune(keep=1000).items == 0


def _checkpoint(text: str) -> Any:
    return {
        "v": 4,
        "id": "1f1e6753-b9d1-69f6-8382-70764fc200c3",
        "ts": "",
        "channel_values": {"messages": [HumanMessage(text, id="same")]},
        "channel_versions": {},
        "versions_seen": {},
    }


def test_others_write_while_it_prunes(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with RowtrailSaver(path) as saver:
        talk(saver, "old", turns=40)
        stop = threading.Event()
        failures: list[BaseException] = []

        def write(name: str) -> None:
            try:
                while not stop.is_set():
                    talk(saver, name, turns=1)
            except BaseException as error:
                failures.append(error)

        writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(3)]
        for writer in writers:
            writer.start()
        for _ in range(5):
            saver.journal.prune(keep=3)
        stop.set()
        for writer in writers:
            writer.join()
        assert failures == []
        for number in range(3):
            found = texts(saver, f"w{number}")
            assert found[1::2] == [f"answer to {text}" for text in found[::2]]
        assert len(texts(saver, "old")) == 80


PRUNER = """
import os, signal, sys
import rowtrail
with rowtrail.Journal(sys.argv[1]) as journal:
    left = int(sys.argv[2])
    def watch(statement):
        global left
        if statement.startswith("COMMIT"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    journal.store.connection.set_trace_callback(watch)
    journal.prune(thread_ids=["a"])
"""


def test_killed_at_any_commit_leaves_what_stays_whole(tmp_path: Path) -> None:
    commit, kills = 0, 0
    while True:
        commit += 1
        path = tmp_path / f"{commit}.db"
        with RowtrailSaver(path) as saver:
            talk(saver, "a", turns=3)
            talk(saver, "b", turns=3)
            before = texts(saver, "b")
        done = subprocess.run(
            [sys.executable, "-c", PRUNER, str(path), str(commit)], check=False, timeout=60
        )
        with RowtrailSaver(path) as saver:
            assert texts(saver, "b") == before
            graph(saver).invoke({"messages": [HumanMessage("more")]}, config("b"))
            assert texts(saver, "b")[:-2] == before
            if count(saver, "thread") == 2:
                saver.journal.prune(thread_ids=["a"])
            saver.journal.prune(keep=1000)  # finishes what was begun
            assert count(saver, "touched") == 0
            assert saver.journal.prune(keep=1000).items == 0
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 8


def test_only_one_process_prunes_at_a_time(saver: RowtrailSaver) -> None:
    talk(saver, "a", turns=2)
    script = (
        "import sys, rowtrail\n"
        "from rowtrail.errors import BusyError\n"
        "with rowtrail.Journal(sys.argv[1]) as journal:\n"
        "    try:\n        journal.prune(keep=1)\n"
        "    except BusyError as error:\n        print(error)\n"
    )
    printed: list[str] = []

    def meanwhile(*_: object) -> None:
        if not printed:
            arguments = [sys.executable, "-c", script, saver.journal.path]
            printed.append(
                subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
            )

    saver.journal.prune(keep=1, progress=meanwhile)
    assert "is pruning" in printed[0]


def test_copying_waits_for_a_sweep(saver: RowtrailSaver) -> None:
    talk(saver, "a", turns=2)

    def copy(*_: object) -> None:
        saver.copy_thread("a", "b")

    with pytest.raises(BusyError, match="pruned"):
        saver.journal.prune(keep=1, progress=copy)
    saver.copy_thread("a", "b")
    assert texts(saver, "b") == texts(saver, "a")
