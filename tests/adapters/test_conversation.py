"""The view `conversation`: each message of a thread once, in order, whatever became of it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
)
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from rowtrail import Journal
from rowtrail.testing import Reply
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    chain_of,
    last_text,
    one_node,
    run,
    thread,
)

Line = tuple[str, str]


def lines(bench: Bench, thread_id: str = "1") -> list[Line]:
    """Return text and status of the messages of a thread, and see that their places count on."""
    found = bench.rows(
        "SELECT position, content, status FROM conversation WHERE thread_id = ? ORDER BY position",
        thread_id,
    )
    assert [row["position"] for row in found] == list(range(len(found)))
    return [(row["content"], row["status"]) for row in found]


def current(bench: Bench, thread_id: str = "1") -> list[str]:
    return [text for text, status in lines(bench, thread_id) if status == "current"]


def talking(bench: Bench, mode: Mode, **options: Any) -> Any:
    """Return a graph that answers what a user says."""

    async def talk(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), state["messages"])]}

    return one_node(bench.saver(**options), as_node(mode, talk), name="talk")


async def say(mode: Mode, graph: Any, *texts: str, thread_id: str = "1") -> list[AnyMessage]:
    state: Any = {}
    for text in texts:
        state = await run(mode, graph, {"messages": [HumanMessage(text)]}, thread(thread_id))
    return state["messages"]  # type: ignore[no-any-return]


def shown(messages: list[AnyMessage]) -> list[str]:
    return [str(message.content) for message in messages]


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_said_is_there_in_order(bench: Bench, mode: Mode) -> None:
    graph = talking(bench, mode)
    await say(mode, graph, "one")
    assert lines(bench) == [("one", "current"), ("re: one", "current")]
    messages = await say(mode, graph, *"abcdef")
    assert current(bench) == shown(messages) and len(lines(bench)) == 14


@pytest.mark.parametrize("mode", MODES)
async def test_a_message_names_its_run_its_step_and_its_agent(bench: Bench, mode: Mode) -> None:
    @tool
    def look(word: str) -> str:
        """Look a word up."""
        return f"{word} is a word"

    def respond(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "tool":
            return Reply("done")
        return Reply(tool_calls=[("look", {"word": last_text(request)})])

    bench.respond = respond
    agent: Any = create_agent(bench.model(), [look], checkpointer=bench.saver(), name="helper")
    for text in ("one", "two"):
        await run(mode, agent, {"messages": [("user", text)]}, thread())
    rows = bench.rows(
        "SELECT c.*, s.kind, s.name AS step, s.run_id AS step_run, s.seq FROM conversation c "
        "LEFT JOIN steps s USING (step_id) ORDER BY c.position"
    )
    runs = [row["run_id"] for row in bench.rows("SELECT run_id FROM runs ORDER BY started_at")]
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"] * 2
    assert [row["run_id"] for row in rows] == [runs[0]] * 4 + [runs[1]] * 4
    assert [row["seq"] for row in rows] == [None, 1, 2, 3] * 2
    assert [row["kind"] for row in rows] == [None, "llm", "tool", "llm"] * 2
    assert [row["agent"] for row in rows] == [None, "helper", "helper", "helper"] * 2
    assert all(row["step_run"] in (None, row["run_id"]) for row in rows)
    ids = [row["tool_call_id"] for row in rows if row["role"] == "tool"]
    assert all(row_id and row_id in rows[4 * n + 1]["tool_calls"] for n, row_id in enumerate(ids))
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


# Edited and removed.


@pytest.mark.parametrize("mode", MODES)
async def test_an_edited_message_stands_where_it_stood(bench: Bench, mode: Mode) -> None:
    graph = talking(bench, mode)
    messages = await say(mode, graph, "one", "two")
    for text in ("ONE", "One!"):
        graph.update_state(thread(), {"messages": [HumanMessage(text, id=messages[0].id)]})
    assert lines(bench) == [
        ("one", "edited"),
        ("ONE", "edited"),
        ("One!", "current"),
        ("re: one", "current"),
        ("two", "current"),
        ("re: two", "current"),
    ]
    step = bench.rows("SELECT content, step_id FROM conversation WHERE role = 'assistant'")
    assert all(row["step_id"] for row in step)


@pytest.mark.parametrize("mode", MODES)
async def test_a_removed_message_stands_where_it_stood(bench: Bench, mode: Mode) -> None:
    graph = talking(bench, mode)
    messages = await say(mode, graph, "one", "two")
    removed = [RemoveMessage(id=str(messages[n].id)) for n in (1, 2)]
    graph.update_state(thread(), {"messages": removed})
    await say(mode, graph, "three")
    assert lines(bench) == [
        ("one", "current"),
        ("re: one", "removed"),
        ("two", "removed"),
        ("re: two", "current"),
        ("three", "current"),
        ("re: three", "current"),
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_a_summary_stands_between_what_it_replaces_and_what_is_kept(
    bench: Bench, mode: Mode
) -> None:
    def respond(request: dict[str, Any]) -> Reply:
        is_summary = len(request["messages"]) == 1 and "two" in last_text(request)
        return Reply("in short" if is_summary else f"re: {last_text(request)}")

    bench.respond = respond
    agent: Any = create_agent(
        bench.model(),
        [],
        middleware=[
            SummarizationMiddleware(bench.model(), trigger=("messages", 5), keep=("messages", 2))
        ],
        checkpointer=bench.saver(),
    )
    state: Any = {}
    for text in ("one", "two", "three", "four"):
        state = await run(mode, agent, {"messages": [("user", text)]}, thread())
    found = lines(bench)
    assert [text for text, _ in found[:3]] == ["one", "re: one", "two"]
    assert current(bench) == shown(state["messages"])
    statuses = [status for _, status in found]
    assert statuses == sorted(statuses, key=["removed", "current"].index)
    told = [text for text, _ in found if "in short" not in text]
    assert told == [f"{re}{n}" for n in ("one", "two", "three", "four") for re in ("", "re: ")]
    assert "in short" in current(bench)[0]


@pytest.mark.parametrize("mode", MODES)
async def test_a_thread_of_which_everything_was_removed_is_still_told(
    bench: Bench, mode: Mode
) -> None:
    graph = talking(bench, mode)
    await say(mode, graph, "one")
    graph.update_state(thread(), {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]})
    assert lines(bench) == [("one", "removed"), ("re: one", "removed")]
    await say(mode, graph, "two")
    assert lines(bench)[2:] == [("two", "current"), ("re: two", "current")]


async def test_a_state_of_one_message_is_a_conversation_too(bench: Bench) -> None:
    graph = talking(bench, "sync")
    graph.update_state(thread(), {"messages": [SystemMessage("first")]})
    assert lines(bench) == [("first", "current")]
    changes = [RemoveMessage(id=REMOVE_ALL_MESSAGES), SystemMessage("second")]
    graph.update_state(thread(), {"messages": changes})
    assert lines(bench) == [("first", "removed"), ("second", "current")]


async def test_the_same_words_twice_are_two_messages(bench: Bench) -> None:
    graph = talking(bench, "sync")
    await say("sync", graph, "yes", "yes")
    assert current(bench) == ["yes", "re: yes", "yes", "re: yes"]


# Other ways of a thread.


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_is_resumed_says_nothing_twice(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    async def talk(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(bench.model(), state["messages"])
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), as_node(mode, talk))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [("user", "one")]}, thread())
    await run(mode, graph, None, thread())
    assert lines(bench) == [("one", "current"), ("re: one", "current")]
    [row] = bench.rows("SELECT step_id FROM conversation WHERE role = 'assistant'")
    assert row["step_id"] == bench.steps("step_id")[0]["step_id"]


async def test_a_branch_that_was_left_is_removed(bench: Bench) -> None:
    graph = talking(bench, "sync")
    await say("sync", graph, "one", "two")
    first = next(s for s in graph.get_state_history(thread()) if len(s.values["messages"]) == 2)
    graph.invoke({"messages": [HumanMessage("another")]}, first.config)
    assert lines(bench) == [
        ("one", "current"),
        ("re: one", "current"),
        ("two", "removed"),
        ("re: two", "removed"),
        ("another", "current"),
        ("re: another", "current"),
    ]


async def test_a_copy_of_a_thread_has_its_conversation(bench: Bench) -> None:
    saver = bench.saver()
    graph = talking(bench, "sync")
    await say("sync", graph, "one")
    saver.copy_thread("1", "2")
    await say("sync", graph, "here")
    await say("sync", graph, "there", thread_id="2")
    assert current(bench, "1") == ["one", "re: one", "here", "re: here"]
    assert current(bench, "2") == ["one", "re: one", "there", "re: there"]
    assert len(lines(bench, "2")) == 4


async def test_what_is_said_inside_a_graph_is_not_of_the_thread(bench: Bench) -> None:
    inside = talking(bench, "sync")
    inside.checkpointer = None

    def ask(state: MessagesState) -> Any:
        found = inside.invoke({"messages": [HumanMessage("inside")]})
        return {"messages": [AIMessage(f"it says {found['messages'][-1].content}")]}

    graph = chain_of(bench.saver(), ask)
    await say("sync", graph, "one")
    assert current(bench) == ["one", "it says re: inside"]


async def test_what_is_pruned_is_gone(bench: Bench) -> None:
    graph = talking(bench, "sync")
    await say("sync", graph, "one", "two")
    graph.update_state(thread(), {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]})
    await say("sync", graph, "three")
    with Journal(bench.path) as journal:
        journal.prune(keep=1)
    assert lines(bench) == [("three", "current"), ("re: three", "current")]


async def test_a_conversation_is_there_where_calls_are_not_recorded(bench: Bench) -> None:
    graph = talking(bench, "sync", capture=False)
    await say("sync", graph, "one")
    assert lines(bench) == [("one", "current"), ("re: one", "current")]
    assert bench.rows("SELECT DISTINCT run_id, step_id, agent FROM conversation") == [
        {"run_id": None, "step_id": None, "agent": None}
    ]


async def test_many_edits_keep_every_message_once(bench: Bench) -> None:
    """So many that the list is written out anew."""
    graph = talking(bench, "sync")
    messages = await say("sync", graph, *map(str, range(25)))
    for message in messages[::-2]:
        graph.update_state(thread(), {"messages": [message.model_copy(update={"content": "x"})]})
    found = lines(bench)
    assert current(bench) == shown(graph.get_state(thread()).values["messages"])
    assert len(found) == 75
    assert sorted({status for _, status in found}) == ["current", "edited"]
    assert [status for _, status in found[:4]] == ["current", "edited", "current", "current"]
