"""The agent: a LangGraph graph on a `RowtrailSaver`, which audits one file after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage, RemoveMessage, SystemMessage
from langchain_core.tools import BaseTool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy
from openai import InternalServerError
from pydantic import SecretStr

from examples.ask_history._files import make_files
from examples.ask_history._log import PlainLog
from examples.ask_history._model import AUDIT, LIST, REPORT, SYSTEM, Script
from examples.ask_history._tools import build_tools
from examples.ask_history._world import Ledger, Registry
from rowtrail.testing import LLMServer
from rowtrail_langgraph import RowtrailSaver

MODEL = "gpt-4o-mini"
THREAD = "audit"


class Audit(MessagesState):
    """The conversation about the file in hand, the files still to do, and how many are done."""

    todo: list[str] | None
    done: list[str]


@dataclass(frozen=True)
class Recorded:
    """A finished run: the files, what the world outside knows, and what was recorded."""

    files: Path
    names: list[str]
    registry: Registry
    ledger: Ledger
    model: Script
    logs: dict[str, str]
    db: Path


def build_graph(
    model: ChatOpenAI, tools: list[BaseTool], saver: RowtrailSaver
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent: `pick` hands out a file, then `agent` and `tools` take turns."""
    bound = model.bind_tools(tools)

    def pick(state: Audit) -> dict[str, Any]:
        todo, done = state.get("todo"), state.get("done", [])
        said = state["messages"][-1].text if state["messages"] else ""
        if not said:
            return {"messages": [HumanMessage(LIST)]}
        todo, done = (said.splitlines(), done) if todo is None else (todo[1:], [*done, todo[0]])
        task = AUDIT.format(todo[0]) if todo else REPORT
        fresh = [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage(task)]
        listed = [] if todo else [HumanMessage("\n".join(done))]
        return {"messages": [*fresh, *listed], "todo": todo, "done": done}

    def agent(state: Audit) -> dict[str, Any]:
        return {"messages": [bound.invoke([SystemMessage(SYSTEM), *state["messages"]])]}

    def route(state: Audit) -> str:
        if getattr(state["messages"][-1], "tool_calls", None):
            return "tools"
        return END if state.get("todo") == [] else "pick"

    builder = StateGraph(Audit)
    builder.add_node(pick)
    retry = RetryPolicy(initial_interval=0.01, jitter=False, retry_on=InternalServerError)
    builder.add_node(agent, retry_policy=retry)
    builder.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    builder.add_edge(START, "pick")
    builder.add_edge("pick", "agent")
    builder.add_conditional_edges("agent", route, ["tools", "pick", END])
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=saver)


def record(folder: Path, steps: int, seed: int) -> Recorded:
    """Run the agent over new files in `folder`, in one run of `steps` steps."""
    files, db = folder / "files", folder / "agent.db"
    names = make_files(files, max(8, min(30, steps // 15)), seed)
    registry, ledger, script = Registry(names), Ledger(folder / "ledger.jsonl"), Script(steps)
    with LLMServer(script.respond) as server, RowtrailSaver.from_conn_string(str(db)) as saver:
        chat = ChatOpenAI(
            base_url=server.base_url, api_key=SecretStr("not-needed"), model=MODEL, max_retries=0
        )
        graph = build_graph(chat, build_tools(files, registry, ledger), saver)
        with PlainLog(folder) as log:
            config: Any = {
                "configurable": {"thread_id": THREAD},
                "callbacks": [log],
                "recursion_limit": 3 * steps,
                "max_concurrency": 1,
            }
            graph.invoke({"messages": []}, config)
    return Recorded(files, names, registry, ledger, script, log.texts(), db)
