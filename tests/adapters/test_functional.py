"""The functional API: every task is a scope of its own, the flow around it another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

import rowtrail
from tests.adapters._graphs import (
    DURABILITIES,
    MODES,
    Bench,
    Broken,
    Fuse,
    Killed,
    Mode,
    counting,
    run,
    thread,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, counting()) as bench:
        yield bench


def flow_of(bench: Bench, mode: Mode, fuse: Fuse) -> Any:
    """Return a flow with a call of its own, tasks at once and a task inside each."""

    @task
    def example(word: str) -> str:
        return str(bench.model().invoke(f"example of {word}").content)

    @task
    def meaning(word: str) -> str:
        text = str(bench.model().invoke(f"meaning of {word}").content)
        return f"{text}; {example(word).result()}"

    @task
    async def aexample(word: str) -> str:
        return str((await bench.model().ainvoke(f"example of {word}")).content)

    @task
    async def ameaning(word: str) -> str:
        text = str((await bench.model().ainvoke(f"meaning of {word}")).content)
        return f"{text}; {await aexample(word)}"

    saver = bench.saver()
    if mode == "sync":

        @entrypoint(checkpointer=saver)
        def flow(words: list[str]) -> list[str]:
            plan = str(bench.model().invoke("plan").content)
            found = [one.result() for one in [meaning(word) for word in words]]
            fuse()
            return [plan, *found, str(bench.model().invoke("close").content)]

        return flow

    @entrypoint(checkpointer=saver)
    async def aflow(words: list[str]) -> list[str]:
        plan = str((await bench.model().ainvoke("plan")).content)
        found = await asyncio.gather(*(ameaning(word) for word in words))
        fuse()
        return [plan, *found, str((await bench.model().ainvoke("close")).content)]

    return aflow


def without_numbers(found: list[str]) -> list[str]:
    """Return texts without the numbers of their answers."""
    return ["; ".join(p.split(" #")[0] for p in text.split("; ")) for text in found]


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
async def test_a_flow_that_was_killed_repeats_no_finished_call(
    bench: Bench, mode: Mode, durability: str
) -> None:
    flow = flow_of(bench, mode, Fuse())
    words = ["a", "b", "c"]
    with pytest.raises(Killed):
        await run(mode, flow, words, thread(), durability=durability)
    again = words if durability == "exit" else None
    found = await run(mode, flow, again, thread(), durability=durability)
    assert without_numbers(found) == [
        "re: plan",
        *(f"re: meaning of {w}; re: example of {w}" for w in words),
        "re: close",
    ]
    assert len(bench.asked) == len(set(bench.asked)) == 8
    names = {row["scope"].partition("/")[2] for row in bench.steps("scope")}
    flow_name = "flow" if mode == "sync" else "aflow"
    assert flow_name in names and len(names) == 7


@pytest.mark.parametrize("mode", MODES)
async def test_equal_calls_of_equal_tasks_are_told_apart(bench: Bench, mode: Mode) -> None:
    """Three samples of one question, each by a task of its own."""
    fuse = Fuse()

    @task
    def sample(prompt: str) -> str:
        return str(bench.model().invoke(prompt).content)

    @task
    async def asample(prompt: str) -> str:
        return str((await bench.model().ainvoke(prompt)).content)

    seen: list[list[str]] = []
    saver = bench.saver()

    @entrypoint(checkpointer=saver)
    def flow(prompt: str) -> list[str]:
        seen.append([one.result() for one in [sample(prompt) for _ in range(3)]])
        fuse()
        return seen[-1]

    @entrypoint(checkpointer=saver)
    async def aflow(prompt: str) -> list[str]:
        seen.append(list(await asyncio.gather(*(asample(prompt) for _ in range(3)))))
        fuse()
        return seen[-1]

    graph: Any = flow if mode == "sync" else aflow
    with pytest.raises(Killed):
        await run(mode, graph, "roll", thread())
    assert await run(mode, graph, None, thread()) == seen[0]
    assert sorted(seen[0]) == ["re: roll #1", "re: roll #2", "re: roll #3"]
    assert bench.calls == 3


async def test_a_task_whose_result_langgraph_had_saved_is_not_run_again(bench: Bench) -> None:
    fuse = Fuse()
    ran: list[str] = []

    @task
    def write(word: str) -> str:
        ran.append(word)
        return str(bench.model().invoke(word).content)

    @entrypoint(checkpointer=bench.saver())
    def flow(word: str) -> str:
        found = write(word).result()
        fuse()
        return f"{found}!"

    with pytest.raises(Killed):
        flow.invoke("x", thread())
    assert flow.invoke(None, thread()) == "re: x #1!"
    assert bench.calls == 1
    assert len(ran) <= 2


async def test_a_flow_goes_on_from_its_last_result(bench: Bench) -> None:
    fuse = Fuse(times=0)

    @entrypoint(checkpointer=bench.saver())
    def flow(word: str, *, previous: Any = None) -> Any:
        answer = str(bench.model().invoke(f"{word} after {previous}").content)
        fuse()
        return entrypoint.final(value=answer, save=word)

    assert flow.invoke("a", thread()) == "re: a after None #1"
    fuse.left = 1
    with pytest.raises(Killed):
        flow.invoke("b", thread())
    assert flow.invoke(None, thread()) == "re: b after a #2"
    assert flow.invoke("b", thread()) == "re: b after b #3"
    assert [row["status"] for row in bench.rows("SELECT status FROM runs")] == ["done"] * 3


@pytest.mark.parametrize("mode", MODES)
async def test_a_retried_task_asks_the_answer_before_its_exception_again(
    bench: Bench, mode: Mode
) -> None:
    fault = Fuse(Broken("no JSON"))

    def write(word: str) -> str:
        one = bench.model().invoke(f"one {word}")
        two = bench.model().invoke(f"two {word}")
        fault()
        return f"{one.content}, {two.content}"

    async def awrite(word: str) -> str:
        one = await bench.model().ainvoke(f"one {word}")
        two = await bench.model().ainvoke(f"two {word}")
        fault()
        return f"{one.content}, {two.content}"

    saver = bench.saver()
    retry = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=2, retry_on=Broken)
    retried: Any = task(retry_policy=retry)
    tried, atried = retried(write), retried(awrite)

    @entrypoint(checkpointer=saver)
    def flow(word: str) -> str:
        return str(tried(word).result())

    @entrypoint(checkpointer=saver)
    async def aflow(word: str) -> str:
        return str(await atried(word))

    graph: Any = flow if mode == "sync" else aflow
    assert await run(mode, graph, "x", thread()) == "re: one x #1, re: two x #3"
    assert bench.asked == ["one x", "two x", "two x"]


async def test_a_parser_that_fails_blames_the_answer_that_it_was_given(bench: Bench) -> None:
    @task
    def parse(text: str) -> str:
        if text.endswith("#1"):
            raise Broken("no JSON")
        return f"parsed {text}"

    @entrypoint(checkpointer=bench.saver())
    def flow(word: str) -> str:
        return str(parse(str(bench.model().invoke(word).content)).result())

    with pytest.raises(Broken):
        flow.invoke("x", thread())
    assert flow.invoke(None, thread()) == "parsed re: x #2"
    assert bench.asked == ["x", "x"]


@pytest.mark.parametrize("mode", MODES)
async def test_tasks_tools_and_steps_inside_a_node_of_a_graph(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    @rowtrail.step(effect="write")
    def store(text: str) -> int:
        bench.ledger.add(f"store {text}")
        return len(text)

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        bench.ledger.add(f"look {word}")
        return f"{word}: {store(word)}"

    @task
    def write(word: str) -> str:
        found = look.invoke({"word": word})
        return f"{bench.model().invoke(f'write {word}').content} {found} {store(word)}"

    @task
    async def awrite(word: str) -> str:
        found = await look.ainvoke({"word": word})
        answer = await bench.model().ainvoke(f"write {word}")
        return f"{answer.content} {found} {store(word)}"

    def node(state: MessagesState) -> Any:
        found = [one.result() for one in [write(word) for word in ("a", "bb")]]
        fuse()
        return {"messages": [("ai", "; ".join(found))]}

    async def anode(state: MessagesState) -> Any:
        found = await asyncio.gather(*(awrite(word) for word in ("a", "bb")))
        fuse()
        return {"messages": [("ai", "; ".join(found))]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("node", node if mode == "sync" else anode)
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=bench.saver())
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    state = await run(mode, graph, None, thread())
    text = str(state["messages"][-1].content)
    assert without_numbers([text]) != [text] and "a: 1 1" in text and "bb: 2 2" in text
    assert bench.calls == 2
    expected = [f"{kind} {word}" for kind in ("look", "store", "store") for word in ("a", "bb")]
    assert sorted(bench.ledger.lines) == sorted(expected)
