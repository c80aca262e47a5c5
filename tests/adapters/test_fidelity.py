"""The same graphs on rowtrail and on LangGraph's memory saver: no difference shows."""

from __future__ import annotations

import operator
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, RetryPolicy, Send, StateSnapshot, interrupt
from typing_extensions import TypedDict

from rowtrail_langgraph import RowtrailSaver
from tests._sample import spread
from tests.adapters._savers import MODES, QUICK, Mode, thread

IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    answer: Any


@dataclass
class Run:
    """Runs graphs on one saver, and writes down everything that a user could see of it."""

    saver: BaseCheckpointSaver[Any]
    mode: Mode
    durability: str
    seen: list[Any] = field(default_factory=list)

    async def invoke(self, graph: Any, given: Any, config: Any = None, **how: Any) -> Any:
        config = config or thread()
        how = {"durability": self.durability, **how}
        try:
            if self.mode == "async":
                result = await graph.ainvoke(given, config, **how)
            else:
                result = graph.invoke(given, config, **how)
        except (ValueError, AttributeError) as error:  # langgraph itself has no attribute there
            result = repr(error)
        if (
            isinstance(result, dict) and "__interrupt__" in result
        ):  # in the order of their tasks' ends
            result["__interrupt__"] = sorted(
                result["__interrupt__"], key=lambda each: repr(each.value)
            )
        self.seen.append(plain(result))
        await self.look(graph)
        return result

    async def update(self, graph: Any, config: Any, values: Any, as_node: str | None = None) -> Any:
        if self.mode == "async":
            return await graph.aupdate_state(config, values, as_node)
        return graph.update_state(config, values, as_node)

    async def look(self, graph: Any) -> None:
        """Write down the state and the history of the thread."""
        if self.mode == "async":
            self.seen.append(shown(await graph.aget_state(thread(), subgraphs=True)))
            self.seen.append([shown(s) async for s in graph.aget_state_history(thread())])
        else:
            self.seen.append(shown(graph.get_state(thread(), subgraphs=True)))
            self.seen.append([shown(s) for s in graph.get_state_history(thread())])

    async def history(self, graph: Any) -> list[StateSnapshot]:
        if self.mode == "async":
            return [s async for s in graph.aget_state_history(thread())]
        return [*graph.get_state_history(thread())]


def shown(state: StateSnapshot) -> dict[str, Any]:
    """Return a state without the ids and times that differ from run to run."""
    return {
        "values": plain(state.values),
        "next": state.next,
        "metadata": plain(state.metadata),
        "has_parent": state.parent_config is not None,
        "interrupts": [each.value for each in state.interrupts],
        "tasks": [
            {
                "name": each.name,
                "error": repr(each.error),
                "interrupts": [found.value for found in each.interrupts],
                "result": plain(each.result),
                "state": shown(each.state) if isinstance(each.state, StateSnapshot) else None,
            }
            for each in state.tasks
        ],
    }


def plain(value: Any) -> Any:
    return IDS.sub("<id>", repr(value))


def graph_of(saver: Any, *edges: tuple[str, str], **nodes: Any) -> Any:
    """Return a compiled graph of these nodes and edges."""
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for start, end in edges or [(START, next(iter(nodes)))]:
        builder.add_edge(start, end)
    return builder.compile(checkpointer=saver)


def say(number: int) -> Any:
    def node(state: State) -> dict[str, Any]:
        text = f"{number} after {len(state.get('messages', []))}"
        message = AIMessage(text, id=f"ai {number} {len(state.get('messages', []))}")
        return {"messages": [message], "log": [text], "total": number}

    return node


def human(number: int) -> dict[str, Any]:
    return {"messages": [HumanMessage(f"hi {number}", id=f"h {number}")]}


async def conversation(run: Run) -> None:
    graph = graph_of(run.saver, (START, "a"), ("a", "b"), a=say(1), b=say(2))
    for number in range(3):
        await run.invoke(graph, human(number))
    await run.update(graph, thread(), {"log": ["by hand"]})
    await run.look(graph)
    await run.update(graph, thread(), {"messages": [RemoveMessage(id="h 0")]}, "a")
    await run.look(graph)
    await run.invoke(graph, None)
    await run.invoke(graph, {"messages": [HumanMessage("edited", id="h 1")], "answer": {"a": [1]}})


async def time_travel(run: Run) -> None:
    graph = graph_of(run.saver, (START, "a"), ("a", "b"), a=say(1), b=say(2))
    for number in range(2):
        await run.invoke(graph, human(number))
    past = (await run.history(graph))[-1 if run.durability == "exit" else 4]
    await run.invoke(graph, None, past.config)
    past = (await run.history(graph))[-1]
    await run.invoke(graph, human(7), past.config)
    forked = await run.update(graph, past.config, {"log": ["forked"]}, "a")
    await run.invoke(graph, None, forked)
    await run.invoke(graph, human(8))


async def interrupts(run: Run) -> None:
    def ask(state: State) -> dict[str, Any]:
        return {"answer": [interrupt({"first": 1}), interrupt("second")], "log": ["asked"]}

    graph = graph_of(
        run.saver, (START, "a"), (START, "ask"), ("ask", "b"), a=say(1), ask=ask, b=say(2)
    )
    await run.invoke(graph, human(0))
    await run.invoke(graph, None)
    await run.invoke(graph, Command(resume="one"))
    await run.invoke(graph, Command(resume={"two": 2}, update={"log": ["with the answer"]}))
    await run.invoke(graph, human(1))


async def parallel_interrupts(run: Run) -> None:
    def ask(name: str) -> Any:
        return lambda state: {"log": [f"{name} got {interrupt(name)}"]}

    graph = graph_of(run.saver, (START, "x"), (START, "y"), x=ask("x"), y=ask("y"))
    await run.invoke(graph, human(0))
    state = graph.get_state(thread()) if run.mode == "sync" else await graph.aget_state(thread())
    answers = {each.id: f"answer to {each.value}" for each in state.interrupts}
    await run.invoke(graph, Command(resume=answers))


async def breakpoints(run: Run) -> None:
    graph = graph_of(run.saver, (START, "a"), ("a", "b"), ("b", "c"), a=say(1), b=say(2), c=say(3))
    await run.invoke(graph, human(0), interrupt_before=["b"])
    await run.invoke(graph, None, interrupt_after=["b"])
    await run.update(graph, thread(), {"answer": "changed"})
    await run.invoke(graph, None)


async def sends(run: Run) -> None:
    def fan_out(state: State) -> list[Send]:
        return [Send("work", {"answer": number, "messages": []}) for number in range(4)]

    def work(state: State) -> dict[str, Any]:
        return {"log": [f"worked on {state.get('answer')}"], "total": state.get("answer", 0)}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("after", say(9))
    builder.add_conditional_edges(START, fan_out, ["work"])
    builder.add_edge("work", "after")
    graph = builder.compile(checkpointer=run.saver)
    for number in range(2):
        await run.invoke(graph, human(number))


async def commands(run: Run) -> None:
    def hop(state: State) -> Command[Any]:
        if state.get("total", 0) > 5:
            return Command(goto=END, update={"log": ["done"]})
        return Command(goto=["hop", Send("b", {"messages": []})], update={"total": 3})

    graph = graph_of(run.saver, (START, "hop"), hop=hop, b=say(2))
    await run.invoke(graph, human(0))
    await run.invoke(graph, human(1))


def nested(checkpointer: Any, *, to_parent: bool = False) -> Callable[[Run], Awaitable[None]]:
    async def subgraphs(run: Run) -> None:
        def inner(state: State) -> Any:
            answer = interrupt("inside")
            if to_parent:
                return Command(graph=Command.PARENT, goto="b", update={"log": [answer]})
            return {"log": [answer], "total": 1}

        innermost = graph_of(checkpointer, (START, "x"), ("x", "inner"), x=say(5), inner=inner)
        middle = graph_of(checkpointer, (START, "innermost"), innermost=innermost, y=say(6))
        sub = innermost if to_parent else middle
        edges = [(START, "a"), ("a", "sub"), *([] if to_parent else [("sub", "b")])]
        graph = graph_of(run.saver, *edges, a=say(1), sub=sub, b=say(2))
        for number in range(2):
            await run.invoke(graph, human(number))
            await run.invoke(graph, Command(resume=f"answer {number}"))

    return subgraphs


async def failures(run: Run) -> None:
    calls = {"flaky": 0, "broken": 0}

    def flaky(state: State) -> dict[str, Any]:
        calls["flaky"] += 1
        if calls["flaky"] % 3:
            raise OSError("try again")
        return {"log": ["flaky"]}

    def broken(state: State) -> dict[str, Any]:
        calls["broken"] += 1
        if calls["broken"] < 3:
            raise ValueError(f"broken {calls['broken']}")
        return {"log": ["repaired"]}

    builder = StateGraph(State)
    retry = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=OSError)
    builder.add_node("flaky", flaky, retry_policy=retry)
    builder.add_node("broken", broken)
    builder.add_node("after", say(1))
    builder.add_edge(START, "flaky")
    builder.add_edge(START, "broken")
    builder.add_edge(["flaky", "broken"], "after")
    graph = builder.compile(checkpointer=run.saver)
    await run.invoke(graph, human(0))
    await run.invoke(graph, None)
    await run.invoke(graph, None)


async def functional(run: Run) -> None:
    @task
    def double(number: int) -> int:
        return 2 * number

    @entrypoint(checkpointer=run.saver)
    def flow(number: int, *, previous: Any = None) -> Any:
        parts = [double(n) for n in range(number)]
        answer = interrupt("how many") if number == 3 else 0
        total = sum(part.result() for part in parts)
        before = previous or {"runs": []}
        # A list: into a dict that is already stored, langgraph itself puts its interrupts.
        value = [total, answer, before]
        return entrypoint.final(value=value, save={"runs": [*before["runs"], [number, total]]})

    for number in (2, 3):
        await run.invoke(flow, number)
    await run.invoke(flow, Command(resume=7))
    await run.invoke(flow, 4)


TRIES = 4

SCENARIOS = {
    "conversation": conversation,
    "time travel": time_travel,
    "interrupts": interrupts,
    "parallel interrupts": parallel_interrupts,
    "breakpoints": breakpoints,
    "sends": sends,
    "commands": commands,
    "subgraphs": nested(None),
    "subgraphs with a history": nested(True),
    "subgraphs without a checkpointer": nested(False),
    "command to the parent": nested(None, to_parent=True),
    "failures": failures,
    "functional": functional,
}


@pytest.mark.parametrize(
    ("mode", "durability", "scenario"), spread(MODES, ["sync", "async", "exit"], SCENARIOS)
)
async def test_shows_what_the_memory_saver_shows(
    mode: Mode, durability: str, scenario: str, db: Path
) -> None:
    # Which writes of a failing superstep are still made is chance, on any saver: compare again.
    for number in range(TRIES):
        seen = await _seen(db.with_name(f"{number}.db"), mode, durability, scenario)
        if seen[0] == seen[1]:
            return

    seen = await _seen(db, mode, durability, scenario)
    assert seen[0] == seen[1]


async def _seen(db: Path, mode: Mode, durability: str, scenario: str) -> tuple[Any, Any]:
    expected = Run(InMemorySaver(), mode, durability)
    await SCENARIOS[scenario](expected)
    with RowtrailSaver(db, **QUICK) as saver:
        run = Run(saver, mode, durability)
        await SCENARIOS[scenario](run)
    return run.seen, expected.seen


@pytest.mark.parametrize("scenario", ["conversation", "interrupts", "functional"])
async def test_shows_the_same_with_the_calls_recorded(scenario: str, db: Path) -> None:
    expected = Run(InMemorySaver(), "async", "async")
    await SCENARIOS[scenario](expected)

    with RowtrailSaver(db, durability="normal") as saver:
        run = Run(saver, "async", "async")
        await SCENARIOS[scenario](run)

    assert run.seen == expected.seen
