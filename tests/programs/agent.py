"""The agent of the kill matrix: three LLM calls in one node, five parallel tools in another.

Runs in a child that the zygote forks, on a journal and against an endpoint that the test owns.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import SecretStr

from rowtrail_langgraph import RowtrailSaver
from tests._forks import serve, warm_up
from tests.engines.sqlite_store import sqlite_store

TOOL_SECONDS = 0.004
QUESTION = "measure five files"
CONFIG: Any = {"configurable": {"thread_id": "kill-matrix"}}


def tools(ledger: Path) -> list[BaseTool]:
    """Return the tools; each call leaves a synced line in the ledger before it does anything."""

    @tool
    def measure(name: str) -> str:
        """Measure a file."""
        with ledger.open("a") as file:
            file.write(json.dumps({"tool": "measure", "name": name}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        time.sleep(TOOL_SECONDS)
        return f"{name}: {len(name)} bytes"

    return [measure]


def build(base_url: str, ledger: Path, saver: RowtrailSaver) -> Any:
    """Return the compiled graph."""
    model = ChatOpenAI(
        base_url=base_url, api_key=SecretStr("none"), model="gpt-4o-mini", max_retries=0
    )
    bound = model.bind_tools(tools(ledger))

    def plan(state: MessagesState) -> dict[str, list[BaseMessage]]:
        outline = model.invoke([*state["messages"], ("user", "outline")])
        detail = model.invoke([outline, ("user", "detail")])
        calls = bound.invoke([outline, detail, ("user", "call the tools")])
        return {"messages": [outline, detail, calls]}

    def answer(state: MessagesState) -> dict[str, list[BaseMessage]]:
        return {"messages": [model.invoke([*state["messages"], ("user", "answer")])]}

    builder = StateGraph(MessagesState)
    builder.add_node("plan", plan)
    builder.add_node("tools", ToolNode(tools(ledger)))
    builder.add_node("answer", answer)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "tools")
    builder.add_edge("tools", "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def run(command: dict[str, Any]) -> None:
    """Run the agent once, resuming what is there; die at a commit when told to."""
    with RowtrailSaver(command["db"]) as saver:
        if command.get("die_at_commit") is not None:
            _die_at_commit(saver, command["die_at_commit"], after=command["after"])
        graph = build(command["base_url"], Path(command["ledger"]), saver)
        begun = bool(saver.get_tuple(CONFIG))
        durability = command.get("durability", "async")
        given = None if begun else {"messages": [("user", QUESTION)]}
        state = graph.invoke(given, CONFIG, durability=durability)
    text = [message.content for message in state["messages"]]
    Path(command["out"]).write_text(json.dumps(text))


def _die_at_commit(saver: RowtrailSaver, number: int, *, after: bool) -> None:
    """Kill this process right before its `number`-th commit, or right after it."""
    commits = 0

    def die(*, is_after: bool) -> None:
        if commits == number and is_after == after:
            os.kill(os.getpid(), signal.SIGKILL)

    def count() -> None:
        nonlocal commits
        commits += 1
        die(is_after=False)

    sqlite_store(saver.journal).watch_commits(count, lambda: die(is_after=True))


if __name__ == "__main__":
    serve(run, before=warm_up)
