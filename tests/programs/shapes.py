"""An agent in every shape that LangGraph has, killed at every moment of a call.

The call under test is the tool `send`, which writes. Moments: before its intent is on disk, after
it, inside the tool, after the tool and before its result is on disk, after that and before
LangGraph's own checkpoint.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

import rowtrail
from rowtrail import NOT_DONE, Step, current_step
from rowtrail.engine.sqlite import is_alone
from rowtrail_langgraph import RowtrailSaver
from tests._forks import serve
from tests.programs.scenes import asked

MOMENTS = ("before intent", "after intent", "in the tool", "before result", "after result")
CONFIG: Any = {"configurable": {"thread_id": "t"}}


class World:
    """A ledger of effects, and the moment at which this process dies."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.folder = Path(command["folder"])
        self.die_at: str | None = command.get("die_at")
        self.base_url: str = command["base_url"]
        self.armed = ""

    def reached(self, moment: str) -> None:
        """Die here, if that was asked for; or at the next transaction, where that is the moment."""
        if moment == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.armed = {"at the call": "before intent", "tool done": "before result"}.get(moment, "")

    def watch(self) -> None:
        """Watch every connection for the transaction that writes an intent or a result."""
        connect = sqlite3.connect

        def watched(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(partial(self._statement, connection))
            return connection

        sqlite3.connect = watched  # type: ignore[assignment]

    def _statement(self, connection: sqlite3.Connection, statement: str) -> None:
        if not self.armed or self.armed != self.die_at:
            return
        if statement.startswith("COMMIT") or is_alone(connection, statement):
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, line: str) -> None:
        file = os.open(self.folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{line}\n".encode())
        os.fsync(file)
        os.close(file)

    def look(self, step: Step) -> Any:
        ledger = self.folder / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        sent = [line for line in lines if line.endswith(step.idempotency_key)]
        return f"sent {sent[0].split()[1]}" if sent else NOT_DONE


def tools(world: World) -> list[BaseTool]:
    """Return the tools, of which `send` is the one that is killed."""

    @tool
    def send(word: str) -> str:
        """Send a word."""
        if word == "a":
            world.reached("after intent")
        world.note(f"send {word} {current_step().idempotency_key}")
        if word == "a":
            world.reached("in the tool")
            world.reached("tool done")
        return f"sent {word}"

    send.metadata = {"rowtrail": {"effect": "write", "on_doubt": world.look}}
    return [send]


def _asker(world: World) -> Callable[[str], str]:
    @rowtrail.step(name="ask", kind="llm")
    def ask(prompt: str) -> str:
        return asked(world.base_url, prompt)

    return ask


def _sender(world: World) -> Callable[[], str]:
    """Return what a node does: a paid answer, then the write."""
    ask, [send] = _asker(world), tools(world)

    def work() -> str:
        said = ask(f"{world.folder.name}")
        world.reached("at the call")
        sent = send.invoke({"word": "a"})
        world.reached("after result")
        return f"{said}, {sent}"

    return work


def one_node(world: World, saver: RowtrailSaver) -> Any:
    work = _sender(world)
    builder = StateGraph(MessagesState)
    builder.add_node("work", lambda state: {"messages": [AIMessage(work(), id="answer")]})
    builder.add_edge(START, "work")
    return builder.compile(checkpointer=saver)


def subgraph(world: World, saver: RowtrailSaver) -> Any:
    work = _sender(world)
    inner = StateGraph(MessagesState)
    inner.add_node("inside", lambda state: {"messages": [AIMessage(work(), id="answer")]})
    inner.add_edge(START, "inside")
    builder = StateGraph(MessagesState)
    builder.add_node("outside", inner.compile())
    builder.add_edge(START, "outside")
    return builder.compile(checkpointer=saver)


def interrupted(world: World, saver: RowtrailSaver) -> Any:
    work, ask = _sender(world), _asker(world)

    def approve(state: MessagesState) -> Any:
        first = ask(f"{world.folder.name} before")
        approved = interrupt("may I?")
        return {"messages": [AIMessage(f"{first}, {approved}, {work()}", id="answer")]}

    builder = StateGraph(MessagesState)
    builder.add_node("approve", approve)
    builder.add_edge(START, "approve")
    return builder.compile(checkpointer=saver)


def parallel(world: World, saver: RowtrailSaver) -> Any:
    ask = _asker(world)

    def plan(state: MessagesState) -> Any:
        calls = [{"name": "send", "args": {"word": w}, "id": f"call-{w}"} for w in "bac"]
        said = ask(world.folder.name)
        world.reached("at the call")
        return {"messages": [AIMessage(said, tool_calls=calls, id="plan")]}

    def close(state: MessagesState) -> Any:
        world.reached("after result")
        texts = sorted(str(m.content) for m in state["messages"] if m.type == "tool")
        return {"messages": [AIMessage(", ".join(texts), id="answer")]}

    builder = StateGraph(MessagesState)
    builder.add_node("plan", plan)
    builder.add_node("tools", ToolNode(tools(world)))
    builder.add_node("close", close)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "tools")
    builder.add_edge("tools", "close")
    builder.add_edge("close", END)
    return builder.compile(checkpointer=saver)


def functional(world: World, saver: RowtrailSaver) -> Any:
    work = _sender(world)

    @task
    def inside() -> str:
        return work()

    @entrypoint(checkpointer=saver)
    def program(state: Any) -> Any:
        return {"messages": [AIMessage(inside().result(), id="answer")]}

    return program


SHAPES = {
    "one node": one_node,
    "subgraph": subgraph,
    "interrupt": interrupted,
    "parallel tools": parallel,
    "functional": functional,
}


def run(command: dict[str, Any]) -> None:
    """Run the agent once, from where it is, and write down how it ended."""
    world = World(command)
    world.watch()
    with RowtrailSaver(world.folder / "agent.db") as saver:
        graph = SHAPES[command["shape"]](world, saver)
        ended = _answer(_drive(graph, command, saver))
    (world.folder / "ended").write_text(json.dumps(ended))


def _drive(graph: Any, command: dict[str, Any], saver: RowtrailSaver) -> Any:
    begun = saver.get_tuple(CONFIG) is not None
    given: Any = None if begun else {"messages": [HumanMessage("go", id="question")]}
    state = _once(graph, command, given)
    waiting = saver.get_tuple(CONFIG)
    if command["shape"] == "interrupt" and waiting is not None:
        answered = any(channel == "__resume__" for _, channel, _ in waiting.pending_writes or [])
        if "approve" in graph.get_state(CONFIG).next and not answered:
            state = _once(graph, command, Command(resume="yes"))
    return state


def _once(graph: Any, command: dict[str, Any], given: Any) -> Any:
    mode, how = command["mode"], {"durability": command["durability"]}
    if mode == "invoke":
        return graph.invoke(given, CONFIG, **how)
    if mode == "stream":
        return [*graph.stream(given, CONFIG, stream_mode="values", **how)][-1]
    if mode == "ainvoke":
        return asyncio.run(graph.ainvoke(given, CONFIG, **how))

    async def last() -> Any:
        found = [each async for each in graph.astream(given, CONFIG, stream_mode="values", **how)]
        return found[-1]

    return asyncio.run(last())


def _answer(state: Any) -> str:
    return str(state["messages"][-1].content)


if __name__ == "__main__":
    serve(run)
