"""Google ADK with `RowtrailPlugin`, over real sockets: what an app pays for once."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.adk")

from google.adk.agents.llm_agent import LlmAgent
from google.adk.agents.run_config import RunConfig
from google.adk.apps.app import App, ResumabilityConfig
from google.adk.artifacts import InMemoryArtifactService
from google.adk.events.event import Event
from google.adk.models.base_llm import BaseLlm
from google.adk.models.google_llm import Gemini
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.sessions.base_session_service import BaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.exit_loop_tool import exit_loop
from google.adk.tools.function_tool import FunctionTool
from google.adk.tools.long_running_tool import LongRunningFunctionTool
from google.adk.tools.tool_context import ToolContext
from google.genai import types
from pydantic import BaseModel

import rowtrail
from rowtrail import Journal
from rowtrail.errors import InDoubtError, UsageError
from rowtrail.testing import LLMServer, Reply, Usage
from rowtrail.testing.adapter_suite import Processes, respond
from rowtrail_adk import RowtrailPlugin

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*EXPERIMENTAL:UserWarning"),
    # of agents in sequence, side by side and in a loop; and in the framework's own agents as tools
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning"),
]

AGENTS: Any = importlib.import_module("google.adk.agents")
"""Those in sequence, side by side and in a loop are deprecated, and used by most."""
USAGE = Usage(100, 20, 64, 8)
KINDS = ("whole", "streamed")


def results(request: dict[str, Any]) -> list[Any]:
    """Return the results of tools that a request tells the model of."""
    return [
        part["functionResponse"]["response"]
        for each in request["contents"]
        for part in each["parts"]
        if "functionResponse" in part
    ]


def system(request: dict[str, Any]) -> str:
    return str(request["systemInstruction"]["parts"][0]["text"])


class Bench:
    """A journal, a server that answers as `respond` says, and apps that ask it.

    Each run has a runner and a session service of its own, as a process has.
    """

    def __init__(self, journal: Journal, path: Path) -> None:
        self.journal = journal
        self.path = path
        self.ran: list[Any] = []
        self.respond: Callable[[dict[str, Any]], Reply] = lambda _: Reply("12 km", usage=USAGE)
        self.server = LLMServer(self._answer)
        self.artifacts = InMemoryArtifactService()
        self.memory: BaseSessionService = InMemorySessionService()
        self.is_resumable = False
        self.options: dict[str, Any] = {}
        self.plugins: list[BasePlugin] = []
        self.compaction: Any = None

    def _answer(self, request: dict[str, Any]) -> Reply:
        return self.respond(request)

    def agent(self, name: str = "surveyor", **more: Any) -> LlmAgent:
        root = self.server.base_url.removesuffix("/v1")
        model = Gemini(model="gemini-2.5-flash", base_url=root, client_kwargs={"api_key": "none"})
        options: dict[str, Any] = {"name": name, "model": model, **more}
        return LlmAgent(**options)

    def calls(self, *replies: Reply) -> None:
        """Answer by how many results of tools the model is told."""
        self.respond = lambda request: replies[len(results(request))]

    def sessions(self, kind: str) -> BaseSessionService:
        if kind == "stored":
            return SqliteSessionService(str(self.path / "sessions.db"))
        return self.memory if kind == "kept" else InMemorySessionService()

    def runner(self, agent: Any, sessions: str = "lost") -> Runner:
        app = App(
            name="desk",
            root_agent=agent,
            plugins=[*self.plugins, RowtrailPlugin(self.journal, **self.options)],
            resumability_config=ResumabilityConfig(is_resumable=True)
            if self.is_resumable
            else None,
            events_compaction_config=self.compaction,
        )
        return Runner(
            app=app,
            session_service=self.sessions(sessions),
            artifact_service=self.artifacts,
            auto_create_session=True,
        )

    def run(
        self,
        agent: Any,
        said: Any = "How long?",
        run_id: str | None = "r",
        kind: str = "whole",
        sessions: str = "lost",
    ) -> list[Event]:
        """Run an app to its end, and return its events."""
        return asyncio.run(self.arun(agent, said, run_id, kind, sessions))

    async def arun(
        self, agent: Any, said: Any, run_id: str | None, kind: str = "whole", sessions: str = "lost"
    ) -> list[Event]:
        runner = self.runner(agent, sessions)
        message = types.UserContent(said) if isinstance(said, str) else said
        mode = {"streaming_mode": "sse"} if kind == "streamed" else {}
        events = runner.run_async(
            user_id="ada",
            session_id="s",
            invocation_id=run_id,
            new_message=message,
            run_config=RunConfig.model_validate(mode),
        )
        return [event async for event in events]

    def session(self, sessions: str) -> Any:
        service = self.sessions(sessions)
        return asyncio.run(service.get_session(app_name="desk", user_id="ada", session_id="s"))

    def twice(self, make: Callable[[], Any], **more: Any) -> list[Event]:
        """Run it, give it again, and return what came of the second time."""
        first = self.run(make(), **more)
        asked, ran = self.server.calls, len(self.ran)
        again = self.run(make(), **more)
        assert (self.server.calls, len(self.ran)) == (asked, ran), "a finished run costs nothing"
        assert told(again) == told(first)
        return again

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.journal.sql(query).rows

    def status(self) -> Any:
        [(status,)] = self.rows("SELECT status FROM runs")
        return status


@pytest.fixture
def bench(journal: Journal, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(journal, tmp_path)
    with bench.server:
        yield bench


def text(events: list[Event]) -> str:
    """Return what was said last."""
    contents = [event.content for event in events if event.content is not None]
    return "".join(part.text or "" for part in contents[-1].parts or ()) if contents else ""


def told(events: list[Event]) -> list[Any]:
    """Return what whole events say, ids that are made up aside; some say nothing."""
    return [
        (event.author, [_part(part) for part in event.content.parts or ()])
        for event in events
        if event.content is not None and not event.partial
    ]


def _part(part: types.Part) -> Any:
    if part.function_call is not None:
        return part.function_call.name, part.function_call.args
    if part.function_response is not None:
        return part.function_response.name, part.function_response.response
    return part.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_given_again_costs_nothing(bench: Bench, kind: str) -> None:
    def measure(what: str) -> str:
        bench.ran.append(what)
        return "12 km"

    bench.calls(Reply(tool_calls=[("measure", {"what": "river"})]), Reply("It is 12 km long."))
    events = bench.twice(lambda: bench.agent(tools=[measure]), kind=kind)
    assert text(events) == "It is 12 km long."
    pieces = [text([each]) for each in events if each.partial]
    assert "".join(pieces) == ("It is 12 km long." if kind == "streamed" else "")


def test_tokens_of_a_replay_are_not_counted_again(bench: Bench) -> None:
    first = bench.run(bench.agent())
    again = bench.run(bench.agent())
    assert [event.usage_metadata.prompt_token_count for event in first] == [100]  # type: ignore[union-attr]
    assert [event.usage_metadata.prompt_token_count for event in again] == [0]  # type: ignore[union-attr]
    [row] = bench.rows(
        "SELECT input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, provider, model "
        "FROM steps"
    )
    assert row == (100, 20, 64, 8, "google", "gemini-2.5-flash")


def test_without_an_id_each_run_is_a_new_one(bench: Bench) -> None:
    for _ in range(2):
        bench.run(bench.agent(), run_id=None)
    assert bench.server.calls == 2
    assert len(bench.rows("SELECT run_id FROM runs")) == 2


def test_the_run_that_a_person_resumes_is_taken_from_the_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(bench.agent())
    monkeypatch.setenv("ROWTRAIL_RUN", "r")
    bench.run(bench.agent(), run_id=None)
    assert bench.server.calls == 1


@pytest.mark.parametrize("sessions", ["lost", "kept", "stored"])
@pytest.mark.parametrize("is_resumable", [False, True])
def test_a_failed_run_goes_on_where_it_was(bench: Bench, sessions: str, is_resumable: bool) -> None:
    def measure(what: str) -> str:
        bench.ran.append(what)
        return "12 km"

    bench.is_resumable = is_resumable
    call = Reply(tool_calls=[("measure", {"what": "river"})])
    bench.calls(call, Reply("overloaded", status=400))
    with pytest.raises(Exception, match="overloaded"):
        bench.run(bench.agent(tools=[measure]), sessions=sessions)
    assert bench.status() == "failed"
    bench.calls(call, Reply("It is 12 km long."))
    assert text(bench.run(bench.agent(tools=[measure]), sessions=sessions)) == "It is 12 km long."
    assert bench.server.calls == 3
    assert bench.ran == ["river"]
    if sessions != "lost":
        events = told(bench.session(sessions).events)
        assert events == [
            ("user", ["How long?"]),
            ("surveyor", [("measure", {"what": "river"})]),
            ("surveyor", [("measure", {"result": "12 km"})]),
            ("surveyor", ["It is 12 km long."]),
        ]


def test_a_session_has_each_event_once_whenever_its_process_was_killed(tmp_path: Path) -> None:
    def work(folder: Path, processes: Processes, **command: Any) -> list[Any]:
        folder.mkdir(exist_ok=True)
        with LLMServer(respond, log=folder / "requests") as server:
            if command:
                processes.run(folder, server.base_url, "async", **command)
            assert processes.run(folder, server.base_url, "async", resume=True) == 0
        service = SqliteSessionService(str(folder / "sessions.db"))
        asked: Any = {"app_name": "desk", "user_id": "ada", "session_id": "rivers"}
        session: Any = asyncio.run(service.get_session(**asked))
        return told(session.events)

    with Processes("tests.programs.adapter_adk:STORED") as processes:
        undisturbed = work(tmp_path / "undisturbed", processes)
        assert len(undisturbed) == 6
        for at in (3, 5, 7, 9, 11):
            found = work(tmp_path / str(at), processes, die_at=at, after=True)
            assert found == undisturbed, f"killed after commit {at}"


def test_a_session_goes_on_after_a_run_that_was_given_again(bench: Bench) -> None:
    for run_id, said in (("a", "one"), ("b", "two"), ("a", "one"), ("c", "three")):
        bench.run(bench.agent(), said, run_id, sessions="stored")
    asked = [each["parts"][0]["text"] for each in bench.server.requests[-1]["contents"]]
    assert asked == ["one", "12 km", "two", "12 km", "three"]
    assert bench.server.calls == 3


def test_state_that_a_run_changed_is_as_it_was_when_it_goes_on(bench: Bench) -> None:
    drafts = iter(["first", "second"])
    writer = {"output_key": "draft", "instruction": "Before: {draft?}"}

    def answer(request: dict[str, Any]) -> Reply:
        if "critic" in system(request):
            return Reply("down", status=400) if bench.server.calls == 2 else Reply("fine")
        return Reply(next(drafts))

    def make() -> Any:
        agents: Any = [
            bench.agent("writer", **writer),
            bench.agent("critic", instruction="{draft}"),
        ]
        return AGENTS.SequentialAgent(name="desk", sub_agents=agents)

    bench.respond = answer
    with pytest.raises(Exception, match="down"):
        bench.run(make(), sessions="stored")
    assert bench.session("stored").state == {"draft": "first"}
    assert text(bench.run(make(), sessions="stored")) == "fine"
    assert bench.server.calls == 3
    assert bench.session("stored").state == {"draft": "first"}


def test_agents_are_named_in_sequence_and_side_by_side(bench: Bench) -> None:
    bench.respond = lambda request: Reply(system(request).partition("internal name is ")[2])

    def make() -> Any:
        both = AGENTS.ParallelAgent(
            name="both", sub_agents=[bench.agent("left"), bench.agent("right")]
        )
        return AGENTS.SequentialAgent(name="desk", sub_agents=[bench.agent("first"), both])

    for _ in range(2):  # those side by side may come in any order
        events = sorted(told(bench.run(make())))
        assert events == [(name, [f'"{name}".']) for name in ("first", "left", "right")]
    assert bench.server.calls == 3
    agents = bench.rows("SELECT agent FROM llm_calls ORDER BY agent")
    assert agents == [("first",), ("left",), ("right",)]
    assert bench.rows("SELECT agent FROM runs") == [("desk",)]


def test_a_loop_asks_anew_in_each_round_and_ends_as_it_did(bench: Bench) -> None:
    rounds = iter([Reply("again"), Reply("again"), Reply(tool_calls=[("exit_loop", {})])])
    bench.respond = lambda _: next(rounds)

    def make() -> Any:
        agent = bench.agent("checker", tools=[exit_loop], include_contents="none")
        return AGENTS.LoopAgent(name="desk", sub_agents=[agent], max_iterations=5)

    bench.twice(make)
    assert bench.server.calls == 3


def test_a_sub_agent_takes_over_and_is_named(bench: Bench) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        if "writer" in system(request).partition("internal name is ")[2][:9]:
            return Reply("down", status=400) if bench.server.calls == 2 else Reply("Dear Ada")
        return Reply(tool_calls=[("transfer_to_agent", {"agent_name": "writer"})])

    def make() -> Any:
        writer = bench.agent("writer", description="Writes.")
        return bench.agent("desk", sub_agents=[writer])

    bench.respond = answer
    with pytest.raises(Exception, match="down"):
        bench.run(make(), sessions="stored")
    assert text(bench.run(make(), sessions="stored")) == "Dear Ada"
    assert bench.server.calls == 3
    assert bench.rows("SELECT agent, status FROM llm_calls ORDER BY step_id + 0") == [
        ("desk", "done"),
        ("writer", "failed"),
        ("writer", "done"),
    ]
    bench.twice(make, sessions="stored")


def test_an_agent_as_a_tool_is_part_of_the_run(bench: Bench) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        if "writer" in system(request):
            return Reply("Dear Ada")
        found = results(request)
        return Reply(f"Sent {found}") if found else Reply(tool_calls=[("writer", {"request": "w"})])

    bench.respond = answer
    bench.twice(lambda: bench.agent(tools=[AgentTool(bench.agent("writer"))]))
    assert bench.rows("SELECT agent FROM llm_calls ORDER BY step_id + 0") == [
        ("surveyor",),
        ("writer",),
        ("surveyor",),
    ]
    assert len(bench.rows("SELECT run_id FROM runs")) == 1
    [(parent,)] = bench.rows("SELECT parent_id FROM llm_calls WHERE agent = 'writer'")
    assert bench.rows("SELECT step_id FROM tool_calls") == [(parent,)]


def test_an_agent_as_a_tool_goes_on_inside(bench: Bench) -> None:
    def measure() -> str:
        bench.ran.append("measured")
        return "12 km"

    def answer(request: dict[str, Any]) -> Reply:
        found = results(request)
        if "writer" not in system(request):
            return Reply("sent") if found else Reply(tool_calls=[("writer", {"request": "w"})])
        if not found:
            return Reply(tool_calls=[("measure", {})])
        return Reply("down", status=400) if bench.server.calls == 3 else Reply("Dear Ada")

    def make() -> Any:
        return bench.agent(tools=[AgentTool(bench.agent("writer", tools=[measure]))])

    bench.respond = answer
    with pytest.raises(Exception, match="down"):
        bench.run(make())
    assert text(bench.run(make())) == "sent"
    assert bench.ran == ["measured"]
    assert bench.server.calls == 5


def test_what_a_tool_did_to_its_context_is_done_again(bench: Bench) -> None:
    async def note(what: str, tool_context: ToolContext) -> dict[str, str]:
        bench.ran.append(what)
        tool_context.state["noted"] = what
        tool_context.actions.skip_summarization = True
        await tool_context.save_artifact("note.txt", types.Part(text=what))
        return {"noted": what}

    bench.calls(Reply(tool_calls=[("note", {"what": "12 km"})]))
    for _ in range(2):
        events = bench.run(bench.agent(tools=[note]))
        actions = events[-1].actions
        assert actions.state_delta == {"noted": "12 km"}
        assert actions.artifact_delta == {"note.txt": 0}
        assert actions.skip_summarization
    assert bench.ran == ["12 km"]
    assert bench.server.calls == 1


def test_parallel_calls_get_their_own_results(bench: Bench) -> None:
    async def measure(what: str) -> str:
        await asyncio.sleep(0.01 if what == "length" else 0)
        bench.ran.append(what)
        return f"{what}: {len(bench.ran)}"

    calls = [("measure", {"what": what}) for what in ("length", "depth")]
    bench.respond = lambda request: (
        Reply(str(results(request))) if results(request) else Reply(tool_calls=calls)
    )
    events = bench.twice(lambda: bench.agent(tools=[measure]))
    assert text(events) == "[{'result': 'length: 2'}, {'result': 'depth: 1'}]"


def test_a_structured_answer_is_replayed(bench: Bench) -> None:
    class Length(BaseModel):
        km: int

    bench.respond = lambda _: Reply('{"km": 12}')
    events = bench.twice(lambda: bench.agent(output_schema=Length))
    assert text(events) == '{"km": 12}'


def changed(bench: Bench, agent: LlmAgent) -> bool:
    """Return whether a request of an agent is another one than the first agent's."""
    asked = bench.server.calls
    bench.run(agent)
    return bench.server.calls > asked


def test_a_changed_request_is_a_live_call(bench: Bench) -> None:
    class Length(BaseModel):
        km: int

    def measure() -> str:
        """Measure it."""
        return "12 km"

    bench.run(bench.agent())
    assert not changed(bench, bench.agent())
    settings = types.GenerateContentConfig(temperature=0.5)
    each: tuple[dict[str, Any], ...] = (
        {"instruction": "Be brief."},
        {"tools": [measure]},
        {"generate_content_config": settings},
        {"output_schema": Length},
    )
    for more in each:
        assert changed(bench, bench.agent(**more)), more
    other = bench.agent()
    other.model = other.canonical_model.model_copy(update={"model": "gemini-2.5-pro"})
    assert changed(bench, other)
    headers = types.HttpOptions(headers={"x-trace": "1"}, timeout=5000)
    sent = types.GenerateContentConfig(http_options=headers, labels={"team": "rivers"})
    assert not changed(bench, bench.agent(generate_content_config=sent))


def test_a_write_in_doubt_is_for_people(bench: Bench, tmp_path: Path) -> None:
    """Neither a callback of the agent nor another plugin makes a message of it."""

    class Soothing(BasePlugin):
        async def on_tool_error_callback(self, **_: Any) -> dict[str, str]:
            return {"error": "never mind"}

    def send(to: str) -> str:
        bench.ran.append(to)
        raise TimeoutError("no answer")

    bench.options = {"effects": {"send": "write"}}
    bench.calls(Reply(tool_calls=[("send", {"to": "ada"})]), Reply("sent"))
    with pytest.raises(TimeoutError):
        bench.run(bench.agent(tools=[send]))
    bench.plugins = [Soothing("soothing")]
    agent = bench.agent(tools=[send], on_tool_error_callback=lambda **_: {"error": "no"})
    with pytest.raises(InDoubtError) as raised:
        bench.run(agent)
    assert bench.ran == ["ada"]
    bench.journal.settle(raised.value.step_id, result="sent to ada")
    events = bench.run(agent)
    assert ("send", {"result": "sent to ada"}) in [
        part for _, parts in told(events) for part in parts
    ]
    assert text(events) == "sent"


def test_an_error_that_the_agent_handles_is_handled_again(bench: Bench) -> None:
    def send() -> str:
        bench.ran.append("sent")
        raise ValueError("no such address")

    def handle(error: Exception, **_: Any) -> dict[str, str]:
        return {"error": str(error)}

    bench.calls(Reply(tool_calls=[("send", {})]), Reply("It failed."))

    def make() -> LlmAgent:
        return bench.agent(tools=[send], on_tool_error_callback=handle)

    assert text(bench.run(make())) == "It failed."
    assert bench.rows("SELECT status, error FROM tool_calls")[0][0] == "failed"


def test_an_effect_may_be_declared_in_three_places(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    keys: list[str] = []

    @rowtrail.step(effect="write")
    def by_step() -> str:
        keys.append(rowtrail.current_step().idempotency_key)
        return "done"

    def by_metadata() -> str:
        return "done"

    def by_name() -> str:
        return "done"

    def by_nobody() -> str:
        return "done"

    metadata = FunctionTool(by_metadata)
    metadata.custom_metadata = {"rowtrail": {"effect": "write"}}
    bench.options = {"effects": {"by_name": "idempotent"}}
    tools = [by_step, metadata, by_name, by_nobody]
    names = ("by_step", "by_metadata", "by_name", "by_nobody")
    bench.calls(Reply(tool_calls=[(name, {}) for name in names]), *[Reply("done")] * 4)
    with caplog.at_level(logging.WARNING, "rowtrail.effects"):
        bench.run(bench.agent(tools=tools))
    assert bench.rows("SELECT name, effect FROM tool_calls ORDER BY name") == [
        ("by_metadata", "write"),
        ("by_name", "idempotent"),
        ("by_nobody", "read"),
        ("by_step", "write"),
    ]
    assert len(bench.rows("SELECT step_id FROM steps WHERE kind = 'function'")) == 0
    [(key,)] = bench.rows("SELECT idempotency_key FROM tool_calls WHERE name = 'by_step'")
    assert keys == [key]
    said = [each.getMessage() for each in caplog.records if each.name == "rowtrail.effects"]
    assert len(said) == 1
    assert "by_nobody" in said[0]
    assert 'RowtrailPlugin(..., effects={"by_nobody": "write"})' in said[0]


def answer_to(event: Event, **response: Any) -> types.Content:
    """Return what a person says to the question of an event."""
    [call] = event.get_function_calls()
    part = types.Part.from_function_response(name=str(call.name), response=response)
    assert part.function_response is not None
    part.function_response.id = call.id
    return types.UserContent([part])


def asking(events: list[Event]) -> Event:
    return next(each for each in events if each.long_running_tool_ids)


@pytest.mark.parametrize("sessions", ["kept", "stored"])
@pytest.mark.parametrize("is_resumable", [False, True])
@pytest.mark.parametrize("is_confirmed", [True, False])
def test_a_confirmation_is_a_question(
    bench: Bench, sessions: str, is_resumable: bool, is_confirmed: bool
) -> None:
    def send(to: str) -> str:
        bench.ran.append(to)
        return f"sent to {to}"

    bench.is_resumable = is_resumable
    bench.options = {"effects": {"send": "write"}}

    def answer(request: dict[str, Any]) -> Reply:
        found = [str(each) for each in results(request)]
        if not found:
            return Reply(tool_calls=[("send", {"to": "ada"})])
        return Reply("It is done." if "sent to" in found[-1] else "It is not done.")

    bench.respond = answer

    def make() -> LlmAgent:
        return bench.agent(tools=[FunctionTool(send, require_confirmation=True)])

    events = bench.run(make(), sessions=sessions)
    assert bench.ran == []
    [row] = bench.rows("SELECT run_id, kind, question, answer FROM questions")
    assert row == ("r", "approval", '{"tool":"send","args":{"to":"ada"}}', None)
    assert bench.status() == "waiting"
    said = answer_to(asking(events), confirmed=is_confirmed)
    for _ in range(2):  # the answer that is given again continues what it answered
        events = bench.run(make(), said, None, sessions=sessions)
        assert text(events) == ("It is done." if is_confirmed else "It is not done.")
        assert bench.ran == (["ada"] if is_confirmed else [])
    assert bench.status() == "done"
    [(answered,)] = bench.rows("SELECT answer FROM questions")
    assert json.loads(answered) == {"confirmed": is_confirmed}
    stored = bench.session(sessions).events
    assert len([each for each in stored if each.author == "user"]) == 2
    assert told(stored)[-1] == ("surveyor", [text(events)])


def test_a_turn_after_an_answer_that_failed_goes_on(bench: Bench) -> None:
    def send(to: str) -> str:
        bench.ran.append(to)
        return f"sent to {to}"

    bench.options = {"effects": {"send": "write"}}
    is_down = True

    def answer(request: dict[str, Any]) -> Reply:
        found = [str(each) for each in results(request)]
        if not found:
            return Reply(tool_calls=[("send", {"to": "ada"})])
        return Reply("down", status=400) if is_down else Reply("It is done.")

    bench.respond = answer

    def make() -> LlmAgent:
        return bench.agent(tools=[FunctionTool(send, require_confirmation=True)])

    said = answer_to(asking(bench.run(make(), sessions="stored")), confirmed=True)
    with pytest.raises(Exception, match="down"):
        bench.run(make(), said, None, sessions="stored")
    is_down = False
    for _ in range(2):
        assert text(bench.run(make(), said, None, sessions="stored")) == "It is done."
    assert bench.ran == ["ada"]
    events = told(bench.session("stored").events)
    bench.path.joinpath("sessions.db").unlink()
    assert len(events) == len({json.dumps(each) for each in events})


def test_what_was_asked_before_an_answer_is_asked_anew_after_it(bench: Bench) -> None:
    """A read before and after a confirmation is two reads, and so is a write."""

    def look() -> str:
        bench.ran.append("look")
        return f"looked {len(bench.ran)} times"

    def send(to: str) -> str:
        bench.ran.append("send")
        return "sent"

    bench.options = {"effects": {"send": "write", "look": "read", "note": "write"}}

    def note() -> str:
        bench.ran.append("note")
        return "noted"

    def answer(request: dict[str, Any]) -> Reply:
        said = [str(each) for each in results(request)]
        if not said:
            return Reply(tool_calls=[("look", {}), ("note", {})])
        if len(said) == 2:
            return Reply(tool_calls=[("send", {"to": "ada"})])
        if "sent" in said[-1]:
            return Reply(tool_calls=[("look", {}), ("note", {})])
        return Reply(said[-2])

    bench.respond = answer
    tools = [look, note, FunctionTool(send, require_confirmation=True)]
    events = bench.run(bench.agent(tools=tools), sessions="kept")
    said = answer_to(asking(events), confirmed=True)
    events = bench.run(bench.agent(tools=tools), said, None, sessions="kept")
    assert text(events) == "{'result': 'looked 4 times'}"
    assert bench.ran == ["look", "note", "send", "look", "note"]


@pytest.mark.parametrize("is_resumable", [False, True])
def test_a_long_running_tool_waits_for_its_result(bench: Bench, is_resumable: bool) -> None:
    def order(what: str) -> dict[str, str]:
        bench.ran.append(what)
        return {"status": "pending"}

    bench.is_resumable = is_resumable

    def answer(request: dict[str, Any]) -> Reply:
        found = [str(each) for each in results(request)]
        if not found:
            return Reply(tool_calls=[("order", {"what": "a boat"})])
        return Reply("It is here." if "here" in found[-1] else "It is ordered.")

    bench.respond = answer
    bench.options = {"effects": {"order": "write"}}

    def make() -> LlmAgent:
        return bench.agent(tools=[LongRunningFunctionTool(order)])

    events = bench.run(make(), sessions="kept")
    assert bench.status() == "waiting"
    [row] = bench.rows("SELECT kind, question FROM questions")
    assert row == ("interrupt", '{"tool":"order","args":{"what":"a boat"}}')
    said = answer_to(asking(events), status="here")
    assert text(bench.run(make(), said, None, sessions="kept")) == "It is here."
    assert bench.status() == "done"
    assert bench.ran == ["a boat"]


def test_callbacks_and_other_plugins_work_as_without(bench: Bench) -> None:
    seen: list[str] = []

    class Watching(BasePlugin):
        async def before_tool_callback(self, *, tool: BaseTool, **_: Any) -> None:
            seen.append(f"before {tool.name}")

        async def after_tool_callback(self, *, result: Any, **_: Any) -> dict[str, Any]:
            seen.append(f"after {result}")
            return {"result": "13 km"}

        async def before_model_callback(self, **_: Any) -> None:
            seen.append("model")

    def blocked(tool: BaseTool, args: dict[str, Any], tool_context: ToolContext) -> Any:
        seen.append("guard")
        return {"result": "no"} if args["what"] == "secret" else None

    def measure(what: str) -> str:
        bench.ran.append(what)
        return "12 km"

    bench.plugins = [Watching("watching")]
    calls = [("measure", {"what": "river"}), ("measure", {"what": "secret"})]
    bench.respond = lambda request: (
        Reply(str(results(request))) if results(request) else Reply(tool_calls=calls)
    )

    def make() -> LlmAgent:
        return bench.agent(tools=[measure], before_tool_callback=blocked)

    events = bench.twice(make)
    assert text(events) == "[{'result': '13 km'}, {'result': '13 km'}]"
    assert bench.ran == ["river"]
    assert sorted(seen[: len(seen) // 2]) == sorted(seen[len(seen) // 2 :])
    assert {"after 12 km", "after {'result': 'no'}", "guard", "model"} <= set(seen)


def test_outside_of_its_run_code_is_outside(bench: Bench) -> None:
    """What the caller does between two events belongs to no run, and to its own one if it has."""

    @rowtrail.step
    def between() -> None:
        bench.ran.append("between")

    async def work() -> None:
        runner = bench.runner(bench.agent())
        asked: Any = {"user_id": "ada", "session_id": "s", "new_message": types.UserContent("?")}
        async for _ in runner.run_async(**asked, invocation_id="r"):
            between()
        async with bench.journal.run("around"):
            async for _ in runner.run_async(**asked):
                between()

    asyncio.run(work())
    assert bench.rows("SELECT run_id, kind FROM steps ORDER BY step_id + 0") == [
        ("r", "llm"),
        ("around", "llm"),
        ("around", "function"),
    ]


def test_a_caller_that_leaves_early_has_cancelled(bench: Bench) -> None:
    def measure() -> str:
        return "12 km"

    bench.calls(Reply(tool_calls=[("measure", {})]), Reply("12 km"))

    async def leave() -> None:
        events = bench.runner(bench.agent(tools=[measure])).run_async(
            user_id="ada",
            session_id="s",
            invocation_id="r",
            new_message=types.UserContent("How long?"),
        )
        await anext(events)
        await events.aclose()

    asyncio.run(leave())
    assert bench.status() == "cancelled"
    assert text(bench.run(bench.agent(tools=[measure]))) == "12 km"
    assert bench.server.calls == 2


def test_a_run_that_is_cancelled_goes_on(bench: Bench) -> None:
    def measure() -> str:
        bench.ran.append("measured")
        return "12 km"

    late = threading.Event()

    def answer(request: dict[str, Any]) -> Reply:
        if not results(request):
            return Reply(tool_calls=[("measure", {})])
        late.set()
        return Reply("late", delay=5)

    bench.respond = answer

    async def cancel() -> None:
        asked = bench.arun(bench.agent(tools=[measure]), "How long?", "r")
        task = asyncio.get_running_loop().create_task(asked)
        await asyncio.to_thread(late.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert bench.status() == "cancelled"
    bench.calls(Reply(tool_calls=[("measure", {})]), Reply("12 km"))
    assert text(bench.run(bench.agent(tools=[measure]))) == "12 km"
    assert bench.ran == ["measured"]


def test_apps_without_the_plugin_are_not_recorded(bench: Bench) -> None:
    bench.run(bench.agent())
    app = App(name="plain", root_agent=bench.agent())
    runner = Runner(app=app, session_service=InMemorySessionService(), auto_create_session=True)
    asked: Any = {
        "user_id": "ada",
        "session_id": "s",
        "new_message": types.UserContent("How long?"),
    }

    async def run() -> list[Event]:
        return [event async for event in runner.run_async(**asked)]

    assert text(asyncio.run(run())) == "12 km"
    assert bench.server.calls == 2
    assert len(bench.rows("SELECT run_id FROM runs")) == 1


def test_the_synchronous_runner_is_recorded(bench: Bench) -> None:
    runner = bench.runner(bench.agent())
    asked: Any = {
        "user_id": "ada",
        "session_id": "s",
        "new_message": types.UserContent("How long?"),
    }
    events = list(runner.run(**asked))
    [(run_id, thread, status)] = bench.rows("SELECT run_id, thread_id, status FROM runs")
    assert (run_id, thread, status) == (events[0].invocation_id, "s", "done")


class Echo(BaseLlm):
    """A model without a provider, that answers with what it was built on."""

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse]:
        yield LlmResponse(content=types.ModelContent(f"{self.model}: {len(ASKED)}"))
        ASKED.append(self.model)


class Louder(Echo):
    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse]:
        async for response in super().generate_content_async(llm_request, stream):
            response.content = types.ModelContent(f"{text([Event(**dict(response))])}!")
            yield response


ASKED: list[str] = []


def test_a_model_of_any_class_is_recorded_once(bench: Bench) -> None:
    ASKED.clear()
    agent = LlmAgent(name="parrot", model=Louder(model="parrot"))
    for _ in range(2):
        assert text(bench.run(agent)) == "parrot: 0!"
    assert len(bench.rows("SELECT step_id FROM llm_calls")) == 1
    assert text(bench.run(LlmAgent(name="parrot", model=Echo(model="parrot")))) == "parrot: 1"


def test_a_journal_at_a_path_is_opened_when_it_is_used(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    plugin = RowtrailPlugin(path)
    assert not path.exists()
    app = App(name="desk", root_agent=bench.agent(), plugins=[plugin])

    async def run() -> None:
        for _ in range(2):  # closed with its runner, and opened again by the next
            service = InMemorySessionService()
            runner = Runner(app=app, session_service=service, auto_create_session=True)
            async with runner:
                message = types.UserContent("How long?")
                async for _ in runner.run_async(
                    user_id="ada", session_id="s", invocation_id="r", new_message=message
                ):
                    pass

    asyncio.run(run())
    assert bench.server.calls == 1


def test_an_effect_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="sends"):
        RowtrailPlugin(effects={"send": "sends"})
