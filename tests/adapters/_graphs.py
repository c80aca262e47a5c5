"""What the tests of the LangGraph adapter share: a journal, a paid endpoint, a ledger, graphs.

The endpoint is a real HTTP server that counts what it is asked, the ledger a real file to which
every effect appends a line that is synced. Bodies of nodes are written once, as coroutine
functions over `Calls`; in a sync graph they never wait and are run to their end by hand.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command

import rowtrail
from rowtrail.testing import LLMServer, Reply
from rowtrail_langgraph import RowtrailSaver

T = TypeVar("T")
Mode = Literal["sync", "async"]
Respond = Callable[[dict[str, Any]], Reply]
Body = Callable[[Any, "Calls"], Coroutine[Any, Any, Any]]

MODES: tuple[Mode, ...] = ("sync", "async")
DURABILITIES = ("sync", "async", "exit")


class Killed(BaseException):
    """Stands for a kill, where many cases share one process: nothing in a node may catch it."""


class Broken(Exception):  # noqa: N818 - a noun, as Killed
    """What the code of a node raises."""


class Ledger:
    """A file to which each effect appends one line, on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, line: str) -> None:
        """Append a line."""
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def lines(self) -> list[str]:
        """The lines so far."""
        return self.path.read_text().splitlines() if self.path.exists() else []


GO = {"messages": [("user", "go")]}
"""An input of a graph."""


class Calls:
    """Makes the calls of a node's body, sync or async by the mode of its graph."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode

    async def ask(self, model: Runnable[Any, Any], prompt: Any, **options: Any) -> Any:
        """Invoke a model, a chain or a tool."""
        if self.mode == "async":
            return await model.ainvoke(prompt, **options)
        return model.invoke(prompt, **options)

    async def stream(self, model: Runnable[Any, Any], prompt: Any, **options: Any) -> list[Any]:
        """Return the chunks of a streamed answer."""
        if self.mode == "async":
            return [chunk async for chunk in model.astream(prompt, **options)]
        return list(model.stream(prompt, **options))

    async def batch(self, model: Runnable[Any, Any], prompts: Sequence[Any]) -> list[Any]:
        """Return the answers to several prompts."""
        return await model.abatch(list(prompts)) if self.mode == "async" else model.batch(prompts)  # type: ignore[arg-type]

    async def together(self, *asked: Coroutine[Any, Any, T]) -> list[T]:
        """Return what several coroutines return; in a sync graph, one after the other."""
        if self.mode == "async":
            return list(await asyncio.gather(*asked))
        return [now(one) for one in asked]


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise AssertionError("the body waited in a sync graph")


def as_node(mode: Mode, body: Body) -> Callable[[Any], Any]:
    """Return a sync or async node that runs `body(state, calls)`."""

    def node(state: Any) -> Any:
        return now(body(state, Calls("sync")))

    async def anode(state: Any) -> Any:
        return await body(state, Calls("async"))

    chosen: Callable[[Any], Any] = node if mode == "sync" else anode
    chosen.__name__ = body.__name__
    return chosen


async def run(mode: Mode, graph: Any, input: Any, config: Any = None, **options: Any) -> Any:
    """Invoke a graph."""
    if mode == "async":
        return await graph.ainvoke(input, config, **options)
    return graph.invoke(input, config, **options)


def thread(thread_id: str = "1", **configurable: Any) -> RunnableConfig:
    """Return the config that names a thread."""
    return {"configurable": {"thread_id": thread_id, **configurable}}


def echo(request: dict[str, Any]) -> Reply:
    """Answer with the last message: the same request gets the same text."""
    return Reply(f"re: {last_text(request)}")


def last_text(request: Mapping[str, Any]) -> str:
    """Return the text of a request's last message."""
    return str(request["messages"][-1]["content"])


def scripted(script: Mapping[str, Reply | Sequence[Reply]]) -> Respond:
    """Answer the n-th request that ends with a text by the n-th reply to it, then by its last."""
    seen: dict[str, int] = {}

    def respond(request: dict[str, Any]) -> Reply:
        text = last_text(request)
        found = script.get(text)
        if found is None:
            return echo(request)
        replies = [found] if isinstance(found, Reply) else list(found)
        n = seen[text] = seen.get(text, 0) + 1
        return replies[min(n, len(replies)) - 1]

    return respond


def counting() -> Respond:
    """Answer each request with a text of its own, so that a second answer shows in the state."""
    numbers = itertools.count(1)

    def respond(request: dict[str, Any]) -> Reply:
        return Reply(f"re: {last_text(request)} #{next(numbers)}")

    return respond


class Bench(ExitStack):
    """A journal's file, an endpoint and a ledger, for one test."""

    def __init__(self, folder: Path, respond: Respond = echo, **server: Any) -> None:
        super().__init__()
        self.path = folder / "agent.db"
        self.ledger = Ledger(folder / "ledger")
        self.respond: Respond = respond
        # a test may change its mind while the server runs
        served = LLMServer(lambda request: self.respond(request), **server)  # noqa: PLW0108
        self.server = self.enter_context(served)

    @property
    def calls(self) -> int:
        """How many requests the endpoint had."""
        return self.server.calls

    @property
    def asked(self) -> list[str]:
        """The last messages of the requests, in order."""
        return [last_text(request) for request in self.server.requests]

    def saver(self, **options: Any) -> RowtrailSaver:
        """Return a saver on the journal, closed at the end of the test."""
        return self.enter_context(RowtrailSaver(options.pop("path", self.path), **options))

    def model(self, **options: Any) -> ChatOpenAI:
        """Return a chat model that asks the endpoint."""
        asked: dict[str, Any] = {
            "model": "gpt-4o-mini",
            "base_url": self.server.base_url,
            "api_key": "none",
            "max_retries": 0,
            "timeout": 20,
            # langchain-openai shares its connections between event loops, also with closed ones
            "default_headers": {"Connection": "close"},
        }
        return ChatOpenAI(**(asked | options))

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return rows of the journal, read by another connection."""
        return rows(self.path, query, *values)

    def steps(self, columns: str = "*", where: str = "true") -> list[dict[str, Any]]:
        """Return rows of the view `steps` in their order."""
        order = "CAST(step_id AS INTEGER)"
        return self.rows(f"SELECT {columns} FROM steps WHERE {where} ORDER BY {order}")

    def statuses(self, where: str = "true") -> list[tuple[str, str]]:
        """Return name and status of the steps."""
        return [(row["name"], row["status"]) for row in self.steps("name, status", where)]

    async def wait_for(self, count: int, status: str, where: str = "true") -> None:
        """Wait until so many steps have a status: coroutines end a moment after their graph."""
        for _ in range(6000):
            if sum(found == status for _, found in self.statuses(where)) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {count} steps are {status!r}: {self.statuses(where)}")

    async def wait_for_calls(self, count: int) -> None:
        """Wait until the endpoint has had so many requests."""
        for _ in range(12_000):
            if self.calls >= count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"the endpoint had {self.calls} requests")

    @property
    def replays(self) -> int:
        """How many replays there are rows of."""
        return int(self.rows("SELECT count(*) AS n FROM replays")[0]["n"])


def rows(path: Path, query: str, *values: Any) -> list[dict[str, Any]]:
    """Return rows of a journal, read by another connection."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def one_node(
    saver: Any,
    node: Any,
    state: type = MessagesState,
    name: str = "node",
    **compiled: Any,
) -> Any:
    """Return a graph of one node."""
    builder: Any = StateGraph(state)
    builder.add_node(name, node)
    builder.set_entry_point(name)
    return builder.compile(checkpointer=saver, **compiled)


async def killed_and_resumed(
    mode: Mode, bench: Bench, way: Callable[[Calls, Bench], Awaitable[Any]]
) -> tuple[Any, Any]:
    """Make calls in a node; return what it got before it was killed, and when it was resumed."""
    got: list[Any] = []
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        got.append(await way(calls, bench))
        fuse()
        return {"messages": [AIMessage("done")]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with suppress(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    paid = bench.calls
    await run(mode, graph, None, thread())
    assert bench.calls == paid
    assert fuse.left == 0, "it was not killed"
    return got[0], got[1]


def chain_of(
    saver: Any, *nodes: Callable[..., Any], state: type = MessagesState, **compiled: Any
) -> Any:
    """Return a graph of nodes that run one after the other, named after their functions."""
    builder: Any = StateGraph(state)
    builder.add_sequence(list(nodes))
    builder.set_entry_point(nodes[0].__name__)
    return builder.compile(checkpointer=saver, **compiled)


_ID = re.compile(r"call_[0-9a-f]{24}")


def shape(value: Any) -> Any:
    """Return a state without the ids that differ from run to run, to compare two runs."""
    if isinstance(value, BaseMessage):
        calls = [(c["name"], c["args"]) for c in getattr(value, "tool_calls", [])]
        extra = (value.status, value.artifact) if isinstance(value, ToolMessage) else ()
        return (value.type, value.content, calls, value.name, *extra)
    if isinstance(value, Mapping):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shape(item) for item in value]
    return _ID.sub("call", value) if isinstance(value, str) else value


def fields(value: Any) -> Any:
    """Return what there is of a value, every field of the messages in it."""
    if isinstance(value, BaseMessage):
        return {"class": type(value), **value.__dict__}
    if isinstance(value, Command):
        return {"class": Command, "update": fields(value.update), "goto": value.goto}
    if isinstance(value, Mapping):
        return {key: fields(item) for key, item in value.items()}
    return [fields(item) for item in value] if isinstance(value, list) else value


def told(state: Any) -> list[str]:
    """Return the results that the model was told of."""
    return [str(message.content) for message in state["messages"] if message.type == "tool"]


def texts(state: Any) -> list[str]:
    """Return the texts of a state's messages."""
    return [str(message.content) for message in state["messages"]]


def look_up(ledger: Ledger, fault: Fuse | None = None) -> BaseTool:
    """Return a tool that leaves a line, and raises where a test says so."""

    @tool
    def look(word: str) -> str:
        """Look a word up."""
        ledger.add(word)
        if fault is not None:
            fault()
        return f"{word} is a word"

    return look


def tool_call(name: str, args: Mapping[str, Any], call_id: str = "call_1") -> Any:
    """Return a tool call as `tool.invoke` takes it."""
    return {"name": name, "args": dict(args), "id": call_id, "type": "tool_call"}


def asks_for(*calls: tuple[str, Mapping[str, Any]]) -> AIMessage:
    """Return an answer that asks for tools; ids count from `call_0`."""
    return AIMessage(
        "",
        tool_calls=[tool_call(name, args, f"call_{i}") for i, (name, args) in enumerate(calls)],
    )


class Fuse:
    """Raises the first time that it is passed, and lets through from then on."""

    def __init__(self, error: BaseException | None = None, times: int = 1) -> None:
        self.error = Killed() if error is None else error
        self.left = times

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error


def sender(bench: Bench, fuse: Fuse, mode: Mode, **declared: Any) -> BaseTool:
    """Return a tool that sends, and is killed after the effect where the test says so."""

    @tool
    def send(to: str) -> str:
        """Send."""
        bench.ledger.add(f"{to} {rowtrail.current_step().idempotency_key}")
        fuse()
        return f"sent to {to}"

    @tool("send")
    async def asend(to: str) -> str:
        """Send."""
        bench.ledger.add(f"{to} {rowtrail.current_step().idempotency_key}")
        fuse()
        return f"sent to {to}"

    made = send if mode == "sync" else asend
    made.metadata = {"rowtrail": {"effect": "write", **declared}}
    return made
