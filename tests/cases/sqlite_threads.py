"""Threads that were begun on LangGraph's SQLite savers, and how each goes on.

A scenario builds the same graph on any saver. Nodes leave a line in a log, so that a test sees what
ran again; the ids of messages are counted, so that two ways of going on give equal states.
"""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.channels import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from tests.cases.sqlite_files import Log, Mode, chat, counted, langgraph_saver, said

CONFIG: Any = {"configurable": {"thread_id": "1"}}


class BoomError(Exception):
    """What a node raises on LangGraph's saver, and never after."""


class Driver:
    """Runs one graph, sync or async, and notes what came of it."""

    def __init__(self, graph: Any, mode: Mode, config: Any = CONFIG) -> None:
        self.graph = graph
        self.mode = mode
        self.config = config
        self.outcomes: list[Any] = []

    async def run(self, input: Any, config: Any = None, **options: Any) -> None:
        """Invoke the graph; an error of the graph is an outcome too."""
        config = config or self.config
        try:
            if self.mode == "async":
                result = await self.graph.ainvoke(input, config, **options)
            else:
                result = self.graph.invoke(input, config, **options)
        except BoomError as error:
            result = repr(error)
        self.outcomes.append(_without_ids(result))
        state = await self.state()
        self.outcomes.append((_without_ids(state.values), state.next, state.metadata["step"]))

    async def update(self, config: Any, values: Any, **options: Any) -> Any:
        """Update the state at a checkpoint and return the config of the fork."""
        if self.mode == "async":
            return await self.graph.aupdate_state(config, values, **options)
        return self.graph.update_state(config, values, **options)

    async def state(self, config: Any = None) -> Any:
        """Return the state, with that of its subgraphs."""
        if self.mode == "async":
            return await self.graph.aget_state(config or self.config, subgraphs=True)
        return self.graph.get_state(config or self.config, subgraphs=True)

    async def history(self) -> list[Any]:
        """Return every state of the thread, newest first."""
        if self.mode == "async":
            return [state async for state in self.graph.aget_state_history(self.config)]
        return list(self.graph.get_state_history(self.config))


def _without_ids(value: Any) -> Any:
    """Drop what differs from run to run: new ids, and which of parallel tasks is asked first."""
    if isinstance(value, dict) and "__interrupt__" in value:
        asked = sorted((found.value for found in value["__interrupt__"]), key=repr)
        return {**value, "__interrupt__": asked}
    return value


@dataclass(frozen=True)
class Scenario:
    """A graph, how its thread begins on LangGraph's saver, and how it goes on, on any saver."""

    build: Callable[[Any, Log], Any]
    begin: Callable[[Driver], Awaitable[None]]
    go_on: Callable[[Driver], Awaitable[None]]


async def _chat_begins(driver: Driver) -> None:
    for n in range(5):
        await driver.run(said(f"question {n}"))


async def _chat_exits(driver: Driver) -> None:
    for n in range(3):
        await driver.run(said(f"question {n}"), durability="exit")


async def _chat_forks(driver: Driver) -> None:
    await _chat_begins(driver)
    past = (await driver.history())[9]
    fork = await driver.update(past.config, said("another question"), as_node="__start__")
    await driver.run(None, fork)


async def _chat_goes_on(driver: Driver) -> None:
    await driver.run(said("and then?"))
    past = next(s for s in await driver.history() if s.next == ("tidy",))
    await driver.run(None, past.config)
    oldest = (await driver.history())[-1]
    await driver.run(None, oldest.config)
    fork = await driver.update(past.config, said("instead"), as_node="__start__")
    await driver.run(None, fork)
    await driver.run(said("and now?"))


def _approval(saver: Any, log: Log) -> Any:
    def ask(state: MessagesState) -> Any:
        log.append("ask")
        answers = [interrupt({"question": "may I?"}), interrupt("really?")]
        return {"messages": [AIMessage(f"{answers}", id=counted(state, "a"))]}

    def also(state: MessagesState) -> Any:
        log.append("also")
        return {"messages": [AIMessage(f"also {interrupt('and this?')}", id="also")]}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.add_node("also", also)
    builder.add_edge(START, "ask")
    builder.add_edge(START, "also")
    return builder.compile(checkpointer=saver)


async def _approval_begins(driver: Driver) -> None:
    await driver.run(said("do it"))
    first = (await driver.state()).interrupts[0]
    await driver.run(Command(resume={first.id: "yes"}))


async def _approval_goes_on(driver: Driver) -> None:
    for _ in range(2):
        waiting = (await driver.state()).interrupts
        await driver.run(Command(resume={found.id: f"to {found.value}" for found in waiting}))
    await driver.run(said("again"))


class _Found(TypedDict):
    found: Annotated[list[Any], operator.add]


def _fan_out(saver: Any, log: Log) -> Any:
    def look(state: Any) -> Any:
        log.append(f"look {state}")
        if state == "c" and log.count("look c") == 1:
            raise BoomError(state)
        return {"found": [state]}

    builder = StateGraph(_Found)
    builder.add_node("plan", lambda state: {"found": []})
    builder.add_node("look", look)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda state: [Send("look", word) for word in "abcd"])
    return builder.compile(checkpointer=saver)


async def _fan_out_begins(driver: Driver) -> None:
    await driver.run({"found": []})


async def _fan_out_goes_on(driver: Driver) -> None:
    await driver.run(None)
    await driver.run({"found": ["z"]})


def _nested(saver: Any, log: Log) -> Any:
    def inner(state: MessagesState) -> Any:
        log.append("inner")
        return {"messages": [AIMessage(f"inner {interrupt('go on?')}", id=counted(state, "i"))]}

    def remembering(state: MessagesState) -> Any:
        log.append(counted(state, "remembering"))
        return {"messages": [AIMessage("noted", id=counted(state, "n"))]}

    asking = StateGraph(MessagesState)
    asking.add_node("inner", inner)
    asking.add_edge(START, "inner")
    own = StateGraph(MessagesState)
    own.add_node("remembering", remembering)
    own.add_edge(START, "remembering")
    builder = StateGraph(MessagesState)
    builder.add_node("own", own.compile(checkpointer=True))
    builder.add_node("asking", asking.compile())
    builder.add_edge(START, "own")
    builder.add_edge("own", "asking")
    builder.add_edge("asking", END)
    return builder.compile(checkpointer=saver)


async def _nested_begins(driver: Driver) -> None:
    await driver.run(said("first"))
    await driver.run(Command(resume="yes"))
    await driver.run(said("second"))


async def _nested_goes_on(driver: Driver) -> None:
    await driver.run(Command(resume="of course"))
    await driver.run(said("third"))
    await driver.run(Command(resume="no"))


def _extend(state: list[Any], writes: Any) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


class _Notes(TypedDict):
    notes: Annotated[list[Any], DeltaChannel(_extend, snapshot_frequency=4)]


def _delta(saver: Any, log: Log) -> Any:
    def note(state: _Notes) -> Any:
        log.append(f"note {len(state['notes'])}")
        return {"notes": [f"after {len(state['notes'])}"]}

    def twin(state: _Notes) -> Any:
        return {"notes": [f"twin of {len(state['notes'])}"]}

    builder = StateGraph(_Notes)
    builder.add_node("note", note)
    builder.add_node("twin", twin)
    builder.add_edge(START, "note")
    builder.add_edge(START, "twin")
    return builder.compile(checkpointer=saver)


async def _delta_begins(driver: Driver) -> None:
    for n in range(7):
        await driver.run({"notes": [f"given {n}"]})


async def _delta_goes_on(driver: Driver) -> None:
    await driver.run({"notes": ["given later"]})
    past = (await driver.history())[8]
    await driver.run(None, past.config)
    await driver.run({"notes": ["at last"]})


def _functional(saver: Any, log: Log) -> Any:
    @task
    def square(n: int) -> int:
        log.append(f"square {n}")
        return n * n

    @entrypoint(checkpointer=saver)
    def work(numbers: list[int], *, previous: Any = None) -> Any:
        squares = [square(n).result() for n in numbers]
        answer = interrupt({"sum": sum(squares)})
        value = {"squares": squares, "answer": answer, "previous": previous}
        return entrypoint.final(value=value, save=sum(squares))

    return work


async def _functional_begins(driver: Driver) -> None:
    await driver.run([1, 2])
    await driver.run(Command(resume="fine"))
    await driver.run([3, 4])


async def _functional_goes_on(driver: Driver) -> None:
    await driver.run(Command(resume="good"))
    await driver.run([5])
    await driver.run(Command(resume="done"))


class Colour(Enum):
    """Stored by LangGraph as an extension type."""

    RED = "red"


class Place(BaseModel):
    """A model of the user's."""

    name: str
    at: tuple[float, float] = (0.0, 0.0)


@dataclass
class Order:
    """A dataclass of the user's, with a model in it."""

    place: Place
    count: int = 1


class _Things(TypedDict):
    things: Annotated[list[Any], operator.add]
    last: Any


def _objects(saver: Any, log: Log) -> Any:
    def add(state: _Things) -> Any:
        n = len(state["things"])
        log.append(f"add {n}")
        fresh = [
            Order(Place(name=f"place {n}", at=(n, float("inf"))), n),
            {"colour": Colour.RED, "seen": {1, 2}, 7: b"bytes", "nested": [Place(name="p")]},
            datetime(2026, 1, n % 28 + 1, tzinfo=UTC),
            float("nan"),
            None,
        ]
        return {"things": fresh, "last": fresh[1]}

    builder = StateGraph(_Things)
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    return builder.compile(checkpointer=saver)


async def _objects_begin(driver: Driver) -> None:
    for n in range(3):
        await driver.run({"things": [n]})


async def _objects_go_on(driver: Driver) -> None:
    await driver.run({"things": ["more"]})


SCENARIOS = {
    "chat": Scenario(chat, _chat_begins, _chat_goes_on),
    "exit": Scenario(chat, _chat_exits, _chat_goes_on),
    "forks": Scenario(chat, _chat_forks, _chat_goes_on),
    "approval": Scenario(_approval, _approval_begins, _approval_goes_on),
    "fan_out": Scenario(_fan_out, _fan_out_begins, _fan_out_goes_on),
    "nested": Scenario(_nested, _nested_begins, _nested_goes_on),
    "delta": Scenario(_delta, _delta_begins, _delta_goes_on),
    "functional": Scenario(_functional, _functional_begins, _functional_goes_on),
    "objects": Scenario(_objects, _objects_begin, _objects_go_on),
}


async def begin(scenario: Scenario, path: Path, mode: Mode = "sync", config: Any = CONFIG) -> Log:
    """Write a scenario's thread with LangGraph's saver, and return what ran."""
    log: Log = []
    async with langgraph_saver(path, mode) as saver:
        await scenario.begin(Driver(scenario.build(saver, log), mode, config))
    return log
