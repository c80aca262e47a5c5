"""The demo's agent, in a process of its own: `python -m rowtrail_langgraph.demo._agent`.

A LangGraph graph as people write it. `survey` asks the model and calls its tools by hand, many
times inside one node; `agent` and `tools` are the usual loop with LangGraph's own `ToolNode`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import BaseTool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import SecretStr

from rowtrail_langgraph.demo._ledger import Ledger
from rowtrail_langgraph.demo._model import FINDING_PROMPT, QUESTION, SURVEY_PROMPT
from rowtrail_langgraph.demo._probe import Probe, exit_with_parent
from rowtrail_langgraph.demo._tools import build_tools

Saver = BaseCheckpointSaver[Any] | None
MAX_TURNS = 25
"""A script of the demo takes fewer; a graph that does not end is a fault of ours."""
KEY = SecretStr("not-needed")


def build_graph(
    model: ChatOpenAI, tools: list[BaseTool], checkpointer: Saver
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent: `survey`, then `agent` and `tools` in turn."""
    by_name = {tool.name: tool for tool in tools}
    surveyor = model.bind_tools(tools, parallel_tool_calls=False)
    finder = model.bind_tools(tools)

    def survey(state: MessagesState) -> dict[str, Any]:
        messages = [SystemMessage(SURVEY_PROMPT), *state["messages"]]
        for _ in range(MAX_TURNS):
            answer = surveyor.invoke(messages)
            if not answer.tool_calls:
                return {"messages": [HumanMessage(answer.text)]}
            results = [by_name[call["name"]].invoke(call) for call in answer.tool_calls]
            messages += [answer, *results]
        raise RuntimeError(f"the survey was not finished after {MAX_TURNS} turns")

    def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [finder.invoke([SystemMessage(FINDING_PROMPT), *state["messages"]])]}

    builder = StateGraph(MessagesState)
    builder.add_node(survey)
    builder.add_node(agent)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "survey")
    builder.add_edge("survey", "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=checkpointer)


def open_saver(journal: str, db: str) -> AbstractContextManager[Saver]:
    """Return the checkpointer named by `journal`, as a context manager."""
    if journal == "rowtrail":
        from rowtrail_langgraph import RowtrailSaver

        return RowtrailSaver.from_conn_string(db)
    if journal == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        return SqliteSaver.from_conn_string(db)
    return nullcontext()


def answer_question(graph: CompiledStateGraph[Any, Any, Any, Any]) -> str:
    """Resume the work if there is some to resume, else begin it; return the final answer."""
    config: Any = {"configurable": {"thread_id": "demo"}}
    unfinished = graph.checkpointer is not None and bool(graph.get_state(config).next)
    state = graph.invoke(None if unfinished else {"messages": [HumanMessage(QUESTION)]}, config)
    return str(state["messages"][-1].text)


@click.command()
@click.option("--journal", type=click.Choice(["rowtrail", "sqlite", "none"]), required=True)
@click.option("--db", required=True, help="The checkpointer's file.")
@click.option("--files", type=click.Path(path_type=Path), required=True)
@click.option("--ledger", type=click.Path(path_type=Path), required=True)
@click.option("--base-url", required=True, help="The model's endpoint.")
@click.option("--model", required=True)
@click.option("--hold", multiple=True, help="Pause at this point, to be killed.")
def main(
    journal: str, db: str, files: Path, ledger: Path, base_url: str, model: str, hold: tuple[str]
) -> None:
    """Run the agent to its end, or until it is killed."""
    exit_with_parent()
    probe = Probe(hold)
    chat = ChatOpenAI(base_url=base_url, api_key=KEY, model=model, max_retries=0)
    tools = build_tools(files, Ledger(ledger), probe, journaled=journal == "rowtrail")
    with open_saver(journal, db) as saver:
        answer = answer_question(build_graph(chat, tools, saver))
    probe.emit("answer", text=answer)


if __name__ == "__main__":
    main()
