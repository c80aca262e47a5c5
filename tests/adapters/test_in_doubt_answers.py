"""Answers about steps in doubt: each question gets its own, whatever comes in between."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

import rowtrail
from rowtrail.engine import Row
from rowtrail.journal._attempt import Scope
from rowtrail.journal._call import Call
from rowtrail.journal._doubt import SKIPPED_TEXT, resolve_doubt
from rowtrail.journal._flow import Flow
from rowtrail.journal._request import Key, Request
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
    one_node,
    run,
    sender,
    thread,
    told,
    tool_call,
)

# Policies, with a stand-in for the kill.


def all_at_once(bench: Bench, count: int, mode: Mode) -> BaseTool:
    """Return a tool whose first `count` calls are all killed, after all have begun."""
    together = threading.Barrier(count)
    begun: list[str] = []
    everybody = asyncio.Event()

    @tool
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        if len(begun) < count:
            begun.append(to)
            together.wait(60)
            raise Killed
        return f"sent to {to}"

    @tool("send")
    async def asend(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        if len(begun) < count:
            begun.append(to)
            if len(begun) == count:
                everybody.set()
            await everybody.wait()
            raise Killed
        return f"sent to {to}"

    made = send if mode == "sync" else asend
    made.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}
    return made


async def answered(
    mode: Mode, graph: Any, answers: dict[str, Any], most: int, config: Any = None
) -> tuple[Any, list[str]]:
    """Answer questions about a tool by its argument `to`, and return the state and the order."""
    order: list[str] = []
    state = await run(mode, graph, None, config or thread())
    while "__interrupt__" in state:
        question = state["__interrupt__"][0]
        order.append(question.value["args"]["to"])
        assert len(order) <= most, f"asked too often: {order}"
        state = await run(mode, graph, Command(resume=answers[order[-1]]), config or thread())
    return state, order


PEOPLE = ("a", "b", "c")


@pytest.mark.parametrize("round", range(3))
@pytest.mark.parametrize("mode", MODES)
async def test_parallel_tools_in_doubt_get_their_own_answers(
    bench: Bench, mode: Mode, round: int
) -> None:
    send = all_at_once(bench, len(PEOPLE), mode)
    graph = one_node(bench.saver(), ToolNode([send], handle_tool_errors=True), name="tools")
    people = PEOPLE[round:] + PEOPLE[:round]
    asked = asks_for(*(("send", {"to": person}) for person in people))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asked]}, thread())
    await bench.wait_for(3, "in_doubt")
    answers = {"a": {"result": "answer for a"}, "b": "retry", "c": {"result": "answer for c"}}
    state, order = await answered(mode, graph, answers, 3)
    assert sorted(order) == list(PEOPLE)
    expected = {"a": "answer for a", "b": "sent to b", "c": "answer for c"}
    assert told(state) == [expected[person] for person in people]
    assert sorted(bench.ledger.lines) == ["a", "b", "b", "c"]


@pytest.mark.parametrize("mode", MODES)
async def test_parallel_tools_get_their_own_answers_across_a_crash_between_them(
    bench: Bench, mode: Mode
) -> None:
    """One answer is written down, then the process dies before the others are."""
    send = all_at_once(bench, len(PEOPLE), mode)
    fuse = Fuse(times=0)
    tools = ToolNode([send], handle_tool_errors=True)

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(tools, state)
        fuse()
        return found

    graph = one_node(bench.saver(), as_node(mode, node))
    asked = asks_for(*(("send", {"to": person}) for person in PEOPLE))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asked]}, thread())
    await bench.wait_for(3, "in_doubt")
    answers = {person: {"result": f"answer for {person}"} for person in PEOPLE}
    fuse.left = 1
    with pytest.raises(Killed):
        await answered(mode, graph, answers, 3)
    # of the three settled steps, two are set back, as if the process had died between them
    with closing(sqlite3.connect(bench.path)) as connection, connection:
        connection.execute(
            "UPDATE step SET status = 'in_doubt', output = NULL WHERE id IN"
            " (SELECT id FROM step WHERE kind = 'tool' ORDER BY id LIMIT 2)"
        )
    state = await run(mode, graph, None, thread())
    assert told(state) == [f"answer for {person}" for person in PEOPLE]
    assert sorted(bench.ledger.lines) == list(PEOPLE)


@pytest.mark.parametrize("mode", MODES)
async def test_tools_of_an_agent_in_doubt_are_each_a_question_of_their_own(
    bench: Bench, mode: Mode
) -> None:
    def script(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "user":
            return Reply(tool_calls=[("send", {"to": person}) for person in PEOPLE])
        return Reply("all sent")

    bench.respond = script
    send = all_at_once(bench, len(PEOPLE), mode)
    graph: Any = create_agent(bench.model(), [send], checkpointer=bench.saver())
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "send"}, thread())
    await bench.wait_for(3, "in_doubt", "kind = 'tool'")
    state = await run(mode, graph, None, thread())
    questions = state["__interrupt__"]
    assert sorted(q.value["args"]["to"] for q in questions) == list(PEOPLE)
    answers = {q.id: {"result": f"answer for {q.value['args']['to']}"} for q in questions}
    state = await run(mode, graph, Command(resume=answers), thread())
    assert sorted(told(state)) == [f"answer for {person}" for person in PEOPLE]
    assert sorted(bench.ledger.lines) == list(PEOPLE)
    assert bench.calls == 2


# Answers are found by position: a call in doubt takes a position too, now and on replay.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answer", ["skip", "retry"])
async def test_the_answer_about_a_call_is_not_given_to_a_later_interrupt(
    bench: Bench, mode: Mode, answer: str
) -> None:
    send = sender(bench, Fuse(), mode, on_doubt="ask")

    async def node(state: MessagesState, calls: Calls) -> Any:
        sent = await calls.ask(send, tool_call("send", {"to": "a"}))
        first = interrupt("first?")
        second = interrupt("second?")
        return {"messages": [sent, AIMessage(f"{first} {second}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    state = await run(mode, graph, None, thread())
    assert state["__interrupt__"][0].value["name"] == "send"
    state = await run(mode, graph, Command(resume=answer), thread())
    assert state["__interrupt__"][0].value == "first?"
    state = await run(mode, graph, Command(resume="yes"), thread())
    assert state["__interrupt__"][0].value == "second?"
    state = await run(mode, graph, Command(resume="no"), thread())
    assert state["messages"][-1].content == "yes no"
    assert len(bench.ledger.lines) == (2 if answer == "retry" else 1)


@pytest.mark.parametrize("mode", MODES)
async def test_two_calls_in_doubt_with_an_interrupt_between_them(bench: Bench, mode: Mode) -> None:
    fuses = {"a": Fuse(), "b": Fuse()}

    def act(to: str) -> str:
        bench.ledger.add(to)
        fuses[to]()
        return f"sent to {to}"

    @tool
    def send(to: str) -> str:
        """Send."""
        return act(to)

    send.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(send, {"to": "a"})
        said = interrupt("between?")
        two = await calls.ask(send, {"to": "b"})
        after = interrupt("after?")
        return {"messages": [AIMessage(f"{one}, {said}, {two}, {after}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    questions: list[Any] = []
    state = await run(mode, graph, None, thread())
    for answer in ({"result": "one"}, "said", {"result": "two"}, "done"):
        value = state["__interrupt__"][0].value
        questions.append(value["args"]["to"] if isinstance(value, dict) else value)
        try:
            state = await run(mode, graph, Command(resume=answer), thread())
        except Killed:  # in the second send, once the interrupt before it was answered
            state = await run(mode, graph, None, thread())
    assert questions == ["a", "between?", "b", "after?"]
    assert state["messages"][-1].content == "one, said, two, done"
    assert bench.ledger.lines == ["a", "b"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_in_doubt_inside_a_tool_leaves_later_interrupts_alone(
    bench: Bench, mode: Mode
) -> None:
    fuse = Fuse()

    @rowtrail.step(effect="write", on_doubt="ask")
    def post(to: str) -> str:
        bench.ledger.add(to)
        fuse()
        return f"posted to {to}"

    @tool
    def send(to: str) -> str:
        """Send."""
        return f"{post(to)}!"

    async def node(state: MessagesState, calls: Calls) -> Any:
        sent = await calls.ask(send, {"to": "a"})
        said = interrupt("after?")
        return {"messages": [AIMessage(f"{sent} {said}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    state = await run(mode, graph, None, thread())
    assert state["__interrupt__"][0].value["name"].endswith("post")
    state = await run(mode, graph, Command(resume={"result": "looked: posted"}), thread())
    assert state["__interrupt__"][0].value == "after?"
    state = await run(mode, graph, Command(resume="fine"), thread())
    assert state["messages"][-1].content == "looked: posted! fine"
    assert bench.ledger.lines == ["a"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_function_step_in_doubt_is_asked_about_in_a_node(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    @rowtrail.step(effect="write", on_doubt="ask")
    def post(to: str) -> dict[str, Any]:
        bench.ledger.add(to)
        fuse()
        return {"id": len(bench.ledger.lines)}

    async def node(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [AIMessage(json.dumps(post("a")))]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    state = await run(mode, graph, None, thread())
    value = state["__interrupt__"][0].value
    assert value["args"] == {"args": ["a"], "kwargs": {}}
    state = await run(mode, graph, Command(resume={"result": {"id": 9}}), thread())
    assert json.loads(state["messages"][-1].content) == {"id": 9}
    assert bench.ledger.lines == ["a"]


@pytest.mark.parametrize("decided", ["happened", "did not happen"])
@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("mode", MODES)
async def test_what_is_decided_as_a_person_is_about_to_be_asked_is_not_asked(
    bench: Bench, mode: Mode, others: int, decided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the step and the question, `rowtrail in-doubt` decides of it."""
    people = PEOPLE[: others + 1]
    send = all_at_once(bench, len(people), mode)
    saver = bench.saver()
    graph = one_node(saver, ToolNode([send], handle_tool_errors=True), name="tools")
    asked = asks_for(*(("send", {"to": person}) for person in people))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asked]}, thread())
    await bench.wait_for(len(people), "in_doubt")

    settled = set[str]()

    def settling(scope: Scope, request: Request, key: Key, row: Row) -> Flow[Call | None]:
        step = str(row["id"])
        if step not in settled:
            settled.add(step)
            if decided == "happened":
                saver.journal.settle(step, result="by hand")
            else:
                saver.journal.settle(step, happened=False)
        return (yield from resolve_doubt(scope, request, key, row))

    monkeypatch.setattr("rowtrail.journal._find.resolve_doubt", settling)
    state = await run(mode, graph, None, thread())
    assert "__interrupt__" not in state
    by_hand = decided == "happened"
    assert told(state) == ["by hand" if by_hand else f"sent to {each}" for each in people]
    assert sorted(bench.ledger.lines) == sorted([*people, *(() if by_hand else people)])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [({"result": "by hand"}, "by hand"), ("retry", "sent to a"), ("skip", SKIPPED_TEXT)],
)
@pytest.mark.parametrize("mode", MODES)
async def test_a_person_is_asked_about_a_call_whose_result_could_not_be_stored(
    bench: Bench, mode: Mode, answer: Any, expected: str
) -> None:
    artifacts = [threading.Lock(), None]  # the first one cannot be stored
    fuse = Fuse()

    @tool(response_format="content_and_artifact")
    def send(to: str) -> tuple[str, Any]:
        """Send."""
        bench.ledger.add(to)
        return f"sent to {to}", artifacts.pop(0)

    send.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}
    tools = ToolNode([send])

    async def node(state: MessagesState, calls: Calls) -> Any:
        found = await calls.ask(tools, state)
        fuse()
        # LangGraph's own checkpoint could not hold the artifact either
        plain = [message.model_copy(update={"artifact": None}) for message in found["messages"]]
        return {"messages": plain}

    graph = one_node(bench.saver(), as_node(mode, node))
    asked = asks_for(("send", {"to": "a"}))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": [asked]}, thread())
    state, order = await answered(mode, graph, {"a": answer}, 1)
    assert (told(state), order) == ([expected], ["a"])
    assert bench.ledger.lines == ["a"] * (2 if answer == "retry" else 1)
