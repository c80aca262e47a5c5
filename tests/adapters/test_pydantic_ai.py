"""Pydantic AI with `RowtrailDurability`: what is recorded, replayed, asked and told apart.

The kit kills agents on a real endpoint (`test_adapter_suite.py`); here models are functions.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

pytest.importorskip("pydantic_ai")

from pydantic_ai import (
    Agent,
    BinaryContent,
    BinaryImage,
    DeferredToolRequests,
    DeferredToolResults,
    ModelRetry,
    NativeOutput,
    RunContext,
    ToolApproved,
    ToolDenied,
    ToolReturn,
)
from pydantic_ai.capabilities import BatchModelRequests, CombinedCapability
from pydantic_ai.exceptions import CallDeferred, ModelAPIError, UnexpectedModelBehavior
from pydantic_ai.messages import (
    FilePart,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import (
    CompletedStreamedResponse,
    ModelRequestParameters,
    StreamedResponse,
)
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.tools import Tool, ToolDefinition
from pydantic_ai.usage import RequestUsage

import rowtrail
import rowtrail.journal
from rowtrail import Journal
from rowtrail.errors import InDoubtError, RunBusyError, UsageError
from rowtrail_pydantic_ai import RowtrailDurability
from rowtrail_pydantic_ai._messages import parameters_of, prompt_of, restored, stored
from rowtrail_pydantic_ai._models import RecordedModel

Row = dict[str, Any]
SAYS = "It is 12 km."


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "agent.db") as opened:
        yield opened


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield the loop that `run_sync` takes, and leaves open."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    made.close()
    asyncio.set_event_loop(None)


@dataclass
class Bench:
    """A model that counts, and asks for tools by a plan: one list of calls for each answer."""

    plan: list[list[tuple[str, dict[str, Any]]]] = field(default_factory=list[Any])
    says: str = SAYS
    asked: int = 0
    ran: list[str] = field(default_factory=list[str])
    fails: Callable[[int], Exception | None] = lambda _: None

    def __rowtrail_key__(self) -> str:
        return self.says

    def answer(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.asked += 1
        if error := self.fails(self.asked):
            raise error
        calls = self._wanted(messages)
        parts: list[Any] = [ToolCallPart(name, args) for name, args in calls]
        return ModelResponse([*parts] if parts else [TextPart(self.says)])

    async def stream(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        self.asked += 1
        for at, (name, args) in enumerate(self._wanted(messages)):
            yield {at: DeltaToolCall(name, str(args).replace("'", '"'))}
        if not self._wanted(messages):
            for word in self.says.split(" "):
                yield f"{word} "

    def _wanted(self, messages: list[ModelMessage]) -> list[tuple[str, dict[str, Any]]]:
        answers = sum(isinstance(each, ModelResponse) for each in messages)
        return self.plan[answers] if answers < len(self.plan) else []

    @property
    def model(self) -> FunctionModel:
        return FunctionModel(self.answer, stream_function=self.stream, model_name="toy-1")

    def agent(self, journal: Journal, *tools: Any, **options: Any) -> Agent[object, Any]:
        durability = RowtrailDurability(journal, effects=options.pop("effects", None))
        options.setdefault("model", self.model)
        return Agent(name="analyst", tools=tools, capabilities=[durability], **options)


def rows(journal: Journal, query: str) -> list[Row]:
    return journal.sql(query).to_dicts()


def steps(journal: Journal) -> list[tuple[str, str, str]]:
    found = rows(journal, "SELECT kind, name, status FROM steps ORDER BY step_id + 0")
    return [(row["kind"], row["name"], row["status"]) for row in found]


def run_row(journal: Journal, run_id: str = "r") -> Row:
    [row] = rows(journal, f"SELECT * FROM runs WHERE run_id = '{run_id}'")
    return row


MEASURE = [("measure", {"what": "length"})]


def measuring(bench: Bench) -> Callable[[str], str]:
    def measure(what: str) -> str:
        """Measure something."""
        bench.ran.append(what)
        return "12 km"

    return measure


# Runs.


async def test_the_frameworks_ids_name_the_run_and_the_thread(journal: Journal) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench))
    for _ in range(2):
        result = await agent.run("How long?", run_id="r", conversation_id="rivers")
        assert (result.output, result.run_id, result.conversation_id) == (SAYS, "r", "rivers")
    run = run_row(journal)
    assert (run["thread_id"], run["agent"], run["status"]) == ("rivers", "analyst", "done")
    assert (bench.asked, bench.ran, run["attempts"]) == (2, ["length"], 2)


async def test_a_run_is_not_given_again_with_another_input(journal: Journal) -> None:
    bench = Bench()
    agent = bench.agent(journal)
    picture = BinaryContent(b"river", media_type="image/png")
    asked: list[Any] = ["How long?", ["How long?", picture]]
    for run_id, prompt in zip("rs", asked, strict=True):
        await agent.run(prompt, run_id=run_id)
    for run_id, prompt in zip("rs", reversed(asked), strict=True):
        with pytest.raises(UsageError, match=f"run '{run_id}' was begun with another input"):
            await agent.run(prompt, run_id=run_id)
        async with agent.iter(asked["rs".index(run_id)], run_id=run_id) as run:
            async for _ in run:
                pass
    assert bench.asked == 2


async def test_a_run_without_an_id_is_a_new_one_each_time(journal: Journal) -> None:
    bench = Bench()
    agent = bench.agent(journal)
    results = [await agent.run("How long?") for _ in range(2)]
    found = rows(journal, "SELECT run_id FROM runs ORDER BY started_at, run_id")
    assert bench.asked == 2
    assert {row["run_id"] for row in found} == {result.run_id for result in results}


async def test_a_run_given_again_without_a_conversation_stays_in_its_thread(
    journal: Journal,
) -> None:
    agent = Bench().agent(journal)
    first, second = [await agent.run("How long?", run_id="r") for _ in range(2)]
    assert first.conversation_id == second.conversation_id == run_row(journal)["thread_id"]


async def test_a_conversation_goes_on_in_its_thread(journal: Journal) -> None:
    bench = Bench()
    agent = bench.agent(journal)
    first = await agent.run("How long?", run_id="r")
    await agent.run("How deep?", message_history=first.all_messages(), run_id="s")
    assert run_row(journal)["thread_id"] == run_row(journal, "s")["thread_id"]
    [last] = rows(journal, "SELECT prompt_messages AS p FROM llm_calls WHERE run_id = 's'")
    assert [word in last["p"] for word in ("How long?", SAYS, "How deep?")] == [True] * 3


@pytest.mark.usefixtures("loop")
def test_the_journal_is_opened_by_the_first_run(tmp_path: Path) -> None:
    bench, path = Bench(), tmp_path / "agent.db"
    durability = RowtrailDurability(path)
    agent = Agent(bench.model, name="analyst", capabilities=[durability])
    assert not path.exists()
    for _ in range(2):
        assert agent.run_sync("How long?", run_id="r").output == SAYS
    durability.close()
    assert bench.asked == 1


@pytest.mark.usefixtures("loop")
def test_rowtrail_resume_names_the_run(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWTRAIL_RUN", "r")
    bench = Bench()
    agent = bench.agent(journal)
    assert agent.run_sync("How long?").run_id == "r"
    assert agent.run_sync("How long?").run_id != "r", "it names one run"


async def test_a_run_that_is_held_is_busy(journal: Journal) -> None:
    bench, entered, ends = Bench([MEASURE]), asyncio.Event(), asyncio.Event()

    async def measure(what: str) -> str:
        entered.set()
        await ends.wait()
        return "12 km"

    agent = bench.agent(journal, measure)
    held = asyncio.create_task(agent.run("How long?", run_id="r"))
    await entered.wait()
    with pytest.raises(RunBusyError):
        await agent.run("How long?", run_id="r")
    ends.set()
    assert (await held).output == SAYS


async def test_a_named_run_inside_another_is_a_run_of_its_own(journal: Journal) -> None:
    agent = Bench().agent(journal)
    async with agent.iter("How long?", run_id="r") as run:
        await agent.run("How deep?", run_id="s")
        await agent.run("How wide?")
        async for _ in run:
            pass
    found = rows(journal, "SELECT run_id, llm_calls FROM runs ORDER BY run_id")
    assert [(row["run_id"], row["llm_calls"]) for row in found] == [("r", 2), ("s", 1)]


async def test_a_run_that_is_left_early_is_cancelled_and_goes_on(journal: Journal) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench))
    async with agent.iter("How long?", run_id="r") as run:
        async for node in run:
            if Agent.is_call_tools_node(node):
                break
    assert run_row(journal)["status"] == "cancelled"
    assert (await agent.run("How long?", run_id="r")).output == SAYS
    assert (bench.asked, bench.ran, run_row(journal)["status"]) == (2, ["length"], "done")


async def test_a_run_that_is_cancelled_goes_on(journal: Journal) -> None:
    bench, entered = Bench([MEASURE]), asyncio.Event()

    async def measure(what: str) -> str:
        bench.ran.append(what)
        if len(bench.ran) == 1:
            entered.set()
            await asyncio.Event().wait()
        return "12 km"

    agent = bench.agent(journal, measure)
    task = asyncio.create_task(agent.run("How long?", run_id="r"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run_row(journal)["status"] == "cancelled"
    assert (await agent.run("How long?", run_id="r")).output == SAYS
    assert (bench.asked, len(bench.ran)) == (2, 2)


async def test_runs_at_the_same_time_have_journals_rows_of_their_own(journal: Journal) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench))
    ids = [str(n) for n in range(8)]
    for _ in range(2):
        await asyncio.gather(*(agent.run(f"How long is {n}?", run_id=n) for n in ids))
    assert (bench.asked, len(bench.ran)) == (16, 8)
    assert {run_row(journal, n)["llm_calls"] for n in ids} == {2}


# Ways to run.


WAYS = ["run", "run_stream", "run_stream_events", "iter", "handler"]


async def by(way: str, agent: Agent[object, Any], question: str) -> tuple[str, list[str]]:
    """Run an agent, and return its answer and the classes of its events."""
    told: list[str] = []

    async def note(_: RunContext[object], events: Any) -> None:
        told.extend([type(event).__name__ async for event in events])

    match way:
        case "run":
            return (await agent.run(question, run_id="r")).output, told
        case "handler":
            result = await agent.run(question, run_id="r", event_stream_handler=note)
            return result.output, told
        case "run_stream":
            async with agent.run_stream(question, run_id="r") as streamed:
                return "".join([each async for each in streamed.stream_text(delta=True)]), told
        case "run_stream_events":
            async with agent.run_stream_events(question, run_id="r") as events:
                found: list[Any] = [event async for event in events]
            return found[-1].result.output, [type(event).__name__ for event in found]
        case _:
            async with agent.iter(question, run_id="r") as run:
                async for node in run:
                    if Agent.is_model_request_node(node):
                        stream: Any = node.stream(run.ctx)
                        async with stream as events:
                            told.extend([type(event).__name__ async for event in events])
            assert run.result is not None
            return run.result.output, told


def _kinds(told: list[str]) -> list[str]:
    """Return the classes of events without the pieces of parts: a replay has parts whole."""
    return [name for name in told if name != "PartDeltaEvent"]


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
async def test_a_run_is_replayed_in_whatever_way_it_is_given_again(
    journal: Journal, first: str, second: str
) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench))
    answer, _ = await by(first, agent, "How long?")
    again, told = await by(second, agent, "How long?")
    assert (answer.strip(), again.strip()) == (SAYS, SAYS)
    assert (bench.asked, bench.ran) == (2, ["length"])
    plain = Agent(bench.model, name="analyst", tools=[measuring(bench)])
    undisturbed = await by(second, plain, "How long?")
    assert _kinds(told) == _kinds(undisturbed[1]), "the framework's own events"


@pytest.mark.parametrize("way", WAYS)
async def test_a_recorded_run_is_as_one_without_a_journal(journal: Journal, way: str) -> None:
    bench = Bench([MEASURE])
    plain = Agent(bench.model, name="analyst", tools=[measuring(bench)])
    recorded = bench.agent(journal, measuring(bench))
    assert await by(way, recorded, "How long?") == await by(way, plain, "How long?")


async def test_usage_of_a_replay_is_that_of_an_undisturbed_run(journal: Journal) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench))
    first, second = [await agent.run("How long?", run_id="r") for _ in range(2)]
    assert first.usage == second.usage
    run = run_row(journal)
    assert run["input_tokens"] + run["output_tokens"] == first.usage.total_tokens
    assert run["saved_tokens"] == first.usage.total_tokens


async def test_a_stream_that_is_left_is_made_again(journal: Journal) -> None:
    bench = Bench()
    agent = bench.agent(journal)
    async with agent.run_stream("How long?", run_id="r") as result:
        async for _ in result.stream_text(delta=True, debounce_by=None):
            break
    assert steps(journal) == [("llm", "toy-1", "failed")]
    answer, _ = await by("run_stream", agent, "How long?")
    assert (answer.strip(), bench.asked) == (SAYS, 2)


# Failures and retries.


async def test_a_failed_run_goes_on_where_it_failed(journal: Journal) -> None:
    bench = Bench([MEASURE], fails=lambda n: ModelAPIError("toy-1", "down") if n == 2 else None)
    agent = bench.agent(journal, measuring(bench))
    with pytest.raises(ModelAPIError, match="down"):
        await agent.run("How long?", run_id="r")
    assert run_row(journal)["status"] == "failed"
    assert (await agent.run("How long?", run_id="r")).output == SAYS
    assert (bench.asked, bench.ran) == (3, ["length"])


async def test_a_tool_that_asks_the_model_to_try_again_is_replayed(journal: Journal) -> None:
    bench = Bench([[("measure", {"what": "width"})], MEASURE])

    def measure(what: str) -> str:
        bench.ran.append(what)
        if what == "width":
            raise ModelRetry("Measure the length.")
        return "12 km"

    agent = bench.agent(journal, measure)
    async with agent.iter("How long?", run_id="r") as run:
        async for _ in run:
            if len(bench.ran) == 2:
                break
    result = await agent.run("How long?", run_id="r")
    assert (result.output, bench.ran, bench.asked) == (SAYS, ["width", "length"], 3)
    assert ("tool", "measure", "failed") in steps(journal)
    retries = [part for each in result.all_messages() for part in each.parts]
    assert any("Measure the length." in str(getattr(part, "content", "")) for part in retries)


async def test_an_answer_that_cannot_be_used_is_asked_again(journal: Journal) -> None:
    bench = Bench()
    agent = bench.agent(journal, retries=0)
    broken = [True]

    @agent.output_validator
    def check(said: str) -> str:
        if broken[0]:
            raise ModelRetry("no")
        return said

    with pytest.raises(UnexpectedModelBehavior):
        await agent.run("How long?", run_id="r")
    broken[0] = False
    assert (await agent.run("How long?", run_id="r")).output == SAYS
    assert bench.asked == 2


async def test_each_model_of_a_fallback_is_a_step(journal: Journal) -> None:
    down = Bench(fails=lambda _: ModelAPIError("toy-0", "down"))
    up = Bench()
    first = FunctionModel(down.answer, model_name="toy-0")
    agent = up.agent(journal, model=FallbackModel(first, up.model))
    for _ in range(2):
        assert (await agent.run("How long?", run_id="r")).output == SAYS
    assert steps(journal)[:2] == [("llm", "toy-0", "failed"), ("llm", "toy-1", "done")]
    assert up.asked == 1


# Tools.


async def test_tools_say_what_they_do_in_three_places(journal: Journal) -> None:
    calls: list[Any] = [("by_name", {}), ("by_metadata", {}), ("by_step", {}), ("by_nobody", {})]
    bench, keys = Bench([calls]), list[str]()

    def noting(name: str) -> Callable[[], str]:
        def tool() -> str:
            step = rowtrail.current_step()
            assert step is not None
            keys.append(step.idempotency_key)
            return name

        tool.__name__ = name
        return tool

    by_step = rowtrail.step(effect="write")(noting("by_step"))
    agent = bench.agent(
        journal,
        noting("by_name"),
        Tool(noting("by_metadata"), metadata={"rowtrail": {"effect": "idempotent"}}),
        by_step,
        noting("by_nobody"),
        effects={"by_name": "write"},
    )
    await agent.run("Go.", run_id="r")
    found = rows(journal, "SELECT name, effect, idempotency_key FROM steps WHERE kind = 'tool'")
    assert {row["name"]: row["effect"] for row in found} == {
        "by_name": "write",
        "by_metadata": "idempotent",
        "by_step": "write",
        "by_nobody": "read",
    }
    assert sorted(keys) == sorted(row["idempotency_key"] for row in found)
    assert not rows(journal, "SELECT 1 FROM steps WHERE kind = 'function'"), "one row for a call"


@pytest.mark.parametrize("effects", [{"measure": "wirte"}, {"measure": {"efect": "write"}}])
def test_an_invalid_effect_is_refused(journal: Journal, effects: Any) -> None:
    with pytest.raises(UsageError, match=r"measure|wirte"):
        Bench().agent(journal, effects=effects)


@pytest.mark.parametrize("on_doubt", ["fail", "retry"])
async def test_a_write_in_doubt_is_decided_about(journal: Journal, on_doubt: str) -> None:
    bench = Bench([[("send", {})]])

    def send() -> str:
        bench.ran.append("send")
        if len(bench.ran) == 1:
            raise TimeoutError
        return "sent"

    effects = {"send": {"effect": "write", "on_doubt": on_doubt}}
    agent = bench.agent(journal, send, effects=effects)
    with pytest.raises(TimeoutError):
        await agent.run("Send.", run_id="r")
    if on_doubt == "fail":
        with pytest.raises(InDoubtError):
            await agent.run("Send.", run_id="r")
        [step] = rows(journal, "SELECT step_id FROM steps WHERE status = 'in_doubt'")
        journal.settle(step["step_id"], result="sent")
    assert (await agent.run("Send.", run_id="r")).output == SAYS
    assert len(bench.ran) == (1 if on_doubt == "fail" else 2)


class Found(BaseModel):
    length: int


@dataclass
class Depth:
    metres: float


@pytest.mark.parametrize(
    "result",
    [
        "12 km",
        {"length": [12, None]},
        Found(length=12),
        Depth(3.5),
        [Found(length=12), Found(length=13)],
        ToolReturn(
            "12 km", content=["see", ImageUrl("https://example.org/a.png")], metadata={"a": 1}
        ),
        BinaryContent(b"\x00\xff", media_type="image/png"),
        None,
    ],
    ids=lambda value: type(value).__name__,
)
async def test_results_come_back_as_they_were(journal: Journal, result: Any) -> None:
    bench = Bench([[("measure", {})]])
    seen: list[Any] = []

    def measure() -> Any:
        bench.ran.append("measure")
        return result

    for _ in range(2):
        agent = bench.agent(journal, measure)
        done = await agent.run("How long?", run_id="r")
        [part] = [
            part
            for message in done.all_messages()
            for part in message.parts
            if isinstance(part, ToolReturnPart)
        ]
        seen.append((part.content, part.metadata, done.all_messages()[2].parts[1:]))
    assert len(bench.ran) == 1
    assert seen[0][:2] == seen[1][:2] and type(seen[0][0]) is type(seen[1][0])
    told = [[getattr(each, "content", None) for each in parts] for _, _, parts in seen]
    assert told[0] == told[1]
    assert bench.asked == 2


# People.


SEND = [("send", {"to": "ada"}), ("send", {"to": "bob"})]


def asking_agent(bench: Bench, journal: Journal) -> Agent[object, Any]:
    agent = bench.agent(
        journal,
        output_type=[str, DeferredToolRequests],
        effects={"send": "write", "look_up": "read"},
    )

    @agent.tool_plain(requires_approval=True)
    def send(to: str) -> str:
        bench.ran.append(to)
        return f"sent to {to}"

    @agent.tool_plain
    def look_up(what: str) -> str:
        raise CallDeferred

    return agent


async def test_an_approval_is_a_question_and_its_answer_resumes(journal: Journal) -> None:
    bench = Bench([SEND])
    agent = asking_agent(bench, journal)
    asked = await agent.run("Write.", run_id="r")
    assert isinstance(asked.output, DeferredToolRequests)
    run = run_row(journal)
    first, second = asked.output.approvals
    told = {"tool": "send", "args": {"to": "bob"}, "call_id": second.tool_call_id}
    assert (run["status"], json.loads(run["waiting_for"])) == ("waiting", told)
    answers = DeferredToolResults(
        approvals={first.tool_call_id: True, second.tool_call_id: ToolDenied("Not Bob.")}
    )
    history = asked.all_messages()
    for _ in range(2):  # the second time for nothing
        done = await agent.run(message_history=history, deferred_tool_results=answers)
        assert done.output == SAYS
        assert (bench.ran, bench.asked) == (["ada"], 2)
    run = run_row(journal)
    assert (run["status"], run["waiting_for"], run["attempts"]) == ("done", None, 3)
    assert len(rows(journal, "SELECT 1 FROM runs")) == 1, "the answer resumes the run"
    found = rows(journal, "SELECT kind, question, answer FROM questions ORDER BY question_id + 0")
    assert [row["kind"] for row in found] == ["approval"] * 2
    approved, denied = [row["answer"] for row in found]
    assert approved == "true" and "Not Bob." in denied
    again = await agent.run("Write.", run_id="r")
    assert isinstance(again.output, DeferredToolRequests) and bench.asked == 2
    assert run_row(journal)["status"] == "done"
    assert not rows(journal, "SELECT 1 FROM questions WHERE answer IS NULL"), "answers stay"


async def test_a_call_that_somebody_else_makes_is_a_question(journal: Journal) -> None:
    bench = Bench([[("look_up", {"what": "length"})], [("look_up", {"what": "depth"})]])
    agent = asking_agent(bench, journal)
    result = await agent.run("How long?", run_id="r")
    for answer in ("12 km", "3 m"):
        assert isinstance(result.output, DeferredToolRequests)
        assert run_row(journal)["status"] == "waiting"
        [call] = result.output.calls
        given = DeferredToolResults(calls={call.tool_call_id: answer})
        result = await agent.run(message_history=result.all_messages(), deferred_tool_results=given)
    assert result.output == SAYS
    found = rows(journal, "SELECT kind, answer FROM questions ORDER BY question_id + 0")
    assert [(row["kind"], row["answer"]) for row in found] == [
        ("interrupt", "12 km"),
        ("interrupt", "3 m"),
    ]
    assert (run_row(journal)["status"], bench.asked) == ("done", 3)
    assert ("tool", "look_up", "failed") not in steps(journal)


def doubting_agent(
    bench: Bench, journal: Journal, *, fails: int = 1, needs_approval: bool = False
) -> Agent[object, Any]:
    """Return an agent whose `send` leaves so many calls in doubt."""
    effects = {"send": {"effect": "write", "on_doubt": "ask"}}
    agent = bench.agent(journal, output_type=[str, DeferredToolRequests], effects=effects)

    @agent.tool_plain(requires_approval=needs_approval)
    def send(to: str) -> str:
        bench.ran.append(to)
        if len(bench.ran) <= fails:
            raise TimeoutError
        return f"sent to {to}"

    return agent


OUTCOMES: dict[str, tuple[str, Any, list[str], str]] = {
    "again": ("approvals", True, ["ada", "ada"], "sent to ada"),
    "approved": ("approvals", ToolApproved(), ["ada", "ada"], "sent to ada"),
    "no": ("approvals", False, ["ada"], ToolDenied().message),
    "denied": ("approvals", ToolDenied("It was sent."), ["ada"], "It was sent."),
    "result": ("calls", "sent by hand", ["ada"], "sent by hand"),
}


@pytest.mark.parametrize(("place", "answer", "ran", "returned"), OUTCOMES.values(), ids=OUTCOMES)
async def test_a_doubt_is_asked_about_as_the_framework_asks(
    journal: Journal, place: str, answer: Any, ran: list[str], returned: str
) -> None:
    bench = Bench([[("send", {"to": "ada"})]])
    agent = doubting_agent(bench, journal)
    with pytest.raises(TimeoutError):
        await agent.run("Write.", run_id="r")
    await agent.run("Write.", run_id="r")
    asked = await agent.run("Write.", run_id="r")  # once more, it is the same question
    assert isinstance(asked.output, DeferredToolRequests)
    [call] = asked.output.approvals
    [question] = rows(journal, "SELECT * FROM questions")
    assert (question["kind"], question["answer"]) == ("in_doubt", None)
    assert json.loads(question["question"])["call_id"] == call.tool_call_id
    assert run_row(journal)["status"] == "waiting"
    assert bench.ran == ["ada"]
    answers: Any = DeferredToolResults(**{place: {call.tool_call_id: answer}})
    for _ in range(2):  # the second time for nothing
        done = await agent.run(message_history=asked.all_messages(), deferred_tool_results=answers)
        assert (done.output, done.run_id != "r") == (SAYS, True)
        [part] = [
            each
            for message in done.all_messages()
            for each in message.parts
            if isinstance(each, ToolReturnPart)
        ]
        assert part.content == returned
    assert (bench.ran, bench.asked, run_row(journal)["status"]) == (ran, 2, "done")
    assert not rows(journal, "SELECT 1 FROM steps WHERE status = 'in_doubt'")
    assert len(rows(journal, "SELECT 1 FROM runs")) == 1
    [question] = rows(journal, "SELECT answer FROM questions")
    assert ("retry" if len(ran) == 2 else returned) in question["answer"]


@pytest.mark.parametrize("needs_approval", [False, True], ids=["asked", "approved_before"])
async def test_an_answer_counts_for_one_doubt(journal: Journal, needs_approval: bool) -> None:
    bench = Bench([[("send", {"to": "ada"})]])
    agent = doubting_agent(bench, journal, fails=9, needs_approval=needs_approval)
    if not needs_approval:
        with pytest.raises(TimeoutError):
            await agent.run("Write.", run_id="r")
    asked = await agent.run("Write.", run_id="r")
    assert isinstance(asked.output, DeferredToolRequests)
    before = len(bench.ran)
    answers = asked.output.build_results(approve_all=True)
    for error in (TimeoutError, InDoubtError, InDoubtError):  # the same answers, given again
        with pytest.raises(error):
            await agent.run(message_history=asked.all_messages(), deferred_tool_results=answers)
    assert len(bench.ran) == before + 1


# Several agents.


async def test_an_agent_that_a_tool_runs_is_part_of_the_run(journal: Journal) -> None:
    inner, outer = Bench([MEASURE], says="12 km"), Bench([[("delegate", {"what": "length"})]])
    helper = Agent(
        inner.model,
        name="helper",
        tools=[measuring(inner)],
        capabilities=[RowtrailDurability(journal)],
    )

    async def delegate(ctx: RunContext[object], what: str) -> str:
        outer.ran.append(what)
        said = (await helper.run(f"Find the {what}.", usage=ctx.usage)).output
        if len(outer.ran) == 1:
            raise TimeoutError
        return said

    agent = outer.agent(journal, delegate)
    with pytest.raises(TimeoutError):
        await agent.run("How long?", run_id="r")
    assert (await agent.run("How long?", run_id="r")).output == SAYS
    assert (outer.asked, inner.asked, inner.ran) == (2, 2, ["length"])
    found = rows(
        journal, "SELECT agent, kind, count(*) AS n FROM steps GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [(row["agent"], row["kind"], row["n"]) for row in found] == [
        ("analyst", "llm", 2),
        ("analyst", "tool", 2),
        ("helper", "llm", 2),
        ("helper", "tool", 1),
    ]
    assert len(rows(journal, "SELECT 1 FROM runs")) == 1


async def test_agents_inside_a_run_of_the_journal_are_part_of_it(journal: Journal) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench))
    for _ in range(2):
        async with journal.run("whole", thread_id="t"):
            answers = [(await agent.run(f"How long is {n}?")).output for n in range(2)]
        assert answers == [SAYS, SAYS]
    assert (bench.asked, len(bench.ran)) == (4, 2)
    assert {row["run_id"] for row in rows(journal, "SELECT run_id FROM runs")} == {"whole"}
    assert {row["agent"] for row in rows(journal, "SELECT agent FROM steps")} == {"analyst"}


# What counts.


async def fingerprints(
    journal: Journal, agent: Agent[Any, Any], question: Any = "How?"
) -> set[str]:
    before = {row["step_id"] for row in rows(journal, "SELECT step_id FROM steps")}
    await agent.run(question)
    found = rows(journal, "SELECT step_id, fingerprint FROM steps WHERE kind = 'llm'")
    return {row["fingerprint"] for row in found if row["step_id"] not in before}


def variants(bench: Bench, journal: Journal) -> dict[str, tuple[Agent[object, Any], Any]]:
    def other(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return bench.answer(messages, info)

    def a(what: str) -> str:
        return what

    def b(what: int) -> int:
        return what

    b.__name__ = "a"
    png, jpeg = (BinaryContent(b"1", media_type=f"image/{kind}") for kind in ("png", "jpeg"))
    return {
        "plain": (bench.agent(journal), "How?"),
        "question": (bench.agent(journal), "Why?"),
        "url": (bench.agent(journal), ["How?", ImageUrl("https://example.org/a.png")]),
        "other_url": (bench.agent(journal), ["How?", ImageUrl("https://example.org/b.png")]),
        "image": (bench.agent(journal), ["How?", png]),
        "other_image": (
            bench.agent(journal),
            ["How?", BinaryContent(b"2", media_type="image/png")],
        ),
        "media_type": (bench.agent(journal), ["How?", jpeg]),
        "instructions": (bench.agent(journal, instructions="Be brief."), "How?"),
        "system": (bench.agent(journal, system_prompt="Be brief, please."), "How?"),
        "settings": (bench.agent(journal, model_settings={"temperature": 0.5}), "How?"),
        "tool": (bench.agent(journal, a), "How?"),
        "schema": (bench.agent(journal, b), "How?"),
        "output": (bench.agent(journal, output_type=NativeOutput(Found)), "How?"),
        "name": (
            bench.agent(journal, model=FunctionModel(bench.answer, model_name="toy-2")),
            "How?",
        ),
        "function": (bench.agent(journal, model=FunctionModel(other, model_name="toy-1")), "How?"),
    }


async def test_what_differs_has_another_fingerprint(journal: Journal) -> None:
    bench = Bench(says='{"length": 12}')
    found = {
        name: await fingerprints(journal, agent, question)
        for name, (agent, question) in variants(bench, journal).items()
    }
    seen = [fingerprint for each in found.values() for fingerprint in each]
    assert len(seen) == len(set(seen)) == len(found), found


async def test_what_is_made_up_anew_does_not_count(journal: Journal) -> None:
    bench = Bench([MEASURE])
    settings: list[Any] = [{}, {"extra_headers": {"x-request-id": "1"}}]
    first, second = [
        await fingerprints(journal, bench.agent(journal, measuring(bench), model_settings=each))
        for each in settings
    ]
    assert first == second and len(first) == 2


async def test_headers_that_choose_a_version_count(journal: Journal) -> None:
    bench = Bench()
    settings = [{"extra_headers": {"anthropic-beta": beta}} for beta in ("a", "b")]
    found = [
        await fingerprints(journal, bench.agent(journal, model_settings=each)) for each in settings
    ]
    assert found[0] != found[1]


ANSWERS: dict[str, list[Any]] = {
    "text": [TextPart("12 km")],
    "empty": [],
    "texts": [TextPart("12 "), TextPart("km")],
    "thinking": [ThinkingPart("hm", signature="s", provider_name="anthropic"), TextPart("12 km")],
    "calls": [
        TextPart("wait"),
        ToolCallPart("measure", {"what": "length"}, "call-1"),
        ToolCallPart("measure", '{"what": "depth"}', "call-2"),
        ToolCallPart("measure", '{"what": ', "call-3"),
    ],
    "file": [FilePart(BinaryImage(b"\x00\xff", media_type="image/png"))],
    "empty_text": [TextPart("")],
}


@pytest.mark.parametrize("parts", ANSWERS.values(), ids=ANSWERS)
async def test_answers_come_back_exactly(journal: Journal, parts: Any) -> None:
    response = ModelResponse(
        parts,
        model_name="toy-1-2026",
        usage=RequestUsage(input_tokens=3, output_tokens=4, details={"reasoning_tokens": 1}),
        provider_name="toys",
        provider_details={"finish_reason": "stop", "none": None},
        provider_response_id="resp-1",
        finish_reason="stop",
    )
    with journal.run("r"):
        scope = rowtrail.journal.active_scope()
        assert scope is not None
        codec = scope.attempt.codec
        encoded = codec.encode(stored(response))
    assert encoded.text is not None
    assert restored(codec.decode(encoded)) == response


def test_hidden_parts_are_no_text(journal: Journal) -> None:
    question: list[Any] = ["Look:", BinaryContent(b"1", media_type="image/png")]
    messages: list[ModelMessage] = [
        ModelRequest([UserPromptPart(question)]),
        ModelResponse(ANSWERS["thinking"]),
    ]
    told = prompt_of((messages, None, ModelRequestParameters()))
    assert [(each.role, each.text) for each in told] == [("user", "Look:"), ("assistant", "12 km")]


async def test_a_model_answers_its_own_instances_calls_only(journal: Journal) -> None:
    benches = [Bench(says=f"{n}") for n in range(2)]
    agents = [bench.agent(journal, model=FunctionModel(bench.answer)) for bench in benches]
    said = [(await agent.run("How?", run_id="r")).output for agent in agents]
    assert said == ["0", "1"]


def test_definitions_are_compared_by_what_a_model_sees() -> None:
    tool = ToolDefinition(name="measure", metadata={"a": 1}, sequential=True)
    seen = [
        parameters_of(([], None, ModelRequestParameters(function_tools=[each])))
        for each in (tool, replace(tool, metadata={"a": 2}), replace(tool, description="Measures."))
    ]
    assert seen[0] == seen[1] != seen[2]


class Finished(WrapperModel):
    """A model whose streams are whole when they are opened, as those of batches are."""

    @asynccontextmanager
    async def request_stream(self, *asked: Any, **options: Any) -> AsyncGenerator[StreamedResponse]:
        response = await self.wrapped.request(*asked[:3])
        parameters: ModelRequestParameters = asked[2]
        yield CompletedStreamedResponse(
            response, model_request_parameters=parameters, replay_events=True
        )


async def test_a_stream_that_is_whole_already_is_recorded(journal: Journal) -> None:
    bench = Bench([MEASURE])
    agent = bench.agent(journal, measuring(bench), model=Finished(bench.model))
    first, second = [await by("run_stream_events", agent, "How long?") for _ in range(2)]
    assert first == second and first[0] == SAYS
    assert (bench.asked, bench.ran) == (2, ["length"])
    assert {status for _, _, status in steps(journal)} == {"done"}


def test_batches_are_inside_wherever_they_stand(journal: Journal) -> None:
    bench = Bench()
    durability, batches = RowtrailDurability(journal), BatchModelRequests()
    orders: list[Any] = [[batches, durability], [durability, batches]]
    for order in orders:
        served = CombinedCapability[object](order).get_wrapper_model(bench.model)
        assert isinstance(served, RecordedModel)
        assert not isinstance(served.wrapped, RecordedModel)


async def test_a_function_that_changes_what_it_closes_over_is_another_model(
    journal: Journal,
) -> None:
    asked = 0

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        nonlocal asked
        asked += 1
        return ModelResponse([TextPart(str(asked))])

    agents = [Bench().agent(journal, model=FunctionModel(answer)) for _ in range(2)]
    said = [(await agent.run("How?", run_id="r")).output for agent in agents]
    assert said == ["1", "2"], "docs/pydantic_ai.md says so"
