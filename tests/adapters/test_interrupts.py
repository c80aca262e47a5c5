"""Interrupts: a node re-runs from its top, what it had done is replayed, answers never shift."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from rowtrail.testing import Reply
from tests.adapters._graphs import (
    DURABILITIES,
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    chain_of,
    counting,
    one_node,
    run,
    thread,
    tool_call,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, counting()) as bench:
        yield bench


def question(state: Any) -> Any:
    """Return what a person is asked."""
    [found] = state["__interrupt__"]
    return found.value


def run_rows(bench: Bench) -> list[tuple[Any, ...]]:
    """Return status and number of attempts of the runs."""
    return [tuple(r.values()) for r in bench.rows("SELECT status, attempts FROM runs")]


def looking(bench: Bench) -> BaseTool:
    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        return f"{word} is a word"

    return look


def approving(bench: Bench, mode: Mode) -> BaseTool:
    """Return a tool that asks a person before it acts."""

    @tool
    def approve(what: str) -> str:
        """Ask a person."""
        bench.ledger.add(f"asking about {what}")
        return f"{what}: {interrupt(f'{what}?')}"

    @tool("approve")
    async def aapprove(what: str) -> str:
        """Ask a person."""
        bench.ledger.add(f"asking about {what}")
        return f"{what}: {interrupt(f'{what}?')}"

    return approve if mode == "sync" else aapprove


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
async def test_what_a_node_did_before_its_interrupts_is_replayed(
    bench: Bench, mode: Mode, durability: str
) -> None:
    look = looking(bench)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        await calls.ask(look, {"word": "a"})
        first = interrupt("first?")
        two = await calls.ask(bench.model(), f"two {first}")
        second = interrupt("second?")
        return {"messages": [one, two, await calls.ask(bench.model(), f"three {second}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    options = {"durability": durability}
    state = await run(mode, graph, {"messages": "go"}, thread(), **options)
    assert question(state) == "first?" and run_rows(bench) == [("waiting", 1)]
    state = await run(mode, graph, Command(resume="yes"), thread(), **options)
    assert question(state) == "second?" and run_rows(bench) == [("waiting", 2)]
    state = await run(mode, graph, Command(resume="no"), thread(), **options)
    texts = [m.content for m in state["messages"][1:]]
    assert texts == ["re: one #1", "re: two yes #2", "re: three no #3"]
    assert bench.asked == ["one", "two yes", "three no"]
    assert bench.ledger.lines == ["a"]
    assert run_rows(bench) == [("done", 3)]
    outcomes = bench.rows("SELECT outcome FROM attempts ORDER BY n")
    assert [row["outcome"] for row in outcomes] == ["waiting", "waiting", "done"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_crash_after_an_answer_keeps_the_answer(bench: Bench, mode: Mode) -> None:
    fuse = Fuse(times=2)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        first = interrupt("first?")
        two = await calls.ask(bench.model(), f"two {first}")
        fuse()
        return {"messages": [one, two, AIMessage(interrupt("second?"))]}

    graph = one_node(bench.saver(), as_node(mode, node))
    await run(mode, graph, {"messages": "go"}, thread())
    with pytest.raises(Killed):
        await run(mode, graph, Command(resume="yes"), thread())
    with pytest.raises(Killed):
        await run(mode, graph, None, thread())
    assert question(await run(mode, graph, None, thread())) == "second?"
    state = await run(mode, graph, Command(resume="no"), thread())
    assert state["messages"][-1].content == "no"
    assert bench.asked == ["one", "two yes"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_asked_a_person_keeps_its_position_when_replayed(
    bench: Bench, mode: Mode
) -> None:
    approve = approving(bench, mode)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(approve, {"what": "one"})
        two = interrupt("two?")
        three = await calls.ask(approve, tool_call("approve", {"what": "three"}))
        four = interrupt("four?")
        return {"messages": [AIMessage(f"{one}; two: {two}; {three.content}; four: {four}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    state = await run(mode, graph, {"messages": "go"}, thread())
    for asked, answer in (("one?", "1"), ("two?", "2"), ("three?", "3"), ("four?", "4")):
        assert question(state) == asked
        state = await run(mode, graph, Command(resume=answer), thread())
    assert state["messages"][-1].content == "one: 1; two: 2; three: 3; four: 4"
    # each is made once to ask, once with the answer, and then replayed
    assert bench.ledger.lines == ["asking about one"] * 2 + ["asking about three"] * 2
    rows = bench.steps("status, reason, replays")
    assert [row["status"] for row in rows] == ["superseded", "done", "superseded", "done"]
    assert (
        rows[0]["reason"] == "left by GraphInterrupt: it runs from its top again when it is resumed"
    )
    assert [row["replays"] for row in rows] == [0, 3, 0, 1]


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_a_tool_took_before_a_crash_is_not_taken_again(
    bench: Bench, mode: Mode
) -> None:
    """The tool ends with the answer; the process dies before LangGraph notes whose it was."""
    approve = approving(bench, mode)
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(approve, {"what": "one"})
        fuse()
        return {"messages": [AIMessage(f"{one}; two: {interrupt('two?')}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    await run(mode, graph, {"messages": "go"}, thread())
    with pytest.raises(Killed):
        await run(mode, graph, Command(resume="1"), thread())
    assert question(await run(mode, graph, None, thread())) == "two?"
    state = await run(mode, graph, Command(resume="2"), thread())
    assert state["messages"][-1].content == "one: 1; two: 2"


@pytest.mark.parametrize("mode", MODES)
async def test_tools_of_an_agent_that_ask_get_their_own_answers(bench: Bench, mode: Mode) -> None:
    def script(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "user":
            return Reply(tool_calls=[("approve", {"what": what}) for what in "abc"])
        return Reply("all asked")

    bench.respond = script
    graph: Any = create_agent(bench.model(), [approving(bench, mode)], checkpointer=bench.saver())
    state = await run(mode, graph, {"messages": "ask"}, thread())
    by_question = {found.value: found.id for found in state["__interrupt__"]}
    assert sorted(by_question) == ["a?", "b?", "c?"]
    state = await run(mode, graph, Command(resume={by_question["b?"]: "yes to b"}), thread())
    rest = {found.value: found.id for found in state["__interrupt__"]}
    assert sorted(rest) == ["a?", "c?"]
    answers = {rest[asked]: f"yes to {asked[0]}" for asked in rest}
    state = await run(mode, graph, Command(resume=answers), thread())
    told = [m.content for m in state["messages"] if m.type == "tool"]
    assert told == [f"{what}: yes to {what}" for what in "abc"]
    assert bench.calls == 2
    assert bench.ledger.lines.count("asking about b") == 2


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_beside_one_that_asks_is_made_once(bench: Bench, mode: Mode) -> None:
    tools = ToolNode([looking(bench), approving(bench, mode)])
    graph = one_node(bench.saver(), tools, name="tools")
    asked = asks_for(("look", {"word": "a"}), ("approve", {"what": "b"}), ("look", {"word": "c"}))
    state = await run(mode, graph, {"messages": [asked]}, thread())
    assert question(state) == "b?"
    await bench.wait_for(2, "done")
    state = await run(mode, graph, Command(resume="yes"), thread())
    told = [m.content for m in state["messages"] if m.type == "tool"]
    assert told == ["a is a word", "b: yes", "c is a word"]
    assert sorted(bench.ledger.lines) == ["a", "asking about b", "asking about b", "c"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_person_in_the_loop_of_an_agent_costs_no_call(bench: Bench, mode: Mode) -> None:
    def script(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "user":
            return Reply(tool_calls=[("look", {"word": "a"})])
        return Reply("done")

    bench.respond = script
    graph: Any = create_agent(
        bench.model(),
        [looking(bench)],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"look": True})],
        checkpointer=bench.saver(),
    )
    state = await run(mode, graph, {"messages": "go"}, thread())
    assert question(state)["action_requests"][0]["name"] == "look"
    assert run_rows(bench) == [("waiting", 1)] and bench.ledger.lines == []
    decision = {"decisions": [{"type": "approve"}]}
    state = await run(mode, graph, Command(resume=decision), thread())
    assert state["messages"][-1].content == "done"
    assert bench.calls == 2 and bench.ledger.lines == ["a"]


INNER = {"None": None, "True": True}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("mode", MODES)
async def test_an_interrupt_in_a_graph_inside_replays_the_calls_around_it(
    bench: Bench, mode: Mode, inner: str
) -> None:
    async def write(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "inner one")
        said = interrupt("inner?")
        return {"messages": [one, await calls.ask(bench.model(), f"inner two {said}")]}

    inside = one_node(INNER[inner], as_node(mode, write), name="write")

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": [before]})
        said = interrupt("outer?")
        after = await calls.ask(bench.model(), f"after {said}")
        return {"messages": [found["messages"][-1], after]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    assert question(await run(mode, graph, {"messages": "go"}, thread())) == "inner?"
    assert question(await run(mode, graph, Command(resume="yes"), thread())) == "outer?"
    state = await run(mode, graph, Command(resume="no"), thread())
    assert bench.asked == ["before", "inner one", "inner two yes", "after no"]
    assert [m.content for m in state["messages"][1:]] == [
        "re: inner two yes #3",
        "re: after no #4",
    ]
    assert run_rows(bench) == [("done", 3)]


@pytest.mark.parametrize("mode", MODES)
async def test_an_interrupt_in_a_task_replays_the_calls_of_the_flow(
    bench: Bench, mode: Mode
) -> None:
    @task
    def ask(word: str) -> str:
        one = bench.model().invoke(f"before {word}")
        return f"{one.content} {interrupt(f'{word}?')}"

    @task
    async def aask(word: str) -> str:
        one = await bench.model().ainvoke(f"before {word}")
        return f"{one.content} {interrupt(f'{word}?')}"

    @entrypoint(checkpointer=bench.saver())
    def flow(words: list[str]) -> list[str]:
        plan = str(bench.model().invoke("plan").content)
        return [plan, *(ask(word).result() for word in words)]

    @entrypoint(checkpointer=bench.saver())
    async def aflow(words: list[str]) -> list[str]:
        plan = str((await bench.model().ainvoke("plan")).content)
        return [plan, *[await aask(word) for word in words]]

    graph: Any = flow if mode == "sync" else aflow
    assert question(await run(mode, graph, ["x", "y"], thread())) == "x?"
    assert question(await run(mode, graph, Command(resume="1"), thread())) == "y?"
    found = await run(mode, graph, Command(resume="2"), thread())
    assert found == ["re: plan #1", "re: before x #2 1", "re: before y #3 2"]
    assert bench.asked == ["plan", "before x", "before y"]


# Breakpoints.


def two_steps(bench: Bench, mode: Mode, saver: Any, **compiled: Any) -> Any:
    """Return a graph of two nodes, each of which asks once."""

    async def first(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), "one")]}

    async def second(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), "two")]}

    return chain_of(saver, as_node(mode, first), as_node(mode, second), **compiled)


BREAKPOINTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "compiled before": ({"interrupt_before": ["second"]}, {}),
    "compiled after": ({"interrupt_after": ["first"]}, {}),
    "invoked before": ({}, {"interrupt_before": ["second"]}),
    "invoked after": ({}, {"interrupt_after": ["first"]}),
}


@pytest.mark.parametrize("breakpoint", BREAKPOINTS)
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_stands_at_a_breakpoint_is_waiting(
    bench: Bench, mode: Mode, breakpoint: str
) -> None:
    compiled, invoked = BREAKPOINTS[breakpoint]
    graph = two_steps(bench, mode, bench.saver(), **compiled)
    await run(mode, graph, {"messages": "go"}, thread(), **invoked)
    assert run_rows(bench) == [("waiting", 1)]
    state = await run(mode, graph, None, thread())
    assert run_rows(bench) == [("done", 2)]
    assert [m.content for m in state["messages"][1:]] == ["re: one #1", "re: two #2"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_breakpoint_of_a_graph_whose_config_is_bound(bench: Bench, mode: Mode) -> None:
    graph = two_steps(bench, mode, bench.saver(), interrupt_before=["second"])
    graph = graph.with_config(thread())
    await run(mode, graph, {"messages": "go"})
    assert run_rows(bench) == [("waiting", 1)]
    await run(mode, graph, None)
    assert run_rows(bench) == [("done", 2)]
    assert bench.rows("SELECT thread_id FROM threads") == [{"thread_id": "1"}]
    assert bench.asked == ["one", "two"]


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("mode", MODES)
async def test_a_breakpoint_in_a_graph_inside_is_waiting_too(
    bench: Bench, mode: Mode, inner: str
) -> None:
    inside = two_steps(bench, mode, INNER[inner], interrupt_before=["second"])

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": [before]})
        return {"messages": found["messages"][-1:]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    await run(mode, graph, {"messages": "go"}, thread())
    assert run_rows(bench) == [("waiting", 1)]
    state = await run(mode, graph, None, thread())
    assert bench.asked == ["before", "one", "two"]
    assert state["messages"][-1].content == "re: two #3"
    assert run_rows(bench) == [("done", 2)]


async def test_an_answer_with_a_new_input_beside_it_goes_on_with_the_run(bench: Bench) -> None:
    def node(state: MessagesState) -> Any:
        one = bench.model().invoke("one")
        return {"messages": [one, AIMessage(interrupt("go on?"))]}

    graph = one_node(bench.saver(), node)
    graph.invoke({"messages": "go"}, thread())
    state = graph.invoke(Command(resume="yes", update={"messages": [AIMessage("noted")]}), thread())
    assert state["messages"][-1].content == "yes"
    assert bench.asked == ["one"]


async def test_a_new_input_while_waiting_is_a_new_run(bench: Bench) -> None:
    def node(state: MessagesState) -> Any:
        one = bench.model().invoke("one")
        if len(state["messages"]) == 1:
            interrupt("go on?")
        return {"messages": [one]}

    graph = one_node(bench.saver(), node)
    graph.invoke({"messages": "go"}, thread())
    graph.invoke({"messages": "something else"}, thread())
    assert bench.asked == ["one", "one"]
    assert run_rows(bench) == [("waiting", 1), ("done", 1)]


def test_a_branch_that_asks_leaves_the_other_branch_alone(bench: Bench) -> None:
    def asks(state: MessagesState) -> Any:
        one = bench.model().invoke("asks")
        return {"messages": [one, AIMessage(interrupt("asks?"))]}

    def works(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("works")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node(asks)
    builder.add_node(works)
    builder.add_edge(START, "asks")
    builder.add_edge(START, "works")
    graph = builder.compile(checkpointer=bench.saver())
    assert question(graph.invoke({"messages": "go"}, thread())) == "asks?"
    graph.invoke(Command(resume="yes"), thread())
    assert sorted(bench.asked) == ["asks", "works"]
