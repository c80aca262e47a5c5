"""The agents that tests kill: each builds a graph that dies where it is told to."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send

from rowtrail.errors import RowtrailError
from rowtrail.testing import Reply
from rowtrail_langgraph import JournalMiddleware, RowtrailSaver
from tests._forks import serve, warm_up
from tests.adapters._graphs import Calls, Ledger, as_node, rows, shape, thread
from tests.adapters._graphs import one_node as in_one_node
from tests.programs.spreads import SPREADS

WORDS = ("a", "b", "c", "d", "e")


def respond(request: dict[str, Any]) -> Reply:
    """Answer as a pure function of the last message, so that every run ends the same."""
    text = str(request["messages"][-1]["content"])
    if text == "look the words up":
        return Reply(tool_calls=[("look", {"word": word}) for word in WORDS])
    if text == "send it":
        return Reply(tool_calls=[("send", {"to": "a"})])
    return Reply(f"re: {text}")


@dataclass
class Case:
    """What a child has to build its graph of."""

    command: dict[str, Any]
    saver: RowtrailSaver
    finished: set[str] = field(default_factory=set)

    @property
    def mode(self) -> Any:
        return self.command["mode"]

    @property
    def ledger(self) -> Ledger:
        return Ledger(Path(self.command["ledger"]))

    def model(self) -> Any:
        return model_of(self.command["base_url"])

    def passes(self, point: str) -> None:
        """Die, if this is where the test says so."""
        if self.command.get("die_at") == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def look(self) -> BaseTool:
        """Return a tool that leaves a line, and dies at `in look WORD` once others have ended."""

        @tool
        def look(word: str) -> str:
            """Look a word up."""
            self.ledger.add(word)
            if self.command.get("die_at") == f"in look {word}":
                until = time.monotonic() + 60
                while len(self.finished) < self.command.get("others", 0):
                    assert time.monotonic() < until, "the other tools do not end"
                    time.sleep(0.002)
                self._wait_for_rows()
                self.passes(f"in look {word}")
            self.finished.add(word)
            return f"{word} is a word"

        return look

    def _wait_for_rows(self) -> None:
        """Wait until the results of the tools that ended are on disk."""
        until = time.monotonic() + 60
        query = "SELECT count(*) AS n FROM tool_calls WHERE status = 'done'"
        while time.monotonic() < until:
            if rows(Path(self.command["db"]), query)[0]["n"] >= self.command.get("others", 0):
                return
            time.sleep(0.002)
        raise AssertionError("the results of the other tools are not on disk")


Scenario = Callable[[Case], tuple[Any, Any]]


def one_node(case: Case) -> tuple[Any, Any]:
    """Three LLM calls and two tool calls in one node."""
    look = case.look()
    asks: list[Any] = ["one", "two", look, "three", look]

    async def work(state: MessagesState, calls: Calls) -> Any:
        found = []
        for i, ask in enumerate(asks):
            if isinstance(ask, str):
                found.append((await calls.ask(case.model(), ask)).content)
            else:
                found.append(await calls.ask(ask, {"word": WORDS[i]}))
            case.passes(f"after {i}")
        return {"messages": [AIMessage(" ".join(found))]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("work", as_node(case.mode, work))
    builder.add_edge(START, "work")
    return builder.compile(checkpointer=case.saver), {"messages": "go"}


def tool_node(case: Case) -> tuple[Any, Any]:
    """Five parallel tools in a plain `ToolNode`."""
    look = case.look()

    async def plan(state: MessagesState, calls: Calls) -> Any:
        model = case.model().bind_tools([look])
        return {"messages": [await calls.ask(model, "look the words up")]}

    async def close(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(case.model(), "close")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("plan", as_node(case.mode, plan))
    builder.add_node("tools", ToolNode([look]))
    builder.add_node("close", as_node(case.mode, close))
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "tools")
    builder.add_edge("tools", "close")
    return builder.compile(checkpointer=case.saver), {"messages": "go"}


def agent(case: Case) -> tuple[Any, Any]:
    """An agent of `create_agent`, each of whose tool calls is a task of its own."""
    look = case.look()
    graph = create_agent(case.model(), [look], checkpointer=case.saver)
    return graph, {"messages": "look the words up"}


class DiesAfterTheFirstAnswer(AgentMiddleware):
    """Dies when the model has answered, before LangGraph knows of it."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """Pass the call on."""
        answer = handler(request)
        self.case.passes("after the first answer")
        return answer

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """Pass the call on."""
        answer = await handler(request)
        self.case.passes("after the first answer")
        return answer


def explicit_agent(case: Case) -> tuple[Any, Any]:
    """An agent that is recorded by its middleware."""
    graph = create_agent(
        case.model(),
        [case.look()],
        middleware=[DiesAfterTheFirstAnswer(case), JournalMiddleware(case.saver.journal)],
        checkpointer=case.saver,
    )
    return graph, {"messages": "look the words up"}


def write_tool(case: Case) -> tuple[Any, Any]:
    """A tool with an effect, between two LLM calls."""

    @tool
    def send(to: str) -> str:
        """Send."""
        case.passes("before the effect")
        case.ledger.add(to)
        case.passes("after the effect")
        return f"sent to {to}"

    tools = ToolNode([send], handle_tool_errors=True)

    async def plan(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(case.model().bind_tools([send]), "send it")]}

    async def close(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await calls.ask(case.model(), "close")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("plan", as_node(case.mode, plan))
    builder.add_node("tools", tools)
    builder.add_node("close", as_node(case.mode, close))
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "tools")
    builder.add_edge("tools", "close")
    return builder.compile(checkpointer=case.saver), {"messages": "go"}


def two_nodes(case: Case) -> tuple[Any, Any]:
    """Two nodes, the first of which may end without its checkpoint being saved."""

    async def first(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(case.model(), "one")
        return {"messages": [one, await calls.ask(case.model(), "two")]}

    async def second(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(case.model(), f"three after {state['messages'][-1].content}")
        case.passes("in the second node")
        return {"messages": [answer]}

    builder: Any = StateGraph(MessagesState)
    builder.add_sequence([as_node(case.mode, first), as_node(case.mode, second)])
    builder.add_edge(START, "first")
    if case.command.get("hold_saves_from") is not None:
        _hold_saves(case.saver, case.command["hold_saves_from"])
    return builder.compile(checkpointer=case.saver), {"messages": "go"}


def _hold_saves(saver: RowtrailSaver, step: int) -> None:
    """Let no checkpoint from this superstep on reach the disk, and no write of a task."""
    never, put, aput = threading.Event(), saver.put, saver.aput

    def held_put(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        if metadata["step"] >= step:
            never.wait()
        return put(config, checkpoint, metadata, versions)

    async def held_aput(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        if metadata["step"] >= step:
            await asyncio.Event().wait()
        return await aput(config, checkpoint, metadata, versions)

    async def aput_writes(*args: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()

    def put_writes(*args: Any, **kwargs: Any) -> None:
        never.wait()

    patched: Any = saver
    patched.put, patched.aput = held_put, held_aput
    patched.put_writes, patched.aput_writes = put_writes, aput_writes


def subgraph(case: Case) -> tuple[Any, Any]:
    """Calls before, inside and after a graph that a node invokes."""
    checkpointer = {"None": None, "True": True, "False": False}[case.command["inner"]]

    async def write(state: MessagesState, calls: Calls) -> Any:
        one = await calls.ask(case.model(), "inner one")
        case.passes("in the inner node")
        return {"messages": [one, await calls.ask(case.model(), "inner two")]}

    async def check(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(case.model(), "inner three")
        case.passes("in the second inner node")
        return {"messages": [answer]}

    inner_builder: Any = StateGraph(MessagesState)
    inner_builder.add_sequence([as_node(case.mode, write), as_node(case.mode, check)])
    inner_builder.add_edge(START, "write")
    inner = inner_builder.compile(checkpointer=checkpointer)

    async def team(state: MessagesState, calls: Calls) -> Any:
        before = await calls.ask(case.model(), "before")
        found = await calls.ask(inner, {"messages": [before]})
        case.passes("after the inner graph")
        after = await calls.ask(case.model(), "after")
        case.passes("at the end")
        return {"messages": [*found["messages"], after]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("team", as_node(case.mode, team))
    builder.add_edge(START, "team")
    return builder.compile(checkpointer=case.saver), {"messages": "go"}


def functional(case: Case) -> tuple[Any, Any]:
    """An entrypoint with tasks, one after the other and at once, one task inside another."""

    @task
    def inner(word: str) -> str:
        text = str(case.model().invoke(f"inner {word}").content)
        case.passes(f"in the inner task {word}")
        return text

    @task
    def outer(word: str) -> str:
        text = str(case.model().invoke(f"outer {word}").content)
        return f"{text}, {inner(word).result()}"

    @task
    async def ainner(word: str) -> str:
        text = str((await case.model().ainvoke(f"inner {word}")).content)
        case.passes(f"in the inner task {word}")
        return text

    @task
    async def aouter(word: str) -> str:
        text = str((await case.model().ainvoke(f"outer {word}")).content)
        return f"{text}, {await ainner(word)}"

    if case.mode == "sync":

        @entrypoint(checkpointer=case.saver)
        def flow(words: list[str]) -> list[str]:
            first = str(case.model().invoke("plan").content)
            found = [first, *(outer(word).result() for word in words)]
            case.passes("at the end")
            return found

        return flow, ["x", "y"]

    @entrypoint(checkpointer=case.saver)
    async def aflow(words: list[str]) -> list[str]:
        first = str((await case.model().ainvoke("plan")).content)
        found = [first, *await asyncio.gather(*(aouter(word) for word in words))]
        case.passes("at the end")
        return found

    return aflow, ["x", "y"]


class Found(TypedDict):
    """What a fan-out collects."""

    found: Annotated[list[str], operator.add]


def fan_out(case: Case) -> tuple[Any, Any]:
    """A task for each word, in one superstep."""

    async def look_up(state: Any, calls: Calls) -> Any:
        one = await calls.ask(case.model(), f"meaning of {state['word']}")
        case.passes(f"in the task {state['word']}")
        two = await calls.ask(case.model(), f"example of {state['word']}")
        return {"found": [f"{one.content}, {two.content}"]}

    builder: Any = StateGraph(Found)
    builder.add_node("look_up", as_node(case.mode, look_up))
    builder.add_conditional_edges(
        START, lambda _: [Send("look_up", {"word": word}) for word in WORDS], ["look_up"]
    )
    return builder.compile(checkpointer=case.saver), {"found": []}


def spread(case: Case) -> tuple[Any, Any]:
    """LLM and tool calls of one node in threads, begun as the command says, and once more."""
    model, look = case.model(), case.look()
    calls = [partial(model.invoke, f"meaning of {word}") for word in WORDS]
    calls += [partial(look.invoke, {"word": word}) for word in WORDS]
    in_threads = SPREADS[case.command["way"]]

    def work(state: MessagesState) -> Any:
        for part in ("first", "second"):
            in_threads(calls)
            case.passes(f"after the {part}")
        return {"messages": [("ai", "done")]}

    async def awork(state: MessagesState) -> Any:
        for part in ("first", "second"):
            done = in_threads(calls)
            if done is not None:
                await done
            case.passes(f"after the {part}")
        return {"messages": [("ai", "done")]}

    node: Any = work if case.mode == "sync" else awork
    return in_one_node(case.saver, node), {"messages": [("user", "go")]}


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        one_node,
        tool_node,
        agent,
        explicit_agent,
        write_tool,
        two_nodes,
        subgraph,
        functional,
        fan_out,
        spread,
    )
}


def model_of(base_url: str) -> ChatOpenAI:
    """Return a chat model that asks an endpoint."""
    return ChatOpenAI(base_url=base_url, api_key="none", model="gpt-4o-mini", max_retries=0)  # type: ignore[arg-type]


def work(command: dict[str, Any]) -> None:
    """Run a scenario once, and write down how it ended."""
    effects, capture = command.get("effects"), command.get("capture", True)
    with RowtrailSaver(command["db"], effects=effects, capture=capture) as saver:
        graph, asked = SCENARIOS[command["scenario"]](Case(command, saver))
        given = None if command["action"] == "resume" else asked
        durability = command["durability"]
        try:
            if command["mode"] == "async":
                state = asyncio.run(graph.ainvoke(given, thread(), durability=durability))
            else:
                state = graph.invoke(given, thread(), durability=durability)
            ended: Any = {"state": shape(state)}
        except RowtrailError as error:
            ended = {"error": [type(error).__name__, getattr(error, "step_id", None)]}
    Path(command["out"]).write_text(json.dumps(ended))


if __name__ == "__main__":
    serve(work, before=warm_up)
