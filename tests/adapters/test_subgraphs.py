"""Graphs inside graphs: each call is found again by the nodes around it, and replayed there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

from rowtrail.testing import Reply
from tests.adapters._graphs import (
    MODES,
    Bench,
    Broken,
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
    texts,
    thread,
    tool_call,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, counting()) as bench:
        yield bench


def asking(bench: Bench, mode: Mode, *prompts: str, saver: Any = None) -> Any:
    """Return a graph of one node that asks these prompts after the last message."""

    async def write(state: MessagesState, calls: Calls) -> Any:
        given = str(state["messages"][-1].content).split(" #")[0]
        answers = [await calls.ask(bench.model(), f"{prompt} ({given})") for prompt in prompts]
        return {"messages": answers}

    return one_node(saver, as_node(mode, write), name="write")


async def killed_then_resumed(bench: Bench, mode: Mode, graph: Any) -> Any:
    """Run a graph that a fuse kills, resume it, and see that nothing was asked twice."""
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    paid = bench.asked
    state = await run(mode, graph, None, thread())
    assert bench.asked[: len(paid)] == paid
    assert not set(bench.asked[len(paid) :]) & set(paid), "asked again"
    return state


@pytest.mark.parametrize("saver", [None, False], ids=["inherited", "none"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_that_a_node_invokes_several_times_is_replayed_each_time(
    bench: Bench, mode: Mode, saver: Any
) -> None:
    inside = asking(bench, mode, "inner", saver=saver)
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = [await calls.ask(inside, {"messages": f"{n}"}) for n in range(3)]
        fuse()
        return {"messages": [one["messages"][-1] for one in found]}

    graph = one_node(bench.saver(), as_node(mode, node))
    state = await killed_then_resumed(bench, mode, graph)
    assert texts(state)[1:] == [f"re: inner ({n}) #{n + 1}" for n in range(3)]
    assert len({row["scope"] for row in bench.steps("scope")}) == 3


@pytest.mark.parametrize("saver", [None, False], ids=["inherited", "none"])
async def test_graphs_invoked_at_once_get_their_own_answers(bench: Bench, saver: Any) -> None:
    inside = asking(bench, "async", "inner one", "inner two", saver=saver)
    calls, fuse = Calls("async"), Fuse()

    async def node(state: MessagesState) -> Any:
        found = await calls.together(*(inside.ainvoke({"messages": w}) for w in "abcd"))
        fuse()
        return {"messages": [one["messages"][-1] for one in found]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        await graph.ainvoke({"messages": "go"}, thread())
    state = await graph.ainvoke(None, thread())
    assert [t.split(" #")[0] for t in texts(state)[1:]] == [f"re: inner two ({w})" for w in "abcd"]
    assert sorted(bench.asked) == sorted(f"inner {n} ({w})" for n in ("one", "two") for w in "abcd")


@pytest.mark.parametrize("saver", [None, True], ids=["inherited", "own"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_as_a_node_is_replayed_where_it_was_killed(
    bench: Bench, mode: Mode, saver: Any
) -> None:
    fuse = Fuse()

    async def first(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), "inner one")]}

    async def second(state: MessagesState, calls: Calls) -> Any:
        two = await calls.ask(bench.model(), "inner two")
        fuse()
        return {"messages": [two, await calls.ask(bench.model(), "inner three")]}

    inside = chain_of(saver, as_node(mode, first), as_node(mode, second))
    graph = one_node(bench.saver(), inside, name="team")
    state = await killed_then_resumed(bench, mode, graph)
    assert texts(state) == ["go", "re: inner one #1", "re: inner two #2", "re: inner three #3"]
    assert {row["scope"] for row in bench.steps("scope")} == {"2/team|2/first", "2/team|3/second"}


@pytest.mark.parametrize("mode", MODES)
async def test_three_levels_of_graphs(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()
    lowest = asking(bench, mode, "low")

    async def middle(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "middle")
        found = await calls.ask(lowest, {"messages": [one]})
        fuse()
        return {"messages": found["messages"]}

    inside = one_node(None, as_node(mode, middle), name="middle")

    async def top(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "top")
        found = await calls.ask(inside, {"messages": [one]})
        return {"messages": [found["messages"][-1], await calls.ask(bench.model(), "end")]}

    graph = one_node(bench.saver(), as_node(mode, top), name="top")
    state = await killed_then_resumed(bench, mode, graph)
    assert texts(state)[1:] == ["re: low (re: middle) #3", "re: end #4"]
    assert bench.asked == ["top", "middle", "low (re: middle)", "end"]
    assert "2/top|2/middle|2/write" in {row["scope"] for row in bench.steps("scope")}


@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_with_its_own_history_goes_on_from_run_to_run(
    bench: Bench, mode: Mode
) -> None:
    fuse = Fuse(times=0)

    async def write(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), f"inner one of {len(state['messages'])}")
        fuse()
        return {"messages": [one, await calls.ask(bench.model(), "inner two")]}

    inside = one_node(True, as_node(mode, write), name="write")

    async def team(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(inside, {"messages": [AIMessage("given")]})
        return {"messages": found["messages"][-1:]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    await run(mode, graph, {"messages": "go"}, thread())
    for _ in range(2):
        fuse.left = 1
        with pytest.raises(Killed):
            await run(mode, graph, {"messages": "go on"}, thread())
        await run(mode, graph, None, thread())
    sizes = [1, 4, 7]
    assert bench.asked == [p for n in sizes for p in (f"inner one of {n}", "inner two")]
    statuses = [row["status"] for row in bench.rows("SELECT status FROM runs")]
    assert statuses == ["done"] * 3


async def test_a_fan_out_into_graphs_is_replayed_in_each(bench: Bench) -> None:
    fuse = Fuse()
    inside = asking(bench, "sync", "inner")

    def spread(state: MessagesState) -> list[Send]:
        return [Send("team", {"messages": [AIMessage(w)]}) for w in "abc"]

    def team(state: MessagesState) -> Any:
        found = inside.invoke({"messages": state["messages"]})
        if "b" in str(state["messages"]):
            fuse()
        return {"messages": found["messages"][-1:]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("team", team)
    builder.add_conditional_edges(START, spread, ["team"])
    graph = builder.compile(checkpointer=bench.saver())
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    assert sorted(bench.asked) == [f"inner ({w})" for w in "abc"]
    assert {row["scope"] for row in bench.steps("scope")} == {
        f"2/team[{n}]|2/write" for n in range(3)
    }


# Agents as tools.


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_as_a_tool_is_replayed_inside_and_as_a_whole(
    bench: Bench, mode: Mode
) -> None:
    def script(request: dict[str, Any]) -> Reply:
        last = request["messages"][-1]
        if last["content"] == "research it":
            return Reply(tool_calls=[("look", {"word": "a"}), ("look", {"word": "b"})])
        return Reply(f"re: {last['content']}")

    bench.respond = script
    inner_fuse, outer_fuse = Fuse(), Fuse()

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        return f"{word} is a word"

    @tool
    def finish() -> str:
        """Finish."""
        inner_fuse()
        return "finished"

    helper: Any = create_agent(bench.model(), [look], name="helper")

    @tool
    def research(what: str) -> str:
        """Research."""
        found = helper.invoke({"messages": [("user", f"research {what}")]})
        finish.invoke({})
        return str(found["messages"][-1].content)

    @tool("research")
    async def aresearch(what: str) -> str:
        """Research."""
        found = await helper.ainvoke({"messages": [("user", f"research {what}")]})
        finish.invoke({})
        return str(found["messages"][-1].content)

    tools = ToolNode([research if mode == "sync" else aresearch])

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(tools, {"messages": [asks_for(("research", {"what": "it"}))]})
        outer_fuse()
        return found

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    with pytest.raises(Killed):
        await run(mode, graph, None, thread())
    state = await run(mode, graph, None, thread())
    assert texts(state)[-1] == "re: b is a word"
    assert bench.calls == 2 and sorted(bench.ledger.lines) == ["a", "b"]
    [killed, research_row] = bench.steps("step_id, replays, status", "name = 'research'")
    assert (killed["status"], research_row["status"]) == ("superseded", "done")
    assert research_row["replays"] == 1
    # the calls of the agent belong to the tool, so that its replay tells what it saved
    inner = bench.steps("parent_id", "name IN ('gpt-4o-mini', 'look')")
    assert {row["parent_id"] for row in inner} == {killed["step_id"]}


async def test_the_replay_of_a_tool_saves_what_the_agent_inside_cost(bench: Bench) -> None:
    helper: Any = create_agent(bench.model(), [], name="helper")
    fuse = Fuse()

    @tool
    def research(what: str) -> str:
        """Research."""
        found = helper.invoke({"messages": [("user", what)]})
        return str(found["messages"][-1].content)

    def node(state: MessagesState) -> Any:
        found = research.invoke({"what": "it"})
        fuse()
        return {"messages": [AIMessage(found)]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    [saved] = bench.rows("SELECT saved_input_tokens, saved_output_tokens FROM replays")
    [paid] = bench.rows("SELECT input_tokens, output_tokens FROM llm_calls")
    assert tuple(saved.values()) == tuple(paid.values())


# Graphs that LangGraph does not take for inner ones.


@pytest.mark.parametrize("saver", ["none", "InMemorySaver", "capture=False"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_with_a_thread_of_its_own_is_part_of_the_node(
    bench: Bench, mode: Mode, saver: str, tmp_path: Path
) -> None:
    """Where nobody else records it: else the node that re-runs would pay for it again."""
    kept: dict[str, Any] = {
        "none": None,
        "InMemorySaver": InMemorySaver(),
        "capture=False": bench.saver(capture=False, path=tmp_path / "other.db"),
    }
    fuse = Fuse()
    n = 0

    async def write(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "inner one")
        return {"messages": [one, await calls.ask(bench.model(), "inner two")]}

    inside = one_node(kept[saver], as_node(mode, write), name="write")

    async def team(state: MessagesState, calls: Calls) -> Any:
        nonlocal n
        n += 1
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": "go"}, config=thread(f"inner {n}"))
        fuse()
        return {"messages": [before, found["messages"][-1]]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    state = await killed_then_resumed(bench, mode, graph)
    assert texts(state)[1:] == ["re: before #1", "re: inner two #3"]
    assert {row["scope"] for row in bench.steps("scope")} == {"2/team", "2/team|2/write"}
    assert len(bench.rows("SELECT * FROM runs")) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_with_a_recorded_thread_of_its_own_is_a_run_of_its_own(
    bench: Bench, mode: Mode
) -> None:
    saver = bench.saver()
    inside = asking(bench, mode, "inner", saver=saver)

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(bench.model(), "before")
        found = await calls.ask(inside, {"messages": "x"}, config=thread("inner"))
        after = await calls.ask(bench.model(), "after")
        return {"messages": [before, found["messages"][-1], after]}

    graph = one_node(saver, as_node(mode, team), name="team")
    await run(mode, graph, {"messages": "go"}, thread("outer"))
    rows = bench.rows("SELECT thread_id, status, llm_calls FROM runs ORDER BY thread_id")
    assert [tuple(row.values()) for row in rows] == [("inner", "done", 1), ("outer", "done", 2)]
    texts_by_thread = bench.rows("SELECT thread_id, answer FROM llm_calls ORDER BY answer")
    assert [row["thread_id"] for row in texts_by_thread] == ["outer", "outer", "inner"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_in_a_chain_with_its_own_configurable_is_part_of_the_node(
    bench: Bench, mode: Mode
) -> None:
    fuse = Fuse()
    chain = RunnableLambda(lambda text: {"messages": [("user", text)]}) | asking(
        bench, mode, "inner", saver=False
    )

    async def team(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(chain, "x", config={"configurable": {"session": "7"}})
        fuse()
        return {"messages": found["messages"][-1:]}

    graph = one_node(bench.saver(), as_node(mode, team), name="team")
    state = await killed_then_resumed(bench, mode, graph)
    assert texts(state)[-1] == "re: inner (x) #1"
    assert [row["scope"] for row in bench.steps("scope")] == ["2/team|2/write"]


# What goes through a graph.


@pytest.mark.parametrize("mode", MODES)
async def test_a_command_to_the_parent_is_no_failure(bench: Bench, mode: Mode) -> None:
    @tool
    def hand_over() -> Command[Any]:
        """Hand over."""
        bench.ledger.add("handed over")
        return Command(graph=Command.PARENT, goto="other", update={"messages": []})

    async def agent(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(bench.model(), "one")
        found = await calls.ask(hand_over, tool_call("hand_over", {}))
        return [found]

    inside = one_node(None, as_node(mode, agent), name="agent")

    async def other(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), "two")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("team", inside)
    builder.add_node("other", as_node(mode, other))
    builder.add_edge(START, "team")
    graph = builder.compile(checkpointer=bench.saver())
    state = await run(mode, graph, {"messages": "go"}, thread())
    assert texts(state) == ["go", "re: two #2"]
    assert [row["status"] for row in bench.steps("status")] == ["done"] * 3
    assert bench.ledger.lines == ["handed over"]
    assert bench.rows("SELECT status, error FROM runs") == [{"status": "done", "error": None}]


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_raises_a_command_to_the_parent_leaves_no_failed_row(
    bench: Bench, mode: Mode
) -> None:
    from langgraph.errors import ParentCommand

    @tool
    def hand_over(state: str) -> str:
        """Hand over."""
        raise ParentCommand(Command(graph=Command.PARENT, goto="other"))

    inside = one_node(None, ToolNode([hand_over], handle_tool_errors=True), name="tools")

    async def other(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [ToolMessage("over", tool_call_id="call_0")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("team", inside)
    builder.add_node("other", as_node(mode, other))
    builder.add_edge(START, "team")
    graph = builder.compile(checkpointer=bench.saver())
    asked = asks_for(("hand_over", {"state": "x"}))
    state = await run(mode, graph, {"messages": [asked]}, thread())
    assert texts(state)[-1] == "over"
    [row] = bench.steps("status, error, reason")
    assert (row["status"], row["error"]) == ("superseded", None)
    assert "ParentCommand" in row["reason"]


async def test_threads_at_once_keep_to_themselves(bench: Bench) -> None:
    fuses = {name: Fuse() for name in "abcdef"}
    inside = asking(bench, "async", "inner")

    async def team(state: MessagesState) -> Any:
        name = str(state["messages"][0].content)
        found = await inside.ainvoke({"messages": [AIMessage(name)]})
        fuses[name]()
        return {"messages": found["messages"][-1:]}

    graph = one_node(bench.saver(), team, name="team")
    calls = Calls("async")

    async def once(name: str) -> None:
        with pytest.raises(Killed):
            await graph.ainvoke({"messages": name}, thread(name))

    await calls.together(*(once(name) for name in fuses))
    states = await calls.together(*(graph.ainvoke(None, thread(name)) for name in fuses))
    found = [texts(state)[-1].split(" #")[0] for state in states]
    assert found == [f"re: inner ({name})" for name in fuses]
    assert sorted(bench.asked) == [f"inner ({name})" for name in "abcdef"]


async def test_a_failure_inside_is_the_runs_failure(bench: Bench) -> None:
    def write(state: MessagesState) -> Any:
        bench.model().invoke("inner")
        raise Broken("no JSON")

    graph = one_node(bench.saver(), one_node(None, write, name="write"), name="team")
    with pytest.raises(Broken):
        graph.invoke({"messages": "go"}, thread())
    assert bench.rows("SELECT status, error FROM runs") == [
        {"status": "failed", "error": "Broken: no JSON"}
    ]
