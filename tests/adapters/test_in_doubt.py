"""Steps that may or may not have happened: each effect, each policy, each answer of a person."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

import rowtrail
from rowtrail.errors import InDoubtError
from rowtrail.testing import LLMServer
from tests.adapters._child import Agent, Children
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    last_text,
    one_node,
    run,
    sender,
    thread,
    told,
)
from tests.programs.scenarios import respond

# Real kills.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("happened", [False, True], ids=["before the effect", "after the effect"])
def test_a_write_tool_that_was_killed_is_not_made_again_until_somebody_says_so(
    children: Children, tmp_path: Path, mode: Mode, happened: bool
) -> None:
    point = "after the effect" if happened else "before the effect"
    with LLMServer(respond) as server:
        agent = Agent(
            tmp_path / "agent",
            children,
            server.base_url,
            scenario="write_tool",
            mode=mode,
            effects={"send": "write"},
        )
        agent.killed(point)
        name, step = agent.resumed()["error"]
        assert name == "InDoubtError"
        assert agent.resumed()["error"] == ["InDoubtError", step]
        [run_row] = agent.rows("SELECT status, in_doubt, error FROM runs")
        assert run_row["status"] == "failed" and run_row["in_doubt"] == 1
        assert "journal.settle" in run_row["error"]
        assert agent.ledger.lines == (["a"] if happened else [])
        with rowtrail.Journal(agent.path) as journal:
            if happened:
                journal.settle(step, result="sent to a")
            else:
                journal.settle(step, happened=False)
        state = agent.resumed()["state"]
        assert [last_text(r) for r in server.requests] == ["send it", "close"]
    assert agent.ledger.lines == ["a"]
    assert [text for kind, text, *_ in state["messages"] if kind == "tool"] == ["sent to a"]
    expected = ["done"] if happened else ["superseded", "done"]
    rows = agent.rows("SELECT status FROM steps WHERE kind = 'tool' ORDER BY seq")
    assert [r["status"] for r in rows] == expected


@pytest.mark.parametrize("effect", ["read", "idempotent"])
def test_a_killed_tool_that_may_be_made_again_is_made_again_and_says_so(
    children: Children, tmp_path: Path, effect: str
) -> None:
    with LLMServer(respond) as server:
        agent = Agent(
            tmp_path / "agent",
            children,
            server.base_url,
            scenario="write_tool",
            effects={"send": effect},
        )
        agent.killed("after the effect")
        assert "state" in agent.resumed()
    assert agent.ledger.lines == ["a", "a"]
    first, second = agent.rows(
        "SELECT status, reason, idempotency_key FROM steps WHERE kind = 'tool' ORDER BY seq"
    )
    assert (first["status"], second["status"]) == ("superseded", "done")
    assert second["reason"] == f"in doubt: made again, the effect is {effect}"
    assert first["idempotency_key"] == second["idempotency_key"]


# Policies, with a stand-in for the kill.


def sending(bench: Bench, mode: Mode, send: BaseTool) -> Any:
    """Return a graph that asks, sends and asks again."""
    tools = ToolNode([send], handle_tool_errors=True)

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(bench.model(), "one")
        asked = asks_for(("send", {"to": "a"}))
        found = await calls.ask(tools, {"messages": [asked]})
        two = await calls.ask(bench.model(), "two")
        return {"messages": [one, asked, *found["messages"], two]}

    return one_node(bench.saver(), as_node(mode, node))


async def killed_once(bench: Bench, mode: Mode, **declared: Any) -> Any:
    """Return a graph whose tool was killed after its effect."""
    graph = sending(bench, mode, sender(bench, Fuse(), mode, **declared))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    assert len(bench.ledger.lines) == 1
    assert bench.statuses("kind = 'tool'") == [("send", "in_doubt")]
    return graph


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("declared", [{}, {"on_doubt": "fail"}], ids=["nothing said", "fail"])
async def test_fail_raises_and_the_model_is_not_told(
    bench: Bench, mode: Mode, declared: dict[str, Any]
) -> None:
    graph = await killed_once(bench, mode, **declared)
    with pytest.raises(InDoubtError) as caught:
        await run(mode, graph, None, thread())
    error = caught.value
    [row] = bench.steps("step_id, idempotency_key", "kind = 'tool'")
    assert (error.step_id, error.idempotency_key) == tuple(row.values())
    assert error.name == "send"
    assert len(bench.ledger.lines) == 1 and bench.asked == ["one"]


@pytest.mark.parametrize("mode", MODES)
async def test_retry_makes_it_again_with_the_same_key(bench: Bench, mode: Mode) -> None:
    graph = await killed_once(bench, mode, on_doubt="retry")
    state = await run(mode, graph, None, thread())
    assert told(state) == ["sent to a"] and bench.asked == ["one", "two"]
    first, second = bench.ledger.lines
    assert first == second  # the key is in the line
    rows = bench.steps("status, reason", "kind = 'tool'")
    assert [row["status"] for row in rows] == ["superseded", "done"]
    assert rows[1]["reason"] == "in doubt: decided to make it again"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("found", ["it happened", "it did not"])
@pytest.mark.parametrize("kind", ["function", "coroutine function"])
async def test_a_function_looks_whether_it_happened(
    bench: Bench, mode: Mode, found: str, kind: str
) -> None:
    asked: list[rowtrail.Step] = []

    def look(step: rowtrail.Step) -> Any:
        asked.append(step)
        return "found in the outbox" if found == "it happened" else rowtrail.NOT_DONE

    async def alook(step: rowtrail.Step) -> Any:
        await asyncio.sleep(0)
        return look(step)

    if kind == "coroutine function" and mode == "sync":
        pytest.skip("a synchronous call cannot wait for a coroutine")
    policy = look if kind == "function" else alook
    graph = await killed_once(bench, mode, on_doubt=policy)
    state = await run(mode, graph, None, thread())
    [step] = asked
    key = bench.ledger.lines[0].split()[1]
    assert (step.name, step.input, step.idempotency_key) == ("send", {"to": "a"}, key)
    if found == "it happened":
        assert told(state) == ["found in the outbox"] and len(bench.ledger.lines) == 1
        [row] = bench.steps("status, reason", "kind = 'tool'")
        assert (row["status"], row["reason"]) == ("done", "in doubt: settled with this result")
    else:
        assert told(state) == ["sent to a"] and len(bench.ledger.lines) == 2


ANSWERS: dict[str, tuple[Any, str, int]] = {
    "retry": ("retry", "sent to a", 2),
    "skip": ("skip", "skipped: a person decided that this call is not made", 1),
    "shouted": (" RETRY ", "sent to a", 2),
    "text": ({"result": "it went out"}, "it went out", 1),
    "data": ({"result": {"id": 7, "ok": True}}, '{"id": 7, "ok": true}', 1),
    "a word as result": ({"result": "retry"}, "retry", 1),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_person_is_asked_by_an_interrupt(bench: Bench, mode: Mode, answer: str) -> None:
    given, result, effects = ANSWERS[answer]
    graph = await killed_once(bench, mode, on_doubt="ask")
    asked = await run(mode, graph, None, thread())
    [question] = asked["__interrupt__"]
    [row] = bench.steps("step_id, idempotency_key", "kind = 'tool'")
    said = question.value
    assert said["type"] == "rowtrail.in_doubt"
    assert (said["step_id"], said["idempotency_key"]) == tuple(row.values())
    assert (said["name"], said["args"]) == ("send", {"to": "a"})
    assert "may or may not have happened" in said["question"]
    assert bench.rows("SELECT status, in_doubt FROM runs") == [{"status": "waiting", "in_doubt": 1}]
    state = await run(mode, graph, Command(resume=given), thread())
    assert told(state) == [result]
    assert len(bench.ledger.lines) == effects and bench.asked == ["one", "two"]
    assert bench.rows("SELECT status, in_doubt FROM runs") == [{"status": "done", "in_doubt": 0}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("invalid", ["hello", "", 7, ["retry"], {"result": 1, "more": 2}, {}])
async def test_an_answer_that_is_none_is_asked_again(
    bench: Bench, mode: Mode, invalid: Any
) -> None:
    graph = await killed_once(bench, mode, on_doubt="ask")
    await run(mode, graph, None, thread())
    for _ in range(2):
        asked = await run(mode, graph, Command(resume=invalid), thread())
        assert asked["__interrupt__"][0].value["name"] == "send"
    assert len(bench.ledger.lines) == 1
    state = await run(mode, graph, Command(resume={"result": "seen"}), thread())
    assert told(state) == ["seen"] and len(bench.ledger.lines) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_question_that_nobody_answers_is_asked_again(bench: Bench, mode: Mode) -> None:
    graph = await killed_once(bench, mode, on_doubt="ask")
    for _ in range(2):
        asked = await run(mode, graph, None, thread())
        assert asked["__interrupt__"][0].value["name"] == "send"
    state = await run(mode, graph, Command(resume="skip"), thread())
    assert told(state)[0].startswith("skipped")


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_outlives_another_crash(bench: Bench, mode: Mode) -> None:
    """The answer was consumed, the call made again, and the process died in it again."""
    fuse = Fuse(times=2)
    graph = sending(bench, mode, sender(bench, fuse, mode, on_doubt="ask"))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    await run(mode, graph, None, thread())
    with pytest.raises(Killed):
        await run(mode, graph, Command(resume="retry"), thread())
    asked = await run(mode, graph, None, thread())
    [question] = asked["__interrupt__"]
    doubtful = bench.steps("step_id", "status = 'in_doubt'")
    assert [question.value["step_id"]] == [row["step_id"] for row in doubtful]
    state = await run(mode, graph, Command(resume={"result": "it went out"}), thread())
    assert told(state) == ["it went out"]
    assert len(bench.ledger.lines) == 2


async def test_a_call_made_again_without_a_declared_effect_is_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    fuse = Fuse()

    @tool
    def send(to: str) -> str:
        """Send."""
        fuse()
        return "sent"

    def node(state: MessagesState) -> Any:
        send.invoke({"to": "a"})
        return {}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    with caplog.at_level(logging.WARNING, logger="rowtrail"):
        graph.invoke(None, thread())
    [record] = [r for r in caplog.records if r.name == "rowtrail"]
    assert "'send'" in record.getMessage() and "made again" in record.getMessage()


async def test_a_cancelled_tool_is_in_doubt(bench: Bench) -> None:
    reached = asyncio.Event()

    @tool
    async def send(to: str) -> str:
        """Send."""
        bench.ledger.add(to)
        reached.set()
        await asyncio.Event().wait()
        return "sent"

    async def node(state: MessagesState) -> Any:
        await send.ainvoke({"to": "a"})
        return {}

    graph = one_node(bench.saver(effects={"send": "write"}), node)
    running = asyncio.create_task(graph.ainvoke({"messages": "go"}, thread()))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.statuses() == [("send", "in_doubt")]
    with pytest.raises(InDoubtError):
        await graph.ainvoke(None, thread())
    assert bench.ledger.lines == ["a"]
