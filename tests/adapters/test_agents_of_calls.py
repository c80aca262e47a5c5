"""Which agent made a call: the column `agent`, for every way in which graphs run inside graphs."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

from rowtrail.testing import Reply
from tests.adapters._graphs import (
    GO,
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    last_text,
    one_node,
    run,
    texts,
    thread,
)


def agents(bench: Bench, where: str = "true") -> list[tuple[str | None, str, str]]:
    """Return who made each call, its kind and name, in the order of their beginning."""
    columns = "agent, kind, CASE kind WHEN 'llm' THEN 'llm' ELSE name END AS name"
    return [tuple(row.values()) for row in bench.steps(columns, where)]


def by_agent(bench: Bench, view: str) -> dict[str | None, int]:
    found = bench.rows(f"SELECT agent, count(*) AS n FROM {view} GROUP BY agent")
    return {row["agent"]: row["n"] for row in found}


def writer(bench: Bench, mode: Mode, name: str | None = "writer", saver: Any = None) -> Any:
    """Return a graph of one node that asks the model twice."""

    async def write(state: MessagesState, calls: Calls) -> Any:
        said = str(state["messages"][-1].content)
        first = await calls.ask(bench.model(), f"{said} first")
        return {"messages": [first, await calls.ask(bench.model(), f"{said} second")]}

    return called(name, one_node(saver, as_node(mode, write), name="write"))


def called(name: str | None, graph: Any) -> Any:
    """Return a graph with a name, as `compile(name=)` gives it."""
    if name is not None:
        graph.name = name
    return graph


def named(builder: Any, saver: Any, name: str | None) -> Any:
    return builder.compile(checkpointer=saver, name=name)


# One agent in another.


def looking(request: dict[str, Any]) -> Reply:
    """Look a word up where a user asks, and answer then."""
    if request["messages"][-1]["role"] == "tool":
        return Reply("it is a word")
    return Reply(tool_calls=[("look", {"word": last_text(request)})])


def sub_agent(bench: Bench, name: str | None) -> Any:
    @tool
    def look(word: str) -> str:
        """Look a word up."""
        return word

    return create_agent(bench.model(model="gpt-4o-mini"), [look], name=name)


def delegating(mode: Mode, agents: dict[str, Any]) -> BaseTool:
    """Return a tool as deepagents' `task`: it starts the agent that its argument names."""

    @tool("task")
    def delegate(description: str, agent: str) -> str:
        """Let an agent do it."""
        found = agents[agent].invoke({"messages": [HumanMessage(description)]})
        return str(found["messages"][-1].content)

    @tool("task")
    async def adelegate(description: str, agent: str) -> str:
        """Let an agent do it."""
        found = await agents[agent].ainvoke({"messages": [HumanMessage(description)]})
        return str(found["messages"][-1].content)

    return delegate if mode == "sync" else adelegate


def boss(bench: Bench, mode: Mode, orders: list[tuple[str, str]], subs: dict[str, Any]) -> Any:
    """Return an agent that gives these orders to sub-agents, all at once."""

    def respond(request: dict[str, Any]) -> Reply:
        if request["model"] == "gpt-4o-mini":
            return looking(request)
        if request["messages"][-1]["role"] == "tool":
            return Reply("done")
        calls = [("task", {"description": what, "agent": agent}) for what, agent in orders]
        return Reply(tool_calls=calls)

    bench.respond = respond
    tools = [delegating(mode, subs)]
    return create_agent(bench.model(model="gpt-4o"), tools, checkpointer=bench.saver(), name="boss")


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_in_a_tool_makes_its_own_calls(bench: Bench, mode: Mode) -> None:
    graph = boss(
        bench, mode, [("a word", "researcher")], {"researcher": sub_agent(bench, "researcher")}
    )
    await run(mode, graph, GO, thread())
    assert agents(bench) == [
        ("boss", "llm", "llm"),
        ("boss", "tool", "task"),
        ("researcher", "llm", "llm"),
        ("researcher", "tool", "look"),
        ("researcher", "llm", "llm"),
        ("boss", "llm", "llm"),
    ]
    assert by_agent(bench, "llm_calls") == {"boss": 2, "researcher": 2}
    assert by_agent(bench, "tool_calls") == {"boss": 1, "researcher": 1}
    assert by_agent(bench, "runs") == {"boss": 1}


@pytest.mark.parametrize("mode", MODES)
async def test_agents_of_one_name_that_run_at_once_have_numbers(bench: Bench, mode: Mode) -> None:
    orders = [("one", "researcher"), ("two", "critic"), ("three", "researcher")]
    subs = {name: sub_agent(bench, name) for name in ("researcher", "critic")}
    await run(mode, boss(bench, mode, orders, subs), GO, thread())
    assert by_agent(bench, "llm_calls") == {
        "boss": 2,
        "researcher": 2,
        "researcher#2": 2,
        "critic": 2,
    }
    rows = bench.rows(
        "SELECT parent_id, count(DISTINCT agent) AS n FROM llm_calls GROUP BY parent_id"
    )
    assert {row["n"] for row in rows} == {1}, "the calls of one task are those of one agent"


@pytest.mark.parametrize("mode", MODES)
async def test_a_bound_name_is_that_of_the_agent(bench: Bench, mode: Mode) -> None:
    """As deepagents does with graphs that somebody else has compiled."""
    inside = sub_agent(bench, "compiled").with_config(metadata={"lc_agent_name": "critic"})
    await run(mode, boss(bench, mode, [("a word", "x")], {"x": inside}), GO, thread())
    assert by_agent(bench, "llm_calls") == {"boss": 2, "critic": 2}


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_without_a_name_is_part_of_the_one_around(bench: Bench, mode: Mode) -> None:
    await run(
        mode, boss(bench, mode, [("a word", "x")], {"x": sub_agent(bench, None)}), GO, thread()
    )
    assert by_agent(bench, "steps") == {"boss": 6}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["team", None])
async def test_a_graph_without_a_name_is_no_agent(
    bench: Bench, mode: Mode, name: str | None
) -> None:
    await run(mode, writer(bench, mode, name, bench.saver()), GO, thread())
    assert by_agent(bench, "llm_calls") == {name: 2}
    assert by_agent(bench, "runs") == {name: 1}


# Graphs as nodes.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("saver", [None, True, False], ids=["inherited", "own", "none"])
async def test_a_named_graph_as_a_node_is_an_agent(bench: Bench, mode: Mode, saver: Any) -> None:
    builder: Any = StateGraph(MessagesState)
    builder.add_node("plan", as_node(mode, _asks(bench, "plan")))
    builder.add_node("expert", writer(bench, mode, "web_expert", saver))
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "expert")
    await run(mode, named(builder, bench.saver(), "supervisor"), GO, thread())
    assert [agent for agent, _, _ in agents(bench)] == ["supervisor", "web_expert", "web_expert"]


def _asks(bench: Bench, text: str) -> Callable[[Any, Calls], Any]:
    async def node(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), text)]}

    return node


@pytest.mark.parametrize("mode", MODES)
async def test_nested_supervisors_are_the_innermost_with_a_name(bench: Bench, mode: Mode) -> None:
    expert = writer(bench, mode, "expert")
    unnamed = one_node(None, expert, name="inner")
    team = one_node(None, unnamed, name="team")
    lead = called("lead", one_node(None, team, name="lead"))
    builder: Any = StateGraph(MessagesState)
    builder.add_node("lead", lead)
    builder.add_node("sum", as_node(mode, _asks(bench, "sum")))
    builder.add_edge(START, "lead")
    builder.add_edge("lead", "sum")
    await run(mode, named(builder, bench.saver(), "chief"), GO, thread())
    assert [agent for agent, _, _ in agents(bench)] == ["expert", "expert", "chief"]


@pytest.mark.parametrize("mode", MODES)
async def test_parallel_nodes_with_one_agent_have_numbers(bench: Bench, mode: Mode) -> None:
    expert = writer(bench, mode, "expert")
    builder: Any = StateGraph(MessagesState)
    for name in ("left", "right"):
        builder.add_node(name, expert)
        builder.add_edge(START, name)
    builder.add_node("after", expert)
    builder.add_edge(["left", "right"], "after")
    await run(mode, named(builder, bench.saver(), None), GO, thread())
    assert by_agent(bench, "llm_calls") == {"expert": 4, "expert#2": 2}
    by_node = bench.rows("SELECT scope, count(DISTINCT agent) AS n FROM steps GROUP BY scope")
    assert {row["n"] for row in by_node} == {1}


class Words(TypedDict):
    """What the workers of a map are given."""

    words: list[str]
    messages: Annotated[list[Any], operator.add]


@pytest.mark.parametrize("mode", MODES)
async def test_workers_that_are_sent_have_numbers(bench: Bench, mode: Mode) -> None:
    builder: Any = StateGraph(Words)
    builder.add_node("worker", writer(bench, mode, "worker"))
    builder.add_conditional_edges(
        START,
        lambda state: [Send("worker", {"messages": [HumanMessage(w)]}) for w in state["words"]],
        ["worker"],
    )
    graph = named(builder, bench.saver(), "mapper")
    await run(mode, graph, {"words": ["a", "b", "c"], "messages": []}, thread())
    assert by_agent(bench, "llm_calls") == {"worker": 2, "worker#2": 2, "worker#3": 2}


# Several times in one task.


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_that_is_asked_twice_in_a_row_is_one(bench: Bench, mode: Mode) -> None:
    expert = writer(bench, mode, "expert")

    async def node(state: MessagesState, calls: Calls) -> Any:
        first = await calls.ask(expert, {"messages": "one"})
        second = await calls.ask(expert, {"messages": "two"})
        return {"messages": [first["messages"][-1], second["messages"][-1]]}

    await run(mode, one_node(bench.saver(), as_node(mode, node)), GO, thread())
    assert by_agent(bench, "llm_calls") == {"expert": 4}


@pytest.mark.parametrize("saver", [None, False], ids=["inherited", "none"])
async def test_agents_that_one_task_asks_at_once_have_numbers(bench: Bench, saver: Any) -> None:
    expert, critic = (writer(bench, "async", name, saver) for name in ("expert", "critic"))

    async def node(state: MessagesState) -> Any:
        asked = [
            expert.ainvoke({"messages": "a"}),
            critic.ainvoke({"messages": "b"}),
            expert.ainvoke({"messages": "c"}),
        ]
        found = await asyncio.gather(*asked)
        return {"messages": [one["messages"][-1] for one in found]}

    await one_node(bench.saver(), node).ainvoke(GO, thread())
    assert by_agent(bench, "llm_calls") == {"expert": 2, "expert#2": 2, "critic": 2}
    prompts = bench.rows("SELECT agent, prompt_messages FROM llm_calls")
    said = {(row["agent"], row["prompt_messages"].split('"content":"')[1][0]) for row in prompts}
    assert sorted(who for who, _ in said) == ["critic", "expert", "expert#2"]
    assert ("critic", "b") in said


def test_agents_asked_from_threads_of_a_task_keep_their_own_names(bench: Bench) -> None:
    from concurrent.futures import ThreadPoolExecutor

    subs = [writer(bench, "sync", name) for name in ("red", "green", "blue")]

    def node(state: MessagesState) -> Any:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda sub: sub.invoke({"messages": sub.name}), subs))
        return {"messages": [one["messages"][-1] for one in found]}

    one_node(bench.saver(), node).invoke(GO, thread())
    prompts = bench.rows("SELECT agent, prompt_messages FROM llm_calls")
    assert len(prompts) == 6
    assert all(row["agent"] in row["prompt_messages"] for row in prompts)


async def test_an_agent_with_a_thread_of_its_own_keeps_its_name(bench: Bench) -> None:
    alone = writer(bench, "async", "alone", InMemorySaver())

    async def node(state: MessagesState) -> Any:
        found = await alone.ainvoke({"messages": "x"}, thread("another"))
        return {"messages": found["messages"][-1:]}

    await one_node(bench.saver(), node).ainvoke(GO, thread())
    assert by_agent(bench, "llm_calls") == {"alone": 2}


@pytest.mark.parametrize("mode", MODES)
async def test_agents_in_the_functional_api(bench: Bench, mode: Mode) -> None:
    expert = writer(bench, mode, "expert")

    def ask(word: str) -> str:
        return str(expert.invoke({"messages": word})["messages"][-1].content)

    async def aask(word: str) -> str:
        return str((await expert.ainvoke({"messages": word}))["messages"][-1].content)

    asks: Any = task(ask)
    aasks: Any = task(aask)

    @entrypoint(checkpointer=bench.saver())
    def flow(words: list[str]) -> list[str]:
        return [asks(word).result() for word in words]

    @entrypoint(checkpointer=bench.saver())
    async def aflow(words: list[str]) -> list[str]:
        return [await aasks(word) for word in words]

    await run(mode, flow if mode == "sync" else aflow, ["a", "b"], thread())
    assert by_agent(bench, "llm_calls") == {"expert": 4}


@pytest.mark.parametrize("mode", MODES)
async def test_tools_of_a_plain_node_start_agents(bench: Bench, mode: Mode) -> None:
    """All calls of a `ToolNode` are one task of LangGraph."""
    started = delegating(mode, {"x": writer(bench, mode, "expert")})
    tools = ToolNode([started])

    async def node(state: MessagesState, calls: Calls) -> Any:
        return await calls.ask(tools, state)

    graph = one_node(bench.saver(), as_node(mode, node))
    orders = [("task", {"description": f"{n}", "agent": "x"}) for n in range(2)]
    await run(mode, graph, {"messages": [asks_for(*orders)]}, thread())
    found = by_agent(bench, "llm_calls")
    assert sum(found.values()) == 4
    assert set(found) <= {"expert", "expert#2"}


# After a kill.


@pytest.mark.parametrize("mode", MODES)
async def test_a_resumed_run_gives_the_numbers_that_it_gave(bench: Bench, mode: Mode) -> None:
    """In the other order too: whoever comes first does not take another one's number."""
    fuse = Fuse()

    def worker_that_stops() -> Any:
        async def write(state: Words, calls: Calls) -> Any:
            said = str(state["messages"][-1].content)
            first = await calls.ask(bench.model(), f"{said} first")
            if said == "a":
                fuse()
            return {"messages": [first, await calls.ask(bench.model(), f"{said} second")]}

        return called("worker", one_node(None, as_node(mode, write), state=Words, name="write"))

    builder: Any = StateGraph(Words)
    builder.add_node("worker", worker_that_stops())
    builder.add_conditional_edges(
        START,
        lambda state: [Send("worker", {"messages": [HumanMessage(w)]}) for w in state["words"]],
        ["worker"],
    )
    graph = named(builder, bench.saver(), "mapper")
    with pytest.raises(Killed):
        await run(mode, graph, {"words": ["a", "b", "c"], "messages": []}, thread())
    before = dict(_agents_by_scope(bench))
    await run(mode, graph, None, thread())
    after = _agents_by_scope(bench)
    assert {scope: agent for scope, agent in after.items() if scope in before} == before
    assert sorted(set(after.values())) == ["worker", "worker#2", "worker#3"]
    assert len(after) == 3


def _agents_by_scope(bench: Bench) -> dict[str, str]:
    rows = bench.rows("SELECT DISTINCT scope, agent FROM llm_calls")
    assert len(rows) == len({row["scope"] for row in rows}), "a scope has one agent"
    return {row["scope"]: row["agent"] for row in rows}


@pytest.mark.parametrize("mode", MODES)
async def test_calls_after_a_kill_are_of_the_agent_that_goes_on(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    async def write(state: MessagesState, calls: Calls) -> Any:
        first = await calls.ask(bench.model(), "first")
        fuse()
        return {"messages": [first, await calls.ask(bench.model(), "second")]}

    inside = called("expert", one_node(None, as_node(mode, write), name="write"))
    graph = one_node(bench.saver(), inside, name="expert_node")
    with pytest.raises(Killed):
        await run(mode, graph, GO, thread())
    state = await run(mode, graph, None, thread())
    assert texts(state)[-2:] == ["re: first", "re: second"]
    assert [agent for agent, _, _ in agents(bench)] == ["expert", "expert"]
    assert len(bench.asked) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_a_handoff_is_made_by_the_agent_that_hands_off(bench: Bench, mode: Mode) -> None:
    """As supervisors and swarms do: a tool of one agent sends to another."""

    @tool
    def transfer(to: str) -> Any:
        """Hand off."""
        return Command(goto=to, graph=Command.PARENT, update={"messages": [AIMessage("off")]})

    def respond(request: dict[str, Any]) -> Reply:
        if request["model"] == "gpt-4o":
            return Reply(tool_calls=[("transfer", {"to": "bob"})])
        return Reply("I am Bob")

    bench.respond = respond
    builder: Any = StateGraph(MessagesState)
    alice = create_agent(bench.model(model="gpt-4o"), [transfer], name="alice")
    builder.add_node("alice", alice, destinations=("bob",))
    builder.add_node("bob", create_agent(bench.model(), [], name="bob"))
    builder.add_edge(START, "alice")
    await run(mode, builder.compile(checkpointer=bench.saver()), GO, thread())
    assert [(agent, kind) for agent, kind, _ in agents(bench)] == [
        ("alice", "llm"),
        ("alice", "tool"),
        ("bob", "llm"),
    ]
