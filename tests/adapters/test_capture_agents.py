"""Tools in agents: who is told of a replay, calls inside a tool, faults of the journal."""

from __future__ import annotations

import threading
from typing import Any

import langgraph.prebuilt
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.tools import (
    BaseTool,
    tool,
)
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode

from rowtrail.errors import DiskFullError, NotRecordedError
from rowtrail.testing import Reply
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    look_up,
    one_node,
    run,
    thread,
)

# Events.


class Heard(BaseCallbackHandler):
    """Keeps what it is told of tools."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        self.events.append(("start", (serialized["name"], kwargs.get("inputs"))))

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.events.append(("end", output.content))


@pytest.mark.parametrize("mode", MODES)
async def test_a_replay_fires_the_callbacks_of_a_tool_call(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()
    tools = ToolNode([look_up(bench.ledger)])

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(tools, state)
        fuse()
        return found

    graph = one_node(bench.saver(), as_node(mode, node))
    before, after = Heard(), Heard()
    config: Any = {**thread(), "callbacks": [before]}
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asks_for(("look", {"word": "a"}))]}, config)
    await run(mode, graph, None, {**thread(), "callbacks": [after]})
    assert after.events == before.events
    assert [event for event, _ in after.events] == ["start", "end"]
    assert bench.ledger.lines == ["a"]


async def test_a_replay_is_seen_in_the_event_stream(bench: Bench) -> None:
    fuse = Fuse()

    @tool("look")
    async def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        return f"{word} is a word"

    async def node(state: MessagesState) -> Any:
        await look.ainvoke({"word": "a"})
        fuse()
        return {}

    graph = one_node(bench.saver(), node)

    async def events(input: Any) -> list[tuple[str, str]]:
        found = graph.astream_events(input, thread(), version="v2")
        return [(e["event"], e["name"]) async for e in found if "tool" in e["event"]]

    with pytest.raises(Killed):
        await events({"messages": "go"})
    assert await events(None) == [("on_tool_start", "look"), ("on_tool_end", "look")]
    assert bench.ledger.lines == ["a"]


# Agents.


def agent_script(request: dict[str, Any]) -> Reply:
    """Ask for five tools, then answer."""
    if request["messages"][-1]["role"] == "user":
        return Reply(tool_calls=[("look", {"word": word}) for word in "abcde"])
    return Reply("they are words")


def agents(kind: Any, bench: Bench, look: BaseTool, saver: Any) -> Any:
    bench.respond = agent_script
    if kind == "create_agent":
        return create_agent(bench.model(), [look], checkpointer=saver, name="helper")
    # deprecated, and used by many
    create_react_agent: Any = getattr(langgraph.prebuilt, "create_react_agent")  # noqa: B009
    return create_react_agent(
        bench.model(),
        [look],
        checkpointer=saver,
        version=kind,
        name="helper",
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["create_agent", "v1", "v2"])
async def test_an_agent_makes_only_the_tool_calls_again_that_had_not_finished(
    bench: Bench, mode: Mode, kind: str
) -> None:
    fuse = Fuse()

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        if word == "d":
            fuse()
        return f"{word} is a word"

    graph = agents(kind, bench, look, bench.saver())
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "words?"}, thread())
    done = {r["input"] for r in bench.steps("input", "kind = 'tool' AND status = 'done'")}
    ran = list(bench.ledger.lines)
    state = await run(mode, graph, None, thread())
    again = bench.ledger.lines[len(ran) :]
    assert "d" in again
    assert not {f'{{"word":"{word}"}}' for word in again} & done
    assert state["messages"][-1].content == "they are words"
    texts = [m.content for m in state["messages"] if m.type == "tool"]
    assert sorted(texts) == [f"{word} is a word" for word in "abcde"]
    assert bench.calls == 2
    [row] = bench.rows("SELECT agent, status, attempts, llm_calls FROM runs")
    assert tuple(row.values()) == ("helper", "done", 2, 2)


@pytest.mark.parametrize("mode", MODES)
async def test_a_model_called_inside_a_tool_belongs_to_the_tool(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    @tool
    def summarise(text: str) -> str:
        """Summarise."""
        short = bench.model().invoke(f"short: {text}")
        bench.ledger.add(text)
        fuse()
        return str(short.content)

    @tool
    async def asummarise(text: str) -> str:
        """Summarise."""
        short = await bench.model().ainvoke(f"short: {text}")
        bench.ledger.add(text)
        fuse()
        return str(short.content)

    made = summarise if mode == "sync" else asummarise
    graph = one_node(bench.saver(), ToolNode([made]), name="tools")
    asked = {"messages": [asks_for((made.name, {"text": "long"}))]}
    with pytest.raises(Killed):
        await run(mode, graph, asked, thread())
    state = await run(mode, graph, None, thread())
    assert state["messages"][-1].content == "re: short: long"
    assert bench.ledger.lines == ["long", "long"]  # the tool did not finish: it is made again
    assert bench.calls == 1  # the answer that it had got is replayed
    rows = bench.steps("step_id, kind, status, parent_id, scope, node")
    first_tool, inner, second_tool = rows
    assert (first_tool["status"], second_tool["status"]) == ("superseded", "done")
    assert (inner["kind"], inner["parent_id"]) == ("llm", first_tool["step_id"])
    assert inner["scope"].startswith(first_tool["scope"] + ">") and inner["node"] == "tools"


async def test_a_finished_tool_is_replayed_without_the_calls_inside(bench: Bench) -> None:
    fuse = Fuse()

    @tool
    def summarise(text: str) -> str:
        """Summarise."""
        return str(bench.model().invoke(f"short: {text}").content)

    def node(state: MessagesState) -> Any:
        text = summarise.invoke({"text": "long"})
        fuse()
        return {"messages": [AIMessage(text)]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    assert bench.calls == 1
    assert [(row["name"], row["replays"]) for row in bench.steps()] == [
        ("summarise", 1),
        ("gpt-4o-mini", 0),
    ]
    [saved] = bench.rows("SELECT saved_input_tokens, saved_output_tokens FROM replays")
    [paid] = bench.rows("SELECT input_tokens, output_tokens FROM llm_calls")
    assert tuple(saved.values()) == tuple(paid.values())


def test_a_tool_in_a_thread_of_its_own_is_recorded_when_it_is_given_the_config(
    bench: Bench,
) -> None:
    look = look_up(bench.ledger)
    fuse = Fuse()

    def node(state: MessagesState, config: Any) -> Any:
        worker = threading.Thread(target=look.invoke, args=({"word": "a"}, config))
        worker.start()
        worker.join()
        fuse()
        return {}

    node.__annotations__["config"] = "RunnableConfig"
    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    assert bench.ledger.lines == ["a"]
    assert bench.statuses() == [("look", "done")]


# Faults of the journal.


@pytest.mark.parametrize("write", ["begin", "complete"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_fault_of_the_journal_is_no_message_to_the_model(
    bench: Bench, mode: Mode, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = bench.saver()
    tools = ToolNode([look_up(bench.ledger)], handle_tool_errors=True)

    def full(*args: Any, **kwargs: Any) -> Any:
        raise DiskFullError("no space left", path=str(bench.path))

    async def node(state: MessagesState, calls: Calls) -> Any:
        with monkeypatch.context() as patched:
            if write == "begin":
                patched.setattr("rowtrail.journal._find.new_step", full)
            else:
                patched.setattr("rowtrail.journal._call.completing", full)
            return await calls.ask(tools, state)

    graph = one_node(saver, as_node(mode, node))
    error = DiskFullError if write == "begin" else NotRecordedError
    asked = {"messages": [asks_for(("look", {"word": "a"}))]}
    with pytest.raises(error) as caught:
        await run(mode, graph, asked, thread())
    made = [] if write == "begin" else ["a"]
    assert bench.ledger.lines == made
    if write == "complete":  # what was made is not lost
        assert caught.value.result.content == "a is a word"  # type: ignore[attr-defined]
    state = await run(mode, graph_of(saver, tools), None, thread())
    assert state["messages"][-1].content == "a is a word"


def graph_of(saver: Any, tools: ToolNode) -> Any:
    """Return the graph again, without the fault."""

    def node(state: MessagesState) -> Any:
        return tools.invoke(state)

    return one_node(saver, node)
