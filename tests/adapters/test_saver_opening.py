"""A saver opens its journal at its first use, once, in each process, and never on an event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy as shallow_copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph

from rowtrail.errors import (
    ClosedError,
    ForkedError,
    NotAJournalError,
    ReadOnlyError,
    StorageError,
    UsageError,
)
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import checkpoint, thread
from tests.conftest import Rows
from tests.engines.sqlite_store import sqlite_store

ASKED = {"messages": [("user", "hi")]}


def graph_on(saver: RowtrailSaver) -> Any:
    def node(state: MessagesState) -> dict[str, Any]:
        model = FakeListChatModel(responses=["answer"])
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


def agraph_on(saver: RowtrailSaver) -> Any:
    async def node(state: MessagesState) -> dict[str, Any]:
        model = FakeListChatModel(responses=["answer"])
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


def enter(saver: RowtrailSaver) -> None:
    with saver:
        pass


async def aenter(saver: RowtrailSaver) -> None:
    async with saver:
        pass


async def alist(saver: RowtrailSaver) -> None:
    assert [found async for found in saver.alist(None)] == []


USES: dict[str, Callable[[RowtrailSaver], object]] = {
    "journal": lambda saver: saver.journal,
    "open": lambda saver: saver.open(),
    "with": enter,
    "get_tuple": lambda saver: saver.get_tuple(thread()),
    "list": lambda saver: list(saver.list(None)),
    "put": lambda saver: saver.put(thread(), checkpoint({"a": 1}), {"step": 1}, {}),
    "put_writes": lambda saver: saver.put_writes(
        {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}},
        [("a", 1)],
        "task",
    ),
    "delete_thread": lambda saver: saver.delete_thread("t"),
    "invoke": lambda saver: graph_on(saver).invoke(ASKED, thread()),
    "get_state": lambda saver: graph_on(saver).get_state(thread()),
}
ASYNC_USES: dict[str, Callable[[RowtrailSaver], Awaitable[object]]] = {
    "aopen": lambda saver: saver.aopen(),
    "async with": aenter,
    "aget_tuple": lambda saver: saver.aget_tuple(thread()),
    "alist": alist,
    "aput": lambda saver: saver.aput(thread(), checkpoint({"a": 1}), {"step": 1}, {}),
    "adelete_thread": lambda saver: saver.adelete_thread("t"),
    "ainvoke": lambda saver: agraph_on(saver).ainvoke(ASKED, thread()),
    "aget_state": lambda saver: agraph_on(saver).aget_state(thread()),
}


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return set()
    found: set[str] = set()
    for file in folder.iterdir():
        try:
            found.add(os.readlink(file))
        except FileNotFoundError:  # the one that lists them
            continue
    return found


def test_building_opens_nothing(db: Path) -> None:
    threads = threading.active_count()
    saver = RowtrailSaver(db)
    graph_on(saver)
    saver.setup()
    assert not db.exists()
    assert threading.active_count() == threads
    assert not [file for file in open_files() if str(db.parent) in file]


@pytest.mark.parametrize("use", USES)
def test_the_first_use_opens(db: Path, use: str) -> None:
    saver = RowtrailSaver(db)
    USES[use](saver)
    assert db.exists()
    saver.close()


@pytest.fixture
def blocking_is_an_error() -> Iterator[BlockBuster]:
    buster = BlockBuster()
    buster.activate()
    yield buster
    buster.deactivate()


@pytest.mark.usefixtures("blocking_is_an_error")
@pytest.mark.parametrize("use", ASYNC_USES)
async def test_the_first_use_in_a_coroutine_blocks_no_loop(db: Path, use: str) -> None:
    saver = RowtrailSaver(db)  # on the loop, as a server's factory makes it
    await ASYNC_USES[use](saver)
    assert await asyncio.to_thread(db.exists)
    await asyncio.to_thread(saver.close)


def test_threads_that_come_first_at_once_open_it_once(db: Path) -> None:
    saver = RowtrailSaver(db)
    begin = threading.Barrier(8)

    def use(_: int) -> int:
        begin.wait()
        return id(saver.journal)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(use, range(8)))) == 1
    assert sqlite_store(saver.journal).owners == 1
    saver.close()


async def test_coroutines_that_come_first_at_once_open_it_once(db: Path) -> None:
    saver = RowtrailSaver(db)
    found = await asyncio.gather(*(saver.aopen() for _ in range(8)))
    assert len({id(journal) for journal in found}) == 1
    saver.close()


def test_the_copies_that_graphs_make_share_one_journal(db: Path) -> None:
    saver = RowtrailSaver(db)
    copy = shallow_copy(saver)  # as `with_allowlist` does
    assert copy.journal is saver.journal
    saver.close()
    with pytest.raises(ClosedError):
        copy.get_tuple(thread())


def test_what_was_closed_before_its_first_use_stays_closed(db: Path) -> None:
    saver = RowtrailSaver(db)
    saver.close()
    saver.close()
    with pytest.raises(ClosedError, match="make a new one"):
        saver.get_tuple(thread())
    assert not db.exists()


def test_a_relative_path_is_that_of_where_the_saver_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    saver = RowtrailSaver("agent.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    saver.get_tuple(thread())
    assert [file.name for file in tmp_path.glob("**/agent.db")] == ["agent.db"]
    assert (tmp_path / "agent.db").exists()
    saver.close()


# What is wrong is told at once, as far as that can be told without opening.


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"durability": "often"}, UsageError),
        ({"effects": {"send": "maybe"}}, UsageError),
    ],
)
def test_wrong_arguments_are_told_by_the_constructor(
    db: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        RowtrailSaver(db, **options)
    with pytest.raises(error, match="empty"):
        RowtrailSaver("")


def test_a_missing_folder_is_told_by_the_constructor(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyError, match="no folder"):
        RowtrailSaver(tmp_path / "missing" / "agent.db")


async def test_a_missing_folder_is_told_by_the_first_use_where_looking_would_block(
    tmp_path: Path,
) -> None:
    saver = RowtrailSaver(tmp_path / "missing" / "agent.db")
    with pytest.raises(StorageError):
        await saver.aget_tuple(thread())


def test_a_file_of_something_else_is_told_by_every_use(db: Path) -> None:
    db.write_text("not a journal " * 100)
    saver = RowtrailSaver(db)
    for _ in range(2):
        with pytest.raises(NotAJournalError):
            saver.get_tuple(thread())
    with pytest.raises(NotAJournalError):
        graph_on(saver).invoke(ASKED, thread())


# fork().

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")


def fork(work: Callable[[], object]) -> Callable[[], str]:
    """Run `work` in a child; return what waits for it and gives what it came to."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads
        pid = os.fork()
    if pid == 0:
        try:
            work()
            said = "ok"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)

    def wait() -> str:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
        return said

    return wait


def serve(saver: RowtrailSaver, name: str, use: str) -> None:
    """Answer requests as a worker of a server does, some of them at once."""
    if use == "async":
        asyncio.run(ask_all(saver, name))
    else:
        graph = graph_on(saver)
        with ThreadPoolExecutor(3) as pool:
            for made in [pool.submit(graph.invoke, ASKED, thread(f"{name} {n}")) for n in range(3)]:
                assert made.result(60)["messages"][-1].content == "answer"
    saver.close()


async def ask_all(saver: RowtrailSaver, name: str) -> None:
    graph = agraph_on(saver)
    answers = await asyncio.gather(*(graph.ainvoke(ASKED, thread(f"{name} {n}")) for n in range(3)))
    assert [answer["messages"][-1].content for answer in answers] == ["answer"] * 3


@needs_fork
@pytest.mark.parametrize("use", ["sync", "async"])
@pytest.mark.parametrize("parent", ["idle", "before the last", "after all"])
def test_a_saver_built_before_the_fork_serves_in_every_child(
    db: Path, rows: Rows, use: str, parent: str
) -> None:
    saver = RowtrailSaver(db)
    graph_on(saver)
    children = [fork(partial(serve, saver, f"child {n}", use)) for n in range(3)]
    if parent != "idle":
        graph_on(saver).invoke(ASKED, thread("parent"))
    assert [wait() for wait in children] == ["ok"] * 3
    if parent == "before the last":
        assert fork(lambda: serve(saver, "late", use))().startswith("ForkedError")
        graph_on(saver).invoke(ASKED, thread("parent again"))
    saver.close()
    expected = {"idle": 9, "after all": 10, "before the last": 11}
    assert rows("SELECT count(*) AS n FROM runs WHERE status = 'done'") == [{"n": expected[parent]}]
    assert rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@needs_fork
def test_a_child_of_a_parent_that_is_just_opening_is_not_stuck(db: Path) -> None:
    """The lock that the opening thread holds does not exist in the child."""
    for _ in range(20):
        saver = RowtrailSaver(db)
        opening = threading.Thread(target=saver.open)
        opening.start()
        said = fork(partial(serve, saver, "child", "sync"))()
        opening.join()
        assert said == "ok" or said.startswith("ForkedError")
        saver.close()


@needs_fork
def test_a_child_may_fork_from_any_thread(db: Path) -> None:
    def fork_on_a_thread() -> None:
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(fork, partial(serve, RowtrailSaver(db), "grandchild", "sync"))
            assert wait.result(60)() == "ok"

    assert fork(fork_on_a_thread)() == "ok"


@needs_fork
def test_children_of_a_parent_that_used_it_and_closed_it_make_their_own(db: Path) -> None:
    saver = RowtrailSaver(db)
    graph_on(saver).invoke(ASKED, thread())
    saver.close()
    assert fork(lambda: serve(saver, "child", "sync"))().split(":")[0] in (
        "ClosedError",
        "ForkedError",
    )
    assert fork(lambda: serve(RowtrailSaver(db), "child", "sync"))() == "ok"
    assert issubclass(ForkedError, StorageError)


SERVER = """
import multiprocessing, sys
from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph
from rowtrail_langgraph import RowtrailSaver

def node(state):
    return {"messages": [FakeListChatModel(responses=["answer"]).invoke(state["messages"])]}

builder = StateGraph(MessagesState)
builder.add_node("node", node)
builder.add_edge(START, "node")
graph = builder.compile(checkpointer=RowtrailSaver(sys.argv[1]))  # of the module, as it is often

def work(n):
    graph.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": str(n)}})
    graph.checkpointer.close()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    workers = [context.Process(target=work, args=(n,)) for n in range(2)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    print([worker.exitcode for worker in workers])
    work(3)
"""


@needs_fork
@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_a_saver_of_a_module_serves_in_processes_however_they_start(
    db: Path, tmp_path: Path, rows: Rows, how: str
) -> None:
    program = tmp_path / "server.py"
    program.write_text(SERVER)
    command = [sys.executable, "-W", "ignore", str(program), str(db), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[0, 0]", done.stderr
    assert rows("SELECT count(*) AS n FROM runs WHERE status = 'done'") == [{"n": 3}]
