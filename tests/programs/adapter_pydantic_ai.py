"""The job of the adapter kit on Pydantic AI: an agent with `RowtrailDurability`."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent, AgentRunResultEvent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from rowtrail.testing.adapter_suite import Stage, Subject, requests_made
from rowtrail_pydantic_ai import RowtrailDurability

WAYS = ("sync", "async", "stream_events", "iter_stream")
"""`run_stream` is not among them: it ends at the first text, and the job goes on after one."""


def subject(model_class: Any, ways: tuple[str, ...]) -> Subject[Agent[object, str]]:
    """Return an agent whose run is gone on with by running it again."""

    def make(stage: Stage) -> Agent[object, str]:
        effects: Any = {"measure": "read", "send": {"effect": "write", "on_doubt": stage.was_sent}}
        durability = RowtrailDurability(stage.journal, effects=effects)
        provider = OpenAIProvider(base_url=stage.base_url, api_key="none")
        provider.client.max_retries = 0
        agent: Agent[object, str] = Agent(
            model_class(stage.model, provider=provider),
            name=stage.agent,
            capabilities=[durability],
        )
        agent.tool_plain(stage.measure)
        agent.tool_plain(stage.send)
        return agent

    def run(agent: Agent[object, str], stage: Stage) -> str:
        named: Any = {"run_id": stage.run_id, "conversation_id": stage.thread_id}
        if stage.way == "sync":
            return str(agent.run_sync(stage.question, **named).output)
        return asyncio.run(_run(agent, stage, named))

    return Subject(make, run, run, requests_made, ways)


async def _run(agent: Agent[object, str], stage: Stage, named: Any) -> str:
    match stage.way:
        case "async":
            return str((await agent.run(stage.question, **named)).output)
        case "stream_events":
            async with agent.run_stream_events(stage.question, **named) as events:
                told = [each async for each in events]
            assert isinstance(told[-1], AgentRunResultEvent)
            return str(told[-1].result.output)
        case _:
            async with agent.iter(stage.question, **named) as steps:
                async for node in steps:
                    if Agent.is_model_request_node(node):
                        stream: Any = node.stream(steps.ctx)
                        async with stream as said:
                            assert [each async for each in said]
            assert steps.result is not None
            return str(steps.result.output)


CHAT = subject(OpenAIChatModel, WAYS)
RESPONSES = subject(OpenAIResponsesModel, ("stream_events",))
