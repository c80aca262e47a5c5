"""An agent on the openai SDK, without a framework, is killed before its last answer and resumed.

    python -m examples.plain_sdk

No key: a local server speaks the wire format. Prints what each process was asked to pay for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from openai import OpenAI

import rowtrail
from examples._killed import killed_and_resumed
from rowtrail.testing import Reply
from rowtrail_clients import recorded

MEASURE: Any = {"type": "function", "function": {"name": "measure", "parameters": {}}}


@rowtrail.step(kind="tool")
def measure(what: str) -> str:
    print(f"  measures the {what}", flush=True)
    return "12 km"


def answer(client: Any, question: str) -> str:
    """Ask until the model asks for no tool any more."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        asked = {"model": "gpt-4o-mini", "messages": messages, "tools": [MEASURE]}
        said = client.chat.completions.create(**asked).choices[0].message
        messages.append(said.model_dump(exclude_none=True))
        if not said.tool_calls:
            return str(said.content)
        for call in said.tool_calls:
            result = measure(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def work(folder: str, base_url: str) -> None:
    with rowtrail.Journal(Path(folder) / "agent.db") as journal, journal.run("report-42"):
        client = recorded(OpenAI(base_url=base_url, api_key="none"), journal)
        print(f"  {answer(client, 'How long is the river?')}", flush=True)


def respond(request: dict[str, Any]) -> Reply:
    print(f"  the model is asked with {len(request['messages'])} messages", flush=True)
    if len(request["messages"]) == 1:
        return Reply(tool_calls=[("measure", {"what": "river"})])
    return Reply("It is 12 km long.")


if __name__ == "__main__":
    work(*sys.argv[1:]) if sys.argv[1:] else killed_and_resumed("examples.plain_sdk", respond)
