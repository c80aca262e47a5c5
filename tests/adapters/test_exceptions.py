"""Exceptions: what raised is made again, the rest is replayed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

from tests.adapters._graphs import (
    DURABILITIES,
    MODES,
    Bench,
    Broken,
    Calls,
    Fuse,
    Mode,
    as_node,
    counting,
    look_up,
    one_node,
    run,
    thread,
)

# Rule 3: exceptions.


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
async def test_the_answer_before_an_exception_of_the_node_is_asked_again(
    bench: Bench, mode: Mode, durability: str
) -> None:
    bench.respond = counting()
    fault = Fuse(Broken("no JSON"), times=2)
    look = look_up(bench.ledger)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        await calls.ask(look, {"word": "a"})
        two = await calls.ask(bench.model(), "two")
        fault()
        return {"messages": [one, two]}

    graph = one_node(bench.saver(), as_node(mode, node))
    options = {"durability": durability}
    for _ in range(2):
        given = None if bench.calls else {"messages": "go"}
        with pytest.raises(Broken):
            await run(mode, graph, given, thread(), **options)
    state = await run(mode, graph, None, thread(), **options)
    assert bench.asked == ["one", "two", "two", "two"]
    assert [m.content for m in state["messages"][1:]] == ["re: one #1", "re: two #4"]
    assert bench.ledger.lines == ["a"]  # a tool that finished is never made again
    [run_row] = bench.rows("SELECT status, error, attempts FROM runs")
    assert tuple(run_row.values()) == ("done", None, 3)
    set_aside = bench.steps("reason", "status = 'superseded'")
    assert [row["reason"] for row in set_aside] == [
        "set aside: the code after this answer raised Broken"
    ] * 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chain", ["itself", "from", "while handling", "deep"])
async def test_if_a_step_raised_only_that_step_is_made_again(
    bench: Bench, mode: Mode, chain: str
) -> None:
    look = look_up(bench.ledger, Fuse(Broken("down")))

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        try:
            found = await calls.ask(look, {"word": "a"})
        except Broken as error:
            if chain == "itself":
                raise
            if chain == "from":
                raise ValueError("cannot look up") from error
            if chain == "while handling":
                raise ValueError("cannot look up")  # noqa: B904
            try:
                raise ValueError("cannot look up") from error
            except ValueError:
                raise RuntimeError("no answer")  # noqa: B904
        return {"messages": [one, AIMessage(found)]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises((Broken, ValueError, RuntimeError)):
        await run(mode, graph, {"messages": "go"}, thread())
    await run(mode, graph, None, thread())
    assert bench.asked == ["one"]
    assert bench.ledger.lines == ["a", "a"]
    assert [row["status"] for row in bench.steps("status")] == ["done", "failed", "done"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_failure_that_the_node_has_handled_is_not_to_blame(
    bench: Bench, mode: Mode
) -> None:
    bench.respond = counting()
    look = look_up(bench.ledger, Fuse(Broken("down")))
    fault = Fuse(Broken("no JSON"))

    async def node(state: MessagesState, calls: Calls) -> Any:
        with suppress(Broken):
            await calls.ask(look, {"word": "a"})
        answer = await calls.ask(bench.model(), "one")
        fault()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Broken):
        await run(mode, graph, {"messages": "go"}, thread())
    state = await run(mode, graph, None, thread())
    assert state["messages"][-1].content == "re: one #2"


@pytest.mark.parametrize("mode", MODES)
async def test_a_retry_in_the_process_asks_the_answer_before_the_exception_again(
    bench: Bench, mode: Mode
) -> None:
    bench.respond = counting()
    fault = Fuse(Broken("no JSON"), times=2)
    look = look_up(bench.ledger)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        await calls.ask(look, {"word": "a"})
        two = await calls.ask(bench.model(), "two")
        fault()
        return {"messages": [one, two]}

    builder: Any = StateGraph(MessagesState)
    retry = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=3, retry_on=Broken)
    builder.add_node("node", as_node(mode, node), retry_policy=retry)
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=bench.saver())
    state = await run(mode, graph, {"messages": "go"}, thread())
    assert bench.asked == ["one", "two", "two", "two"]
    assert [m.content for m in state["messages"][1:]] == ["re: one #1", "re: two #4"]
    assert bench.ledger.lines == ["a"]
    assert bench.rows("SELECT attempts, status FROM runs") == [{"attempts": 1, "status": "done"}]


@pytest.mark.parametrize("mode", MODES)
async def test_a_retry_in_the_process_makes_only_the_step_again_that_raised(
    bench: Bench, mode: Mode
) -> None:
    look = look_up(bench.ledger, Fuse(Broken("down"), times=2))

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        found = await calls.ask(look, {"word": "a"})
        return {"messages": [one, AIMessage(found)]}

    builder: Any = StateGraph(MessagesState)
    retry = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=3, retry_on=Broken)
    builder.add_node("node", as_node(mode, node), retry_policy=retry)
    builder.add_edge(START, "node")
    await run(mode, builder.compile(checkpointer=bench.saver()), {"messages": "go"}, thread())
    assert bench.asked == ["one"]
    assert bench.ledger.lines == ["a", "a", "a"]


INNER = {"None": None, "True": True, "False": False}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("mode", MODES)
async def test_an_exception_in_a_graph_inside_asks_the_answer_there_again(
    bench: Bench, mode: Mode, inner: str
) -> None:
    bench.respond = counting()
    fault = Fuse(Broken("no JSON"))

    async def write(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "inner one")
        two = await calls.ask(bench.model(), "inner two")
        fault()
        return {"messages": [one, two]}

    inside = one_node(INNER[inner], as_node(mode, write), name="write")

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": [before]})
        return {"messages": found["messages"]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    with pytest.raises(Broken):
        await run(mode, graph, {"messages": "go"}, thread())
    state = await run(mode, graph, None, thread())
    assert bench.asked == ["before", "inner one", "inner two", "inner two"]
    assert state["messages"][-1].content == "re: inner two #4"


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("mode", MODES)
async def test_an_exception_in_a_graph_inside_that_asked_nothing_blames_the_answer_before(
    bench: Bench, mode: Mode, inner: str
) -> None:
    bench.respond = counting()

    def parse(state: MessagesState) -> Any:
        if "#1" in str(state["messages"][-1].content):
            raise Broken("no JSON")
        return {"messages": [AIMessage("parsed")]}

    inside = one_node(INNER[inner], parse, name="parse")

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": [before]})
        return {"messages": found["messages"]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    with pytest.raises(Broken):
        await run(mode, graph, {"messages": "go"}, thread())
    if inner == "False":  # LangGraph gives the others the input again that their checkpoint has
        await run(mode, graph, None, thread())
        assert bench.asked == ["before", "before"]
        return
    with pytest.raises(Broken):
        await run(mode, graph, None, thread())


def twice_asking(bench: Bench, mode: Mode) -> Any:
    """Return a graph that is invoked inside a node, and asks twice."""

    async def write(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "inner one")
        return {"messages": [one, await calls.ask(bench.model(), "inner two")]}

    return one_node(False, as_node(mode, write), name="write")


@pytest.mark.parametrize("mode", MODES)
async def test_a_retry_around_a_graph_asks_the_answer_inside_again(
    bench: Bench, mode: Mode
) -> None:
    bench.respond = counting()

    inside = twice_asking(bench, mode)
    fault = Fuse(Broken("no JSON"))

    async def team(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(inside, {"messages": "go"})
        fault()
        return {"messages": found["messages"]}

    builder: Any = StateGraph(MessagesState)
    retry = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=2, retry_on=Broken)
    builder.add_node("team", as_node(mode, team), retry_policy=retry)
    builder.add_edge(START, "team")
    graph = builder.compile(checkpointer=bench.saver())
    state = await run(mode, graph, {"messages": "go"}, thread())
    assert bench.asked == ["inner one", "inner two", "inner two"]
    assert state["messages"][-1].content == "re: inner two #3"


@pytest.mark.parametrize("mode", MODES)
async def test_an_exception_after_a_graph_inside_asks_its_last_answer_again(
    bench: Bench, mode: Mode
) -> None:
    bench.respond = counting()

    inside = twice_asking(bench, mode)
    fault = Fuse(Broken("no JSON"))

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": [before]})
        fault()
        return {"messages": found["messages"]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    with pytest.raises(Broken):
        await run(mode, graph, {"messages": "go"}, thread())
    await run(mode, graph, None, thread())
    assert bench.asked == ["before", "inner one", "inner two", "inner two"]


async def test_an_exception_in_a_task_asks_the_tasks_answer_again(bench: Bench) -> None:
    bench.respond = counting()
    fault = Fuse(Broken("no JSON"))

    @task
    def write(word: str) -> str:
        answer = bench.model().invoke(f"write {word}")
        fault()
        return str(answer.content)

    @entrypoint(checkpointer=bench.saver())
    def flow(words: list[str]) -> list[str]:
        plan = str(bench.model().invoke("plan").content)
        return [plan, *(write(word).result() for word in words)]

    with pytest.raises(Broken):
        flow.invoke(["x"], thread())
    assert flow.invoke(None, thread()) == ["re: plan #1", "re: write x #3"]
    assert bench.asked == ["plan", "write x", "write x"]


async def test_a_node_that_failed_beside_another_leaves_the_others_calls_alone(
    bench: Bench,
) -> None:
    bench.respond = counting()
    fault = Fuse(Broken("no JSON"))

    def good(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("good")]}

    def bad(state: MessagesState) -> Any:
        answer = bench.model().invoke("bad")
        fault()
        return {"messages": [answer]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node(good)
    builder.add_node(bad)
    builder.add_edge(START, "good")
    builder.add_edge(START, "bad")
    graph = builder.compile(checkpointer=bench.saver())
    with pytest.raises(Broken):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    assert sorted(bench.asked) == ["bad", "bad", "good"]
