"""An agent of 8 model calls and 7 tool calls whose model answers at once, on each checkpointer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from benchmarks._contenders import Contender, Work, in_turns, opened, with_other
from benchmarks._instant import InstantModel
from benchmarks._progress import tell
from benchmarks._row import OTHER, ROWTRAIL, Bar, Row
from benchmarks._size import Size
from benchmarks._text import Text
from rowtrail_langgraph import RowtrailSaver

SQLITE, ASYNC_SQLITE = "SqliteSaver", "AsyncSqliteSaver"
MODEL_CALLS = 8
TEXT_BYTES = 500
CHUNK = 2

Saver = BaseCheckpointSaver[Any]


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the rows of whole runs of an agent."""
    contenders = _contenders(against)
    samples: dict[tuple[str, str], list[float]] = {}
    tell(f"agent: {size.agent_runs} runs each")
    with opened(contenders, folder, size) as workers:
        in_turns(workers, CHUNK, CHUNK)  # what the first run imports and compiles
        for key, each in in_turns(workers, size.agent_runs, CHUNK).items():
            samples[key] = [one * 1e3 for one in each]
    return [
        _row("sync", "", 1.4, SQLITE, samples),
        _row("async", "", 1.4, ASYNC_SQLITE, samples),
        _row("sync", ", without capture", 1.05, SQLITE, samples),
        _row("async", ", without capture", 1.05, ASYNC_SQLITE, samples),
    ]


def _row(
    way: str, capture: str, limit: float, peer: str, samples: dict[tuple[str, str], list[float]]
) -> Row:
    measure = f"{way}{capture}"
    found = {name: each for (what, name), each in samples.items() if what == measure}
    found[peer] = samples[way, peer]
    return Row(
        "agent",
        f"a run of {MODEL_CALLS} model and {MODEL_CALLS - 1} tool calls, instant model, {measure}",
        "ms",
        {name: found[name] for name in (ROWTRAIL, peer, OTHER) if name in found},
        (Bar("at most", limit, of=peer, any_size=True),),
        note="each run a thread of its own, its texts unique; pairs of runs in turns",
    )


def _contenders(against: Path | None) -> dict[tuple[str, str], Contender]:
    """Return who takes part, by what is measured and by name."""
    return {
        ("sync", SQLITE): Contender(SQLITE, f"{__name__}:on_sqlite"),
        ("async", ASYNC_SQLITE): Contender(ASYNC_SQLITE, f"{__name__}:on_async_sqlite"),
        **{
            (measure, contender.name): contender
            for measure, name in {
                "sync": "captured",
                "async": "async_captured",
                "sync, without capture": "plain",
                "async, without capture": "async_plain",
            }.items()
            for contender in with_other(f"{__name__}:{name}", against)
        },
    }


class Agent:
    """A graph of a model and a tool; each run says and finds something new."""

    def __init__(self, saver: Saver, number: int) -> None:
        self._text = Text(seed=number)
        self._model = InstantModel()

        @tool
        def look_up(topic: str) -> str:
            """Look something up."""
            return self._found

        look_up.metadata = {"rowtrail": {"effect": "read"}}

        def call_model(state: MessagesState) -> dict[str, Any]:
            return {"messages": [self._model.invoke(state["messages"])]}

        builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
        builder.add_node("model", call_model)
        builder.add_node("tools", ToolNode([look_up]))
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        self.graph = builder.compile(checkpointer=saver)
        self._found = ""
        self._runs = 0

    def prepare(self) -> tuple[Any, RunnableConfig]:
        """Make what the next run says; return its input and its config."""
        self._runs += 1
        asks = [
            AIMessage(
                self._text.of(TEXT_BYTES),
                tool_calls=[
                    {"name": "look_up", "args": {"topic": self._text.of(50)}, "id": f"call-{n}"}
                ],
            )
            for n in range(MODEL_CALLS - 1)
        ]
        self._model.will_say(*asks, AIMessage(self._text.of(TEXT_BYTES)))
        self._found = self._text.of(TEXT_BYTES)
        asked = {"messages": [HumanMessage(self._text.of(TEXT_BYTES))]}
        return asked, {"configurable": {"thread_id": f"thread-{self._runs}"}}


def _work(agent: Agent, run: Callable[[Any, RunnableConfig], Any]) -> Work:
    def work(first: int, count: int) -> list[float]:
        seconds: list[float] = []
        for _ in range(count):
            asked, config = agent.prepare()
            started = time.perf_counter()
            state = run(asked, config)
            seconds.append(time.perf_counter() - started)
            if len(state["messages"]) != 2 * MODEL_CALLS:
                raise RuntimeError(f"the agent ended with {len(state['messages'])} messages")
        return seconds

    return work


@contextmanager
def _sync(open_saver: Callable[[str], Any], path: Path, number: int) -> Generator[Work]:
    with open_saver(str(path)) as saver:
        agent = Agent(saver, number)
        yield _work(agent, agent.graph.invoke)


@contextmanager
def _async(open_saver: Callable[[str], Any], path: Path, number: int) -> Generator[Work]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        entered: Awaitable[Saver] = stack.enter_async_context(open_saver(str(path)))

        async def enter() -> Saver:
            return await entered

        agent = Agent(runner.run(enter()), number)
        try:
            yield _work(agent, lambda asked, config: runner.run(agent.graph.ainvoke(asked, config)))
        finally:
            runner.run(stack.aclose())


on_sqlite = partial(_sync, SqliteSaver.from_conn_string)
on_async_sqlite = partial(_async, AsyncSqliteSaver.from_conn_string)
captured = partial(_sync, RowtrailSaver.from_conn_string)
async_captured = partial(_async, RowtrailSaver.from_conn_string)
plain = partial(_sync, partial(RowtrailSaver.from_conn_string, capture=False))
async_plain = partial(_async, partial(RowtrailSaver.from_conn_string, capture=False))
