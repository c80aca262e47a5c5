"""The job of the adapter kit on Google ADK: an app with `RowtrailPlugin`."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Callable
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig
from google.adk.apps.app import App, ResumabilityConfig
from google.adk.events.event import Event
from google.adk.models.base_llm import BaseLlm
from google.adk.models.google_llm import Gemini
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner, Runner
from google.adk.sessions import InMemorySessionService
from google.adk.sessions.base_session_service import BaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

from rowtrail.testing.adapter_suite import Stage, Subject, requests_made
from rowtrail_adk import RowtrailPlugin

SSE = {"streaming_mode": "sse"}


def gemini(base_url: str, model: str) -> Gemini:
    root = base_url.removesuffix("/v1")
    return Gemini(model=model, client_kwargs={"api_key": "none"}, base_url=root)


def in_memory(stage: Stage) -> BaseSessionService:
    return InMemorySessionService()


def in_a_file(stage: Stage) -> BaseSessionService:
    return SqliteSessionService(str(stage.folder / "sessions.db"))


def subject(
    open_sessions: Callable[[Stage], BaseSessionService],
    *ways: str,
    is_resumable: bool = False,
) -> Subject[Runner]:
    """Return an agent whose invocation is gone on with by giving it again."""

    def make(stage: Stage) -> Runner:
        effects: Any = {"measure": "read", "send": {"effect": "write", "on_doubt": stage.was_sent}}
        app = App(
            name="desk",
            root_agent=LlmAgent(
                name=stage.agent,
                model=gemini(stage.base_url, stage.model),
                tools=[stage.measure, stage.send],
            ),
            plugins=[RowtrailPlugin(stage.journal, effects=effects)],
            resumability_config=ResumabilityConfig(is_resumable=True) if is_resumable else None,
        )
        return Runner(app=app, session_service=open_sessions(stage), auto_create_session=True)

    def run(runner: Runner, stage: Stage) -> str:
        return asyncio.run(_run(runner, stage))

    return Subject(make, run, run, requests_made, ways)


async def _run(runner: Runner, stage: Stage) -> str:
    """Return the pieces of the last answer, put together; or that answer."""
    is_streamed = stage.way == "stream"
    said = ""
    async for event in runner.run_async(
        user_id="ada",
        session_id=stage.thread_id,
        invocation_id=stage.run_id,
        new_message=types.UserContent(stage.question),
        run_config=RunConfig.model_validate(SSE if is_streamed else {}),
    ):
        if bool(event.partial) == is_streamed:
            said += _text(event)
        elif is_streamed and not event.is_final_response():
            said = ""
        if not is_streamed and not event.is_final_response():
            said = ""
    return said


def _text(event: Event) -> str:
    parts = (event.content.parts if event.content is not None else None) or []
    return "".join(part.text or "" for part in parts)


class Parrot(BaseLlm):
    """A model without a server."""

    model: str = "parrot"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse]:
        yield LlmResponse(content=types.ModelContent("An answer."))


async def _load() -> None:
    """Let the framework import what it does at its first use: forked children have it then."""
    agent = LlmAgent(name="parrot", model=Parrot(), tools=[_load])
    runner = InMemoryRunner(agent=agent, app_name="desk")
    await runner.run_debug("hello", quiet=True)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the framework says of its own features
    asyncio.run(_load())

MEMORY = subject(in_memory, "stream")
STORED = subject(in_a_file, "async", "stream")
RESUMABLE = subject(in_a_file, "async", is_resumable=True)
