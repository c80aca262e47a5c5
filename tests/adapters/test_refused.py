"""Tool calls that come to no tool: a row says so, once, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy

from rowtrail import Journal
from rowtrail.testing import Reply
from rowtrail_langgraph import JournalMiddleware, awrap_tool_call, wrap_tool_call
from tests.adapters._explicit_ways import HOOKS, SAVERS, Hooks, hooks, saver_of
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
    look_up,
    one_node,
    run,
    shape,
    thread,
)

COLUMNS = "name, status, effect, tool_call_id, args, result, error"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


def refused_rows(bench: Bench) -> list[dict[str, Any]]:
    return bench.rows(
        f"SELECT {COLUMNS} FROM tool_calls WHERE name <> 'look' ORDER BY tool_call_id"
    )


def check_refused(bench: Bench, *asked: tuple[str, dict[str, Any]]) -> None:
    """There is one row for each call that was refused, and it says what and why."""
    rows = refused_rows(bench)
    assert [(row["name"], json.loads(row["args"])) for row in rows] == list(asked)
    for row in rows:
        assert (row["status"], row["effect"]) == ("failed", "read")
        assert f"{row['name']} is not a valid tool" in row["error"]
        assert "is not a valid tool" in row["result"]
    assert len({row["tool_call_id"] for row in rows}) == len(rows)


ASKED = [
    [("unknown", {"n": 1})],
    [("unknown", {})],
    [("unknown", {"n": 1}), ("look", {"word": "a"})],
    [("unknown", {"n": 1}), ("unknown", {"n": 1}), ("other", {"n": {"m": [1]}})],
]


@pytest.mark.parametrize("asked", ASKED, ids=["one", "bare", "beside a good one", "several"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_a_tool_node_refuses_has_a_row(
    bench: Bench, mode: Mode, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    node = ToolNode([look_up(bench.ledger)])
    message = {"messages": [asks_for(*asked)]}
    graph = one_node(bench.saver(), node, name="tools")
    recorded = await run(mode, graph, message, thread())
    plain = await run(mode, one_node(None, node, name="tools"), message)
    assert shape(recorded) == shape(plain)
    check_refused(bench, *(one for one in asked if one[0] != "look"))
    looked = [one for one in asked if one[0] == "look"]
    assert bench.rows("SELECT count(*) AS n FROM tool_calls")[0]["n"] == len(asked)
    assert bench.rows("SELECT status FROM tool_calls WHERE name = 'look'") == [
        {"status": "done"} for _ in looked
    ]
    [total] = bench.rows("SELECT status, tool_calls FROM runs")
    assert tuple(total.values()) == ("done", len(asked))


def script(request: dict[str, Any]) -> Reply:
    """Ask for a tool that there is not and for one that there is, then answer."""
    if request["messages"][-1]["role"] == "user":
        return Reply(tool_calls=[("unknown", {"n": 1}), ("look", {"word": "a"})])
    return Reply("done")


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_an_agent_refuses_has_a_row(bench: Bench, mode: Mode) -> None:
    bench.respond = script
    agent = create_agent(bench.model(), [look_up(bench.ledger)], checkpointer=bench.saver())
    state = await run(mode, agent, {"messages": "go"}, thread())
    assert state["messages"][-1].content == "done"
    check_refused(bench, ("unknown", {"n": 1}))


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape_of", ["agent", "tool node"])
async def test_the_explicit_ways_record_it_too(
    bench: Bench, mode: Mode, which: Hooks, kind: str, shape_of: str
) -> None:
    bench.respond = script
    look = look_up(bench.ledger)
    with hooks(which), Journal(bench.path) as journal:
        saver = saver_of(kind, journal)
        graph: Any = (
            create_agent(
                bench.model(), [look], middleware=[JournalMiddleware(journal)], checkpointer=saver
            )
            if shape_of == "agent"
            else one_node(saver, wrapped(journal, look), name="tools")
        )
        given = "go" if shape_of == "agent" else [asks_for(("unknown", {"n": 1}))]
        await run(mode, graph, {"messages": given}, thread())
        check_refused(bench, ("unknown", {"n": 1}))


def wrapped(journal: Journal, look: BaseTool) -> ToolNode:
    return ToolNode(
        [look],
        wrap_tool_call=wrap_tool_call(journal),
        awrap_tool_call=awrap_tool_call(journal),
    )


class Serves(AgentMiddleware):
    """Serves a tool that the agent was not given."""

    def __init__(self, look: BaseTool) -> None:
        super().__init__()
        self.look = look

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(tool=self.look) if request.tool is None else request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(tool=self.look) if request.tool is None else request)


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_a_middleware_serves_is_not_refused(bench: Bench, mode: Mode) -> None:
    def respond(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "user":
            return Reply(tool_calls=[("look", {"word": "a"})])
        return Reply("done")

    @tool
    def other() -> str:
        """Do something else."""
        raise AssertionError

    bench.respond = respond
    middleware = Serves(look_up(bench.ledger))
    agent = create_agent(
        bench.model(), [other], middleware=[middleware], checkpointer=bench.saver()
    )
    await run(mode, agent, {"messages": "go"}, thread())
    assert bench.statuses("kind = 'tool'") == [("look", "done")]


@pytest.mark.parametrize("mode", MODES)
async def test_after_a_kill_the_row_is_not_written_again(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()
    look = look_up(bench.ledger, fuse)
    graph = one_node(bench.saver(), ToolNode([look], handle_tool_errors=False), name="tools")
    asked = asks_for(("unknown", {"n": 1}), ("look", {"word": "a"}), ("unknown", {"n": 1}))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asked]}, thread())
    state = await run(mode, graph, None, thread())
    assert [message.status for message in state["messages"][1:]] == ["error", "success", "error"]
    check_refused(bench, ("unknown", {"n": 1}), ("unknown", {"n": 1}))


@pytest.mark.parametrize("mode", MODES)
async def test_a_later_turn_that_is_refused_has_a_row_of_its_own(bench: Bench, mode: Mode) -> None:
    graph = one_node(bench.saver(), ToolNode([look_up(bench.ledger)]), name="tools")
    for _ in range(2):
        await run(mode, graph, {"messages": [asks_for(("unknown", {"n": 1}))]}, thread())
    assert len(refused_rows(bench)) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_a_node_that_raises_for_it_asks_the_model_again(bench: Bench, mode: Mode) -> None:
    """A retry must not get the same wrong answer for ever."""
    names = iter(["unknown", "unknown", "look"])
    bench.respond = lambda _: Reply(tool_calls=[(next(names), {"word": "a"})])
    tools = ToolNode([look_up(bench.ledger)])

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer: AIMessage = await calls.ask(bench.model(), "which tool?")
        asked = {"messages": [answer]}
        found = await tools.ainvoke(asked) if mode == "async" else tools.invoke(asked)
        told: ToolMessage = found["messages"][-1]
        if told.status == "error":
            raise Broken(told.content)
        return {"messages": [told]}

    builder: Any = StateGraph(MessagesState)
    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=Broken)
    builder.add_node("node", as_node(mode, node), retry_policy=policy)
    builder.set_entry_point("node")
    builder.add_edge("node", END)
    graph = builder.compile(checkpointer=bench.saver())
    state = await run(mode, graph, {"messages": "go"}, thread())
    assert state["messages"][-1].content == "a is a word"
    assert bench.calls == 3
    check_refused(bench, ("unknown", {"word": "a"}), ("unknown", {"word": "a"}))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("args", [{}, {"n": "many"}, {"n": 1, "m": 2}], ids=repr)
async def test_arguments_that_do_not_fit_have_one_row(
    bench: Bench, mode: Mode, args: dict[str, Any]
) -> None:
    @tool
    def act(n: int, m: list[int] | None = None) -> str:
        """Act."""
        raise AssertionError("it must not be called")

    agent = one_node(bench.saver(), ToolNode([act]), name="tools")
    state = await run(mode, agent, {"messages": [asks_for(("act", args))]}, thread())
    assert state["messages"][-1].status == "error"
    [row] = bench.rows("SELECT name, status, args, error, tool_call_id FROM tool_calls")
    assert (row["name"], row["status"], row["tool_call_id"]) == ("act", "failed", "call_0")
    assert json.loads(row["args"]) == args and "validation error" in row["error"]


async def test_outside_a_run_nothing_is_recorded(bench: Bench) -> None:
    bench.saver()  # hooks are in place
    node = ToolNode([look_up(bench.ledger)])
    answer = one_node(None, node).invoke({"messages": [asks_for(("unknown", {"n": 1}))]})
    assert answer["messages"][-1].status == "error"
    with Journal(bench.path) as journal, journal.run("by-hand"):
        one_node(None, node).invoke({"messages": [asks_for(("unknown", {"n": 1}))]})
    check_refused(bench, ("unknown", {"n": 1}))
