"""What is recorded nowhere else: the hooks do nothing outside graphs on a capturing saver."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import MessagesState
from langgraph.pregel import Pregel

import rowtrail_langgraph
from rowtrail.errors import UnsupportedError
from rowtrail.journal import CONTROL_FLOW, scope_finders
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.capture import _hooks
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    one_node,
    run,
    shape,
    thread,
    tool_call,
)

HOOKED = [(hook.owner, hook.method) for hook in _hooks._HOOKS]


@pytest.fixture
def without_hooks() -> Iterator[None]:
    rowtrail_langgraph.uninstall()
    yield
    rowtrail_langgraph.uninstall()


def methods() -> list[Any]:
    return [owner.__dict__[method] for owner, method in HOOKED]


def savers(bench: Bench) -> dict[str, Any]:
    """Return other ways to run a graph in a process where the hooks are installed."""
    return {
        "no saver": None,
        "InMemorySaver": InMemorySaver(),
        "capture=False": bench.saver(capture=False),
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("saver", ["no saver", "InMemorySaver", "capture=False"])
async def test_another_graph_in_the_process_is_neither_recorded_nor_changed(
    bench: Bench, mode: Mode, saver: str
) -> None:
    capturing = bench.saver()
    other = savers(bench)[saver]

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        return f"{word} is a word"

    fuse = Fuse(times=0)

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(bench.model(), "hello")
        chunks = await calls.stream(bench.model(), "hello again")
        found = await calls.ask(look, tool_call("look", {"word": "a"}))
        fuse()
        return {"messages": [answer, AIMessage("".join(c.content for c in chunks)), found]}

    plain = await run(mode, one_node(other, as_node(mode, node)), {"messages": "go"}, thread())
    assert bench.steps() == bench.rows("SELECT * FROM runs") == []
    recorded = await run(
        mode, one_node(capturing, as_node(mode, node)), {"messages": "go"}, thread("2")
    )
    assert shape(plain) == shape(recorded)
    assert len(bench.steps()) == 3
    if other is None:
        return
    fuse.left = 1
    with pytest.raises(Killed):
        await run(mode, one_node(other, as_node(mode, node)), {"messages": "go"}, thread("3"))
    await run(mode, one_node(other, as_node(mode, node)), None, thread("3"))
    assert len(bench.ledger.lines) == 4  # nothing is replayed there
    assert len(bench.steps()) == 3


@pytest.mark.parametrize("mode", MODES)
async def test_calls_outside_graphs_are_not_recorded(bench: Bench, mode: Mode) -> None:
    saver, calls = bench.saver(), Calls(mode)
    inside: list[Any] = []

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        return f"{word} is a word"

    async def node(state: MessagesState, calls: Calls) -> Any:
        inside.append(await calls.ask(bench.model(), "inside"))
        return {}

    await run(mode, one_node(saver, as_node(mode, node)), {"messages": "go"}, thread())
    await calls.ask(bench.model(), "outside")
    await calls.stream(bench.model(), "outside")
    await calls.ask(look, {"word": "a"})
    assert bench.calls == 3
    assert len(bench.steps()) == 1


async def test_a_call_between_two_chunks_of_a_graphs_stream_is_outside(bench: Bench) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("inside")]}

    for _ in one_node(bench.saver(), node).stream({"messages": "go"}, thread()):
        bench.model().invoke("outside")
    assert bench.asked == ["inside", "outside"]
    assert len(bench.steps()) == 1


async def test_two_journals_in_one_process_keep_to_themselves(bench: Bench, tmp_path: Path) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke(state["messages"][-1].content)]}

    first, second = bench.saver(), bench.saver(path=tmp_path / "second.db")
    graphs = [one_node(first, node), one_node(second, node)]
    with ThreadPoolExecutor() as pool:
        for i in range(6):
            pool.submit(graphs[i % 2].invoke, {"messages": f"{i % 2}"}, thread(f"{i}"))
    for saver, words in ((first, "0"), (second, "1")):
        answers = [row["answer"] for row in saver.journal.sql("SELECT answer FROM llm_calls")]
        assert answers == [f"re: {words}"] * 3


@pytest.mark.usefixtures("without_hooks")
def test_uninstalling_restores_the_very_functions(tmp_path: Path) -> None:
    before, finders, flow = methods(), list(scope_finders), list(CONTROL_FLOW)
    with Bench(tmp_path) as bench:
        bench.saver()
        bench.saver(path=tmp_path / "b.db")
        rowtrail_langgraph.install()
        assert _hooks.is_installed()
        assert all(new is not old for new, old in zip(methods(), before, strict=True))
    rowtrail_langgraph.uninstall()
    rowtrail_langgraph.uninstall()
    assert all(new is old for new, old in zip(methods(), before, strict=True))
    assert (scope_finders, CONTROL_FLOW) == (finders, flow)


@pytest.mark.usefixtures("without_hooks")
def test_without_capture_nothing_is_installed(tmp_path: Path) -> None:
    before = methods()
    with RowtrailSaver(tmp_path / "a.db", capture=False):
        assert not _hooks.is_installed()
        assert all(new is old for new, old in zip(methods(), before, strict=True))


@pytest.mark.usefixtures("without_hooks")
def test_installing_at_once_from_many_threads_wraps_once() -> None:
    originals = methods()
    start = threading.Barrier(8)

    def install() -> None:
        start.wait()
        rowtrail_langgraph.install()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(install) for _ in range(8)]:
            done.result()
    assert [m.__wrapped__ for m in methods()] == originals


@pytest.mark.usefixtures("without_hooks")
@pytest.mark.parametrize(("owner", "method"), HOOKED, ids=lambda v: getattr(v, "__name__", v))
def test_a_version_without_a_hooked_method_is_named_at_construction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    before = {(o, m): o.__dict__[m] for o, m in HOOKED if (o, m) != (owner, method)}
    monkeypatch.delattr(owner, method)
    with pytest.raises(UnsupportedError, match=f"{owner.__name__}.{method}") as caught:
        RowtrailSaver(tmp_path / "a.db")
    assert "langchain-core" in str(caught.value) and "capture=False" in str(caught.value)
    assert not _hooks.is_installed()
    assert {key: key[0].__dict__[key[1]] for key in before} == before  # not half installed
    assert not (tmp_path / "a.db").exists()


@pytest.mark.usefixtures("without_hooks")
def test_a_hooked_method_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(self: Any, question: Any) -> Any:
        """Stand for a method that a new version changed."""

    monkeypatch.setattr(Pregel, "stream", stream)
    with pytest.raises(UnsupportedError, match=r"Pregel\.stream\(input, config\)"):
        rowtrail_langgraph.install()


def test_a_run_of_a_process_with_sqlite_saver_beside_is_undisturbed(
    bench: Bench, tmp_path: Path
) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("hello")]}

    recorded = one_node(bench.saver(), node).invoke({"messages": "go"}, thread())
    with closing(sqlite3.connect(tmp_path / "other.db", check_same_thread=False)) as connection:
        graph = one_node(SqliteSaver(connection), node)
        assert shape(graph.invoke({"messages": "go"}, thread())) == shape(recorded)
        assert len(graph.get_state(thread()).values["messages"]) == 2
    assert len(bench.steps()) == 1


class Heard(BaseCallbackHandler):
    """Counts the calls that it is told of."""

    def __init__(self) -> None:
        self.calls = 0

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.calls += 1


@pytest.mark.parametrize("where", ["bound", "around", "bound and around", "given"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_callers_callbacks_are_told_once_as_without_the_journal(
    bench: Bench, mode: Mode, where: str
) -> None:
    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(bench.model(), "hello")
        return {}

    async def told(saver: Any) -> list[int]:
        bound, around, given = Heard(), Heard(), Heard()
        graph = one_node(saver, as_node(mode, node))
        if "bound" in where:
            graph = graph.with_config(callbacks=[bound])
        config: Any = {**thread(), **({"callbacks": [given]} if where == "given" else {})}

        def call(_: Any) -> Any:
            return graph.invoke({"messages": "go"}, config)

        async def acall(_: Any) -> Any:
            return await graph.ainvoke({"messages": "go"}, config)

        outer = RunnableLambda(call if mode == "sync" else acall)
        callbacks: Any = {"callbacks": [around] if "around" in where else []}
        await Calls(mode).ask(outer, "x", config=callbacks)
        return [heard.calls for heard in (bound, around, given)]

    assert await told(bench.saver()) == await told(None)
    assert len(bench.steps()) == 1


@pytest.mark.parametrize("mode", ["values", "updates", "messages", "tasks", "checkpoints", "debug"])
def test_no_stream_shows_the_journal(bench: Bench, mode: Any) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("hello")]}

    def streamed(saver: Any) -> list[Any]:
        graph = one_node(saver, node)
        return list(graph.stream({"messages": "go"}, thread(), stream_mode=mode))

    recorded, plain = streamed(bench.saver()), streamed(InMemorySaver())
    assert "rowtrail" not in repr(recorded).lower()
    assert len(recorded) == len(plain) > 0
    if mode in ("checkpoints", "debug"):
        configs = [c.get("config") or c["payload"].get("config") for c in recorded]
        assert json.dumps(configs)  # as a server does
