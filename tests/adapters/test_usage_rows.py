"""What the rows say of a graph's calls: tokens, money, runs, attempts, messages."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode

from rowtrail.testing import Reply, Usage
from tests.adapters._graphs import (
    MODES,
    Bench,
    Broken,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    asks_for,
    chain_of,
    one_node,
    run,
    thread,
)

DETAILED = Usage(1200, 300, cached_tokens=1024, reasoning_tokens=128)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, lambda _: Reply("an answer", usage=DETAILED)) as bench:
        yield bench


async def one_call(bench: Bench, mode: Mode, model: Any, way: str = "invoke") -> dict[str, Any]:
    """Make one call in a graph, and return its row."""

    async def node(state: MessagesState, calls: Calls) -> Any:
        if way == "invoke":
            await calls.ask(model, "hello there")
        else:
            await calls.stream(model, "hello there")
        return {}

    await run(mode, one_node(bench.saver(), as_node(mode, node)), {"messages": "go"}, thread())
    [row] = bench.steps()
    return row


TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")


@pytest.mark.parametrize("way", ["invoke", "stream", "invoke that streams"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_providers_own_figures_are_taken(bench: Bench, mode: Mode, way: str) -> None:
    streams = {"streaming": True} if way == "invoke that streams" else {}
    model = bench.model(stream_usage=True, **streams)
    row = await one_call(bench, mode, model, way.split(maxsplit=1)[0])
    assert tuple(row[name] for name in TOKENS) == (1200, 300, 1024, 128)
    assert row["tokens_source"] == "provider"
    assert row["cost_usd"] > 0
    [total] = bench.rows("SELECT input_tokens, output_tokens, cost_usd FROM runs")
    assert tuple(total.values()) == (1200, 300, row["cost_usd"])
    [of_thread] = bench.rows("SELECT thread_id, runs, steps, input_tokens FROM threads")
    assert tuple(of_thread.values()) == ("1", 1, 1, 1200)


async def test_cached_tokens_are_cheaper(bench: Bench) -> None:
    cached = await one_call(bench, "sync", bench.model())
    bench.respond = lambda _: Reply("an answer", usage=Usage(1200, 300))
    await run(
        "sync",
        answering(bench),
        {"messages": "go"},
        thread("2"),
    )
    [plain] = bench.rows("SELECT cost_usd FROM llm_calls WHERE thread_id = '2'")
    assert cached["cost_usd"] < plain["cost_usd"]


async def test_the_price_of_an_unknown_model_is_unknown(bench: Bench) -> None:
    row = await one_call(bench, "sync", bench.model(model="our-own-model"))
    assert row["input_tokens"] == 1200 and row["cost_usd"] is None
    [total] = bench.rows("SELECT cost_usd, saved_usd FROM runs")
    assert tuple(total.values()) == (None, None)


@pytest.mark.parametrize("mode", MODES)
async def test_without_the_providers_figures_tokens_are_estimated(
    bench: Bench, mode: Mode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no vocabularies"))
    row = await one_call(bench, mode, bench.model(stream_usage=False), "stream")
    assert row["tokens_source"] == "estimate"
    assert (row["input_tokens"], row["output_tokens"]) == (3, 3)  # of four characters each
    assert row["cost_usd"] is None and row["cache_read_tokens"] is None


async def test_with_a_vocabulary_on_the_machine_tokens_are_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Words:
        """Stands for a vocabulary: one token for each word."""

        def encode_ordinary(self, text: str) -> list[int]:
            return [1] * len(text.split())

    monkeypatch.setattr("rowtrail.usage._count.tiktoken_encoding", lambda model: Words())
    row = await one_call(bench, "sync", bench.model(stream_usage=False), "stream")
    assert (row["tokens_source"], row["input_tokens"], row["output_tokens"]) == ("tiktoken", 2, 2)


class Told(BaseChatModel):
    """Tells usage as other providers do."""

    usage: Any
    samples: int = 1

    @property
    def _llm_type(self) -> str:
        return "told"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        answers = [AIMessage("fine", usage_metadata=self.usage) for _ in range(self.samples)]
        return ChatResult(generations=[ChatGeneration(message=answer) for answer in answers])


CACHES: dict[str, tuple[dict[str, Any], tuple[int | None, int | None]]] = {
    "one figure": ({"cache_read": 5, "cache_creation": 7}, (5, 7)),
    "one for each cache": (
        {"cache_creation": 0, "ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 2},
        (None, 9),
    ),
    "nothing": ({}, (None, None)),
}


@pytest.mark.parametrize("cache", CACHES)
async def test_what_was_written_to_a_cache_is_counted(bench: Bench, cache: str) -> None:
    details, expected = CACHES[cache]
    usage = {
        "input_tokens": 50,
        "output_tokens": 5,
        "total_tokens": 55,
        "input_token_details": details,
    }
    row = await one_call(bench, "sync", Told(usage=usage))
    assert (row["cache_read_tokens"], row["cache_write_tokens"]) == expected
    assert (row["input_tokens"], row["tokens_source"]) == (50, "provider")
    assert row["model"] == "Told"


async def test_several_answers_to_one_request_count_once(bench: Bench) -> None:
    usage = {"input_tokens": 50, "output_tokens": 15, "total_tokens": 65}
    row = await one_call(bench, "sync", Told(usage=usage, samples=3))
    assert (row["input_tokens"], row["output_tokens"]) == (50, 15)
    assert len(json.loads(row["output"])) == 3


# Rows of calls.


@tool
def look(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


async def test_a_call_can_be_read_with_sql_alone(bench: Bench) -> None:
    def respond(request: dict[str, Any]) -> Reply:
        return Reply("let me see", tool_calls=[("look", {"word": "a"})], usage=DETAILED)

    bench.respond = respond

    def ask(state: MessagesState) -> Any:
        bound = bench.model(temperature=0.5).bind_tools([look])
        return {"messages": [bound.invoke([("system", "be short"), ("user", "look a up")])]}

    tools = ToolNode([look])
    tools.name = "tools"

    def act(state: MessagesState) -> Any:
        return tools.invoke(state)

    chain_of(bench.saver(), ask, act).invoke({"messages": "go"}, thread())
    [call] = bench.rows("SELECT * FROM llm_calls")
    assert (call["node"], call["thread_id"], call["status"]) == ("ask", "1", "done")
    assert (call["answer"], call["finish_reason"]) == ("let me see", "tool_calls")
    assert [c["name"] for c in json.loads(call["tool_calls"])] == ["look"]
    asked = [(m["role"], m["content"]) for m in json.loads(call["prompt_messages"])]
    assert asked == [("system", "be short"), ("user", "look a up")]
    assert call["duration_ms"] > 0 and call["started_at"].endswith("Z")
    parameters = json.loads(bench.steps("input", "kind = 'llm'")[0]["input"])["parameters"]
    assert parameters["temperature"] == 0.5
    assert parameters["tools"][0]["function"]["name"] == "look"
    assert "none" not in json.dumps(parameters)  # the key is no parameter
    said = bench.rows("SELECT direction, role, content FROM messages ORDER BY position")
    assert [tuple(m.values()) for m in said] == [
        ("in", "system", "be short"),
        ("in", "user", "look a up"),
        ("out", "assistant", "let me see"),
    ]
    [made] = bench.rows("SELECT node, name, args, result, tool_call_id, error FROM tool_calls")
    assert tuple(made.values())[:4] == ("act", "look", '{"word":"a"}', "a is a word")
    assert made["tool_call_id"] == json.loads(call["tool_calls"])[0]["id"]
    steps = bench.rows("SELECT seq, kind, scope FROM steps ORDER BY seq")
    assert [tuple(s.values()) for s in steps] == [(1, "llm", "2/ask"), (2, "tool", "3/act")]


# Rows of runs and attempts.


def answering(bench: Bench, fuse: Fuse | None = None, **compiled: Any) -> Any:
    """Return a graph that asks once."""

    def node(state: MessagesState) -> Any:
        answer = bench.model().invoke("hello")
        if fuse is not None:
            fuse()
        return {"messages": [answer]}

    return chain_of(bench.saver(), node, **compiled)


async def test_a_run_is_named_by_its_graph_and_thread(bench: Bench) -> None:
    answering(bench, name="helper").invoke({"messages": "go"}, thread("t7"))
    [row] = bench.rows("SELECT * FROM runs")
    assert (row["agent"], row["thread_id"], row["status"]) == ("helper", "t7", "done")
    assert (row["attempts"], row["steps"], row["llm_calls"], row["error"]) == (1, 1, 1, None)
    assert None not in (row["started_at"], row["ended_at"])
    [attempt] = bench.rows("SELECT * FROM attempts")
    assert (attempt["pid"], attempt["host"]) == (os.getpid(), socket.gethostname())
    assert (attempt["n"], attempt["outcome"]) == (1, "done")


@pytest.mark.parametrize("given", ["run_id", "metadata"])
async def test_the_callers_run_id_is_the_runs_id(bench: Bench, given: str) -> None:
    run_id = uuid.uuid4()
    config: Any = {**thread(), "run_id": run_id}
    if given == "metadata":
        config = {**thread(), "metadata": {"run_id": str(run_id)}}
    answering(bench).invoke({"messages": "go"}, config)
    assert bench.rows("SELECT run_id FROM runs") == [{"run_id": str(run_id)}]
    ids = {row["run_id"] for row in bench.rows("SELECT run_id FROM checkpoints")}
    assert ids == {str(run_id)}


async def test_one_run_id_for_several_requests_stays_recognisable(bench: Bench) -> None:
    run_id, graph = uuid.uuid4(), answering(bench)
    for name in ("1", "2"):
        graph.invoke({"messages": "go"}, {**thread(name), "run_id": run_id})
    rows = bench.rows("SELECT run_id FROM runs ORDER BY run_id")
    assert [row["run_id"] for row in rows] == [str(run_id), f"{run_id}#2"]


async def test_an_input_that_langgraph_takes_for_a_continuation_is_one(bench: Bench) -> None:
    """The same `metadata.run_id`: how a server goes on with a run that it lost."""
    fuse = Fuse()
    graph = answering(bench, fuse)
    config: Any = {**thread(), "metadata": {"run_id": "r1"}}
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, config)
    graph.invoke({"messages": "go"}, config)
    assert bench.calls == 1
    assert bench.rows("SELECT run_id, status, attempts FROM runs") == [
        {"run_id": "r1", "status": "done", "attempts": 2}
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_every_attempt_says_how_it_ended(bench: Bench, mode: Mode) -> None:
    stops: list[Any] = [Killed(), Broken("no"), None]

    async def node(state: MessagesState, calls: Calls) -> Any:
        await calls.ask(bench.model(), "hello")
        stop = stops.pop(0)
        if stop is not None:
            raise stop
        return {}

    graph = one_node(bench.saver(), as_node(mode, node))
    for error, given in ((Killed, {"messages": "go"}), (Broken, None)):
        with pytest.raises(error):
            await run(mode, graph, given, thread())
    [failed] = bench.rows("SELECT status, error, ended_at FROM runs")
    assert (failed["status"], failed["error"]) == ("failed", "Broken: no")
    await run(mode, graph, None, thread())
    rows = bench.rows("SELECT n, outcome FROM attempts ORDER BY n")
    assert [tuple(row.values()) for row in rows] == [
        (1, "cancelled"),
        (2, "failed"),
        (3, "done"),
    ]
    assert bench.rows("SELECT status, error FROM runs") == [{"status": "done", "error": None}]


async def test_resuming_what_is_done_leaves_no_row(bench: Bench) -> None:
    graph = answering(bench)
    graph.invoke({"messages": "go"}, thread())
    before = bench.rows("SELECT * FROM runs"), bench.rows("SELECT * FROM attempts")
    graph.invoke(None, thread())
    assert (bench.rows("SELECT * FROM runs"), bench.rows("SELECT * FROM attempts")) == before
    assert bench.calls == 1


async def test_a_graph_whose_tools_never_ran_has_its_run_too(bench: Bench) -> None:
    graph = one_node(bench.saver(), ToolNode([look]), name="tools")
    graph.invoke({"messages": [asks_for()]}, thread())
    assert bench.rows("SELECT status, steps FROM runs") == [{"status": "done", "steps": 0}]
