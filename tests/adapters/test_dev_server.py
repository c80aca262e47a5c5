"""As `langgraph dev` uses a checkpointer: behind an adapter, one for each loop, never blocking."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from blockbuster import BlockBuster, BlockingError
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.conftest import Rows


class Adapter(BaseCheckpointSaver[str]):
    """What the server puts around a checkpointer of the user's, as far as a saver can tell.

    It knows the five methods that it needs, counts versions in its own way, and leaves the history
    of delta channels to the base class.
    """

    def __init__(self, inner: BaseCheckpointSaver[Any]) -> None:
        super().__init__(serde=inner.serde)
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._inner.aget_tuple(config)

    async def aget(self, config: RunnableConfig) -> Any:
        return await self._inner.aget(config)

    async def alist(
        self, config: RunnableConfig | None, **how: Any
    ) -> AsyncIterator[CheckpointTuple]:
        async for found in self._inner.alist(config, **how):
            yield found

    async def aput(self, *args: Any, **kwargs: Any) -> RunnableConfig:
        return await self._inner.aput(*args, **kwargs)

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        await self._inner.aput_writes(*args, **kwargs)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._inner.adelete_thread(thread_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._inner.acopy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self._inner.aprune(thread_ids, strategy=strategy)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._inner.adelete_for_runs(run_ids)

    def get_next_version(self, current: str | None, channel: None) -> str:
        number = 0 if current is None else int(str(current).split(".")[0])
        return f"{number + 1:032}.{0.5:016}"


@pytest.fixture
def blocking_is_an_error() -> Iterator[BlockBuster]:
    """Find blocking calls on the event loop, as the server does."""
    buster = BlockBuster()
    buster.activate()
    try:
        yield buster
    finally:
        buster.deactivate()


@contextlib.asynccontextmanager
async def made(path: Path, **options: Any) -> AsyncGenerator[RowtrailSaver]:
    """Make a checkpointer, as the file that `langgraph.json` names does."""
    async with RowtrailSaver.from_conn_string(str(path), **{**QUICK, **options}) as saver:
        yield saver


def extend(state: list[Any], writes: Sequence[Any]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    facts: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=3)]
    log: Annotated[list[str], operator.add]


def agent(saver: Any) -> Any:
    async def node(state: State) -> dict[str, Any]:
        number = len(state["messages"])
        answer = AIMessage(f"answer {number}", id=f"a{number}")
        return {"messages": [answer], "facts": [f"f{number}"], "log": [f"l{number}"]}

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("well?")]} if len(state["messages"]) == 4 else {}

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_node("ask", ask)
    builder.add_edge(START, "node")
    builder.add_edge("node", "ask")
    return builder.compile(checkpointer=saver)


async def conversation(saver: Any) -> list[Any]:
    """Have a conversation as the server's endpoints do, and return what it shows."""
    graph, seen = agent(saver), []
    for number in range(5):
        given = {"messages": [HumanMessage("hi", id=f"h{number}")], "facts": [f"in {number}"]}
        result = await graph.ainvoke(given, thread(), durability="async")
        if "__interrupt__" in result:
            result = await graph.ainvoke(Command(resume="done"), thread())
        seen.append(result)
    past = [state async for state in graph.aget_state_history(thread())]
    seen.append([state.values for state in past])
    seen.append(await graph.ainvoke({"messages": []}, past[6].config))
    await graph.aupdate_state(thread(), {"facts": ["by hand"]}, as_node="ask")
    seen.append((await graph.aget_state(thread())).values)
    return seen


@pytest.mark.usefixtures("blocking_is_an_error")
class TestBehindTheServersAdapter:
    async def test_a_conversation_shows_what_the_memory_saver_shows(self, db: Path) -> None:
        async with made(db) as saver:
            assert await conversation(Adapter(saver)) == await conversation(
                Adapter(InMemorySaver())
            )

    async def test_threads_are_copied_pruned_and_deleted(self, db: Path) -> None:
        async with made(db) as saver:
            adapter = Adapter(saver)
            graph = agent(adapter)
            for number in range(3):
                await graph.ainvoke({"messages": [HumanMessage("hi", id=f"h{number}")]}, thread())
            before = (await graph.aget_state(thread())).values

            await adapter.acopy_thread("t", "copy")
            await adapter.aprune(["t"])
            assert (await graph.aget_state(thread())).values == before
            await adapter.aprune(["t"], strategy="delete_all")
            await graph.ainvoke({"messages": [HumanMessage("on", id="on")]}, thread("copy"))
            await adapter.adelete_thread("nobody")

            assert not [found async for found in adapter.alist(thread())]
            copied = (await graph.aget_state(thread("copy"))).values
            assert copied["messages"][: len(before["messages"])] == before["messages"]
            assert copied["facts"][: len(before["facts"])] == before["facts"]

    async def test_calls_are_recorded(self, db: Path, rows: Rows) -> None:
        model = FakeListChatModel(responses=["answer"])

        async def node(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        builder = StateGraph(MessagesState)
        builder.add_node("node", node)
        builder.add_edge(START, "node")
        async with made(db, capture=True) as saver:
            graph = builder.compile(checkpointer=Adapter(saver))
            await graph.ainvoke({"messages": [HumanMessage("hi")]}, thread())

        calls = await asyncio.to_thread(rows, "SELECT node, status, answer FROM llm_calls")
        assert calls == [{"node": "node", "status": "done", "answer": "answer"}]

    async def test_a_thread_goes_on_with_the_savers_own_versions(self, db: Path) -> None:
        result: dict[str, Any] = {}
        async with made(db) as saver:
            for behind in (Adapter(saver), saver, Adapter(saver)):
                given = {"messages": [HumanMessage("hi")], "facts": ["in"]}
                result = await agent(behind).ainvoke(given, thread())
                if "__interrupt__" in result:
                    result = await agent(behind).ainvoke(Command(resume="done"), thread())

        assert [message.type for message in result["messages"]] == ["human", "ai"] * 3
        assert result["facts"].count("in") == 3


async def test_blocking_calls_are_found(blocking_is_an_error: BlockBuster, db: Path) -> None:
    async with made(db) as saver:
        with pytest.raises(BlockingError):
            saver.get_tuple(thread())


@pytest.mark.usefixtures("blocking_is_an_error")
async def test_no_async_method_blocks_the_event_loop(db: Path) -> None:
    async with made(db) as saver:
        config = await saver.aput(thread(), checkpoint({"items": [1, 2]}), {"step": 1}, {})
        await saver.aput_writes(config, [("ch", 1)], "task")
        assert await saver.aget(config)
        assert await saver.aget_tuple(thread())
        assert [found async for found in saver.alist(None, filter={"step": 1})]
        await saver.aget_delta_channel_history(config=config, channels=["ch"])
        await saver.acopy_thread("t", "copy")
        await saver.adelete_for_runs(["r"])
        await saver.aprune(["copy"])
        await saver.adelete_thread("copy")
        await saver.setup()


async def test_several_savers_on_one_file_serve_several_loops_at_once(db: Path) -> None:
    """The server makes a checkpointer for each thread that has an event loop."""
    failures: list[BaseException] = []

    async def serve(name: str) -> None:
        async with made(db) as saver:
            graph = agent(Adapter(saver))
            for number in range(5):
                given = {"messages": [HumanMessage("hi", id=f"{name} {number}")]}
                result = await graph.ainvoke(given, thread(name))
                if "__interrupt__" in result:
                    await graph.ainvoke(Command(resume="done"), thread(name))

    def in_a_loop_of_its_own(name: str) -> None:
        try:
            asyncio.run(serve(name))
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=in_a_loop_of_its_own, args=(f"thread {number}",))
        for number in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        await asyncio.to_thread(each.join)

    assert failures == []
    async with made(db) as saver:
        for number in range(4):
            state = await agent(saver).aget_state(thread(f"thread {number}"))
            assert len(state.values["messages"]) == 10
