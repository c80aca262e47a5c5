"""What a tool does to the world, as it says in three places, and its idempotency key."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import (
    BaseTool,
    StructuredTool,
    tool,
)
from langgraph.graph import MessagesState
from langgraph.prebuilt import (
    ToolNode,
)

import rowtrail
import rowtrail_langgraph
from rowtrail.errors import UsageError
from rowtrail_langgraph import history_tool
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    killed_and_resumed,
    one_node,
    run,
    thread,
    tool_call,
)

# Effects.


def writer(bench: Bench) -> BaseTool:
    @tool
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        return "sent"

    return send


async def effect_of(bench: Bench, made: BaseTool, **saver: Any) -> list[tuple[str, str, str]]:
    """Call a tool, and return kind, name and effect of what was recorded."""

    def node(state: MessagesState) -> Any:
        made.invoke({"to": "a"})
        return {}

    one_node(bench.saver(**saver), node).invoke({"messages": "go"}, thread())
    return [(row["kind"], row["name"], row["effect"]) for row in bench.steps()]


async def test_the_saver_says_what_a_tool_does(bench: Bench) -> None:
    assert await effect_of(bench, writer(bench), effects={"send": "write"}) == [
        ("tool", "send", "write")
    ]


async def test_a_tool_says_itself_what_it_does(bench: Bench) -> None:
    send = writer(bench)
    send.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}
    assert await effect_of(bench, send) == [("tool", "send", "write")]


async def test_the_saver_has_the_last_word_about_a_tool(bench: Bench) -> None:
    send = writer(bench)
    send.metadata = {"rowtrail": {"effect": "write"}}
    effects = {"send": {"effect": "idempotent"}}
    assert await effect_of(bench, send, effects=effects) == [("tool", "send", "idempotent")]


async def test_a_tool_that_says_nothing_counts_as_read(bench: Bench) -> None:
    assert await effect_of(bench, writer(bench)) == [("tool", "send", "read")]


@pytest.mark.parametrize(
    "effect",
    [
        "wrote",
        7,
        {"effect": "wrote"},
        {"effect": "write", "on_doubt": "panic"},
        {"effect": "write", "other": 1},
    ],
)
def test_an_effect_that_is_none_is_refused_at_once(tmp_path: Path, effect: Any) -> None:
    with pytest.raises(UsageError, match=r"effect|on_doubt"), Bench(tmp_path) as bench:
        bench.saver(effects={"send": effect})


async def test_a_wrong_effect_in_a_tools_metadata_is_no_message_to_the_model(bench: Bench) -> None:
    send = writer(bench)
    send.metadata = {"rowtrail": {"effect": "wrote"}}
    graph = one_node(bench.saver(), ToolNode([send], handle_tool_errors=True), name="tools")
    with pytest.raises(UsageError, match="wrote"):
        graph.invoke({"messages": [asks_for(("send", {"to": "a"}))]}, thread())
    assert bench.ledger.lines == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_under_a_tool_is_one_row_with_its_effect(bench: Bench, mode: Mode) -> None:
    @tool
    @rowtrail.step(effect="write")
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        return "sent"

    @tool
    @rowtrail.step(effect="write")
    async def asend(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        return "sent"

    made = send if mode == "sync" else asend
    await killed_and_resumed(mode, bench, lambda calls, _: calls.ask(made, {"to": "a"}))
    assert bench.ledger.lines == ["a"]
    [row] = bench.steps("kind, name, effect, replays")
    assert tuple(row.values()) == ("tool", made.name, "write", 1)


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_of_two_steps_is_one_row_sync_and_async(bench: Bench, mode: Mode) -> None:
    @rowtrail.step(effect="write")
    def send(to: str) -> str:
        bench.ledger.add(to)
        return "sent"

    @rowtrail.step(effect="write")
    async def asend(to: str) -> str:
        bench.ledger.add(to)
        return "sent"

    made = StructuredTool.from_function(send, asend, name="send", description="Send.")

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(made, {"to": "a"})
        return {}

    await run(mode, one_node(bench.saver(), as_node(mode, node)), {"messages": "go"}, thread())
    assert [(r["kind"], r["name"], r["effect"]) for r in bench.steps()] == [
        ("tool", "send", "write")
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_has_the_same_idempotency_key_in_every_attempt(
    bench: Bench, mode: Mode
) -> None:
    fuse = Fuse(times=2)
    steps: list[rowtrail.Step] = []

    @tool
    def send(to: str) -> str:
        """Send."""
        steps.append(rowtrail.current_step())
        fuse()
        return "sent"

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(send, tool_call("send", {"to": "a"}))
        await calls.ask(send, tool_call("send", {"to": "b"}, "call_2"))
        return {}

    graph = one_node(bench.saver(effects={"send": "idempotent"}), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    with pytest.raises(Killed):
        await run(mode, graph, None, thread())
    await run(mode, graph, None, thread())
    first, second, third, other = steps
    assert first.idempotency_key == second.idempotency_key == third.idempotency_key
    assert other.idempotency_key != third.idempotency_key
    assert [step.attempt for step in steps] == [1, 2, 3, 3]
    assert third.name == "send" and third.input == {"to": "a"}
    rows = {row["step_id"]: row["idempotency_key"] for row in bench.steps()}
    assert rows == {step.id: step.idempotency_key for step in steps}


# Tools that declare nothing.


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what was said of tools that declare nothing."""

    def messages() -> list[str]:
        found = [r for r in caplog.records if r.name == "rowtrail.effects"]
        assert {record.levelname for record in found} <= {"WARNING"}
        return [record.getMessage() for record in found]

    return messages


def named(name: str, bench: Bench) -> BaseTool:
    return StructuredTool.from_function(sending(bench), name=name, description="Send.")


def sending(bench: Bench) -> Callable[[str], None]:
    def send(to: str) -> None:
        bench.ledger.add(to)

    return send


@pytest.mark.parametrize("mode", MODES)
async def test_an_undeclared_tool_is_named_once_with_the_line_to_write(
    bench: Bench, mode: Mode, said: Callable[[], list[str]]
) -> None:
    name = f'post "{uuid.uuid4()}"'
    made = named(name, bench)

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(made, {"to": "a"})
        return {}

    for thread_id in "123":
        graph = one_node(bench.saver(), as_node(mode, node))
        await run(mode, graph, {"messages": "go"}, thread(thread_id))
    [message] = said()
    assert f"effects={json.dumps({name: 'write'})}" in message and "counts as read" in message
    other = json.dumps({name: "read"})
    assert message.endswith(f"RowtrailSaver(..., effects={other}) says that it does not")
    assert {row["effect"] for row in bench.steps()} == {"read"}


async def test_each_tool_is_named_once_by_parallel_calls(
    bench: Bench, said: Callable[[], list[str]]
) -> None:
    names = [f"tool_{uuid.uuid4()}" for _ in range(3)]
    tools = ToolNode([named(name, bench) for name in names])
    asked = asks_for(*((name, {"to": "a"}) for name in names * 5))
    one_node(bench.saver(), tools, name="tools").invoke({"messages": [asked]}, thread())
    assert sorted(names) == sorted(name for name in names for m in said() if repr(name) in m)
    assert len(said()) == 3


@pytest.mark.parametrize("effect", ["read", "idempotent", "write"])
@pytest.mark.parametrize("where", ["saver", "metadata", "step"])
async def test_a_tool_that_declares_its_effect_is_not_named(
    bench: Bench, where: str, effect: Any, said: Callable[[], list[str]]
) -> None:
    name, saver = f"tool_{uuid.uuid4()}", {}
    made = named(name, bench)
    if where == "saver":
        saver["effects"] = {name: effect}
    elif where == "metadata":
        made.metadata = {"rowtrail": {"effect": effect}}
    else:
        made = StructuredTool.from_function(
            rowtrail.step(effect=effect)(sending(bench)),
            name=name,
            description="Send.",
        )
    assert await effect_of(bench, made, **saver) == [("tool", name, effect)]
    assert said() == []


def test_the_history_tools_are_not_named(bench: Bench, said: Callable[[], list[str]]) -> None:
    saver = bench.saver()
    query, _ = history_tool(saver)

    def node(state: MessagesState) -> Any:
        query.invoke({"query": "@runs"})
        return {}

    one_node(saver, node).invoke({"messages": "go"}, thread())
    assert said() == [] and bench.statuses() == [("query_history", "done")]


def test_without_a_saver_the_metadata_is_named(bench: Bench, said: Callable[[], list[str]]) -> None:
    rowtrail_langgraph.install()
    name = f"tool_{uuid.uuid4()}"
    with rowtrail.Journal(bench.path) as journal, journal.run("by-hand"):
        named(name, bench).invoke({"to": "a"})
    [message] = said()
    assert '{"rowtrail": {"effect": "write"}}' in message and repr(name) in message
