"""Code that raises after a call that changes the world: the answer and the call stay."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

import rowtrail
from rowtrail import InDoubtError
from rowtrail.testing import Reply
from rowtrail_langgraph.capture._saving import is_finished
from tests._sample import spread
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

POLICY = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=Broken)


def asks_to_send(bench: Bench) -> None:
    """Have the model ask for the tool, with a new id each time that it is asked."""
    bench.respond = lambda request: Reply(tool_calls=[("send", {"to": "a"})])


def graph_of(saver: Any, node: Any, **options: Any) -> Any:
    """Compile a graph of one node, with options of the node."""
    builder: Any = StateGraph(MessagesState)
    builder.add_node("node", node, **options)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile(checkpointer=saver)


async def sent(mode: Mode, calls: Calls, bench: Bench, send: Any, where: str) -> Any:
    """Ask the model and make the call of its answer; return the answer."""

    async def both(calls: Calls) -> Any:
        answer = await calls.ask(bench.model(), "one")
        [asked] = answer.tool_calls
        given = asked["args"] if where == "no id" else {**asked, "type": "tool_call"}
        await calls.ask(send, given)
        return answer

    if where != "subgraph":
        return await both(calls)

    async def inner(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await both(calls)]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("inner", as_node(mode, inner))
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    return (await run(mode, builder.compile(), {"messages": []}))["messages"][-1]


@pytest.mark.parametrize(
    ("mode", "way", "effect", "where"),
    spread(
        MODES,
        ["RetryPolicy", "None", "the same input"],
        ["read", "idempotent", "write"],
        ["an id", "no id", "subgraph"],
    ),
)
async def test_the_answer_stays_once_its_call_has_changed_the_world(
    bench: Bench, mode: Mode, way: str, effect: str, where: str
) -> None:
    asks_to_send(bench)
    fuse = Fuse(Broken("malformed"))
    send = sender(bench, Fuse(times=0), mode, effect=effect)

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = await sent(mode, calls, bench, send, where)
        fuse()
        return {"messages": [answer]}

    options = {"retry_policy": POLICY} if way == "RetryPolicy" else {}
    graph = graph_of(bench.saver(), as_node(mode, node), **options)
    if way == "RetryPolicy":
        await run(mode, graph, GO, thread())
    else:
        with pytest.raises(Broken) as caught:
            await run(mode, graph, GO, thread())
        notes = " ".join(getattr(caught.value, "__notes__", []))
        assert ("rowtrail_replay" in notes) == (effect != "read")
        config = thread(rowtrail_replay="resume")
        await run(mode, graph, None if way == "None" else GO, config)
    if effect == "read" and where != "subgraph":  # LangGraph itself keeps what that returned
        assert bench.asked == ["one", "one"]  # the answer that made the code fail is asked again
    elif effect != "read":
        assert bench.asked == ["one"] and len(bench.ledger.lines) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_an_earlier_write_does_not_keep_a_later_answer(bench: Bench, mode: Mode) -> None:
    """The call was not asked for by the answer on which the code failed: that one is asked anew."""
    fuse = Fuse(Broken("malformed"))
    send = sender(bench, Fuse(times=0), mode, effect="write")

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(send, tool_call("send", {"to": "a"}))
        answer = await calls.ask(bench.model(), "one")
        fuse()
        return {"messages": [answer]}

    graph = graph_of(bench.saver(), as_node(mode, node), retry_policy=POLICY)
    await run(mode, graph, GO, thread())
    assert bench.asked == ["one", "one"] and len(bench.ledger.lines) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("effect", ["idempotent", "write"])
async def test_a_call_that_is_retried_keeps_its_key(bench: Bench, mode: Mode, effect: str) -> None:
    send = sender(bench, Fuse(Broken("refused"), times=2), mode, effect=effect)

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(send, tool_call("send", {"to": "a"}))
        return {}

    graph = graph_of(bench.saver(), as_node(mode, node), retry_policy=POLICY)
    await run(mode, graph, GO, thread())
    assert len(bench.ledger.lines) == 3 and len(set(bench.ledger.lines)) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [TimeoutError("late"), ConnectionError("lost"), OSError("io")])
async def test_a_write_that_got_no_answer_is_not_retried(
    bench: Bench, mode: Mode, error: Exception
) -> None:
    send = sender(bench, Fuse(error, times=3), mode, on_doubt="fail")

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(send, tool_call("send", {"to": "a"}))
        return {}

    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=Exception)
    graph = graph_of(bench.saver(), as_node(mode, node), retry_policy=policy)
    with pytest.raises(InDoubtError):
        await run(mode, graph, GO, thread())
    assert len(bench.ledger.lines) == 1


# A model that asks again, with other ids and in another order.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("effect", ["idempotent", "write"])
async def test_a_call_asked_again_in_another_task_is_the_same_call(
    bench: Bench, mode: Mode, effect: str
) -> None:
    """The model is asked again since its request has changed, and its calls come in new tasks."""
    order = ["a", "b", "c"]

    def respond(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "tool":
            return Reply("done")
        calls = [("send", {"to": person}) for person in order]
        order.reverse()
        return Reply(tool_calls=calls)

    bench.respond = respond
    send = sender(bench, Fuse(), mode, effect=effect, on_doubt="retry")
    prompts = iter(["first prompt", "second prompt"])

    def agent(saver: Any) -> Any:
        return create_agent(bench.model(), [send], system_prompt=next(prompts), checkpointer=saver)

    saver = bench.saver()
    with pytest.raises(Killed):
        await run(mode, agent(saver), GO, thread(), durability="exit")
    before = list(bench.ledger.lines)
    keys = {row["idempotency_key"] for row in bench.steps("*", "kind = 'tool'")}
    saver.delete_for_runs([])  # nothing: the thread holds what `exit` has saved
    saver.prune(["1"], strategy="delete")  # as after a real kill with durability="exit"
    state = await run(mode, agent(saver), GO, thread(), durability="exit")
    assert bench.asked.count("go") == 2  # another prompt is another request
    people = [line.split()[0] for line in bench.ledger.lines]
    assert sorted(set(people)) == ["a", "b", "c"]
    in_flight = len(people) - 3
    assert 0 < in_flight <= len(before)
    if effect == "idempotent":
        again = [line for line in bench.ledger.lines[len(before) :] if line in before]
        assert len(again) == in_flight and keys
    ids = [m.tool_call_id for m in state["messages"] if m.type == "tool"]
    asked = [call["id"] for m in state["messages"] if m.type == "ai" for call in m.tool_calls]
    assert sorted(ids) == sorted(asked)


@pytest.mark.parametrize("mode", MODES)
async def test_equal_calls_have_each_their_own_steps_inside(bench: Bench, mode: Mode) -> None:
    """Equal tool calls that only their ids tell apart: what is made inside one is of that one."""
    made: list[str] = []
    fuse = Fuse()

    @rowtrail.step(effect="write")
    def charge(amount: int) -> str:
        made.append("charge")
        return f"receipt {len(made)}"

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        return charge(amount)

    @tool("pay")
    async def apay(amount: int) -> str:
        """Pay."""
        return charge(amount)

    paying = pay if mode == "sync" else apay

    async def node(state: MessagesState, calls: Calls) -> Any:
        told = [await calls.ask(paying, tool_call("pay", {"amount": 1}, f"c{n}")) for n in (1, 2)]
        fuse()
        told.append(await calls.ask(paying, tool_call("pay", {"amount": 1}, "c3")))
        return {"messages": told}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, GO, thread())
    state = await run(mode, graph, None, thread())
    receipts = [m.content for m in state["messages"] if m.type == "tool"]
    assert receipts == ["receipt 1", "receipt 2", "receipt 3"] and len(made) == 3
    rows = bench.steps("scope, idempotency_key", "name LIKE '%charge'")
    assert len({row["scope"] for row in rows}) == len({row["idempotency_key"] for row in rows}) == 3


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_that_asked_a_person_keeps_its_position(bench: Bench, mode: Mode) -> None:
    """A step of one's own asks, and the node asks after it: each question gets its own answer."""

    @rowtrail.step
    def ask(text: str) -> str:
        return str(interrupt(text))

    async def node(state: MessagesState, calls: Calls) -> Any:
        got = [ask("first?"), ask("second?"), interrupt("third?")]
        return {"messages": [AIMessage(" ".join(got))]}

    graph = one_node(bench.saver(), as_node(mode, node))
    state = await run(mode, graph, GO, thread())
    for answer, following in (("a", "second?"), ("b", "third?")):
        state = await run(mode, graph, Command(resume=answer), thread())
        assert [q.value for q in state["__interrupt__"]] == [following]
    state = await run(mode, graph, Command(resume="c"), thread())
    assert state["messages"][-1].content == "a b c"


# Handled failures.

FAILURES: list[Exception] = [ConnectionError("down"), ValueError("odd"), Broken("no")]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stop", ["kill", "exception"])
@pytest.mark.parametrize("error", FAILURES, ids=lambda e: type(e).__name__)
async def test_a_failure_that_was_handled_is_raised_again_after_a_kill(
    bench: Bench, mode: Mode, stop: str, error: Exception
) -> None:
    made: list[str] = []
    seen: list[Any] = []
    fuse = Fuse(Killed() if stop == "kill" else Broken("later"))

    @rowtrail.step
    def first(n: int) -> str:
        made.append("first")
        raise error

    @rowtrail.step
    def second(text: str) -> str:
        made.append("second")
        return text

    async def node(state: MessagesState, calls: Calls) -> Any:
        for _ in range(2):  # twice: each failure of its own
            try:
                first(1)
            except type(error) as caught:
                seen.append((str(caught), caught.args))
                second(f"after {caught}")
        fuse()
        return {"messages": [("ai", "done")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(type(fuse.error)):
        await run(mode, graph, GO, thread())
    assert made == ["first", "second"] * 2
    await run(mode, graph, None, thread())
    again = [] if stop == "kill" else ["first", "first"]
    assert made[4:] == again
    assert seen == [(str(error), error.args)] * 4


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_reaches_a_step_that_failed_before_it_asked(
    bench: Bench, mode: Mode
) -> None:
    made: list[int] = []

    @rowtrail.step
    def ask(n: int) -> str:
        made.append(n)
        if len(made) == 1:
            raise TimeoutError("no answer")
        return str(interrupt("go on?"))

    async def node(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [("ai", ask(1))]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(TimeoutError):
        await run(mode, graph, GO, thread())
    await run(mode, graph, None, thread())
    state = await run(mode, graph, Command(resume="yes"), thread())
    assert state["messages"][-1].content == "yes"


@pytest.mark.parametrize("others", [(), *((channel,) for channel in WRITES_IDX_MAP)])
@pytest.mark.parametrize("written", [(), ("messages",), ("__return__",), ("__no_writes__",)])
def test_a_task_is_finished_where_langgraph_does_not_run_it_again(
    written: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """A task that is cancelled as it ends has its writes and an error, and is not run again."""
    assert is_finished((*written, *others)) == bool(written)


async def test_a_failure_that_ended_the_node_is_not_raised_again(bench: Bench) -> None:
    made: list[int] = []

    @rowtrail.step
    def flaky(n: int) -> str:
        made.append(n)
        if len(made) == 1:
            raise Killed
        return "fine"

    def node(state: MessagesState) -> Any:
        return {"messages": [("ai", flaky(1))]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke(GO, thread())
    assert graph.invoke(None, thread())["messages"][-1].content == "fine"


def test_a_stored_failure_names_only_what_is_loaded(bench: Bench) -> None:
    from rowtrail.journal._failure import failure_text, rebuilt_failure

    for error in FAILURES:
        again = rebuilt_failure(failure_text(error))
        assert again is not None and type(again) is type(error) and again.args == error.args
    hostile = [
        '{"class": ["os", "system"], "text": "", "args": ["touch x"], "attributes": {}}',
        '{"class": ["antigravity", "x"], "text": "", "args": [], "attributes": {}}',
        '{"class": ["builtins", "SystemExit"], "text": "", "args": [], "attributes": {}}',
        '{"class": ["builtins", "ValueError"], "text": "other", "args": [], "attributes": {}}',
        '{"class": "x"}',
        "[]",
        "",
        None,
    ]
    assert [rebuilt_failure(text) for text in hostile] == [None] * len(hostile)


# A state that was updated by hand.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stop", ["kill", "interrupt"])
@pytest.mark.parametrize("updates", [1, 2])
async def test_an_update_of_the_state_repeats_nothing(
    bench: Bench, mode: Mode, stop: str, updates: int
) -> None:
    fuse = Fuse(times=int(stop == "kill"))
    send = sender(bench, Fuse(times=0), mode)

    async def first(state: MessagesState, calls: Calls) -> Any:
        return {}

    async def second(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(bench.model(), "one")
        await calls.ask(send, tool_call("send", {"to": "a"}))
        fuse()
        return {} if stop == "kill" else {"messages": [AIMessage(interrupt("fine?"))]}

    graph = chain_of(bench.saver(), as_node(mode, first), as_node(mode, second))
    if stop == "kill":
        with pytest.raises(Killed):
            await run(mode, graph, GO, thread())
    else:
        await run(mode, graph, GO, thread())
    for _ in range(updates):
        await graph.aupdate_state(thread(), {"messages": [("user", "edited")]}, as_node="first")
    state = await run(mode, graph, None, thread())
    if stop == "interrupt":
        assert [q.value for q in state["__interrupt__"]] == ["fine?"]
        await run(mode, graph, Command(resume="yes"), thread())
    assert bench.asked == ["one"] and len(bench.ledger.lines) == 1
