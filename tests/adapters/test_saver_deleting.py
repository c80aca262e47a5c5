"""What `RowtrailSaver` deletes, copies and prunes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from rowtrail.errors import UsageError
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import (
    QUICK,
    Mode,
    both_modes,
    checkpoint,
    driven,
    ids,
    metadata_of,
    named,
    thread,
)
from tests.conftest import Rows

VIEWS = {
    "threads": "thread_id",
    "runs": "thread_id",
    "attempts": "(SELECT r.thread_id FROM runs r WHERE r.run_id = v.run_id)",
    "steps": "thread_id",
    "llm_calls": "thread_id",
    "tool_calls": "thread_id",
    "messages": "thread_id",
    "replays": "(SELECT r.thread_id FROM runs r WHERE r.run_id = v.run_id)",
    "checkpoints": "thread_id",
    "state": "thread_id",
}


@tool
def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()


def agent(saver: RowtrailSaver) -> Any:
    """Return a graph with a model call, a tool call and a subgraph in each turn."""
    model = FakeListChatModel(responses=["answer"])

    def inner(state: MessagesState) -> dict[str, list[AnyMessage]]:
        return {"messages": [HumanMessage("inside")]}

    def node(state: MessagesState) -> dict[str, list[AnyMessage]]:
        answer = model.invoke(state["messages"])
        loud = shout.invoke({"text": str(answer.content)})
        return {"messages": [answer, ToolMessage(loud, tool_call_id="1")]}

    subgraph = StateGraph(MessagesState)
    subgraph.add_node("inner", inner)
    subgraph.add_edge(START, "inner")
    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_node("sub", subgraph.compile(checkpointer=True))
    builder.add_edge(START, "node")
    builder.add_edge("node", "sub")
    return builder.compile(checkpointer=saver)


@pytest.fixture
def saver(db: Path) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(db, durability="normal") as opened:
        yield opened


def counts(rows: Rows, thread_id: str) -> dict[str, int]:
    """Return how many rows each view has of a thread."""
    query = " UNION ALL ".join(
        f"SELECT '{view}' AS view, count(*) AS n FROM {view} v WHERE {of} = '{thread_id}'"
        for view, of in VIEWS.items()
    )
    return {row["view"]: row["n"] for row in rows(query)}


class TestDeletingAThread:
    def test_takes_it_out_of_every_view_and_leaves_the_others(
        self, saver: RowtrailSaver, rows: Rows
    ) -> None:
        graph = agent(saver)
        for each in ("gone", "stays", "gone"):
            graph.invoke({"messages": [HumanMessage("hi")]}, thread(each))
        before = counts(rows, "stays")
        assert all(n > 0 for view, n in counts(rows, "gone").items() if view != "replays")
        assert all(n > 0 for view, n in before.items() if view != "replays")
        assert {row["checkpoint_ns"] for row in rows("SELECT * FROM checkpoints")} == {"", "sub"}

        saver.delete_thread("gone")

        assert counts(rows, "gone") == dict.fromkeys(VIEWS, 0)
        assert counts(rows, "stays") == before
        assert graph.get_state(thread("gone")).values == {}
        assert len(graph.get_state(thread("stays")).values["messages"]) == 4

    def test_lets_it_begin_anew(self, saver: RowtrailSaver) -> None:
        graph = agent(saver)
        graph.invoke({"messages": [HumanMessage("hi")]}, thread())
        saver.delete_thread("t")

        graph.invoke({"messages": [HumanMessage("again")]}, thread())

        texts = [message.content for message in graph.get_state(thread()).values["messages"]]
        assert texts == ["again", "answer", "ANSWER", "inside"]

    def test_keeps_what_days_cost(self, saver: RowtrailSaver, rows: Rows) -> None:
        agent(saver).invoke({"messages": [HumanMessage("hi")]}, thread())
        spend = rows("SELECT * FROM spend")

        saver.delete_thread("t")

        assert spend and rows("SELECT * FROM spend") == spend

    @both_modes
    async def test_that_does_not_exist_does_nothing(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            await driver.delete_thread("nobody")  # also in a file that is new
            await driver.put(thread(), checkpoint())
            await driver.delete_thread("nobody")

            assert len(await driver.list(None)) == 1

    @both_modes
    async def test_while_a_write_is_under_way_leaves_no_half_of_it(
        self, mode: Mode, db: Path
    ) -> None:
        with driven(db, mode) as driver:
            config = await driver.put(thread(), checkpoint())
            await driver.delete_thread("t")
            await driver.put_writes(config, [("ch", 1)], "late")

            assert await driver.list(None) == []
            assert await driver.get(config) is None


@both_modes
class TestDeletingRuns:
    async def test_deletes_their_checkpoints_in_all_threads(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            for place in (thread("a"), thread("b"), thread("a", "sub")):
                for run in ("one", "two", "three"):
                    await driver.put(place, checkpoint(), run_id=run)

            await driver.delete_for_runs(["one", "three", "nothing"])

            left = await driver.list(None)
            assert len(left) == 3
            assert {metadata_of(each)["run_id"] for each in left} == {"two"}
            await driver.delete_for_runs([])
            assert len(await driver.list(None)) == 3

    async def test_makes_the_one_before_the_newest(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            first = await driver.put(thread(), checkpoint(), run_id="one")
            second = await driver.put(first, checkpoint(), run_id="two")
            await driver.put_writes(second, [("ch", 1)], "task")

            await driver.delete_for_runs(["two"])

            assert (await driver.found(thread())).config == first


def test_deleting_a_run_keeps_its_steps(saver: RowtrailSaver, rows: Rows) -> None:
    run = "11111111-2222-3333-4444-555555555555"
    agent(saver).invoke({"messages": [HumanMessage("hi")]}, {**thread(), "run_id": run})
    steps = rows("SELECT * FROM steps")

    saver.delete_for_runs([run])

    assert steps and rows("SELECT * FROM steps") == steps
    assert rows("SELECT * FROM checkpoints") == []


@both_modes
class TestCopyingAThread:
    async def test_copies_every_checkpoint_with_its_writes(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            config: Any = thread("from")
            for number in range(5):
                values = {"messages": [f"m{i}" for i in range(number)], "n": number}
                config = await driver.put(config, checkpoint(values), step=number)
                await driver.put_writes(config, [("n", number)], "task", "path")
            await driver.put(thread("from", "sub"), checkpoint({"n": "sub"}))
            before = await driver.list({"configurable": {"thread_id": "from"}})

            await driver.copy_thread("from", "to")

            copied = await driver.list({"configurable": {"thread_id": "to"}})
            assert len(copied) == 6
            for ours, theirs in zip(copied, before, strict=True):
                assert ours.checkpoint == theirs.checkpoint
                assert ours.metadata == theirs.metadata
                assert ours.pending_writes == theirs.pending_writes
                assert named(ours.config, "thread_id") == "to"
            assert await driver.list({"configurable": {"thread_id": "from"}}) == before

    async def test_stores_no_value_again(self, mode: Mode, db: Path, rows: Rows) -> None:
        with driven(db, mode) as driver:
            values = {"messages": [HumanMessage(f"m{i}", id=f"{i}") for i in range(50)], "n": "x"}
            await driver.put(thread("from"), checkpoint(values))
            content = rows("SELECT count(*) AS n FROM item")

            await driver.copy_thread("from", "to")
            await driver.put(thread("to"), checkpoint(values))

            assert rows("SELECT count(*) AS n FROM item") == content

    async def test_goes_its_own_way(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            await driver.put(thread("from"), checkpoint({"items": ["a", "b"]}))
            await driver.copy_thread("from", "to")
            await driver.put(thread("to"), checkpoint({"items": ["a", "b", "right"]}))
            await driver.put(thread("from"), checkpoint({"items": ["a", "left"]}))

            for name, items in (("from", ["a", "left"]), ("to", ["a", "b", "right"])):
                found = await driver.found(thread(name))
                assert found.checkpoint["channel_values"] == {"items": items}
            await driver.delete_thread("from")
            assert len(await driver.list(thread("to"))) == 2

    async def test_of_nobody_makes_nobody(self, mode: Mode, db: Path, rows: Rows) -> None:
        with driven(db, mode) as driver:
            await driver.copy_thread("nobody", "to")

            assert rows("SELECT * FROM threads") == []

    async def test_to_a_thread_with_checkpoints_puts_them_behind(
        self, mode: Mode, db: Path
    ) -> None:
        with driven(db, mode) as driver:
            await driver.put(thread("to"), checkpoint({"n": "own"}))
            await driver.put(thread("from"), checkpoint({"n": "copied"}))

            await driver.copy_thread("from", "to")
            await driver.copy_thread("from", "to")

            found = await driver.list(thread("to"))
            assert sorted(each.checkpoint["channel_values"]["n"] for each in found) == [
                "copied",
                "own",
            ]
            newest = await driver.found(thread("to"))
            assert newest.checkpoint["channel_values"] == {"n": "copied"}


@both_modes
class TestPruning:
    async def test_keeps_the_newest_of_each_namespace(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            places = [thread("a"), thread("a", "sub"), thread("b"), thread("c")]
            for number in range(3):
                for place in places:
                    config = await driver.put(place, checkpoint({"n": number}))
                    await driver.put_writes(config, [("ch", number)], "task")

            await driver.prune(["a", "b", "nobody"])

            for place in places[:3]:
                (left,) = await driver.list(place)
                assert left.checkpoint["channel_values"] == {"n": 2}
                assert left.pending_writes == [("task", "ch", 2)]
            assert len(await driver.list(thread("c"))) == 3

    @pytest.mark.parametrize("strategy", ["delete", "delete_all"])
    async def test_deletes_them_all(self, mode: Mode, db: Path, strategy: str) -> None:
        with driven(db, mode) as driver:
            for name in ("a", "b"):
                await driver.put(thread(name), checkpoint())
                await driver.put(thread(name, "sub"), checkpoint())

            await driver.prune(["a"], strategy=strategy)

            left = await driver.list(None)
            assert [named(each.config, "thread_id") for each in left] == ["b", "b"]

    async def test_refuses_a_strategy_that_it_does_not_know(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            await driver.put(thread(), checkpoint())

            with pytest.raises(UsageError, match=r"'keep_all'.*keep_latest"):
                await driver.prune(["t"], strategy="keep_all")

            assert len(await driver.list(None)) == 1

    async def test_keeps_the_one_that_arrived_last(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            old, new = checkpoint({"n": "child"}), checkpoint({"n": "parent"})
            await driver.put(thread(), new)
            await driver.put(thread(), old)

            await driver.prune(["t"])

            assert ids(await driver.list(None)) == [old["id"]]

    async def test_keeps_the_writes_of_a_checkpoint_that_is_on_its_way(
        self, mode: Mode, db: Path
    ) -> None:
        with driven(db, mode) as driver:
            await driver.put(thread(), checkpoint({"n": "newest"}))
            coming = checkpoint({"n": "coming"})
            await driver.put_writes(thread(checkpoint_id=coming["id"]), [("ch", 1)], "task")

            await driver.prune(["t"])
            await driver.put(thread(), coming)

            assert (await driver.found(thread())).pending_writes == [("task", "ch", 1)]


def test_a_pruned_thread_goes_on(saver: RowtrailSaver, rows: Rows) -> None:
    graph = agent(saver)
    for _ in range(3):
        graph.invoke({"messages": [HumanMessage("hi")]}, thread())
    before, steps = graph.get_state(thread()).values, rows("SELECT count(*) AS n FROM steps")

    saver.prune(["t"])

    assert graph.get_state(thread()).values == before
    assert rows("SELECT count(*) AS n FROM steps") == steps
    graph.invoke({"messages": [HumanMessage("more")]}, thread())
    after = graph.get_state(thread()).values["messages"]
    assert after[: len(before["messages"])] == before["messages"]
    assert len(after) == len(before["messages"]) + 4


def test_what_was_deleted_and_put_again_is_there_when_reopened(db: Path) -> None:
    with RowtrailSaver(db, **QUICK) as saver:
        saver.put(thread(), checkpoint({"items": ["a", "b"]}), {}, {})
        saver.delete_thread("t")
        saver.put(thread(), checkpoint({"items": ["a", "b"]}), {}, {})

    with RowtrailSaver(db, **QUICK) as other:
        found = other.get_tuple(thread())

    assert found is not None
    assert found.checkpoint["channel_values"] == {"items": ["a", "b"]}
