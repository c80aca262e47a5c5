"""The job of the adapter kit on the OpenAI Agents SDK: an agent under `RowtrailRunner`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

from rowtrail.testing.adapter_suite import Stage, Subject, requests_made
from rowtrail_openai_agents import RowtrailRunner

WAYS = ("sync", "async", "stream")


@dataclass
class Surveyor:
    runner: RowtrailRunner
    agent: Agent[Any]


def subject(model_class: Any) -> Subject[Surveyor]:
    """Return an agent whose run is gone on with by running it again."""

    def make(stage: Stage) -> Surveyor:
        set_tracing_disabled(True)
        effects: Any = {"measure": "read", "send": {"effect": "write", "on_doubt": stage.was_sent}}
        client = AsyncOpenAI(base_url=stage.base_url, api_key="none", max_retries=0)
        agent = Agent[Any](
            name=stage.agent,
            model=model_class(stage.model, openai_client=client),
            model_settings=ModelSettings(include_usage=True),
            tools=[
                function_tool(stage.measure, name_override="measure"),
                function_tool(stage.send, name_override="send"),
            ],
        )
        return Surveyor(RowtrailRunner(stage.journal, effects=effects), agent)

    def run(surveyor: Surveyor, stage: Stage) -> str:
        named: Any = {"run_id": stage.run_id, "thread_id": stage.thread_id}
        runner, agent = surveyor.runner, surveyor.agent
        if stage.way == "sync":
            return str(runner.run_sync(agent, stage.question, **named).final_output)
        if stage.way == "async":
            return str(asyncio.run(runner.run(agent, stage.question, **named)).final_output)
        return asyncio.run(_streamed(surveyor, stage, named))

    return Subject(make, run, run, requests_made, WAYS)


async def _streamed(surveyor: Surveyor, stage: Stage, named: Any) -> str:
    """Return the pieces of the last answer, put together."""
    streamed = surveyor.runner.run_streamed(surveyor.agent, stage.question, **named)
    said = ""
    async for event in streamed.stream_events():
        data: Any = getattr(event, "data", None)
        if event.type == "raw_response_event" and data.type == "response.created":
            said = ""
        if event.type == "raw_response_event" and data.type == "response.output_text.delta":
            said += data.delta
    assert said == streamed.final_output
    return said


CHAT = subject(OpenAIChatCompletionsModel)
RESPONSES = subject(OpenAIResponsesModel)
