"""What a graph asks a person, and the answers: the view `questions` and `runs.waiting_for`."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Interrupt, interrupt

from rowtrail import Journal
from rowtrail.testing import Reply
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._graphs import (
    DURABILITIES,
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
from tests.cases.hostile import TEXTS

Row = dict[str, Any]


def questions(bench: Bench, where: str = "true") -> list[Row]:
    return bench.rows(f"SELECT * FROM questions WHERE {where} ORDER BY asked_at, question_id")


def said(bench: Bench) -> list[tuple[Any, Any]]:
    """Return questions and answers, in the order of asking."""
    return [(row["question"], row["answer"]) for row in questions(bench)]


def waiting(bench: Bench) -> list[tuple[str, str | None]]:
    found = bench.rows("SELECT status, waiting_for FROM runs ORDER BY started_at")
    return [(row["status"], row["waiting_for"]) for row in found]


def asking(*values: Any) -> Callable[[Any, Calls], Any]:
    """Return a node that asks a person these, one after the other."""

    async def node(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [AIMessage(str([interrupt(value) for value in values]))]}

    return node


# One question.


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
async def test_a_question_is_there_while_a_run_waits_and_the_answer_afterwards(
    bench: Bench, mode: Mode, durability: Any
) -> None:
    graph = one_node(bench.saver(), as_node(mode, asking("Publish the zebra report?")))
    await run(mode, graph, GO, thread(), durability=durability)
    [row] = questions(bench)
    assert (row["kind"], row["node"], row["step_id"]) == ("interrupt", "node", None)
    assert (row["thread_id"], row["answered_at"], row["answer"]) == ("1", None, None)
    assert waiting(bench) == [("waiting", "Publish the zebra report?")]
    await run(mode, graph, Command(resume="no, says Zoltan"), thread(), durability=durability)
    [answered] = questions(bench)
    assert answered["answer"] == "no, says Zoltan" and answered["answered_at"] >= row["asked_at"]
    assert {k: answered[k] for k in row if k[:6] != "answer"} == {
        k: row[k] for k in row if k[:6] != "answer"
    }
    assert waiting(bench) == [("done", None)]
    assert bench.rows("SELECT run_id FROM runs") == [{"run_id": row["run_id"]}]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_streamed_graph_asks_too(bench: Bench, way: str) -> None:
    mode: Mode = "async" if way == "astream" else "sync"
    graph = one_node(bench.saver(), as_node(mode, asking("sure?")))
    inputs: tuple[Any, ...] = (GO, Command(resume="yes"))
    for given in inputs:
        if way == "astream":
            assert [chunk async for chunk in graph.astream(given, thread())]
        else:
            assert list(graph.stream(given, thread()))
    assert said(bench) == [("sure?", "yes")]


def test_an_answer_in_another_process_is_an_answer_too(bench: Bench) -> None:
    node = as_node("sync", asking("one?", "two?"))
    inputs: tuple[Any, ...] = (GO, Command(resume="1"), Command(resume="2"))
    for given in inputs:
        with RowtrailSaver(bench.path) as saver:  # another journal each time
            one_node(saver, node).invoke(given, thread())
    assert said(bench) == [("one?", "1"), ("two?", "2")]


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_is_never_answered_keeps_its_question(bench: Bench, mode: Mode) -> None:
    graph = one_node(bench.saver(), as_node(mode, asking("sure?")))
    await run(mode, graph, GO, thread())
    await run(mode, graph, None, thread())  # resumed without an answer: the same question
    assert said(bench) == [("sure?", None)]
    await run(mode, graph, GO, thread())  # a new request
    assert said(bench) == [("sure?", None), ("sure?", None)]
    assert len({row["run_id"] for row in questions(bench)}) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_is_kept_where_the_process_dies_after_it(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = interrupt("sure?")
        fuse()
        return {"messages": [AIMessage(answer)]}

    graph = one_node(bench.saver(), as_node(mode, node))
    await run(mode, graph, GO, thread())
    with pytest.raises(Killed):
        await run(mode, graph, Command(resume="yes"), thread())
    assert said(bench) == [("sure?", "yes")]
    assert waiting(bench)[0][1] is None
    await run(mode, graph, None, thread())
    assert said(bench) == [("sure?", "yes")]


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_is_kept_where_the_code_after_it_raises(bench: Bench, mode: Mode) -> None:
    fuse = Fuse(Broken())

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = interrupt("sure?")
        fuse()
        return {"messages": [AIMessage(answer)]}

    graph = one_node(bench.saver(), as_node(mode, node))
    await run(mode, graph, GO, thread())
    with pytest.raises(Broken):
        await run(mode, graph, Command(resume="yes"), thread())
    await run(mode, graph, None, thread())
    assert said(bench) == [("sure?", "yes")]


# Several questions.


def two_nodes(bench: Bench, mode: Mode) -> Any:
    builder: Any = StateGraph(MessagesState)
    for name in ("left", "right"):
        builder.add_node(name, as_node(mode, asking(f"{name}?")))
        builder.add_edge(START, name)
    return builder.compile(checkpointer=bench.saver())


@pytest.mark.parametrize("mode", MODES)
async def test_questions_of_parallel_nodes_get_their_own_answers(bench: Bench, mode: Mode) -> None:
    graph = two_nodes(bench, mode)
    state = await run(mode, graph, GO, thread())
    ids = {found.value: found.id for found in state["__interrupt__"]}
    assert {(row["node"], row["question"]) for row in questions(bench)} == {
        ("left", "left?"),
        ("right", "right?"),
    }
    await run(mode, graph, Command(resume={ids["right?"]: {"fine": True}}), thread())
    assert dict(said(bench)) == {"left?": None, "right?": '{"fine":true}'}
    assert waiting(bench) == [("waiting", "left?")]
    await run(mode, graph, Command(resume={ids["left?"]: ["a", 1]}), thread())
    assert dict(said(bench)) == {"left?": '["a",1]', "right?": '{"fine":true}'}
    assert len({row["question_id"] for row in questions(bench)}) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_the_framework_refuses_answers_nothing(
    bench: Bench, mode: Mode
) -> None:
    graph = two_nodes(bench, mode)
    await run(mode, graph, GO, thread())
    with pytest.raises(RuntimeError, match="multiple pending interrupts"):
        await run(mode, graph, Command(resume="which?"), thread())
    assert dict(said(bench)) == {"left?": None, "right?": None}


@pytest.mark.parametrize("mode", MODES)
async def test_questions_of_one_node_are_told_apart(bench: Bench, mode: Mode) -> None:
    graph = one_node(bench.saver(), as_node(mode, asking("a?", "a?", "b?")))
    await run(mode, graph, GO, thread())
    for answer in ("1", "2"):
        await run(mode, graph, Command(resume=answer), thread())
    assert said(bench) == [("a?", "1"), ("a?", "2"), ("b?", None)]
    assert waiting(bench) == [("waiting", "b?")]


@pytest.mark.parametrize("saver", [None, True, False], ids=["inherited", "own", "none"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_question_in_a_graph_inside_is_asked_once(
    bench: Bench, mode: Mode, saver: Any
) -> None:
    inside = chain_of(saver, as_node(mode, _named(asking("deep?"), "inner")))
    around = one_node(None, inside, name="middle")
    graph = one_node(bench.saver(), around, name="outer")
    await run(mode, graph, GO, thread())
    assert [(row["question"], row["node"]) for row in questions(bench)] == [("deep?", "inner")]
    await run(mode, graph, Command(resume="yes"), thread())
    assert said(bench) == [("deep?", "yes")]


def _named(body: Any, name: str) -> Any:
    body.__name__ = name
    return body


# Who asks.


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_asks_is_the_step_of_its_question(bench: Bench, mode: Mode) -> None:
    @tool
    def approve(what: str) -> str:
        """Ask a person."""
        return f"{what}: {interrupt(f'{what}?')}"

    @tool("approve")
    async def aapprove(what: str) -> str:
        """Ask a person."""
        return f"{what}: {interrupt(f'{what}?')}"

    chosen: BaseTool = approve if mode == "sync" else aapprove

    async def node(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(chosen, {"what": "one"})
        two = interrupt("two?")
        return {"messages": [AIMessage(f"{one} {two}")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    await run(mode, graph, GO, thread())
    await run(mode, graph, Command(resume="yes"), thread())
    one, two = questions(bench)
    assert (one["question"], one["answer"], two["question"]) == ("one?", "yes", "two?")
    [step] = bench.steps("name", f"step_id = '{one['step_id']}'")
    assert step["name"] == "approve" and two["step_id"] is None


def agent_script(request: dict[str, Any]) -> Reply:
    if request["messages"][-1]["role"] == "tool":
        return Reply("done")
    return Reply(tool_calls=[("send", {"to": "ada"})])


@pytest.mark.parametrize("mode", MODES)
async def test_what_the_middleware_asks_is_an_approval(bench: Bench, mode: Mode) -> None:
    bench.respond = agent_script

    @tool
    def send(to: str) -> str:
        """Send."""
        return f"sent to {to}"

    agent: Any = create_agent(
        bench.model(),
        [send],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"send": True})],
        checkpointer=bench.saver(),
    )
    await run(mode, agent, GO, thread())
    [row] = questions(bench)
    assert row["kind"] == "approval"
    asked = json.loads(row["question"])
    assert [(a["name"], a["args"]) for a in asked["action_requests"]] == [("send", {"to": "ada"})]
    await run(mode, agent, Command(resume={"decisions": [{"type": "approve"}]}), thread())
    [row] = questions(bench)
    assert json.loads(row["answer"]) == {"decisions": [{"type": "approve"}]}


# In doubt.


async def killed(bench: Bench, mode: Mode, **declared: Any) -> Any:
    """Return a graph whose tool was killed after its effect."""
    send = sender(bench, Fuse(), mode, **declared)

    async def node(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(send, tool_call("send", {"to": "ada"}))]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, GO, thread())
    return graph


DOUBT = "send was called and ended with Killed: . It may or may not have happened."


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_in_doubt_is_a_question_before_anybody_asks(bench: Bench, mode: Mode) -> None:
    await killed(bench, mode)
    [row] = questions(bench)
    assert (row["kind"], row["node"], row["answer"]) == ("in_doubt", "node", None)
    assert row["question"] == DOUBT == waiting(bench)[0][1]
    assert bench.steps("name, status", f"step_id = '{row['step_id']}'") == [
        {"name": "send", "status": "in_doubt"}
    ]


@pytest.mark.parametrize("answer", ["skip", "retry", {"result": "sent by hand"}])
@pytest.mark.parametrize("mode", MODES)
async def test_a_person_answers_what_became_of_a_step(
    bench: Bench, mode: Mode, answer: Any
) -> None:
    graph = await killed(bench, mode, on_doubt="ask")
    [before] = questions(bench)
    await run(mode, graph, None, thread())
    [asked] = questions(bench)
    assert (asked["question_id"], asked["question"]) == (before["question_id"], DOUBT)
    await run(mode, graph, Command(resume="perhaps"), thread())  # asked again
    assert said(bench) == [(DOUBT, None)]
    await run(mode, graph, Command(resume=answer), thread())
    [row] = questions(bench)
    assert (row["kind"], row["question_id"]) == ("in_doubt", before["question_id"])
    assert row["answer"] == (
        answer if isinstance(answer, str) else json.dumps(answer).replace(": ", ":")
    )
    assert waiting(bench) == [("done", None)]


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_step_that_is_settled_by_hand_is_answered(
    bench: Bench, happened: bool, asked: bool
) -> None:
    graph = await killed(bench, "sync", on_doubt="ask" if asked else "fail")
    if asked:
        graph.invoke(None, thread())
    [before] = questions(bench)
    with Journal(bench.path) as journal:
        given: Any = {"result": "sent"} if happened else {"happened": False}
        journal.settle(before["step_id"], **given)
    [row] = questions(bench)
    assert (row["question_id"], row["question"]) == (before["question_id"], DOUBT)
    assert row["answer"] == ('{"result":"sent"}' if happened else "retry")
    assert row["answered_at"] >= row["asked_at"]
    graph.invoke(None, thread())
    assert len(questions(bench)) == 1
    assert waiting(bench) == [("done", None)]


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_what_is_made_again_without_asking_is_no_question(bench: Bench, effect: str) -> None:
    await killed(bench, "sync", effect=effect)
    assert bench.statuses() == [("send", "in_doubt")]
    assert questions(bench) == []


# What is asked.


class Plain:
    """Has no form in JSON."""

    def __repr__(self) -> str:
        return "<plain>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        ("", ""),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (["x", "y"], '["x","y"]'),
        (7, "7"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
async def test_a_value_is_shown_as_text_or_as_json(bench: Bench, value: Any, shown: str) -> None:
    graph = one_node(bench.saver(), as_node("sync", asking(value, "last?")))
    graph.invoke(GO, thread())
    graph.invoke(Command(resume=value), thread())
    first = questions(bench)[0]
    assert (str(first["question"]), str(first["answer"])) == (shown, shown)


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, b"bytes", 10**30, float("inf"), Broken("b")])
async def test_a_value_that_json_does_not_have_is_shown(bench: Bench, value: Any) -> None:
    graph = one_node(bench.saver(), as_node("sync", asking(value)))
    graph.invoke(GO, thread())
    [row] = questions(bench)
    assert row["question"] is not None


async def test_hostile_texts_break_no_view(bench: Bench) -> None:
    """Not every tool can read half a character: the views must be read, whatever is in them."""
    texts = [text for text in TEXTS if len(text) < 1000]

    def node(state: MessagesState) -> Any:
        given = [interrupt({"text": text}) for text in texts] + [interrupt(text) for text in texts]
        return {"messages": [AIMessage(str(len(given)))]}

    graph = one_node(bench.saver(), node)
    graph.invoke(GO, thread())
    for text in texts * 2:
        graph.invoke(Command(resume=text), thread())
    with closing(sqlite3.connect(bench.path)) as connection:
        found = connection.execute("SELECT question, answer FROM questions").fetchall()
        connection.execute("SELECT * FROM runs").fetchall()
    assert len(found) == 2 * len(texts)
    assert all(question is not None and answer is not None for question, answer in found)
    with Journal(bench.path) as journal:
        shown = journal.sql("SELECT question, answer FROM questions", limit=1000).rows
    assert len(shown) == 2 * len(texts)


# Where less is known.


@pytest.mark.parametrize("mode", MODES)
async def test_questions_are_kept_where_calls_are_not_recorded(bench: Bench, mode: Mode) -> None:
    inside = chain_of(None, as_node(mode, _named(asking("deep?"), "inner")))
    builder: Any = StateGraph(MessagesState)
    builder.add_node("first", as_node(mode, asking("a?", "b?")))
    builder.add_node("second", inside)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    graph = builder.compile(checkpointer=bench.saver(capture=False))
    await run(mode, graph, GO, thread())
    for answer in ("1", "2", "3"):
        await run(mode, graph, Command(resume=answer), thread())
    assert said(bench) == [("a?", "1"), ("b?", "2"), ("deep?", "3")]
    assert {(row["run_id"], row["thread_id"]) for row in questions(bench)} == {(None, "1")}


def test_questions_go_with_their_thread(bench: Bench) -> None:
    for capture in (True, False):
        saver = bench.saver(capture=capture)
        graph = one_node(saver, as_node("sync", asking("sure?")))
        graph.invoke(GO, thread("gone"))
        graph.invoke(GO, thread("kept"))
        saver.delete_thread("gone")
    assert [row["thread_id"] for row in questions(bench)] == ["kept", "kept"]
    with Journal(bench.path) as journal:
        journal.prune(thread_ids=["kept"])
    assert questions(bench) == []


def test_what_is_encrypted_is_not_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    saver = bench.saver(serde=EncryptedSerializer.from_pycryptodome_aes())
    graph = one_node(saver, as_node("sync", asking("secret?")))
    graph.invoke(GO, thread())
    graph.invoke(Command(resume="Zanzibar"), thread())
    [row] = questions(bench)
    assert (row["question"], row["answer"]) == (None, None)
    assert row["answered_at"] is not None
    content = b"".join(path.read_bytes() for path in bench.path.parent.glob("agent.db*"))
    assert b"secret?" not in content and b"Zanzibar" not in content


# What a program raises itself.


@pytest.mark.parametrize(
    "raised",
    [(), ("stop",), ([],), (["stop"],), ({"a": 1},), (None,), ([Interrupt("sure?"), "stop"],)],
    ids=repr,
)
@pytest.mark.parametrize("capture", [True, False])
def test_an_interrupt_that_a_program_raises_ends_the_run_as_without_a_journal(
    bench: Bench, raised: tuple[Any, ...], capture: bool
) -> None:
    def node(state: MessagesState) -> Any:
        raise GraphInterrupt(*raised)

    def outcome(saver: Any) -> str:
        builder = StateGraph(MessagesState)
        builder.add_node("node", node)
        builder.add_edge(START, "node")
        try:
            graph: Any = builder.compile(checkpointer=saver)
            return repr(graph.invoke(GO, thread()))
        except Exception as error:
            return repr(error)

    ids = re.compile(r"id='[^']*'")
    alone, journaled = outcome(InMemorySaver()), outcome(bench.saver(capture=capture))
    assert ids.sub("id", journaled) == ids.sub("id", alone)
