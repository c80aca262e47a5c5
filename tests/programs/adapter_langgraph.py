"""The job of the adapter kit on LangGraph: `create_agent` on a `RowtrailSaver`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from rowtrail.testing.adapter_suite import Stage, Subject, requests_made
from rowtrail_langgraph import RowtrailSaver


@dataclass
class Agent:
    graph: Any
    saver: RowtrailSaver
    config: Any


def make(stage: Stage) -> Agent:
    effects: Any = {"measure": "read", "send": {"effect": "write", "on_doubt": stage.was_sent}}
    saver = RowtrailSaver(stage.journal, effects=effects)
    model = ChatOpenAI(
        base_url=stage.base_url,
        api_key=SecretStr("none"),
        model=stage.model,
        max_retries=0,
        stream_usage=True,
    )
    tools = [
        StructuredTool.from_function(stage.measure, name="measure"),
        StructuredTool.from_function(stage.send, name="send"),
    ]
    graph = create_agent(model, tools, checkpointer=saver, name=stage.agent)
    named = {"thread_id": stage.thread_id, "rowtrail_run_id": stage.run_id}
    return Agent(graph, saver, {"configurable": named})


def run(agent: Agent, stage: Stage) -> str:
    return _work(agent, stage, {"messages": [("user", stage.question)]})


def resume(agent: Agent, stage: Stage) -> str:
    """Go on from the checkpoint; where the kill came before there was one, send it again."""
    is_begun = agent.saver.get_tuple({"configurable": {"thread_id": stage.thread_id}})
    return _work(agent, stage, None) if is_begun else run(agent, stage)


def _work(agent: Agent, stage: Stage, given: Any) -> str:
    graph, config = agent.graph, agent.config
    match stage.way:
        case "sync":
            state = graph.invoke(given, config)
        case "async":
            state = asyncio.run(graph.ainvoke(given, config))
        case "stream":
            return _said(list(graph.stream(given, config, stream_mode="messages")), agent)
        case _:
            return _said(asyncio.run(_astream(graph, given, config)), agent)
    return str(state["messages"][-1].content)


async def _astream(graph: Any, given: Any, config: Any) -> list[Any]:
    return [each async for each in graph.astream(given, config, stream_mode="messages")]


def _said(streamed: list[Any], agent: Agent) -> str:
    """Return the pieces of the last answer; a run that was done already streams none."""
    chunks = [chunk for chunk, _ in streamed if isinstance(chunk, AIMessageChunk)]
    if not chunks:
        thread = agent.config["configurable"]["thread_id"]
        state = agent.graph.get_state({"configurable": {"thread_id": thread}})
        return str(state.values["messages"][-1].content)
    return "".join(str(chunk.content) for chunk in chunks if chunk.id == chunks[-1].id)


SUBJECT = Subject(make, run, resume, requests_made, ("sync", "async", "stream", "astream"))
