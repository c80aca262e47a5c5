"""An agent of Pydantic AI is killed before its last answer, and resumed.

    python -m examples.pydantic_ai

No key: a local server speaks the wire format. Prints what each process was asked to pay for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from examples._killed import killed_and_resumed
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from rowtrail.testing import Reply
from rowtrail_pydantic_ai import RowtrailDurability


def measure(what: str) -> str:
    """Measure something."""
    print(f"  measures the {what}", flush=True)
    return "12 km"


def work(folder: str, base_url: str) -> None:
    durability = RowtrailDurability(Path(folder) / "agent.db", effects={"measure": "read"})
    model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url, api_key="none"))
    agent = Agent(model, name="surveyor", tools=[measure], capabilities=[durability])
    with durability:
        answer = agent.run_sync("How long is the river?", run_id="report-42").output
        print(f"  {answer}", flush=True)


def respond(request: dict[str, Any]) -> Reply:
    print(f"  the model is asked with {len(request['messages'])} messages", flush=True)
    if len(request["messages"]) == 1:
        return Reply(tool_calls=[("measure", {"what": "river"})])
    return Reply("It is 12 km long.")


if __name__ == "__main__":
    work(*sys.argv[1:]) if sys.argv[1:] else killed_and_resumed("examples.pydantic_ai", respond)
