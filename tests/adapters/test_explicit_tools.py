"""`wrap_tool_call` and `awrap_tool_call`: a plain `ToolNode` that is recorded without hooks."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

import rowtrail
from rowtrail import Journal
from rowtrail.errors import InDoubtError, StorageError
from rowtrail_langgraph import awrap_tool_call, wrap_tool_call
from tests.adapters._explicit_ways import (
    HOOKS,
    SAVERS,
    Hooks,
    hooks,
    looking,
    saver_of,
    to_its_end,
)
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
    one_node,
    run,
    thread,
)

# wrap_tool_call.


def tool_graph(bench: Bench, journal: Journal, mode: Mode, look: BaseTool, saver: Any) -> Any:
    """Return a graph whose one node runs a plain `ToolNode` with the wrappers."""
    tools = ToolNode(
        [look],
        wrap_tool_call=wrap_tool_call(journal),
        awrap_tool_call=awrap_tool_call(journal),
        handle_tool_errors=True,
    )
    return one_node(saver, tools, name="tools")


@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("mode", MODES)
async def test_a_wrapped_tool_node_makes_only_the_unfinished_calls_again(
    bench: Bench, mode: Mode, saver: str, which: Hooks
) -> None:
    with hooks(which), Journal(bench.path) as journal:
        look = looking(bench, Fuse(), mode)
        graph = tool_graph(bench, journal, mode, look, saver_of(saver, journal))
        asked = asks_for(*(("look", {"word": word}) for word in "abcd"))
        state, kills = await to_its_end(mode, graph, {"messages": [asked]})
    assert kills == 1
    told = [m.content for m in state["messages"] if m.type == "tool"]
    assert told == [f"{word} is a word" for word in "abcd"]
    assert sorted(bench.ledger.lines) == ["a", "b", "c", "c", "d"]


@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("mode", MODES)
async def test_a_wrapped_tool_in_doubt_is_decided_by_its_policy(
    bench: Bench, mode: Mode, which: Hooks
) -> None:
    with hooks(which), Journal(bench.path) as journal:
        look = looking(bench, Fuse(), mode)
        look.metadata = {"rowtrail": {"effect": "write"}}
        graph = tool_graph(bench, journal, mode, look, InMemorySaver())
        with pytest.raises(Killed):
            await run(mode, graph, {"messages": [asks_for(("look", {"word": "c"}))]}, thread())
        with pytest.raises(InDoubtError) as caught:
            await run(mode, graph, None, thread())
        journal.settle(caught.value.step_id, result="c was looked up")
        state = await run(mode, graph, None, thread())
    assert state["messages"][-1].content == "c was looked up"
    assert bench.ledger.lines == ["c"]


@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("mode", MODES)
async def test_a_wrapped_tool_in_doubt_can_be_asked_about(
    bench: Bench, mode: Mode, which: Hooks
) -> None:
    with hooks(which), Journal(bench.path) as journal:
        look = looking(bench, Fuse(), mode)
        look.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}
        graph = tool_graph(bench, journal, mode, look, InMemorySaver())
        with pytest.raises(Killed):
            await run(mode, graph, {"messages": [asks_for(("look", {"word": "c"}))]}, thread())
        state = await run(mode, graph, None, thread())
        assert state["__interrupt__"][0].value["args"] == {"word": "c"}
        state = await run(mode, graph, Command(resume={"result": "looked up"}), thread())
    assert state["messages"][-1].content == "looked up"
    assert bench.ledger.lines == ["c"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_under_a_wrapped_tool_is_one_row(bench: Bench, mode: Mode) -> None:
    @tool
    @rowtrail.step(effect="write")
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(rowtrail.current_step().idempotency_key)
        return "sent"

    @tool("send")
    @rowtrail.step(effect="write")
    async def asend(to: str) -> str:
        """Send."""
        bench.ledger.add(rowtrail.current_step().idempotency_key)
        return "sent"

    with hooks("without hooks"), Journal(bench.path) as journal:
        made = send if mode == "sync" else asend
        graph = tool_graph(bench, journal, mode, made, InMemorySaver())
        await run(mode, graph, {"messages": [asks_for(("send", {"to": "a"}))]}, thread())
    [row] = bench.steps("kind, name, effect, idempotency_key")
    assert tuple(row.values())[:3] == ("tool", "send", "write")
    assert bench.ledger.lines == [row["idempotency_key"]]


@pytest.mark.parametrize("mode", MODES)
async def test_a_wrapped_tool_that_fails_tells_the_model_and_is_made_again(
    bench: Bench, mode: Mode
) -> None:
    fault, fuse = Fuse(Broken("down")), Fuse()

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        fault()
        return f"{word} is a word"

    with hooks("without hooks"), Journal(bench.path) as journal:
        tools = ToolNode(
            [look],
            wrap_tool_call=wrap_tool_call(journal),
            awrap_tool_call=awrap_tool_call(journal),
            handle_tool_errors=True,
        )

        async def node(state: MessagesState, calls: Calls) -> Any:
            found = await calls.ask(tools, state)
            fuse()
            return found

        graph = one_node(InMemorySaver(), as_node(mode, node))
        asked = {"messages": [asks_for(("look", {"word": "a"}))]}
        with pytest.raises(Killed):
            await run(mode, graph, asked, thread())
        [failed] = bench.steps("status, error")
        assert failed["status"] == "failed" and "down" in failed["error"]
        state = await run(mode, graph, None, thread())
    assert state["messages"][-1].content == "a is a word"
    assert bench.ledger.lines == ["a", "a"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_fault_of_the_journal_is_no_message_to_the_model(bench: Bench, mode: Mode) -> None:
    with hooks("without hooks"):
        with Journal(bench.path) as journal:
            look = looking(bench, Fuse(times=0), mode)
            graph = tool_graph(bench, journal, mode, look, InMemorySaver())
        with pytest.raises(StorageError):
            await run(mode, graph, {"messages": [asks_for(("look", {"word": "a"}))]}, thread())
    assert bench.ledger.lines == []
