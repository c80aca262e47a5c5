"""`keep_journal=`: the checkpoints of a deleted thread go, its runs, steps and spend stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from rowtrail.adapter import record_question, scope_here
from rowtrail.errors import InDoubtError
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import Mode, both_modes, checkpoint, driven, thread
from tests.conftest import Rows

GO = {"messages": [HumanMessage("hi", id="1")]}
KEPT = ("runs", "attempts", "steps", "llm_calls", "tool_calls", "replays", "spend")
GONE = ("checkpoints", "state")

WAYS = ("saver", "prune", "server", "retention")
"""What deletes the checkpoints of a thread: `delete_thread`, the two of LangGraph's `prune`, and
`Journal.prune`."""


@tool
def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()


def agent(saver: RowtrailSaver, *tools: BaseTool, asks: bool = False) -> Any:
    """Return a graph that calls a model, then tools, and then asks a person."""
    model = FakeListChatModel(responses=["answer"])

    def node(state: MessagesState) -> dict[str, Any]:
        answer = model.invoke(state["messages"])
        for each in tools or (shout,):
            each.invoke({"text": str(answer.content)})
        return {"messages": [answer]}

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [HumanMessage(str(interrupt("sure?")))]} if asks else {}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_node("ask", ask)
    builder.add_edge(START, "node")
    builder.add_edge("node", "ask")
    return builder.compile(checkpointer=saver)


@pytest.fixture
def saver(db: Path) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(db, durability="normal", keep_journal=True) as opened:
        yield opened


def content(rows: Rows, views: tuple[str, ...]) -> dict[str, list[Any]]:
    return {view: rows(f"SELECT * FROM {view}") for view in views}


def delete(saver: RowtrailSaver, way: str, thread_id: str = "t") -> None:
    if way == "saver":
        saver.delete_thread(thread_id)
    elif way == "retention":
        saver.journal.prune(thread_ids=[thread_id], keep_journal=True)
    else:
        saver.prune([thread_id], strategy="delete" if way == "prune" else "delete_all")


def status(rows: Rows) -> list[tuple[str, str | None]]:
    found = rows("SELECT status, waiting_for FROM runs ORDER BY started_at, run_id")
    return [(row["status"], row["waiting_for"]) for row in found]


@both_modes
async def test_checkpoints_go_and_what_was_recorded_stays(mode: Mode, db: Path, rows: Rows) -> None:
    with driven(db, mode, capture=True, keep_journal=True) as driver:
        graph = agent(driver.saver)
        graph.invoke(GO, thread())
        graph.invoke(GO, thread())
        before = content(rows, KEPT)
        assert all(before[view] for view in KEPT if view != "replays")

        await driver.delete_thread("t")
        await driver.delete_thread("nobody")

        assert content(rows, KEPT) == before
        assert content(rows, GONE) == {view: [] for view in GONE}
        assert graph.get_state(thread()).values == {}
        assert rows("SELECT thread_id FROM threads") == [{"thread_id": "t"}]
        assert driver.saver.journal.verify().faults == ()


def test_without_it_both_go(db: Path, rows: Rows) -> None:
    with RowtrailSaver(db, durability="normal") as saver:
        agent(saver).invoke(GO, thread())

        saver.delete_thread("t")

    assert not any(content(rows, ("runs", "steps", *GONE)).values())


def test_a_thread_begins_anew_beside_its_old_runs(saver: RowtrailSaver, rows: Rows) -> None:
    graph = agent(saver)
    graph.invoke(GO, thread())
    saver.delete_thread("t")

    graph.invoke({"messages": [HumanMessage("again")]}, thread())

    texts = [message.content for message in graph.get_state(thread()).values["messages"]]
    assert texts == ["again", "answer"]
    assert status(rows) == [("done", None), ("done", None)]


@both_modes
async def test_a_thread_without_runs_is_gone(mode: Mode, db: Path, rows: Rows) -> None:
    with driven(db, mode, keep_journal=True) as driver:
        await driver.put(thread(), checkpoint())

        await driver.delete_thread("t")

        assert rows("SELECT * FROM threads") == []


@pytest.mark.parametrize("way", WAYS)
def test_what_waits_for_a_person_is_cancelled(way: str, saver: RowtrailSaver, rows: Rows) -> None:
    graph = agent(saver, asks=True)
    graph.invoke(GO, thread())
    graph.invoke(Command(resume="yes"), thread())
    for each in ("t", "other"):
        graph.invoke({"messages": [HumanMessage("more", id="2")]}, thread(each))
    assert [state for state, _ in status(rows)] == ["done", "waiting", "waiting"]

    delete(saver, way)

    assert status(rows) == [("done", None), ("cancelled", None), ("waiting", "sure?")]
    asked = rows("SELECT thread_id, answer FROM questions ORDER BY asked_at")
    assert [(row["thread_id"], row["answer"]) for row in asked] == [("t", "yes"), ("other", None)]
    assert [row["error"] for row in rows("SELECT error FROM runs WHERE error IS NOT NULL")] == [
        "its checkpoints were deleted while it waited for a person"
    ]
    assert saver.journal.verify().faults == ()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_input_asks_a_deleted_thread_anew(
    way: str, saver: RowtrailSaver, rows: Rows
) -> None:
    graph = agent(saver, asks=True)
    graph.invoke(GO, thread())
    delete(saver, way)

    graph.invoke(GO, thread())

    assert status(rows) == [("cancelled", None), ("waiting", "sure?")]
    assert rows("SELECT * FROM replays") == []
    assert graph.invoke(Command(resume="yes"), thread())["messages"][-1].content == "yes"


@pytest.mark.parametrize("way", WAYS)
def test_a_write_in_doubt_is_not_made_again_after_a_deletion(
    way: str, db: Path, rows: Rows
) -> None:
    made: list[str] = []

    @tool
    def send(text: str) -> str:
        """Send it."""
        made.append(text)
        raise KeyboardInterrupt

    effects = {"send": "write"}
    with RowtrailSaver(db, durability="normal", effects=effects, keep_journal=True) as saver:
        graph = agent(saver, send)
        with pytest.raises(KeyboardInterrupt):
            graph.invoke(GO, thread())

        delete(saver, way)
        with pytest.raises(InDoubtError):
            graph.invoke(GO, thread())

    assert made == ["answer"]
    assert len(rows("SELECT * FROM replays")) == 1, "of the model"
    assert [row["status"] for row in rows("SELECT status FROM tool_calls")] == ["in_doubt"]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_needs_no_checkpoint_waits_on(
    way: str, saver: RowtrailSaver, rows: Rows
) -> None:
    agent(saver).invoke(GO, thread())
    with saver.journal.run("another", thread_id="t"):
        scope = scope_here("ask")
        assert scope is not None
        record_question(scope, "Go on?")

    delete(saver, way)

    assert status(rows) == [("done", None), ("waiting", "Go on?")]


@both_modes
async def test_a_write_that_comes_late_brings_nothing_back(mode: Mode, db: Path) -> None:
    with driven(db, mode, keep_journal=True) as driver:
        config: RunnableConfig = await driver.put(thread(), checkpoint({"items": ["a", "b"]}))
        await driver.delete_thread("t")
        await driver.put_writes(config, [("ch", 1)], "late")
        assert await driver.list(None) == []

        await driver.put(thread(), checkpoint({"items": ["a", "b"]}))

    with driven(db, mode) as other:
        found = await other.found(thread())
        assert found.checkpoint["channel_values"] == {"items": ["a", "b"]}
