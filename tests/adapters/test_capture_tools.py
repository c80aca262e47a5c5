"""Every way to call a tool inside a graph: recorded once, and replayed with the same result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import (
    BaseTool,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    ToolException,
    tool,
)
from langgraph.graph import MessagesState
from langgraph.prebuilt import (
    InjectedState,
    InjectedStore,
    ToolNode,
    ToolRuntime,
)
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import BaseModel

from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Ledger,
    Mode,
    as_node,
    asks_for,
    fields,
    killed_and_resumed,
    one_node,
    run,
    shape,
    thread,
    tool_call,
)

# Kinds of tools.


def decorated(ledger: Ledger) -> BaseTool:
    @tool
    def look(word: str) -> str:
        """Look a word up."""
        ledger.add(word)
        return f"{word} is a word"

    return look


def decorated_async(ledger: Ledger) -> BaseTool:
    @tool
    async def look(word: str) -> str:
        """Look a word up."""
        ledger.add(word)
        return f"{word} is a word"

    return look


def structured(ledger: Ledger) -> BaseTool:
    def look(word: str) -> str:
        ledger.add(word)
        return f"{word} is a word"

    async def alook(word: str) -> str:
        return look(word)

    return StructuredTool.from_function(look, alook, name="look", description="Look a word up.")


class Look(BaseTool):
    """A tool as a class, without an async method of its own."""

    name: str = "look"
    description: str = "Look a word up."
    ledger: Any

    def _run(self, word: str) -> str:
        self.ledger.add(word)
        return f"{word} is a word"


class AsyncLook(Look):
    """A tool as a class, with both."""

    async def _arun(self, word: str) -> str:
        return self._run(word)


def by_class(ledger: Ledger) -> BaseTool:
    return Look(ledger=ledger)


def by_async_class(ledger: Ledger) -> BaseTool:
    return AsyncLook(ledger=ledger)


def single_input(ledger: Ledger) -> BaseTool:
    def look(word: str) -> str:
        ledger.add(word)
        return f"{word} is a word"

    return Tool("look", look, "Look a word up.")


Kind = Callable[[Ledger], BaseTool]


KINDS: tuple[Kind, ...] = (
    decorated,
    decorated_async,
    structured,
    by_class,
    by_async_class,
    single_input,
)


def of_kind(kind: Kind, mode: Mode, bench: Bench) -> BaseTool:
    if kind is decorated_async and mode == "sync":
        pytest.skip("a coroutine has no sync form")
    return kind(bench.ledger)


@pytest.mark.parametrize("given", ["arguments", "tool call"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_tool_called_by_hand_is_replayed(
    bench: Bench, mode: Mode, kind: Kind, given: str
) -> None:
    look = of_kind(kind, mode, bench)
    asked: Any = tool_call("look", {"word": "yes"}) if given == "tool call" else {"word": "yes"}
    if kind is single_input:
        asked = tool_call("look", {"__arg1": "yes"}) if given == "tool call" else "yes"
    recorded, replayed = await killed_and_resumed(
        mode, bench, lambda calls, _: calls.ask(look, asked)
    )
    assert bench.ledger.lines == ["yes"]
    assert fields(replayed) == fields(recorded)
    [row] = bench.steps()
    assert (row["kind"], row["name"], row["status"], row["replays"]) == ("tool", "look", "done", 1)
    assert row["tool_call_id"] == ("call_1" if given == "tool call" else None)
    assert (row["effect"], row["node"]) == ("read", "node")
    assert '"yes"' in row["input"] and "yes is a word" in row["output"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_tool_called_by_a_tool_node_is_replayed(
    bench: Bench, mode: Mode, kind: Kind
) -> None:
    look = of_kind(kind, mode, bench)
    fuse = Fuse()
    key = "__arg1" if kind is single_input else "word"
    tools = ToolNode([look])

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(tools, state)
        fuse()
        return found

    graph = one_node(bench.saver(), as_node(mode, node))
    asked = {"messages": [asks_for(("look", {key: "a"}), ("look", {key: "b"}))]}
    with pytest.raises(Killed):
        await run(mode, graph, asked, thread())
    state = await run(mode, graph, None, thread())
    assert sorted(bench.ledger.lines) == ["a", "b"]
    texts = [m.content for m in state["messages"][1:]]
    assert texts == ["a is a word", "b is a word"]
    assert [m.tool_call_id for m in state["messages"][1:]] == ["call_0", "call_1"]
    assert bench.replays == 2


# Results.


@dataclass
class Point:
    """What JSON does not hold, and LangGraph's serializer does."""

    x: int
    when: datetime


class Weather(BaseModel):
    """A result as a model."""

    degrees: int


MOMENT = datetime(2026, 11, 22, 12, tzinfo=UTC)


RESULTS: dict[str, Callable[[str | None], Any]] = {
    "text": lambda _: "fine",
    "dict": lambda _: {"degrees": 21, "when": [1, 2.5, None, True]},
    "list": lambda _: ["a", "b"],
    "number": lambda _: 21,
    "nothing": lambda _: None,
    "blocks": lambda _: [{"type": "text", "text": "fine"}],
    "message": lambda call: ToolMessage(
        "fine", tool_call_id=call, artifact={"raw": b"\0\1"}, name="other", id="m1"
    ),
    "command": lambda call: Command(
        update={"messages": [ToolMessage("fine", tool_call_id=call)]}, goto="after"
    ),
    "both": lambda call: [
        ToolMessage("fine", tool_call_id=call),
        Command(update={"notes": ["noted"]}),
    ],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("result", RESULTS)
async def test_a_result_is_replayed_as_it_was(bench: Bench, mode: Mode, result: str) -> None:
    made = RESULTS[result]

    @tool
    def act(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Act."""
        bench.ledger.add("act")
        return made(tool_call_id)

    recorded, replayed = await killed_and_resumed(
        mode, bench, lambda calls, _: calls.ask(act, tool_call("act", {}))
    )
    assert bench.ledger.lines == ["act"]
    assert fields(replayed) == fields(recorded)
    assert bench.statuses() == [("act", "done")]


ARTIFACTS: dict[str, Any] = {
    "plain": {"rows": [[1, 2]]},
    "bytes": b"\x89PNG",
    "tuple": (1, "a", MOMENT),
    "dataclass": Point(1, MOMENT),
    "model": Weather(degrees=21),
}


@pytest.mark.parametrize("artifact", ARTIFACTS)
async def test_an_artifact_is_replayed_equal(bench: Bench, artifact: str) -> None:
    @tool(response_format="content_and_artifact")
    def act(n: int) -> Any:
        """Act."""
        bench.ledger.add("act")
        return f"did {n}", ARTIFACTS[artifact]

    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        message = act.invoke(tool_call("act", {"n": 1}))
        fuse()
        assert message.artifact == ARTIFACTS[artifact]
        assert type(message.artifact) is type(ARTIFACTS[artifact])
        return {"messages": [AIMessage(message.content)]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    assert graph.invoke(None, thread())["messages"][-1].content == "did 1"
    assert bench.ledger.lines == ["act"]


async def test_a_result_that_cannot_be_stored_is_made_again_and_says_so(bench: Bench) -> None:
    @tool(response_format="content_and_artifact")
    def act(n: int) -> Any:
        """Act."""
        bench.ledger.add("act")
        return f"did {n}", threading.Lock()

    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        message = act.invoke(tool_call("act", {"n": 1}))
        fuse()
        return {"messages": [AIMessage(message.content)]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    assert graph.invoke(None, thread())["messages"][-1].content == "did 1"
    assert bench.ledger.lines == ["act", "act"]
    first, second = bench.steps("status, reason, output")
    assert first["status"] == "superseded" and first["reason"].startswith("not stored")
    assert second["status"] == "done" and second["output"] is None
    assert "not stored" in second["reason"]


# What the framework injects.


class Notes(MessagesState):
    """A state with a counter that differs from attempt to attempt."""

    tries: int


@pytest.mark.parametrize("mode", MODES)
async def test_injected_arguments_are_no_part_of_the_request(bench: Bench, mode: Mode) -> None:
    @tool
    def act(
        word: str,
        state: Annotated[dict[str, Any], InjectedState],
        tries: Annotated[int, InjectedState("tries")],
        store: Annotated[BaseStore, InjectedStore()],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> str:
        """Act."""
        bench.ledger.add(f"{word} {tries} {tool_call_id} {len(state['messages'])}")
        store.put(("n",), "k", {"tries": tries})
        return f"acted at try {tries}"

    @tool
    def watch(word: str, runtime: ToolRuntime) -> str:
        """Watch."""
        bench.ledger.add(f"{word} {runtime.state['tries']} {runtime.tool_call_id}")
        return f"watched at try {runtime.state['tries']}"

    tools = ToolNode([act, watch])
    tries: list[int] = []
    fuse = Fuse()

    async def node(state: Notes, calls: Calls) -> Any:
        tries.append(1)
        found = await calls.ask(tools, {**state, "tries": len(tries)})
        fuse()
        return found

    graph = one_node(bench.saver(), as_node(mode, node), Notes, store=InMemoryStore())
    asked = asks_for(("act", {"word": "a", "tries": 99}), ("watch", {"word": "b"}))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asked], "tries": 0}, thread())
    state = await run(mode, graph, None, thread())
    assert [m.content for m in state["messages"][1:]] == ["acted at try 1", "watched at try 1"]
    assert sorted(bench.ledger.lines) == ["a 1 call_0 1", "b 1 call_1"]
    assert [row["input"] for row in bench.steps("input", "name = 'act'")] == ['{"word":"a"}']


async def test_other_arguments_are_another_call(bench: Bench) -> None:
    look = decorated(bench.ledger)
    words = iter(["old", "new"])
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        text = look.invoke({"word": next(words)})
        fuse()
        return {"messages": [AIMessage(text)]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    assert graph.invoke(None, thread())["messages"][-1].content == "new is a word"
    assert bench.ledger.lines == ["old", "new"]
    assert [row["reason"][:7] for row in bench.steps("reason")] == ["first c", "changed"]


async def test_equal_calls_are_told_apart_by_id_and_by_count(bench: Bench) -> None:
    @tool
    def act(n: int) -> str:
        """Act."""
        bench.ledger.add(f"{n}")
        return f"call number {len(bench.ledger.lines)}"

    orders = iter([["call_a", "call_b", None, None], ["call_b", "call_a", None, None]])
    got: list[dict[str, Any]] = []
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        results: dict[str, Any] = {}
        for i, call_id in enumerate(next(orders)):
            asked: Any = {"n": 1} if call_id is None else tool_call("act", {"n": 1}, call_id)
            results[call_id or str(i)] = fields(act.invoke(asked))
        got.append(results)
        fuse()
        return {}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    assert len(bench.ledger.lines) == 4
    assert got[1] == got[0]


# Failures.


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_reports_its_failure_is_made_again(bench: Bench, mode: Mode) -> None:
    fault = Fuse(ToolException("no such word"))

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        fault()
        return f"{word} is a word"

    look.handle_tool_error = True
    got: list[Any] = []
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        got.append(await calls.ask(look, tool_call("look", {"word": "yes"})))
        fuse()
        return {}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    assert (got[0].status, got[0].content) == ("error", "no such word")
    [failed] = bench.steps("status, error, output")
    assert failed["status"] == "failed" and failed["error"] == "ToolException: no such word"
    assert "no such word" in failed["output"]
    await run(mode, graph, None, thread())
    assert (got[1].status, got[1].content) == ("success", "yes is a word")
    assert bench.ledger.lines == ["yes", "yes"]
    assert [row["status"] for row in bench.steps("status")] == ["failed", "done"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_raises_is_failed_and_the_others_are_replayed(
    bench: Bench, mode: Mode
) -> None:
    fault = Fuse(RuntimeError("down"))

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(word)
        if word == "c":
            fault()
        return f"{word} is a word"

    graph = one_node(bench.saver(), ToolNode([look], handle_tool_errors=False), name="tools")
    asked = asks_for(*(("look", {"word": word}) for word in "abcde"))
    with pytest.raises(RuntimeError, match="down"):
        await run(mode, graph, {"messages": [asked]}, thread())
    state = await run(mode, graph, None, thread())
    assert [m.content for m in state["messages"][1:]] == [f"{w} is a word" for w in "abcde"]
    assert sorted(bench.ledger.lines) == ["a", "b", "c", "c", "d", "e"]
    assert [row["error"] for row in bench.steps("error", "status = 'failed'")] == [
        "RuntimeError: down"
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_the_model_is_told_of_bad_arguments_and_of_handled_errors(
    bench: Bench, mode: Mode
) -> None:
    @tool
    def act(n: int) -> str:
        """Act."""
        raise ValueError("not today")

    node = ToolNode([act], handle_tool_errors=True)
    asked = asks_for(("act", {"n": "many"}), ("act", {"n": 1}), ("unknown", {}))
    recorded = await run(
        mode, one_node(bench.saver(), node, name="tools"), {"messages": [asked]}, thread()
    )
    plain = await run(mode, one_node(None, node, name="tools"), {"messages": [asked]})
    assert shape(recorded) == shape(plain)
    assert [row["status"] for row in bench.steps("status", "kind = 'tool'")] == ["failed"] * 3
