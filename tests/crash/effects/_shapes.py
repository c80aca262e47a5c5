"""The six shapes of the same program: ask the model, make the calls it asks for, ask it again."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import httpx
from langchain.agents import create_agent
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy
from pydantic import SecretStr

import rowtrail
from rowtrail_langgraph import RowtrailSaver
from tests.crash.effects._stage import NODE_TIMEOUT_S, Stage
from tests.crash.effects._tools import act_of, declaration, effects_of, tools_of

RUN_ID = "order"
MODEL = "gpt-4o-mini"


@dataclass(frozen=True)
class Given:
    """What an invocation is given: a question, `None`, or a command."""

    value: Any
    run_id: str | None = None


class Program(Protocol):
    """One shape of the program, on an open journal."""

    def call(self, given: Given) -> Any:
        """Invoke it and return what it returns."""

    async def acall(self, given: Given) -> Any:
        """Invoke it from async code and return what it returns."""

    @property
    def journal(self) -> rowtrail.Journal: ...

    def close(self) -> None: ...


def program(stage: Stage, base_url: str) -> Program:
    """Return the program of a combination's shape."""
    if stage.combination.shape == "journal_run":
        return Plain(stage, base_url)
    return Graph(stage, base_url)


@cache
def model_of(base_url: str) -> ChatOpenAI:
    """Return the model.

    Its connections are not kept: the next invocation may run on another event loop.
    """
    once = httpx.Limits(max_keepalive_connections=0)
    return ChatOpenAI(
        base_url=base_url,
        api_key=SecretStr("none"),
        model=MODEL,
        max_retries=0,
        http_client=httpx.Client(verify=False, limits=once, timeout=30),
        http_async_client=httpx.AsyncClient(verify=False, limits=once, timeout=30),
    )


class Graph:
    """A graph on a saver."""

    def __init__(self, stage: Stage, base_url: str) -> None:
        self._stage = stage
        self._saver = RowtrailSaver(str(stage.world.db), effects=effects_of(stage))
        parts = Parts(stage, model_of(base_url), tools_of(stage))
        self._graph = BUILDERS[stage.combination.shape](parts, self._saver)

    @property
    def journal(self) -> rowtrail.Journal:
        return self._saver.journal

    def call(self, given: Given) -> Any:
        return self._graph.invoke(*self._arguments(given), durability=self._durability)

    async def acall(self, given: Given) -> Any:
        return await self._graph.ainvoke(*self._arguments(given), durability=self._durability)

    @property
    def _durability(self) -> Any:
        return self._stage.combination.durability

    def _arguments(self, given: Given) -> tuple[Any, Any]:
        is_short = self._stage.is_armed and self._stage.combination.fault == "node_timeout"
        self._graph.step_timeout = NODE_TIMEOUT_S if is_short else None
        configurable = {"thread_id": "thread"}
        if given.run_id is not None:
            configurable["rowtrail_run_id"] = given.run_id
        value: Any = given.value
        if isinstance(value, str):
            asked = [("user", value)]
            value = asked if self._stage.combination.shape == "functional" else {"messages": asked}
        return value, {"configurable": configurable, "callbacks": self._stage.callbacks()}

    def close(self) -> None:
        self._saver.close()


@dataclass(frozen=True)
class Parts:
    """What every shape is made of."""

    stage: Stage
    model: ChatOpenAI
    tools: list[BaseTool]

    @property
    def is_async(self) -> bool:
        return self.stage.combination.mode == "async"

    @property
    def bound(self) -> Any:
        return self.model.bind_tools(self.tools)

    @property
    def policies(self) -> list[RetryPolicy]:
        """LangGraph's RetryPolicy, when that is the way of going on."""
        if self.stage.combination.way != "retry_policy":
            return []
        return [
            RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False, retry_on=Exception)
        ]

    def task(self, function: Any) -> Any:
        """Return a function as a task of the functional API."""
        made: Any = task(name=function.__name__, retry_policy=self.policies)
        return made(function)

    @property
    def tool_named(self) -> dict[str, BaseTool]:
        return {tool.name: tool for tool in self.tools}


def _create_agent(parts: Parts, saver: Any) -> Any:
    graph: Any = create_agent(parts.model, parts.tools, checkpointer=saver)
    graph.retry_policy = parts.policies
    return graph


def _tool_node(parts: Parts, saver: Any, policies: list[RetryPolicy] | None = None) -> Any:
    bound = parts.bound

    def ask(state: MessagesState) -> Any:
        return {"messages": [bound.invoke(state["messages"])]}

    async def aask(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    def route(state: MessagesState) -> str:
        last: Any = state["messages"][-1]
        return "tools" if last.tool_calls else END

    policy: Any = parts.policies if policies is None else policies
    builder = StateGraph(MessagesState)
    builder.add_node("model", aask if parts.is_async else ask, retry_policy=policy)
    node = ToolNode(parts.tools, handle_tool_errors=False)
    builder.add_node("tools", node, retry_policy=policy)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", route, ["tools", END])
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver)


def _subgraph(parts: Parts, saver: Any) -> Any:
    builder = StateGraph(MessagesState)
    policy: Any = parts.policies
    builder.add_node("inner", _tool_node(parts, None, []), retry_policy=policy)
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    return builder.compile(checkpointer=saver)


def _by_hand(parts: Parts, saver: Any) -> Any:
    bound, tools = parts.bound, parts.tool_named

    def work(state: MessagesState) -> Any:
        made: list[BaseMessage] = []
        while True:
            made.append(bound.invoke([*state["messages"], *made]))
            calls = _calls(made[-1])
            if not calls:
                return {"messages": made}
            made += [tools[call["name"]].invoke(call) for call in calls]

    async def awork(state: MessagesState) -> Any:
        made: list[BaseMessage] = []
        while True:
            made.append(await bound.ainvoke([*state["messages"], *made]))
            calls = _calls(made[-1])
            if not calls:
                return {"messages": made}
            made += await asyncio.gather(*[tools[call["name"]].ainvoke(call) for call in calls])

    policy: Any = parts.policies
    builder = StateGraph(MessagesState)
    builder.add_node("work", awork if parts.is_async else work, retry_policy=policy)
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder.compile(checkpointer=saver)


def _functional(parts: Parts, saver: Any) -> Any:
    return (_afunctional if parts.is_async else _sfunctional)(parts, saver)


def _sfunctional(parts: Parts, saver: Any) -> Any:
    bound, tools = parts.bound, parts.tool_named

    def ask(messages: Any) -> Any:
        return bound.invoke(messages)

    def make(call: Any) -> Any:
        return tools[call["name"]].invoke(call)

    asking, making = parts.task(ask), parts.task(make)

    @entrypoint(checkpointer=saver)
    def agent(messages: Any) -> Any:
        made: list[Any] = [*messages]
        while True:
            made.append(asking(made).result())
            calls = _calls(made[-1])
            if not calls:
                return {"messages": made}
            futures = [making(call) for call in calls]
            made += [future.result() for future in futures]

    return agent


def _afunctional(parts: Parts, saver: Any) -> Any:
    bound, tools = parts.bound, parts.tool_named

    async def ask(messages: Any) -> Any:
        return await bound.ainvoke(messages)

    async def make(call: Any) -> Any:
        return await tools[call["name"]].ainvoke(call)

    asking, making = parts.task(ask), parts.task(make)

    @entrypoint(checkpointer=saver)
    async def agent(messages: Any) -> Any:
        made: list[Any] = [*messages]
        while True:
            made.append(await asking(made))
            calls = _calls(made[-1])
            if not calls:
                return {"messages": made}
            made += await asyncio.gather(*[making(call) for call in calls])

    return agent


def _calls(answer: Any) -> list[Any]:
    calls: list[Any] = answer.tool_calls
    return calls


BUILDERS: dict[str, Callable[[Parts, Any], Any]] = {
    "create_agent": _create_agent,
    "tool_node": _tool_node,
    "by_hand": _by_hand,
    "functional": _functional,
    "subgraph": _subgraph,
}


class Plain:
    """The program without a framework, in `journal.run`."""

    def __init__(self, stage: Stage, base_url: str) -> None:
        self._stage, self._base_url = stage, base_url
        self._question = stage.world.question
        self.journal = rowtrail.Journal(str(stage.world.db))
        declared = {} if stage.combination.outlives else declaration(stage.combination, stage.world)
        self._act = rowtrail.step(name="act", **declared)(act_of(stage))

    def call(self, given: Given) -> Any:
        self._question = question = given.value or self._question
        with self.journal.run(RUN_ID):
            made: list[dict[str, Any]] = [{"role": "user", "content": question}]
            while True:
                self._stage.asking(_results(made))
                made.append(_ask(self._base_url, made))
                amounts = _amounts(made[-1])
                if not amounts:
                    return {"messages": made}
                self._stage.answered(amounts)
                made += [_told(made[-1], n, self._act(a)) for n, a in enumerate(amounts)]

    async def acall(self, given: Given) -> Any:
        self._question = question = given.value or self._question
        async with self.journal.run(RUN_ID):
            made: list[dict[str, Any]] = [{"role": "user", "content": question}]
            while True:
                self._stage.asking(_results(made))
                made.append(await _aask(self._base_url, made))
                amounts = _amounts(made[-1])
                if not amounts:
                    return {"messages": made}
                self._stage.answered(amounts)
                results = await asyncio.gather(*[self._bounded(self._act(a)) for a in amounts])
                made += [_told(made[-1], n, result) for n, result in enumerate(results)]

    def _bounded(self, call: Any) -> Any:
        """Give a call the time that it has, when that is the fault."""
        has_limit = self._stage.is_armed and self._stage.combination.fault == "node_timeout"
        return asyncio.wait_for(call, NODE_TIMEOUT_S) if has_limit else call

    def close(self) -> None:
        self.journal.close()


@rowtrail.step(kind="llm", name="ask")
def _ask(base_url: str, messages: list[dict[str, Any]]) -> Any:
    body = json.dumps({"model": MODEL, "messages": messages}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{base_url}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["choices"][0]["message"]


@rowtrail.step(kind="llm", name="ask")
async def _aask(base_url: str, messages: list[dict[str, Any]]) -> Any:
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        body = {"model": MODEL, "messages": messages}
        response = await client.post(f"{base_url}/chat/completions", json=body)
        return response.json()["choices"][0]["message"]


def _amounts(message: dict[str, Any]) -> list[int]:
    calls = message.get("tool_calls") or []
    return [json.loads(call["function"]["arguments"])["amount"] for call in calls]


def _results(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "tool"]


def _told(answer: dict[str, Any], n: int, result: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": answer["tool_calls"][n]["id"], "content": result}
