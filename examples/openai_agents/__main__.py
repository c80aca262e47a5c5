"""An agent on the OpenAI Agents SDK asks before it sends, is killed after it has sent, and resumed.

    python -m examples.openai_agents

No key: a local server speaks the wire format. Prints what each process was asked to pay for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from agents import Agent, OpenAIResponsesModel, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from examples._killed import killed_and_resumed
from rowtrail.testing import Reply
from rowtrail_openai_agents import RowtrailRunner


@function_tool(needs_approval=True)
def send(to: str) -> str:
    """Send the report."""
    print(f"  sends the report to {to}", flush=True)
    return "sent"


def work(folder: str, base_url: str) -> None:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=base_url, api_key="none")
    model = OpenAIResponsesModel("gpt-4o-mini", openai_client=client)
    agent = Agent[Any](name="reporter", model=model, tools=[send])
    with RowtrailRunner(Path(folder) / "agent.db", effects={"send": "write"}) as runner:
        result = runner.run_sync(agent, "Send the report to Ada.", run_id="report-42")
        for call in result.interruptions:
            print(f"  may it {call.name} {call.arguments}? yes", flush=True)
            state = result.to_state()
            state.approve(call)
            result = runner.run_sync(agent, state)
        print(f"  {result.final_output}", flush=True)


def respond(request: dict[str, Any]) -> Reply:
    print(f"  the model is asked with {len(request['input'])} items", flush=True)
    if len(request["input"]) == 1:
        return Reply(tool_calls=[("send", {"to": "Ada"})])
    return Reply("Ada has the report.")


if __name__ == "__main__":
    work(*sys.argv[1:]) if sys.argv[1:] else killed_and_resumed("examples.openai_agents", respond)
