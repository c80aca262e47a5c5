"""The OpenAI Agents SDK under `RowtrailRunner`, over real sockets: what agents pay for once."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("agents")

from agents import (
    Agent,
    FunctionTool,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    RunContextWrapper,
    RunHooks,
    Runner,
    RunState,
    SQLiteSession,
    function_tool,
    input_guardrail,
    set_tracing_disabled,
)
from openai import AsyncOpenAI, InternalServerError
from pydantic import BaseModel

import rowtrail
from rowtrail import Journal
from rowtrail.errors import InDoubtError, UnsupportedError, UsageError
from rowtrail.testing import LLMServer, Reply, Usage
from rowtrail_openai_agents import RowtrailRunner

USAGE = Usage(100, 20, 64, 8)
WAYS = ("run", "run_sync", "run_streamed")
MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}

set_tracing_disabled(True)


def results(request: dict[str, Any]) -> list[str]:
    """Return the results of tools that a request tells the model of."""
    return [
        str(each.get("output"))
        for each in request["input"]
        if each.get("type") == "function_call_output"
    ]


class Bench:
    """A journal, a server that answers as `respond` says, and agents that ask it."""

    def __init__(self, journal: Journal, path: Path) -> None:
        self.journal = journal
        self.path = path
        self.ran: list[str] = []
        self.respond: Callable[[dict[str, Any]], Reply] = lambda _: Reply("12 km", usage=USAGE)
        self.server = LLMServer(self._answer)
        self.runner = RowtrailRunner(journal)

    def agent(self, name: str = "surveyor", kind: str = "responses", **more: Any) -> Agent[Any]:
        client = AsyncOpenAI(base_url=self.server.base_url, api_key="none", max_retries=0)
        settings: dict[str, Any] = {"include_usage": True, **more.pop("settings", {})}
        return Agent[Any](
            name=name,
            model=MODELS[kind]("gpt-4o-mini", openai_client=client),
            model_settings=ModelSettings(**settings),
            **more,
        )

    def _answer(self, request: dict[str, Any]) -> Reply:
        return self.respond(request)

    async def twice(self, way: str, make: Callable[[], Agent[Any]], **more: Any) -> Any:
        """Run it, give it again, and return what came of the second time."""
        await self.run(way, make(), **more)
        return await self.run(way, make(), **more)

    def calls(self, *replies: Reply) -> None:
        """Answer by how many results of tools the model is told."""
        self.respond = lambda request: replies[len(results(request))]

    async def run(self, way: str, agent: Agent[Any], asked: Any = "How long?", **more: Any) -> Any:
        more.setdefault("run_id", "r")
        if way == "run_sync":
            return await asyncio.to_thread(self._run_sync, agent, asked, more)
        if way == "run":
            return await self.runner.run(agent, asked, **more)
        streamed = self.runner.run_streamed(agent, asked, **more)
        async for _ in streamed.stream_events():
            pass
        return streamed

    def _run_sync(self, agent: Agent[Any], asked: Any, more: dict[str, Any]) -> Any:
        loop = asyncio.new_event_loop()  # else it is left open, as `Runner.run_sync` does
        asyncio.set_event_loop(loop)
        try:
            return self.runner.run_sync(agent, asked, **more)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.journal.sql(query).rows


@pytest.fixture
def bench(journal: Journal, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(journal, tmp_path)
    with bench.server:
        yield bench


def wants(*tools: tuple[str, dict[str, Any]]) -> Reply:
    return Reply(tool_calls=tools, usage=USAGE)


def measuring(bench: Bench) -> FunctionTool:
    @function_tool
    def measure(what: str) -> str:
        """Measure the river."""
        bench.ran.append(what)
        return f"{what}: 12"

    return measure


# Answers and streams.


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_run_that_is_given_again_asks_nothing_and_counts_nothing(
    bench: Bench, way: str, kind: str
) -> None:
    first = await bench.run(way, bench.agent(kind=kind))
    again = await bench.run(way, bench.agent(kind=kind))

    assert (first.final_output, again.final_output) == ("12 km", "12 km")
    assert again.to_input_list() == first.to_input_list()
    assert bench.server.calls == 1
    assert first.context_wrapper.usage.total_tokens == 120
    assert again.context_wrapper.usage.total_tokens == 0
    [row] = bench.rows("SELECT run_id, agent, status, input_tokens, saved_tokens FROM runs")
    assert row == ("r", "surveyor", "done", 100, 120)
    [call] = bench.journal.sql("SELECT * FROM llm_calls").to_dicts()
    assert (call["model"], call["provider"], call["answer"]) == ("gpt-4o-mini", "openai", "12 km")
    assert (call["cache_read_tokens"], call["reasoning_tokens"]) == (64, 8)


@pytest.mark.parametrize("kind", MODELS)
async def test_a_stream_is_replayed_in_the_same_events(bench: Bench, kind: str) -> None:
    async def stream() -> list[Any]:
        streamed = bench.runner.run_streamed(bench.agent(kind=kind), "How long?", run_id="r")
        events: list[Any] = [each async for each in streamed.stream_events()]
        return [
            each.data.model_dump(exclude_unset=True)
            if each.type == "raw_response_event"
            else each.type
            for each in events
        ]

    first, again = await stream(), await stream()

    assert bench.server.calls == 1
    for events in (first, again):  # what was not paid is not told as paid
        events[-2 if events[-1] == "run_item_stream_event" else -1] = None
    without = [each for each in first if not (isinstance(each, dict) and "response" in each)]
    assert [e for e in again if not (isinstance(e, dict) and "response" in e)] == without
    assert any(isinstance(each, dict) and "delta" in each for each in again)


@pytest.mark.parametrize("ways", [("run_streamed", "run"), ("run", "run_streamed")])
async def test_a_run_goes_on_in_another_way_than_it_began(
    bench: Bench, ways: tuple[str, str]
) -> None:
    bench.calls(wants(("measure", {"what": "length"})), Reply("12 km", usage=USAGE))

    for way in ways:
        result = await bench.run(way, bench.agent(tools=[measuring(bench)]))
        assert result.final_output == "12 km"

    assert (bench.server.calls, bench.ran) == (2, ["length"])


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_is_not_given_again_with_another_input(bench: Bench, way: str) -> None:
    await bench.run(way, bench.agent(), "How long?")

    with pytest.raises(UsageError, match="run 'r' was begun with another input"):
        await bench.run(way, bench.agent(), "How deep?")
    with pytest.raises(UsageError, match="another input"):
        await bench.run(way, bench.agent(), [{"role": "user", "content": "How deep?"}])

    again = await bench.run(way, bench.agent(), [{"role": "user", "content": "How long?"}])
    assert (again.final_output, bench.server.calls) == ("12 km", 1)
    assert bench.rows("SELECT status, attempts FROM runs") == [("done", 2)]


async def test_without_an_id_each_run_is_a_new_one(bench: Bench) -> None:
    for _ in range(2):
        await bench.runner.run(bench.agent(), "How long?")

    assert bench.server.calls == 2
    assert len(bench.journal.runs()) == 2


async def test_the_frameworks_own_runner_is_recorded_inside_a_run(bench: Bench) -> None:
    async with bench.journal.run("r", agent="surveyor"):
        await Runner.run(bench.agent(), "How long?")
    async with bench.journal.run("r", agent="surveyor"):
        result = await Runner.run(bench.agent(), "How long?")
    outside = await Runner.run(bench.agent(), "How long?")

    assert result.final_output == outside.final_output == "12 km"
    assert bench.server.calls == 2
    assert bench.rows("SELECT kind, replays FROM steps") == [("llm", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"instructions": "Be brief."},
        {"settings": {"temperature": 0.5}},
        {"output_type": list[str]},
    ],
    ids=str,
)
async def test_a_changed_request_is_a_live_call(bench: Bench, change: dict[str, Any]) -> None:
    bench.respond = lambda _: Reply('{"response": ["12 km"]}', usage=USAGE)
    await bench.run("run", bench.agent())
    await bench.run("run", bench.agent(**change))

    assert bench.server.calls == 2


async def test_settings_that_change_no_answer_do_not_count(bench: Bench) -> None:
    for number in range(2):
        settings = {"extra_headers": {"x-trace": str(number)}, "metadata": {"n": str(number)}}
        await bench.run("run", bench.agent(settings=settings))

    assert bench.server.calls == 1


# Tools.


@pytest.mark.parametrize("way", WAYS)
async def test_parallel_tools_run_once_each(bench: Bench, way: str) -> None:
    both = [("measure", {"what": "length"}), ("measure", {"what": "depth"})]
    bench.calls(wants(*both), Reply(), Reply("12 km", usage=USAGE))

    result = await bench.twice(way, lambda: bench.agent(tools=[measuring(bench)]))

    assert result.final_output == "12 km"
    assert (bench.server.calls, sorted(bench.ran)) == (2, ["depth", "length"])
    tools = bench.rows("SELECT name, status, result, agent FROM tool_calls ORDER BY result")
    told = [("measure", "done", f"{what}: 12", "surveyor") for what in ("depth", "length")]
    assert tools == told


async def test_a_step_under_function_tool_declares_its_effect_and_is_one_row(bench: Bench) -> None:
    keys: list[str] = []

    @function_tool
    @rowtrail.step(effect="write")
    def send(to: str) -> str:
        """Send a letter."""
        keys.append(rowtrail.current_step().idempotency_key)
        return "sent"

    bench.calls(wants(("send", {"to": "ada"})), Reply("done", usage=USAGE))
    for _ in range(2):
        await bench.run("run", bench.agent(tools=[send]))

    [row] = bench.rows("SELECT kind, effect, idempotency_key FROM steps WHERE kind <> 'llm'")
    assert row == ("tool", "write", keys[0]) and len(keys) == 1


async def test_a_failed_tool_is_told_to_the_model_as_ever_and_is_a_failed_row(bench: Bench) -> None:
    @function_tool
    async def measure(what: str) -> str:
        """Measure."""
        bench.ran.append(what)
        raise LookupError("no such river")

    bench.calls(wants(("measure", {"what": "length"})), Reply("sorry", usage=USAGE))
    result = await bench.run("run", bench.agent(tools=[measure]))

    assert result.final_output == "sorry"
    assert "An error occurred" in results(bench.server.requests[-1])[0]
    assert bench.rows("SELECT status, error FROM tool_calls") == [
        ("failed", "LookupError: no such river")
    ]


async def test_a_handled_failure_is_replayed_after_a_crash(bench: Bench) -> None:
    """The answer to the message of the failure was paid: the message must be the same."""

    @function_tool
    async def measure(what: str) -> str:
        """Measure."""
        bench.ran.append(what)
        raise LookupError("no such river")

    @function_tool
    async def look(what: str) -> str:
        """Look."""
        if "look" not in bench.ran:
            bench.ran.append("look")
            looks.set()
            await asyncio.sleep(60)
        return "12"

    looks = asyncio.Event()

    bench.calls(
        wants(("measure", {"what": "length"})),
        wants(("look", {"what": "map"})),
        Reply("12 km", usage=USAGE),
    )
    task = asyncio.create_task(bench.run("run", bench.agent(tools=[measure, look])))
    await looks.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await bench.run("run", bench.agent(tools=[measure, look]))

    assert result.final_output == "12 km"
    assert bench.server.calls == 3
    assert bench.ran == ["length", "look"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_write_in_doubt_is_for_people_not_for_the_model(bench: Bench, way: str) -> None:
    bench.runner = RowtrailRunner(bench.journal, effects={"send": "write"})

    @function_tool
    async def send(to: str) -> str:
        """Send a letter."""
        bench.ran.append(to)
        raise ConnectionError("lost")

    bench.calls(wants(("send", {"to": "ada"})), Reply("told", usage=USAGE))
    told = await bench.run(way, bench.agent(tools=[send]), run_id="first")
    assert told.final_output == "told"  # as without a journal
    with pytest.raises(InDoubtError) as raised:
        await bench.run(way, bench.agent(tools=[send]), run_id="first")

    assert bench.ran == ["ada"]
    bench.journal.settle(raised.value.step_id, result="sent after all")
    await bench.run(way, bench.agent(tools=[send]), run_id="first")
    assert bench.ran == ["ada"]
    assert results(bench.server.requests[-1]) == ["sent after all"]


async def test_a_time_limit_leaves_a_write_in_doubt(bench: Bench) -> None:
    bench.runner = RowtrailRunner(bench.journal, effects={"send": "write"})

    async def invoke(_: Any, arguments: str) -> str:
        bench.ran.append(json.loads(arguments)["to"])
        await asyncio.sleep(60)
        return "sent"

    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    tool = FunctionTool("send", "Send.", schema, invoke, False)
    tool.timeout_seconds = 0.05
    bench.calls(wants(("send", {"to": "ada"})), Reply("slow", usage=USAGE))
    result = await bench.run("run", bench.agent(tools=[tool]))

    assert result.final_output == "slow"
    assert bench.rows("SELECT status FROM tool_calls") == [("in_doubt",)]


def test_an_unknown_effect_is_refused(journal: Journal) -> None:
    with pytest.raises(UsageError, match="twice"):
        RowtrailRunner(journal, effects={"send": "twice"})


@pytest.mark.parametrize("name", ["get_model", "renamed parameter"])
def test_a_version_without_what_is_needed_is_refused(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run_loop: Any = importlib.import_module("agents.run_internal.run_loop")
    if name == "get_model":
        monkeypatch.delattr(run_loop, name)
    else:
        monkeypatch.setattr(run_loop, "get_model", lambda agent, config: None)

    with pytest.raises(UnsupportedError, match=r"get_model\(agent, run_config\)"):
        RowtrailRunner(journal)


# Several agents.


@pytest.mark.parametrize("way", WAYS)
async def test_a_handoff_and_an_agent_as_a_tool_are_named(bench: Bench, way: str) -> None:
    def respond(request: dict[str, Any]) -> Reply:
        said, told = request.get("instructions"), results(request)
        if said == "boss":
            return wants(("transfer_to_writer", {}))
        if said == "helper":
            tools = wants(("measure", {"what": "length"}))
            return Reply("helped", usage=USAGE) if told else tools
        if not any("helped" in each for each in told):
            return wants(("ask_helper", {"input": "measure it"}))
        return Reply("written", usage=USAGE)

    def team() -> Agent[Any]:
        helper = bench.agent("helper", instructions="helper", tools=[measuring(bench)])
        asks = helper.as_tool("ask_helper", "Ask.")
        writer = bench.agent("writer", instructions="writer", tools=[asks])
        return bench.agent("boss", instructions="boss", handoffs=[writer])

    bench.respond = respond
    result = await bench.twice(way, team)

    assert result.final_output == "written"
    assert result.last_agent.name == "writer"
    assert (bench.server.calls, bench.ran) == (5, ["length"])
    steps = bench.rows("SELECT kind, name, agent FROM steps ORDER BY step_id + 0")
    assert steps == [
        ("llm", "gpt-4o-mini", "boss"),
        ("llm", "gpt-4o-mini", "writer"),
        ("tool", "ask_helper", "writer"),
        ("llm", "gpt-4o-mini", "helper"),
        ("tool", "measure", "helper"),
        ("llm", "gpt-4o-mini", "helper"),
        ("llm", "gpt-4o-mini", "writer"),
    ]
    [asked] = bench.rows("SELECT step_id FROM steps WHERE name = 'ask_helper'")
    inside = bench.rows("SELECT DISTINCT parent_id FROM steps WHERE agent = 'helper'")
    assert inside == [asked]


async def test_objects_of_the_program_are_what_its_hooks_get(bench: Bench) -> None:
    agent = bench.agent(tools=[measuring(bench)])
    seen: list[Any] = []

    class Hooks(RunHooks[Any]):
        async def on_agent_start(self, context: Any, agent: Any) -> None:
            seen.append(agent)

        async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
            seen.append(tool)

    bench.calls(wants(("measure", {"what": "length"})), Reply("12 km", usage=USAGE))
    result = await bench.run("run", agent, hooks=Hooks())

    assert seen[0] is agent and agent.tools[0] in seen
    assert result.last_agent is agent


# Structured answers, guardrails, retries, errors.


class River(BaseModel):
    """What is told of a river."""

    length_km: int


async def test_a_structured_answer_is_the_same_object(bench: Bench) -> None:
    bench.respond = lambda _: Reply('{"length_km": 12}', usage=USAGE)
    result = await bench.twice("run", lambda: bench.agent(output_type=River))

    assert result.final_output == River(length_km=12)
    assert bench.server.calls == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_guardrail_that_asks_an_agent_is_part_of_the_run(bench: Bench, way: str) -> None:
    trips = [True]

    @input_guardrail(run_in_parallel=False)
    async def polite(context: Any, agent: Any, asked: Any) -> GuardrailFunctionOutput:
        judge = bench.agent("judge", instructions="judge")
        said = (await Runner.run(judge, asked)).final_output
        return GuardrailFunctionOutput(said, tripwire_triggered=trips[0])

    with pytest.raises(InputGuardrailTripwireTriggered):
        await bench.run(way, bench.agent(input_guardrails=[polite]))
    assert bench.rows("SELECT status FROM runs") == [("failed",)]
    trips[0] = False
    for _ in range(2):
        result = await bench.run(way, bench.agent(input_guardrails=[polite]))
        assert result.final_output == "12 km"

    agents = bench.rows("SELECT agent FROM llm_calls WHERE status = 'done' ORDER BY agent")
    assert agents == [("judge",), ("surveyor",)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_fails_is_a_failed_row_and_is_asked_again(
    bench: Bench, way: str
) -> None:
    bench.respond = lambda _: Reply("busy", status=500)
    with pytest.raises(InternalServerError):
        await bench.run(way, bench.agent())
    bench.respond = lambda _: Reply("12 km", usage=USAGE)
    result = await bench.run(way, bench.agent())

    assert result.final_output == "12 km"
    assert bench.rows("SELECT status, reason_code FROM llm_calls ORDER BY step_id + 0") == [
        ("failed", "first"),
        ("done", "failed_before"),
    ]


async def test_each_retry_of_the_framework_is_a_row(bench: Bench) -> None:
    retry = pytest.importorskip("agents.retry")  # of newer versions
    settings = retry.ModelRetrySettings(
        max_retries=2,
        backoff={"initial_delay": 0.0},
        policy=retry.retry_policies.http_status([500]),
    )
    bench.respond = lambda _: (
        Reply("busy", status=500) if bench.server.calls < 3 else Reply("12 km", usage=USAGE)
    )
    for _ in range(2):
        result = await bench.run("run", bench.agent(settings={"retry": settings}))
        assert result.final_output == "12 km"

    assert bench.server.calls == 3
    assert bench.rows("SELECT status FROM llm_calls ORDER BY step_id + 0") == [
        ("failed",), ("failed",), ("done",),
    ]  # fmt: skip


async def test_a_run_that_is_cancelled_is_gone_on_with(bench: Bench) -> None:
    started = asyncio.Event()
    waits = [True]

    @function_tool
    async def measure(what: str) -> str:
        """Measure."""
        bench.ran.append(what)
        started.set()
        if waits[0]:
            await asyncio.sleep(60)
        return "12"

    bench.calls(wants(("measure", {"what": "length"})), Reply("12 km", usage=USAGE))
    task = asyncio.create_task(bench.run("run", bench.agent(tools=[measure])))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.rows("SELECT status FROM runs") == [("cancelled",)]
    waits[0] = False
    result = await bench.run("run", bench.agent(tools=[measure]))

    assert result.final_output == "12 km"
    assert (bench.server.calls, bench.ran) == (2, ["length", "length"])


async def test_a_stream_that_is_left_can_be_gone_on_with(bench: Bench) -> None:
    streamed = bench.runner.run_streamed(bench.agent(), "How long?", run_id="r")
    async for _ in streamed.stream_events():
        streamed.cancel()
    result = await bench.run("run_streamed", bench.agent())

    assert result.final_output == "12 km"
    assert bench.rows("SELECT status FROM runs") == [("done",)]


# Sessions and approvals.


async def test_a_session_is_the_thread_and_gets_each_item_once(bench: Bench) -> None:
    session = SQLiteSession("rivers", bench.path / "session.db")
    bench.calls(wants(("measure", {"what": "length"})), Reply("12 km", usage=USAGE))
    agent = bench.agent(tools=[measuring(bench)])
    for _ in range(2):
        await bench.run("run", agent, session=session)
    before = await session.get_items()

    assert len(before) == 4
    assert bench.server.calls == 2
    bench.respond = lambda _: Reply("3 m", usage=USAGE)
    await bench.run("run", agent, "How deep?", run_id="second", session=session)
    await bench.run("run", agent, "How deep?", run_id="second", session=session)
    assert (await session.get_items())[:4] == before
    assert len(await session.get_items()) == 6
    said = "SELECT role, run_id, status FROM conversation ORDER BY position"
    first = ["user", "assistant", "tool", "assistant"]
    assert bench.rows(said) == [
        *((role, "r", "current") for role in first),
        *((role, "second", "current") for role in ("user", "assistant")),
    ]
    assert bench.rows("SELECT role FROM conversation WHERE step_id IS NULL") == [("user",)] * 2
    assert bench.rows("SELECT thread_id, runs FROM threads") == [("rivers", 2)]
    session.close()


def sending(bench: Bench) -> FunctionTool:
    @function_tool(needs_approval=True)
    def send(to: str) -> str:
        """Send a letter."""
        bench.ran.append(to)
        return f"sent to {to}"

    return send


APPROVALS = ("run", "run_streamed")


@pytest.mark.parametrize("way", APPROVALS)
async def test_an_approval_is_a_question_and_its_answer_goes_on(bench: Bench, way: str) -> None:
    bench.runner = RowtrailRunner(bench.journal, effects={"send": "write"})
    bench.calls(wants(("send", {"to": "ada"})), Reply("done", usage=USAGE))
    agent = bench.agent(tools=[sending(bench)])
    waiting = await bench.twice(way, lambda: agent)  # a process that died is asked again
    [item] = waiting.interruptions
    assert bench.ran == [] and bench.server.calls == 1
    [(kind, question, answer)] = bench.rows("SELECT kind, question, answer FROM questions")
    asked = json.loads(question)
    assert (kind, asked["tool"], asked["args"], answer) == ("approval", "send", {"to": "ada"}, None)
    assert bench.rows("SELECT status FROM runs") == [("waiting",)]

    state = waiting.to_state()
    state.approve(item)
    result = await bench.run(way, agent, state, run_id=None)

    assert result.final_output == "done"
    assert (bench.ran, bench.server.calls) == (["ada"], 2)
    assert bench.rows("SELECT run_id, status FROM runs") == [("r", "done")]
    [(answer,)] = bench.rows("SELECT answer FROM questions")
    assert json.loads(answer) == {"approved": True}


async def test_a_run_that_was_answered_is_given_again_for_nothing(bench: Bench) -> None:
    bench.calls(wants(("send", {"to": "ada"})), Reply("done", usage=USAGE))
    agent = bench.agent(tools=[sending(bench)])
    state = (await bench.run("run", agent)).to_state()
    state.approve(state.get_interruptions()[0])
    stored = json.dumps(state.to_json())
    for _ in range(2):
        restored = await RunState.from_json(agent, json.loads(stored))
        assert (await bench.run("run", agent, restored, run_id=None)).final_output == "done"

    again = await bench.run("run", agent)

    assert (again.final_output, bench.ran, bench.server.calls) == ("done", ["ada"], 2)


async def test_a_call_that_is_refused_is_not_made(bench: Bench) -> None:
    bench.calls(wants(("send", {"to": "ada"})), Reply("done", usage=USAGE))
    agent = bench.agent(tools=[sending(bench)])
    state = (await bench.run("run", agent)).to_state()
    state.reject(state.get_interruptions()[0])
    await bench.run("run", agent, state)
    again = await bench.run("run", agent)

    assert (again.final_output, bench.ran, bench.server.calls) == ("done", [], 2)
    [(answer,)] = bench.rows("SELECT answer FROM questions")
    assert json.loads(answer)["approved"] is False


async def test_an_agent_as_a_tool_that_waits_goes_on_after_its_answer(bench: Bench) -> None:
    def respond(request: dict[str, Any]) -> Reply:
        told = results(request)
        if request.get("instructions") == "helper":
            return Reply("helped", usage=USAGE) if told else wants(("send", {"to": "ada"}))
        return Reply("done", usage=USAGE) if told else wants(("ask_helper", {"input": "send"}))

    def team() -> Agent[Any]:
        helper = bench.agent("helper", instructions="helper", tools=[sending(bench)])
        return bench.agent(
            "boss", instructions="boss", tools=[helper.as_tool("ask_helper", "Ask.")]
        )

    bench.respond = respond
    boss = team()
    waiting = await bench.twice("run", lambda: boss)
    assert len(waiting.interruptions) == 1 and bench.server.calls == 2
    state = waiting.to_state()
    state.approve(waiting.interruptions[0])
    result = await bench.run("run", boss, state)
    assert (result.final_output, bench.ran, bench.server.calls) == ("done", ["ada"], 4)
    again = await bench.run("run", team())

    assert (again.final_output, bench.ran, bench.server.calls) == ("done", ["ada"], 4)


async def test_what_the_program_gives_the_run_arrives(bench: Bench) -> None:
    @function_tool
    def who(context: RunContextWrapper[Any]) -> str:
        """Say who asks."""
        return str(context.context)

    bench.calls(wants(("who", {})), Reply("done", usage=USAGE))
    config = RunConfig(workflow_name="rivers")
    result = await bench.run("run", bench.agent(tools=[who]), context="Ada", run_config=config)

    assert result.final_output == "done"
    assert results(bench.server.requests[-1]) == ["Ada"]
