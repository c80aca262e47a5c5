"""Whose calls the threads and tasks of a node make: models, tools, in a node or inside a tool."""

from __future__ import annotations

import contextvars
import gc
import operator
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

import rowtrail_langgraph
from rowtrail.errors import UsageError
from rowtrail.journal import _threads, current_step
from tests._sample import spread
from tests.adapters._child import Agent, Children
from tests.adapters._graphs import (
    MODES,
    Bench,
    Fuse,
    Killed,
    Mode,
    chain_of,
    one_node,
    run,
    thread,
)
from tests.programs.scenarios import WORDS, respond
from tests.programs.spreads import ASYNC_SPREADS, SPREADS
from tests.programs.ways import SYNC_WAYS, TASK_WAYS, WAYS, Ways, Work

PLACES = ("node", "tool")
LIVES = ("joined", "outlives the node", "outlives the run", "serves another run")
CALLS = ("llm", "read", "write")
MODES_AND_WAYS = [("sync", way) for way in SYNC_WAYS] + [("async", way) for way in WAYS]
PRODUCT = [
    (mode, way, place, life, kind)
    for (mode, way), place, life, kind in spread(MODES_AND_WAYS, PLACES, LIVES, CALLS)
]


class Empty(TypedDict, total=False):
    """A state in which nothing is kept, so that only the calls matter."""

    seen: Annotated[list[str], operator.add]


class Scene:
    """A graph whose first node gives work to a way; its second waits where the case says so."""

    def __init__(self, bench: Bench, mode: Mode, way: str, place: str, kind: str) -> None:
        self.bench, self.way, self.place, self.kind = bench, way, place, kind
        self.mode: Mode = mode
        self.saver = bench.saver()
        self.model, self.tool = bench.model(), self._tool()
        self.works: list[Work] = []
        self.breaks = False

    def _tool(self) -> BaseTool:
        @tool
        def look(word: str) -> str:
            """Look a word up."""
            self.bench.ledger.add(word)
            return f"{word} is a word"

        @tool("look")
        async def alook(word: str) -> str:
            """Look a word up."""
            self.bench.ledger.add(word)
            return f"{word} is a word"

        made = look if self.mode == "sync" else alook
        made.metadata = {"rowtrail": {"effect": self.kind}} if self.kind != "llm" else None
        return made

    @property
    def name(self) -> str:
        return "gpt-4o-mini" if self.kind == "llm" else "look"

    @property
    def made(self) -> int:
        """How many calls were really made."""
        return self.bench.calls if self.kind == "llm" else len(self.bench.ledger.lines)

    def call(self) -> Any:
        asked: Any = ("word",) if self.kind == "llm" else ({"word": "word"},)
        called: Any = self.model if self.kind == "llm" else self.tool
        return called.invoke(*asked) if self.mode == "sync" else called.ainvoke(*asked)

    def call_in_run(self) -> Any:
        if self.mode == "sync":
            with self.saver.journal.run("second"):
                return self.call()
        return self._acall_in_run()

    async def _acall_in_run(self) -> Any:
        async with self.saver.journal.run("second"):
            return await self.call()

    async def play(self, life: str, input: Any) -> None:
        calls: list[Callable[[], Any]] = [self.call]
        if life == "serves another run":
            calls += [self.call_in_run] * 2
        async with Ways() as ways:
            try:
                await run(self.mode, self._graph(ways, calls, life), input, thread())
            finally:
                for work in self.works:
                    for n in range(len(calls)):
                        await work.until(n)

    def _graph(self, ways: Ways, calls: Any, life: str) -> Any:
        nodes = self._nodes if self.mode == "sync" else self._anodes
        return chain_of(self.saver, *nodes(ways, calls, life), state=Empty)

    def _nodes(self, ways: Ways, calls: Any, life: str) -> list[Any]:
        def begin() -> str:
            """Begin the work."""
            self.works.append(ways.give(self.way, calls))
            if not life.startswith("outlives"):
                self.works[-1].wait_until(0)
            return "begun"

        def first(state: Empty) -> Any:
            begin() if self.place == "node" else tool("around")(begin).invoke({})
            self._break()
            return {}

        def then(state: Empty) -> Any:
            if life == "outlives the node":
                self.works[-1].wait_until(0)
            return {}

        return [first, then]

    def _anodes(self, ways: Ways, calls: Any, life: str) -> list[Any]:
        async def begin() -> str:
            """Begin the work."""
            self.works.append(ways.give(self.way, calls))
            if not life.startswith("outlives"):
                await self.works[-1].until(0)
            return "begun"

        async def first(state: Empty) -> Any:
            await (begin() if self.place == "node" else tool("around")(begin).ainvoke({}))
            self._break()
            return {}

        async def then(state: Empty) -> Any:
            if life == "outlives the node":
                await self.works[-1].until(0)
            return {}

        return [first, then]

    def _break(self) -> None:
        if self.breaks:
            self.breaks = False
            raise Killed


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    # Which tools have no declared effect is told elsewhere.
    texts = [r.getMessage() for r in caplog.records if r.name == "rowtrail"]
    return [text for text in texts if "journal.run" in text]


@pytest.mark.parametrize(("mode", "way", "place", "life", "kind"), PRODUCT)
async def test_each_call_belongs_to_the_node_that_gave_the_work(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    mode: Mode,
    way: str,
    place: str,
    life: str,
    kind: str,
) -> None:
    scene = Scene(bench, mode, way, place, kind)
    await scene.play(life, {})
    (work,) = scene.works
    starts, outlives = way == "Thread", life.startswith("outlives")
    rows = bench.steps(where=f"name = '{scene.name}' AND run_id <> 'second'")
    if not outlives or (life == "outlives the node" and not starts):
        around = [row["step_id"] for row in bench.steps(where="name = 'around'")]
        assert [row["status"] for row in rows] == ["done"]
        assert [row["parent_id"] for row in rows] == (around or [None])
        assert [row["node"] for row in rows] == ["first"]
        assert (told(caplog), work.errors) == ([], [])
    else:
        assert rows == []
        is_refused = kind == "write" and not (starts and life == "outlives the run")
        assert [isinstance(error, UsageError) for error in work.errors] == [True] * is_refused
        assert scene.made == (not is_refused)
        assert len(told(caplog) or work.errors) == 1
    if life == "serves another run":
        assert scene.made == 2
        (row,) = bench.steps(where="run_id = 'second'")
        assert (row["name"], row["parent_id"], row["replays"]) == (scene.name, None, 1)


@pytest.mark.parametrize(("mode", "way"), MODES_AND_WAYS)
@pytest.mark.parametrize(("place", "kind"), [("node", "llm"), ("tool", "read"), ("tool", "write")])
async def test_a_node_that_runs_again_replays_the_calls_of_its_threads(
    bench: Bench, mode: Mode, way: str, place: str, kind: str
) -> None:
    scene = Scene(bench, mode, way, place, kind)
    scene.breaks = True
    with pytest.raises(Killed):
        await scene.play("joined", {})
    await scene.play("joined", None)
    assert scene.made == 1
    assert [row["status"] for row in bench.steps(where=f"name = '{scene.name}'")] == ["done"]
    assert scene.works[0].made and len(scene.works[0].made) == 1


# Each call once.


@pytest.mark.parametrize("way", SPREADS)
async def test_nothing_is_recorded_twice(bench: Bench, way: str) -> None:
    model, saver, fuse = bench.model(), bench.saver(), Fuse()

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        return word

    calls: list[Callable[[], Any]] = [
        lambda: model.invoke("a"),
        lambda: model.invoke("b"),
        lambda: list(model.stream("c")),
        lambda: look.invoke({"word": "d"}),
        lambda: model.batch(["e", "f"]),
    ]

    def work(state: Empty) -> Any:
        SPREADS[way](calls)
        fuse()
        return {}

    async def awork(state: Empty) -> Any:
        await SPREADS[way](calls)
        fuse()
        return {}

    mode: Mode = "async" if way in ASYNC_SPREADS else "sync"
    graph = one_node(saver, work if mode == "sync" else awork, state=Empty)
    with pytest.raises(Killed):
        await run(mode, graph, {}, thread())
    await run(mode, graph, None, thread())
    assert sorted(bench.asked) == ["a", "b", "c", "e", "f"] and bench.ledger.lines == ["d"]
    assert [(row["status"], row["replays"]) for row in bench.steps()] == [("done", 1)] * 6


# Runs of one's own, beside and inside.


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_inside_a_node_has_its_calls(bench: Bench, mode: Mode) -> None:
    scene = Scene(bench, mode, "none", "node", "write")

    def node(state: Empty) -> Any:
        scene.call_in_run()
        scene.call()
        return {}

    async def anode(state: Empty) -> Any:
        await scene.call_in_run()
        await scene.call()
        return {}

    chosen = node if mode == "sync" else anode
    await run(mode, one_node(scene.saver, chosen, Empty), {}, thread())
    nodes = {row["run_id"] == "second": row["node"] for row in bench.steps()}
    assert nodes == {True: None, False: "node"} and scene.made == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["joined", "after the run"])
async def test_a_graph_that_a_worker_runs_is_a_run_of_its_own(
    bench: Bench, way: str, when: str
) -> None:
    saver, model = bench.saver(), bench.model()
    works: list[Work] = []

    def ask(state: Empty) -> Any:
        model.invoke("inner")
        return {"seen": ["inner"]}

    inner = one_node(saver, ask, Empty, name="ask")

    async with Ways() as ways:

        async def work(state: Empty) -> Any:
            works.append(ways.give(way, [lambda: inner.invoke({}, thread("worker"))]))
            if when == "joined" and way not in TASK_WAYS:
                await works[-1].until(0)
            return {}

        await one_node(saver, work, Empty, name="work").ainvoke({}, thread())
        await works[-1].until(0)
    assert works[0].errors == []
    (row,) = bench.steps("run_id, thread_id, node, scope, status")
    assert (row["thread_id"], row["node"], row["status"]) == ("worker", "ask", "done")
    assert row["scope"].endswith("/ask") and ":" not in row["scope"]  # no id of the old task
    threads = bench.rows("SELECT thread_id, status FROM runs ORDER BY thread_id")
    assert [tuple(row.values()) for row in threads] == [("1", "done"), ("worker", "done")]


@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_inside_a_run_has_its_calls(bench: Bench, mode: Mode) -> None:
    scene = Scene(bench, mode, "none", "node", "write")

    def node(state: Empty) -> Any:
        scene.call()
        return {}

    async def anode(state: Empty) -> Any:
        await scene.call()
        return {}

    graph = one_node(scene.saver, node if mode == "sync" else anode, Empty)
    with scene.saver.journal.run("around"):
        await run(mode, graph, {}, thread())
    (row,) = bench.steps()
    assert row["run_id"] != "around" and row["node"] == "node"


@pytest.mark.parametrize("way", TASK_WAYS)
async def test_a_thread_started_after_its_node_ended_belongs_to_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    scene, works = Scene(bench, "sync", "none", "node", "read"), list[Work]()

    def start() -> None:
        worker = threading.Thread(target=scene.call)
        worker.start()
        worker.join()

    async with Ways() as ways:

        async def first(state: Empty) -> Any:
            works.append(ways.give(way, [start]))
            return {}

        async def then(state: Empty) -> Any:
            await works[0].until(0)
            return {}

        await chain_of(scene.saver, first, then, state=Empty).ainvoke({}, thread())
    assert scene.made == 1 and bench.steps() == [] and len(told(caplog)) == 1


async def test_a_graph_that_is_not_recorded_is_left_alone_beside_a_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(bench, "sync", "none", "node", "write")

    def node(state: Empty) -> Any:
        scene.call()
        return {}

    other = one_node(InMemorySaver(), node, Empty)

    def recorded(state: Empty) -> Any:
        worker = threading.Thread(target=other.invoke, args=({}, thread()))
        contextvars.Context().run(worker.start)  # as if it had been there before
        worker.join()
        return {}

    one_node(scene.saver, recorded, Empty).invoke({}, thread())
    assert scene.made == 1 and bench.steps() == [] and told(caplog) == []


async def test_an_effect_that_only_the_saver_was_told_of_is_refused_outside_too(
    bench: Bench,
) -> None:
    saver = bench.saver(effects={"send": "write"})

    @tool
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        return to

    work = Work([lambda: send.invoke({"to": "a"})])
    worker = threading.Thread(target=work.body)
    worker.start()

    def node(state: Empty) -> Any:
        work.wait_until(0)
        return {}

    one_node(saver, node, Empty).invoke({}, thread())
    worker.join()
    assert [isinstance(error, UsageError) for error in work.errors] == [True]
    assert bench.ledger.lines == []


# Asking from a pool.


@pytest.mark.parametrize("answer", ["retry", {"result": "it was sent"}])
async def test_a_job_in_a_pool_asks_a_person_for_its_node(bench: Bench, answer: Any) -> None:
    saver = bench.saver()
    killed = [True]

    @tool
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(f"{to} {current_step().idempotency_key}")
        if killed:
            killed.clear()
            raise Killed
        return f"sent to {to}"

    send.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}

    def node(state: Empty) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return {"seen": [pool.submit(send.invoke, {"to": "a"}).result()]}

    graph = one_node(saver, node, Empty)
    with pytest.raises(Killed):
        graph.invoke({}, thread())
    asked = graph.invoke(None, thread())
    assert [one.value["name"] for one in asked["__interrupt__"]] == ["send"]
    state = graph.invoke(Command(resume=answer), thread())
    assert state["seen"] == ["sent to a" if answer == "retry" else "it was sent"]
    assert len(set(bench.ledger.lines)) == 1
    assert len(bench.ledger.lines) == (2 if answer == "retry" else 1)


# What is left of it.


def test_a_thread_that_lives_on_keeps_no_state_alive(bench: Bench) -> None:
    class Large:
        """What a caller may put into the config of a node."""

    leave, workers = threading.Event(), list[threading.Thread]()

    def node(state: Empty) -> Any:
        workers.append(threading.Thread(target=leave.wait, args=(20,)))
        workers[0].start()
        return {}

    large = Large()
    gone = weakref.ref(large)
    one_node(bench.saver(), node, Empty).invoke({}, thread(large=large))
    del large
    gc.collect()
    assert gone() is None and workers[0].is_alive()
    leave.set()
    workers[0].join()


def test_uninstalling_takes_the_hooks_of_threads_out_too(bench: Bench) -> None:
    rowtrail_langgraph.uninstall()
    _threads.stop_handing_on()
    plain = (threading.Thread.start, ThreadPoolExecutor.submit)
    one_node(bench.saver(), lambda state: {}, Empty).invoke({}, thread())
    assert (threading.Thread.start, ThreadPoolExecutor.submit) != plain
    rowtrail_langgraph.uninstall()
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == plain


# Real kills.


@pytest.mark.parametrize("part", ["first", "second"])
@pytest.mark.parametrize(
    ("mode", "way"),
    [
        ("sync", "pool"),
        ("sync", "threads"),
        ("async", "pool"),
        ("async", "threads"),
        ("async", "executor"),
        ("async", "tasks"),
    ],
)
def test_after_a_kill_the_calls_of_a_nodes_threads_are_replayed(
    bench: Bench, children: Children, mode: str, way: str, part: str
) -> None:
    bench.respond = respond
    folder = bench.path.parent / "killed"
    command = {"scenario": "spread", "mode": mode, "way": way}
    agent = Agent(folder, children, bench.server.base_url, **command)
    agent.killed(f"after the {part}")
    agent.resumed()
    assert Counter(agent.ledger.lines) == dict.fromkeys(WORDS, 2)
    assert Counter(bench.asked) == dict.fromkeys([f"meaning of {word}" for word in WORDS], 2)
    replays = Counter(row["replays"] for row in agent.rows("SELECT replays FROM steps"))
    assert replays == ({1: 10, 0: 10} if part == "first" else {1: 20})
