"""A few recorded runs, each a thread of its own: what the large journal is made of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph

import rowtrail
from benchmarks._conversation import Script, ScriptedModel
from benchmarks._text import Text
from rowtrail._clock import Clock
from rowtrail_langgraph import RowtrailSaver

RUNS = 10
LLM_CALLS = 20
TOOLS_A_CALL = 4
CALLS_A_RUN = LLM_CALLS * (1 + TOOLS_A_CALL)
OUTPUT_BYTES = 200
YEAR_MS = 365 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Template:
    """The runs that were recorded."""

    run_ids: list[str]

    @property
    def steps(self) -> int:
        """Return how many steps they have together."""
        return len(self.run_ids) * CALLS_A_RUN


class LastYear(Clock):
    """The system's clock, a year ago."""

    def now_ms(self) -> int:
        """Return the wall clock of a year ago, in milliseconds."""
        return time.time_ns() // 1_000_000 - YEAR_MS


def record_template(path: Path, runs: int = RUNS) -> Template:
    """Record runs of an agent that calls a model and tools; the file must be new."""
    with rowtrail.Journal(path, durability="normal", clock=LastYear()) as journal:
        graph = _graph().compile(checkpointer=RowtrailSaver(journal))
        for number in range(runs):
            config: Any = {"configurable": {"thread_id": f"thread-{number}"}}
            graph.invoke({"messages": [HumanMessage(f"question {number}")]}, config)
        return Template([row["run_id"] for row in reversed(journal.runs())])


def _graph() -> StateGraph[Any, Any, Any, Any]:
    script = Script("append", 1)
    model = ScriptedModel(script=script)
    text = Text(seed=4)

    @rowtrail.step(name="search", kind="tool")
    def search(query: str) -> str:
        return text.of(OUTPUT_BYTES)

    def agent(state: MessagesState) -> dict[str, list[AnyMessage]]:
        said: list[AnyMessage] = []
        for call in range(LLM_CALLS):
            said.append(model.invoke([*state["messages"], *said]))
            for tool in range(TOOLS_A_CALL):
                found = search(f"{call} {tool} {text.of(20)}")
                said.append(HumanMessage(found))
        return {"messages": said}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_edge(START, "agent")
    builder.add_edge("agent", END)
    return builder
