"""`JournalMiddleware`: agents that are recorded without hooks, and with hooks beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from rowtrail import Journal
from rowtrail.errors import UsageError
from rowtrail.testing import LLMServer, Reply
from rowtrail_langgraph import JournalMiddleware
from tests.adapters._child import Agent, Children
from tests.adapters._explicit_ways import (
    HOOKS,
    SAVERS,
    Hooks,
    hooks,
    looking,
    saver_of,
    to_its_end,
)
from tests.adapters._graphs import (
    MODES,
    Bench,
    Broken,
    Fuse,
    Killed,
    Mode,
    run,
    shape,
    thread,
)
from tests.programs.scenarios import respond


def script(request: dict[str, Any]) -> Reply:
    """Ask for four tools, then answer."""
    if request["messages"][-1]["role"] == "user":
        return Reply(tool_calls=[("look", {"word": word}) for word in "abcd"])
    return Reply("they are words")


class Dies(AgentMiddleware):
    """Dies after the n-th model call was answered, before LangGraph knows of the answer."""

    def __init__(self, *at: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.at, self.n, self.error = set(at), 0, error or Killed()

    def _passed(self) -> None:
        self.n += 1
        if self.n in self.at:
            raise self.error

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        answer = handler(request)
        self._passed()
        return answer

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        answer = await handler(request)
        self._passed()
        return answer


@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("mode", MODES)
async def test_a_killed_agent_repeats_no_finished_call(
    bench: Bench, mode: Mode, saver: str, which: Hooks
) -> None:
    bench.respond = script
    with hooks(which), Journal(bench.path) as journal:
        graph: Any = create_agent(
            bench.model(),
            [looking(bench, Fuse(), mode)],
            middleware=[Dies(1, 3), JournalMiddleware(journal)],
            checkpointer=saver_of(saver, journal),
        )
        state, kills = await to_its_end(mode, graph, {"messages": "words?"})
    assert kills == 3
    assert bench.calls == 2
    assert sorted(bench.ledger.lines) == ["a", "b", "c", "c", "d"]
    told = [m.content for m in state["messages"] if m.type == "tool"]
    assert sorted(told) == [f"{word} is a word" for word in "abcd"]
    assert state["messages"][-1].content == "they are words"
    rows = bench.steps("kind, name, node, status, replays")
    assert {(r["kind"], r["name"], r["node"]) for r in rows} == {
        ("llm", "gpt-4o-mini", "model"),
        ("tool", "look", "tools"),
    }
    assert [r["replays"] for r in rows if r["kind"] == "llm"] == [1, 1]
    assert bench.rows("SELECT status, llm_calls FROM runs") == [{"status": "done", "llm_calls": 2}]


async def test_an_undisturbed_agent_ends_as_without_the_middleware(bench: Bench) -> None:
    bench.respond = script
    look = looking(bench, Fuse(times=0), "sync")
    with Journal(bench.path) as journal:
        recorded: Any = create_agent(bench.model(), [look], middleware=[JournalMiddleware(journal)])
        plain: Any = create_agent(bench.model(), [look])
        ended = recorded.invoke({"messages": "words?"}, thread())
        undisturbed = plain.invoke({"messages": "words?"})
    assert shape(ended) == shape(undisturbed)


class Words(BaseModel):
    """What an agent answers with."""

    count: int


@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("strategy", ["tool", "provider"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_structured_answer_is_replayed(
    bench: Bench, mode: Mode, strategy: str, which: Hooks
) -> None:
    if strategy == "tool":
        bench.respond = lambda _: Reply(tool_calls=[("Words", {"count": 4})])
    else:
        bench.respond = lambda _: Reply('{"count": 4}')
    with hooks(which), Journal(bench.path) as journal:
        graph: Any = create_agent(
            bench.model(),
            [],
            middleware=[Dies(1), JournalMiddleware(journal)],
            response_format=(ToolStrategy if strategy == "tool" else ProviderStrategy)(Words),
            checkpointer=InMemorySaver(),
        )
        state, kills = await to_its_end(mode, graph, {"messages": "how many?"})
    assert (state["structured_response"], kills, bench.calls) == (Words(count=4), 1, 1)


@pytest.mark.parametrize("mode", MODES)
async def test_on_a_capturing_saver_the_middleware_does_nothing(bench: Bench, mode: Mode) -> None:
    bench.respond = script
    saver = bench.saver()
    graph: Any = create_agent(
        bench.model(),
        [looking(bench, Fuse(times=0), mode)],
        middleware=[JournalMiddleware(saver.journal)],
        checkpointer=saver,
    )
    await run(mode, graph, {"messages": "words?"}, thread())
    assert len(bench.steps()) == 6
    assert len(bench.rows("SELECT * FROM runs")) == 1


@pytest.mark.parametrize("which", HOOKS)
async def test_every_input_is_a_run(bench: Bench, which: Hooks) -> None:
    with hooks(which), Journal(bench.path) as journal:
        graph: Any = create_agent(
            bench.model(),
            [],
            middleware=[JournalMiddleware(journal)],
            checkpointer=InMemorySaver(),
        )
        for _ in range(2):
            graph.invoke({"messages": "hello"}, thread())
        graph.invoke({"messages": "hello"}, thread("2"))
    rows = bench.rows("SELECT thread_id, status FROM runs ORDER BY started_at, run_id")
    assert [tuple(r.values()) for r in rows] == [("1", "done"), ("1", "done"), ("2", "done")]
    assert bench.calls == 3 and bench.replays == 0


@pytest.mark.parametrize("which", HOOKS)
@pytest.mark.parametrize("mode", MODES)
async def test_the_answer_before_an_exception_is_asked_again(
    bench: Bench, mode: Mode, which: Hooks
) -> None:
    with hooks(which), Journal(bench.path) as journal:
        graph: Any = create_agent(
            bench.model(),
            [],
            # inside the recorded call: it is this code that does not like the answer
            middleware=[JournalMiddleware(journal), Dies(1, error=Broken("no JSON"))],
            checkpointer=InMemorySaver(),
        )
        with pytest.raises(Broken):
            await run(mode, graph, {"messages": "hello"}, thread())
        await run(mode, graph, None, thread())
    assert bench.calls == 2
    assert [row["status"] for row in bench.steps("status")] == ["superseded", "done"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_person_in_the_loop_costs_no_call(bench: Bench, mode: Mode) -> None:
    bench.respond = script
    with hooks("without hooks"), Journal(bench.path) as journal:
        graph: Any = create_agent(
            bench.model(),
            [looking(bench, Fuse(times=0), mode)],
            middleware=[
                HumanInTheLoopMiddleware(interrupt_on={"look": True}),
                JournalMiddleware(journal),
            ],
            checkpointer=InMemorySaver(),
        )
        await run(mode, graph, {"messages": "words?"}, thread())
        answer: Any = Command(resume={"decisions": [{"type": "approve"}] * 4})
        state = await run(mode, graph, answer, thread())
    assert state["messages"][-1].content == "they are words"
    assert bench.calls == 2 and sorted(bench.ledger.lines) == list("abcd")


class Interrupts(AgentMiddleware):
    """Asks a person about each answer, inside the recorded call."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        from langgraph.types import interrupt

        answer = handler(request)
        interrupt("fine?")
        return answer

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        from langgraph.types import interrupt

        answer = await handler(request)
        interrupt("fine?")
        return answer


@pytest.mark.parametrize("mode", MODES)
async def test_an_interrupt_after_an_answer_does_not_ask_it_again(bench: Bench, mode: Mode) -> None:
    with hooks("without hooks"), Journal(bench.path) as journal:
        graph: Any = create_agent(
            bench.model(),
            [],
            middleware=[JournalMiddleware(journal), Interrupts()],
            checkpointer=InMemorySaver(),
        )
        state = await run(mode, graph, {"messages": "hello"}, thread())
        assert state["__interrupt__"][0].value == "fine?"
        state = await run(mode, graph, Command(resume="yes"), thread())
    assert state["messages"][-1].content == "re: hello"
    assert bench.calls == 1


@pytest.mark.parametrize("mode", MODES)
async def test_without_a_thread_id_the_middleware_says_what_is_missing(
    bench: Bench, mode: Mode
) -> None:
    with hooks("without hooks"), Journal(bench.path) as journal:
        graph: Any = create_agent(bench.model(), [], middleware=[JournalMiddleware(journal)])
        with pytest.raises(UsageError, match="thread_id"):
            await run(mode, graph, {"messages": "hello"})
    assert bench.calls == 0


# Real kills, with a saver that does not capture.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("die_at", ["after the first answer", "in look d"])
def test_an_agent_with_the_middleware_that_was_killed_repeats_no_finished_call(
    children: Children, tmp_path: Path, mode: Mode, die_at: str
) -> None:
    with LLMServer(respond) as server:
        agent = Agent(
            tmp_path / "agent",
            children,
            server.base_url,
            scenario="explicit_agent",
            mode=mode,
            capture=False,
            others=2,
        )
        agent.killed(die_at)
        done = {r["args"] for r in agent.rows("SELECT args FROM tool_calls WHERE status = 'done'")}
        ran = list(agent.ledger.lines)
        state = agent.resumed()["state"]
        assert server.calls == 2
    assert state["messages"][-1][1].endswith("is a word")
    again = agent.ledger.lines[len(ran) :]
    assert not {f'{{"word":"{word}"}}' for word in again} & done
    assert set(agent.ledger.lines) == set("abcde")
    assert agent.rows("SELECT status, attempts FROM runs") == [{"status": "done", "attempts": 2}]
