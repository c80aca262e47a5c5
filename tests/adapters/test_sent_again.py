"""Requests that are sent again: what continues, what begins anew, and what is given back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from rowtrail import InDoubtError, RunBusyError
from rowtrail.errors import UsageError
from rowtrail.testing import Reply
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._graphs import (
    GO,
    MODES,
    Bench,
    Broken,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    chain_of,
    one_node,
    run,
    sender,
    thread,
    tool_call,
)


def statuses(bench: Bench) -> list[str]:
    found = bench.rows("SELECT status FROM runs ORDER BY started_at, run_id")
    return [row["status"] for row in found]


# Which runs the same input continues.

STOPS: dict[str, tuple[BaseException, bool, bool]] = {
    # how the first go ends: (what is raised, after a write, whether the same input continues it)
    "cancelled": (Killed(), False, True),
    "cancelled after a write": (Killed(), True, True),
    "failed": (Broken("no"), False, False),
    "failed after a write": (Broken("no"), True, True),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("asked", ["default", "never", "resume"])
@pytest.mark.parametrize("stop", STOPS)
async def test_the_same_input_continues_what_was_left(
    bench: Bench, mode: Mode, asked: str, stop: str, caplog: pytest.LogCaptureFixture
) -> None:
    error, writes, continues = STOPS[stop]
    fuse = Fuse(error)
    send = sender(bench, Fuse(times=0), mode, on_doubt="fail")

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(bench.model(), "one")
        if writes:
            await calls.ask(send, tool_call("send", {"to": "a"}))
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(type(error)):
        await run(mode, graph, GO, thread())
    config = thread(**({} if asked == "default" else {"rowtrail_replay": asked}))
    with caplog.at_level(logging.WARNING, "rowtrail"):
        state = await run(mode, graph, GO, config)
    continued = asked == "resume" or (asked == "default" and continues)
    assert len(statuses(bench)) == (1 if continued else 2)
    assert statuses(bench)[-1] == "done"
    assert len(bench.ledger.lines) == (0 if not writes else 1 if continued else 2)
    questions = [m for m in state["messages"] if m.type == "human"]
    assert len(questions) == (1 if continued else 2)
    told = [r.getMessage() for r in caplog.records if "continues run" in r.getMessage()]
    assert len(told) == int(continued)


async def test_an_old_run_is_not_continued(bench: Bench) -> None:
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        fuse()
        return {}

    graph = one_node(bench.saver(resend_within=timedelta(0)), node)
    with pytest.raises(Killed):
        graph.invoke(GO, thread())
    await asyncio.sleep(0.01)
    graph.invoke(GO, thread())
    assert statuses(bench) == ["cancelled", "done"]


async def test_other_words_begin_a_run_of_their_own(bench: Bench) -> None:
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        fuse()
        return {}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke(GO, thread())
    graph.invoke({"messages": [("user", "are you there? go on")]}, thread())
    assert statuses(bench) == ["cancelled", "done"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("decision", ["happened", "did not happen"])
async def test_other_words_are_in_doubt_with_the_write_before_them(
    bench: Bench, mode: Mode, decision: str
) -> None:
    send = sender(bench, Fuse(), mode, on_doubt="fail")
    bench.respond = lambda request: (
        Reply("done")
        if request["messages"][-1]["role"] == "tool"
        else Reply(tool_calls=[("send", {"to": "a"})])
    )
    saver = bench.saver()
    agent = create_agent(bench.model(), [send], checkpointer=saver)
    with pytest.raises(Killed):
        await run(mode, agent, GO, thread())
    with pytest.raises(InDoubtError) as caught:
        await run(mode, agent, {"messages": [("user", "go on")]}, thread())
    assert len(bench.ledger.lines) == 1
    first, second = bench.steps("step_id, status", "kind = 'tool'")
    assert [first["status"], second["status"]] == ["in_doubt", "in_doubt"]
    assert caught.value.step_id == second["step_id"]
    if decision == "happened":
        saver.journal.settle(first["step_id"], result="seen in the outbox")
    else:
        saver.journal.settle(second["step_id"], happened=False)
    state = await run(mode, agent, None, thread())
    assert len(bench.ledger.lines) == (1 if decision == "happened" else 2)
    assert [step["status"] for step in bench.steps("status", "kind = 'tool'")][:2] == (
        ["done", "done"] if decision == "happened" else ["superseded", "superseded"]
    )
    assert state["messages"][-1].content == "done"


@pytest.mark.parametrize("mode", MODES)
async def test_one_call_is_in_doubt_with_each_that_was(bench: Bench, mode: Mode) -> None:
    """Of two equal calls one had ended, and the other is in doubt: so is one of the next two."""
    fuse = Fuse()
    send = sender(bench, fuse, mode, on_doubt=lambda step: "seen in the outbox")
    words = ["go", "go on"]

    async def node(state: MessagesState, calls: Calls) -> Any:
        fuse.left = 0
        told = [await calls.ask(send, tool_call("send", {"to": "a"}, "c1"))]
        fuse.left = int(state["messages"][-1].content == words[0])
        told.append(await calls.ask(send, tool_call("send", {"to": "a"}, "c2")))
        return {"messages": told}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [("user", words[0])]}, thread())
    state = await run(mode, graph, {"messages": [("user", words[1])]}, thread())
    told = [m.content for m in state["messages"] if m.type == "tool"]
    assert sorted(told) == ["seen in the outbox", "sent to a"] and len(bench.ledger.lines) == 3


async def test_a_run_begun_with_never_leaves_doubts_listed(bench: Bench) -> None:
    send = sender(bench, Fuse(), "sync", on_doubt="fail")

    def node(state: MessagesState) -> Any:
        send.invoke(tool_call("send", {"to": "a"}))
        return {}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke(GO, thread())
    graph.invoke(GO, thread(rowtrail_replay="never"))
    assert [step["status"] for step in bench.steps("status")] == ["in_doubt", "done"]
    assert bench.steps("reason_code")[-1]["reason_code"] == "never"


@pytest.mark.parametrize("wrong", ["sometimes", "", 1, True])
async def test_an_unknown_word_is_refused(bench: Bench, wrong: object) -> None:
    graph = one_node(bench.saver(), lambda state: {})
    with pytest.raises(UsageError, match="rowtrail_replay"):
        graph.invoke(GO, thread(rowtrail_replay=wrong))
    with pytest.raises(UsageError, match="multitask"):
        RowtrailSaver("never-opened.db", multitask=str(wrong))  # type: ignore[arg-type]


# A request with a name.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("between", [False, True])
async def test_a_named_request_that_is_done_is_given_back(
    bench: Bench, mode: Mode, between: bool
) -> None:
    async def node(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(bench.model(), state["messages"][-1].content)]}

    graph = one_node(bench.saver(), as_node(mode, node))
    named = thread(rowtrail_run_id="order-42")
    first = await run(mode, graph, GO, named)
    if between:
        await run(mode, graph, {"messages": [("user", "more")]}, thread())
    calls, checkpoints = bench.calls, bench.rows("SELECT count(*) AS n FROM checkpoints")
    assert await run(mode, graph, GO, named) == first
    assert await run(mode, graph, GO, named, stream_mode=["values"]) == [("values", first)]
    assert await run(mode, graph, GO, named, stream_mode="updates") == []
    assert bench.calls == calls
    assert bench.rows("SELECT count(*) AS n FROM checkpoints") == checkpoints
    assert bench.rows("SELECT count(*) AS n FROM runs WHERE run_id = 'order-42'") == [{"n": 1}]


@pytest.mark.parametrize("mode", MODES)
async def test_a_named_request_keeps_its_input_and_its_thread(bench: Bench, mode: Mode) -> None:
    async def node(state: MessagesState, calls: Calls) -> Any:
        return {}

    graph = one_node(bench.saver(), as_node(mode, node))
    await run(mode, graph, GO, thread(rowtrail_run_id="r"))
    with pytest.raises(UsageError, match="another input"):
        await run(mode, graph, {"messages": [("user", "other")]}, thread(rowtrail_run_id="r"))
    with pytest.raises(UsageError, match="another thread"):
        await run(mode, graph, GO, thread("2", rowtrail_run_id="r"))
    assert statuses(bench) == ["done"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [Killed(), Broken("no")])
async def test_a_named_request_that_was_left_goes_on(
    bench: Bench, mode: Mode, error: BaseException
) -> None:
    fuse = Fuse(error)

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(bench.model(), "one")
        await calls.ask(bench.model(), "two")
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), as_node(mode, node))
    named = thread(rowtrail_run_id="r")
    with pytest.raises(type(error)):
        await run(mode, graph, GO, named)
    state = await run(mode, graph, GO, named)
    again = [] if isinstance(error, Killed) else ["two"]  # the code raised after that answer
    assert bench.asked == ["one", "two", *again]
    assert [m.content for m in state["messages"]] == ["go", "re: one"]
    assert statuses(bench) == ["done"]


async def test_a_named_request_that_goes_on_elsewhere_is_busy(bench: Bench) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def node(state: MessagesState) -> Any:
        entered.set()
        await release.wait()
        return {}

    graph = one_node(bench.saver(), node)
    first = asyncio.create_task(graph.ainvoke(GO, thread(rowtrail_run_id="r")))
    await entered.wait()
    with pytest.raises(RunBusyError) as caught:
        await graph.ainvoke(GO, thread(rowtrail_run_id="r"))
    assert caught.value.run_id == "r" and caught.value.retry_after_s is None
    release.set()
    await first


# Answers to questions.


def two_questions(bench: Bench, mode: Mode, shape: str, fuse: Callable[[], None]) -> Any:
    async def first(state: MessagesState, calls: Calls) -> Any:
        got = [interrupt("first?")]
        if shape == "one node":
            fuse()
            got.append(interrupt("second?"))
        return {"messages": [AIMessage(text) for text in got]}

    async def second(state: MessagesState, calls: Calls) -> Any:
        if shape == "one node":
            return {}
        fuse()
        return {"messages": [AIMessage(interrupt("second?"))]}

    return chain_of(bench.saver(), as_node(mode, first), as_node(mode, second))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("again", ["the same answer", "nothing"])
@pytest.mark.parametrize("shape", ["one node", "two nodes"])
async def test_an_answer_sent_again_answers_no_later_question(
    bench: Bench, mode: Mode, shape: str, again: str
) -> None:
    graph = two_questions(bench, mode, shape, Fuse())
    await run(mode, graph, GO, thread())
    with pytest.raises(Killed):
        await run(mode, graph, Command(resume="yes"), thread())
    given: Any = Command(resume="yes") if again == "the same answer" else None
    for _ in range(2):
        state = await run(mode, graph, given, thread())
        assert [q.value for q in state["__interrupt__"]] == ["second?"]
        given = None
    state = await run(mode, graph, Command(resume="no"), thread())
    assert [m.content for m in state["messages"]] == ["go", "yes", "no"]


@pytest.mark.parametrize("mode", MODES)
async def test_equal_answers_to_two_questions_are_two_answers(bench: Bench, mode: Mode) -> None:
    graph = two_questions(bench, mode, "one node", lambda: None)
    await run(mode, graph, GO, thread())
    state = await run(mode, graph, Command(resume="yes"), thread())
    assert [q.value for q in state["__interrupt__"]] == ["second?"]
    state = await run(mode, graph, Command(resume="yes"), thread())
    assert [m.content for m in state["messages"]] == ["go", "yes", "yes"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_is_refused_leaves_the_run_waiting(bench: Bench, mode: Mode) -> None:
    async def ask(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [HumanMessage(interrupt("?"))]}

    builder: Any = StateGraph(MessagesState)
    for name in ("left", "right"):
        builder.add_node(name, as_node(mode, ask))
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    graph = builder.compile(checkpointer=bench.saver())
    await run(mode, graph, GO, thread())
    with pytest.raises(RuntimeError):
        await run(mode, graph, Command(resume="yes"), thread())
    assert bench.rows("SELECT status, error FROM runs") == [{"status": "waiting", "error": None}]


# Two inputs at once on one thread.


@pytest.mark.parametrize("multitask", ["allow", "enqueue", "reject"])
async def test_a_second_input_at_once(
    bench: Bench, multitask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    entered, release = asyncio.Event(), asyncio.Event()
    seen: list[list[str]] = []

    async def node(state: MessagesState) -> Any:
        seen.append([str(m.content) for m in state["messages"]])
        if len(seen) == 1:
            entered.set()
            await release.wait()
        return {}

    graph = one_node(bench.saver(multitask=multitask), node)
    first = asyncio.create_task(graph.ainvoke(GO, thread()))
    await entered.wait()
    other = {"messages": [("user", "other")]}
    with caplog.at_level(logging.WARNING, "rowtrail"):
        if multitask == "reject":
            with pytest.raises(RunBusyError, match="reject"):
                await graph.ainvoke(other, thread())
        second = None
        if multitask != "reject":
            second = asyncio.create_task(graph.ainvoke(other, thread()))
        if multitask == "allow":
            assert second is not None
            await second
            assert any("begins beside it" in r.getMessage() for r in caplog.records)
        release.set()
        await first
        if second is not None:
            await second
    assert multitask != "enqueue" or seen[1] == ["go", "other"]
