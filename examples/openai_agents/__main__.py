"""An agent on the OpenAI Agents SDK asks before it sends, is killed after it has sent, and resumed.

    python -m examples.openai_agents

No key: a local server speaks the wire format. Prints what each process was asked to pay for.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from agents import Agent, OpenAIResponsesModel, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from rowtrail.testing import LLMServer, Reply
from rowtrail_openai_agents import RowtrailRunner

ROOT = Path(__file__).resolve().parents[2]


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


def main() -> None:
    def respond(request: dict[str, Any]) -> Reply:
        print(f"  the model is asked with {len(request['input'])} items", flush=True)
        if len(request["input"]) == 1:
            return Reply(tool_calls=[("send", {"to": "Ada"})])
        if server.calls == 2:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return Reply("Ada has the report.")

    with tempfile.TemporaryDirectory() as folder, LLMServer(respond) as server:
        command = [sys.executable, "-m", "examples.openai_agents", folder, server.base_url]
        for what in ("killed:", "resumed:"):
            print(what, flush=True)
            process = subprocess.Popen(command, cwd=ROOT)
            process.wait()


if __name__ == "__main__":
    work(*sys.argv[1:]) if sys.argv[1:] else main()
