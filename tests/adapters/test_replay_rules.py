"""The rules of replay in graphs: stops, forks, changed requests, parallel resumes, costs."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from rowtrail.errors import DivergedError
from rowtrail.testing import Reply, Usage
from tests.adapters._graphs import (
    DURABILITIES,
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    chain_of,
    counting,
    echo,
    last_text,
    look_up,
    one_node,
    run,
    shape,
    thread,
)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), Killed()], ids=repr)
@pytest.mark.parametrize("mode", MODES)
async def test_a_stop_from_outside_repeats_no_finished_call(
    bench: Bench, mode: Mode, error: BaseException, durability: str
) -> None:
    fuse = Fuse(error)
    look = look_up(bench.ledger)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        await calls.ask(look, {"word": "a"})
        fuse()
        return {"messages": [one, await calls.ask(bench.model(), "two")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    options = {"durability": durability}
    if mode == "async" and not isinstance(error, Killed):
        pytest.skip("these end the event loop itself")
    with pytest.raises(type(error)):
        await run(mode, graph, {"messages": "go"}, thread(), **options)
    [row] = bench.rows("SELECT status FROM runs")
    assert row["status"] == "cancelled"
    again = {"messages": "go"} if durability == "exit" else None
    await run(mode, graph, again, thread(), **options)
    assert bench.asked == ["one", "two"]
    assert bench.ledger.lines == ["a"]


async def test_a_cancelled_run_repeats_no_finished_call(bench: Bench) -> None:
    reached = asyncio.Event()
    hold = asyncio.Event()

    async def node(state: MessagesState) -> Any:
        one = await bench.model().ainvoke("one")
        reached.set()
        await hold.wait()
        return {"messages": [one]}

    graph = one_node(bench.saver(), node)
    running = asyncio.create_task(graph.ainvoke({"messages": "go"}, thread()))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.rows("SELECT status FROM runs") == [{"status": "cancelled"}]
    hold.set()
    await graph.ainvoke(None, thread())
    assert bench.asked == ["one"]
    assert [row["status"] for row in bench.steps("status")] == ["done"]


async def test_a_call_that_is_cancelled_in_flight_is_asked_again(bench: Bench) -> None:
    held = threading.Event()

    def respond(request: dict[str, Any]) -> Reply:
        held.wait(60)
        return echo(request)

    bench.respond = respond

    async def node(state: MessagesState) -> Any:
        return {"messages": [await bench.model().ainvoke("one")]}

    graph = one_node(bench.saver(), node)
    running = asyncio.create_task(graph.ainvoke({"messages": "go"}, thread()))
    await bench.wait_for_calls(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    held.set()
    await graph.ainvoke(None, thread())
    assert bench.asked == ["one", "one"]
    assert [row["status"] for row in bench.steps("status")] == ["failed", "done"]


async def test_what_a_consumer_leaves_has_stopped_before_its_attempt_ends(bench: Bench) -> None:
    seen: list[Any] = []

    async def quick(state: MessagesState) -> Any:
        return {"messages": [await bench.model().ainvoke("one")]}

    async def slow(state: MessagesState) -> Any:
        if seen:
            return {}
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(bench.rows("SELECT status FROM runs"))

    builder: Any = StateGraph(MessagesState)
    builder.add_node(quick)
    builder.add_node(slow)
    builder.add_edge(START, "quick")
    builder.add_edge(START, "slow")
    graph = builder.compile(checkpointer=bench.saver())
    stream = graph.astream({"messages": "go"}, thread(), stream_mode="updates")
    async for _ in stream:
        break
    await stream.aclose()
    assert seen == [[{"status": "running"}]]
    assert bench.rows("SELECT status FROM runs") == [{"status": "cancelled"}]
    await graph.ainvoke(None, thread())
    assert bench.asked == ["one"]


# Rule 11: sent again.


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("mode", MODES)
async def test_an_input_sent_again_ends_as_a_run_that_was_not_stopped(
    bench: Bench, mode: Mode, way: str, durability: str
) -> None:
    async def sent(saver: Any, *, stops: bool) -> Any:
        fuse = Fuse(times=int(stops))

        async def first(state: MessagesState, calls: Calls) -> Any:
            if way == "invoke":
                return {"messages": [await calls.ask(bench.model(), "one")]}
            chunk, *rest = await calls.stream(bench.model(), "one")
            for more in rest:
                chunk += more
            return {"messages": [chunk]}

        async def second(state: MessagesState, calls: Calls) -> Any:
            fuse()
            return {"messages": [await calls.ask(bench.model(), state["messages"][-1].content)]}

        graph = chain_of(saver, as_node(mode, first), as_node(mode, second))
        if stops:
            with pytest.raises(Killed):
                await run(mode, graph, {"messages": "go"}, thread(), durability=durability)
        return await run(mode, graph, {"messages": "go"}, thread(), durability=durability)

    plain = await sent(InMemorySaver(), stops=False)
    assert bench.asked == ["one", "re: one"]
    assert shape(await sent(bench.saver(), stops=True)) == shape(plain)
    assert bench.asked[2:] == ["one", "re: one"]
    assert bench.rows("SELECT status, attempts FROM runs") == [{"status": "done", "attempts": 2}]


# Rule 10: what is paid is kept.


async def test_an_answer_is_kept_when_its_task_is_cancelled_during_the_commit(
    bench: Bench,
) -> None:
    release = threading.Event()
    saver = bench.saver()

    def respond(request: dict[str, Any]) -> Reply:
        # the writer is busy from here on: the answer's row waits behind this
        saver.journal.store.submit(lambda tx: release.wait(60) and None)
        return echo(request)

    bench.respond = respond

    async def node(state: MessagesState) -> Any:
        return {"messages": [await bench.model().ainvoke("one")]}

    graph = one_node(saver, node)
    running = asyncio.create_task(graph.ainvoke({"messages": "go"}, thread()))
    await bench.wait_for_calls(1)
    await asyncio.sleep(0.1)  # the answer is here, and being written
    running.cancel()
    await asyncio.sleep(0.02)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [row["status"] for row in bench.steps("status")] == ["done"]
    await graph.ainvoke(None, thread())
    assert bench.asked == ["one"]


# Rule 4: what finished is never replayed.


def counted_graph(bench: Bench, saver: Any) -> Any:
    """Return a graph of two nodes, each of which asks once."""
    bench.respond = counting()

    def first(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("one")]}

    def second(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("two")]}

    return chain_of(saver, first, second)


async def test_the_same_input_after_a_finished_run_is_a_new_run(bench: Bench) -> None:
    graph = counted_graph(bench, bench.saver())
    for _ in range(2):
        graph.invoke({"messages": "go"}, thread())
    assert bench.asked == ["one", "two", "one", "two"]
    assert [row["status"] for row in bench.rows("SELECT status FROM runs")] == ["done", "done"]
    assert bench.replays == 0


async def test_another_input_after_a_crash_is_a_new_run(bench: Bench) -> None:
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        answer = bench.model().invoke("one")
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke({"messages": "go on"}, thread())
    assert bench.asked == ["one", "one"]
    assert [row["status"] for row in bench.rows("SELECT status FROM runs ORDER BY started_at")] == [
        "cancelled",
        "done",
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["time travel", "update_state"])
async def test_a_fork_makes_live_calls_unless_replay_is_asked_for(
    bench: Bench, mode: Mode, way: str
) -> None:
    graph = counted_graph(bench, bench.saver())
    await run(mode, graph, {"messages": "go"}, thread())

    async def fork(**configurable: Any) -> str:
        history = list(graph.get_state_history(thread()))
        config: Any = next(s for s in history if s.next == ("second",)).config
        if way == "update_state":
            config = graph.update_state(config, {"messages": [AIMessage("noted")]})
        config["configurable"] |= configurable
        state = await run(mode, graph, None, config)
        return str(state["messages"][-1].content)

    assert await fork() == "re: two #3"
    assert bench.asked == ["one", "two", "two"]
    assert await fork(rowtrail_replay="always") == "re: two #3"
    assert bench.asked == ["one", "two", "two"]
    assert bench.replays == 1


async def test_a_node_that_runs_twice_in_one_run_asks_twice(bench: Bench) -> None:
    bench.respond = counting()

    def node(state: MessagesState) -> Any:
        return {"messages": [bench.model().invoke("one")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node(node)
    builder.add_edge(START, "node")
    builder.add_conditional_edges(
        "node", lambda state: "node" if len(state["messages"]) < 4 else "__end__"
    )
    state = builder.compile(checkpointer=bench.saver()).invoke({"messages": "go"}, thread())
    assert [m.content for m in state["messages"][1:]] == [f"re: one #{n}" for n in (1, 2, 3)]
    assert bench.replays == 0


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_resume_that_names_the_head_replays_the_crashed_node(
    bench: Bench, mode: Mode, durability: str
) -> None:
    fuse = Fuse(times=2)

    async def first(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), "one")]}

    async def second(state: MessagesState, calls: Calls) -> Any:
        two = await calls.ask(bench.model(), "two")
        fuse()
        return {"messages": [two]}

    graph = chain_of(bench.saver(), as_node(mode, first), as_node(mode, second))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread(), durability=durability)
    with pytest.raises(Killed):
        await run(mode, graph, None, graph.get_state(thread()).config)
    state = await run(mode, graph, None, graph.get_state(thread()).config)
    assert [m.content for m in state["messages"]] == ["go", "re: one", "re: two"]
    assert bench.asked == ["one", "two"]


# Rule 5: strict.


@pytest.mark.parametrize("mode", MODES)
async def test_with_strict_a_changed_request_is_an_error(bench: Bench, mode: Mode) -> None:
    prompts = iter(["one", "another", "one"])
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(bench.model(), next(prompts))
        fuse()
        return {}

    graph = one_node(bench.saver(strict=True), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    with pytest.raises(DivergedError) as caught:
        await run(mode, graph, None, thread())
    assert caught.value.name == "gpt-4o-mini" and caught.value.scope.endswith("/node")
    await run(mode, graph, None, thread())  # asked as it was recorded
    assert bench.asked == ["one"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_divergence_in_a_tool_is_no_message_to_the_model(bench: Bench, mode: Mode) -> None:
    look = look_up(bench.ledger)
    words = iter(["old", "new"])
    fuse = Fuse()
    tools = ToolNode([look], handle_tool_errors=True)

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(tools, {"messages": [asks_for(("look", {"word": next(words)}))]})
        fuse()
        return found

    graph = one_node(bench.saver(strict=True), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    with pytest.raises(DivergedError):
        await run(mode, graph, None, thread())
    assert bench.ledger.lines == ["old"]


def test_two_threads_that_resume_one_thread_pay_each_call_once(bench: Bench) -> None:
    fuse = Fuse()

    def slow(request: dict[str, Any]) -> Reply:
        time.sleep(0.1)
        return echo(request)

    bench.respond = slow
    look = look_up(bench.ledger)

    def node(state: MessagesState) -> Any:
        one = bench.model().invoke("one")
        fuse()
        look.invoke({"word": "a"})
        return {"messages": [one, bench.model().invoke("two")]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    with ThreadPoolExecutor() as pool:
        states = [pool.submit(graph.invoke, None, thread()) for _ in range(3)]
        texts = {str([m.content for m in s.result()["messages"][:3]]) for s in states}
    assert texts == {"['go', 're: one', 're: two']"}
    assert bench.asked == ["one", "two"]
    assert bench.ledger.lines == ["a"]


# Rule 9: a replay costs nothing and says so.


async def test_usage_counts_once_and_a_replay_tells_what_it_saved(bench: Bench) -> None:
    bench.respond = lambda r: Reply(f"re: {last_text(r)}", usage=Usage(1000, 100))
    fuse = Fuse(times=2)

    def node(state: MessagesState) -> Any:
        answer = bench.model().invoke("one")
        fuse()
        return {"messages": [answer, bench.model().invoke("two")]}

    graph = one_node(bench.saver(), node)
    for given in ({"messages": "go"}, None):
        with pytest.raises(Killed):
            graph.invoke(given, thread())
    graph.invoke(None, thread())
    [row] = bench.rows("SELECT * FROM runs")
    assert (row["input_tokens"], row["output_tokens"], row["saved_tokens"]) == (2000, 200, 2200)
    assert row["cost_usd"] == row["saved_usd"] > 0  # two answers paid, one of them saved twice
    replays = bench.rows("SELECT saved_input_tokens, saved_output_tokens, saved_usd FROM replays")
    [cost] = {r["cost_usd"] for r in bench.rows("SELECT cost_usd FROM llm_calls")}
    assert [tuple(r.values()) for r in replays] == [(1000, 100, cost)] * 2
    [spent] = bench.rows("SELECT model, calls, input_tokens, saved_tokens FROM spend")
    assert tuple(spent.values()) == ("gpt-4o-mini", 2, 2000, 2200)
