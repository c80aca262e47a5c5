"""An app on Google ADK is killed after it has sent a letter, and resumed.

    python -m examples.google_adk

No key: a local server speaks Gemini's wire format. Prints what each process was asked to pay for.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.apps.app import App
from google.adk.models.google_llm import Gemini
from google.adk.runners import Runner
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

from examples._killed import killed_and_resumed
from rowtrail.testing import Reply
from rowtrail_adk import RowtrailPlugin


def send(to: str) -> str:
    """Send the report."""
    print(f"  sends the report to {to}", flush=True)
    return "sent"


async def work(folder: str, base_url: str) -> None:
    root = base_url.removesuffix("/v1")
    model = Gemini(model="gemini-2.5-flash", base_url=root, client_kwargs={"api_key": "none"})
    agent = LlmAgent(name="reporter", model=model, tools=[send])
    plugin = RowtrailPlugin(Path(folder) / "agent.db", effects={"send": "write"})
    app = App(name="desk", root_agent=agent, plugins=[plugin])
    sessions = SqliteSessionService(str(Path(folder) / "sessions.db"))
    async with Runner(app=app, session_service=sessions, auto_create_session=True) as runner:
        async for event in runner.run_async(
            user_id="ada",
            session_id="letters",
            invocation_id="report-42",
            new_message=types.UserContent("Send the report to Ada."),
        ):
            for part in (event.content and event.content.parts) or ():
                print(f"  {part.text}\n" if part.text else "", end="", flush=True)


def respond(request: dict[str, Any]) -> Reply:
    print(f"  the model is asked with {len(request['contents'])} contents", flush=True)
    if len(request["contents"]) == 1:
        return Reply(tool_calls=[("send", {"to": "Ada"})])
    return Reply("Ada has the report.")


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(work(*sys.argv[1:]))
    else:
        killed_and_resumed("examples.google_adk", respond)
