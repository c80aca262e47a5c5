"""Streamed answers, answers that fail, and what a replay shows to those who watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langgraph.graph import MessagesState

from rowtrail.testing import Reply
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    echo,
    fields,
    killed_and_resumed,
    one_node,
    run,
    scripted,
    thread,
)


@pytest.mark.parametrize("mode", MODES)
async def test_the_last_chunk_is_handed_on_once_the_answer_is_on_disk(
    bench: Bench, mode: Mode
) -> None:
    seen: list[tuple[str | None, list[tuple[str, str]]]] = []

    def look(chunk: AIMessageChunk) -> None:
        seen.append((chunk.chunk_position, bench.statuses()))

    def node(state: MessagesState) -> Any:
        for chunk in bench.model().stream("a question whose answer has several chunks"):
            look(chunk)
        return {}

    async def anode(state: MessagesState) -> Any:
        async for chunk in bench.model().astream("a question whose answer has several chunks"):
            look(chunk)
        return {}

    graph = one_node(bench.saver(), node if mode == "sync" else anode)
    await run(mode, graph, {"messages": "go"}, thread())
    *middle, (position, at_last) = seen
    assert len(middle) > 3
    assert [rows for _, rows in middle] == [[("gpt-4o-mini", "running")]] * len(middle)
    assert (position, at_last) == ("last", [("gpt-4o-mini", "done")])


@pytest.mark.parametrize("mode", MODES)
async def test_a_stream_that_its_consumer_leaves_is_asked_again(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()
    prompt = "a question whose answer has several chunks"

    def node(state: MessagesState) -> Any:
        if fuse.left:
            next(iter(bench.model().stream(prompt)))
            fuse()
        return {"messages": [("ai", "".join(str(c.content) for c in bench.model().stream(prompt)))]}

    async def anode(state: MessagesState) -> Any:
        if fuse.left:
            async with aclosing(bench.model().astream(prompt)) as chunks:  # type: ignore[type-var]
                async for _ in chunks:
                    break
            fuse()
        text = [str(chunk.content) async for chunk in bench.model().astream(prompt)]
        return {"messages": [("ai", "".join(text))]}

    graph = one_node(bench.saver(), node if mode == "sync" else anode)
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    [left] = bench.steps("status, error, output")
    assert left["status"] == "failed" and left["error"].startswith("GeneratorExit")
    state = await run(mode, graph, None, thread())
    assert state["messages"][-1].content == f"re: {prompt}"
    assert bench.calls == 2
    assert [row["status"] for row in bench.steps("status")] == ["failed", "done"]


FAULTS: dict[str, list[Reply]] = {
    "429": [Reply("slow down", status=429)],
    "500": [Reply("broken", status=500)],
    "400": [Reply("no", status=400)],
}


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_call_is_recorded_and_never_replayed(
    bench: Bench, mode: Mode, fault: str, streamed: bool
) -> None:
    bench.respond = scripted({"second": [*FAULTS[fault], Reply("at last")]})
    got: list[str] = []

    async def node(state: MessagesState, calls: Calls) -> Any:
        first = await calls.ask(bench.model(), "first")
        if streamed:
            chunks = await calls.stream(bench.model(), "second")
            got.append("".join(chunk.content for chunk in chunks))
        else:
            got.append((await calls.ask(bench.model(), "second")).content)
        return {"messages": [first]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(openai.APIStatusError):
        await run(mode, graph, {"messages": "go"}, thread())
    [run_row] = bench.rows("SELECT status, error FROM runs")
    assert run_row["status"] == "failed" and fault in run_row["error"]
    await run(mode, graph, None, thread())
    assert bench.asked == ["first", "second", "second"]
    assert got == ["at last"]
    first, failed, again = bench.steps("status, error, reason, replays, output")
    assert (first["status"], first["replays"]) == ("done", 1)
    assert failed["status"] == "failed" and fault in failed["error"] and failed["output"] is None
    assert (again["status"], again["reason"]) == ("done", "the recorded call failed")


class _BreaksOff(BaseHTTPRequestHandler):
    """Sends the first chunks of an answer, and hangs up."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for text in ("half an", " answer"):
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            chunk = {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())


@pytest.fixture
def breaking_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _BreaksOff) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_breaks_off_is_kept_as_failed_and_asked_again(
    bench: Bench, mode: Mode, breaking_url: str
) -> None:
    urls = iter([breaking_url, bench.server.base_url])
    got: list[str] = []

    async def node(state: MessagesState, calls: Calls) -> Any:
        chunks = await calls.stream(bench.model(base_url=next(urls)), "go on")
        got.append("".join(chunk.content for chunk in chunks))
        return {}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
        await run(mode, graph, {"messages": "go"}, thread())
    [broken] = bench.steps("status, output")
    assert broken["status"] == "failed"
    assert json.loads(broken["output"])["content"] == "half an answer"  # what was paid is readable
    await run(mode, graph, None, thread())
    assert got == ["re: go on"]
    assert bench.calls == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_fallback_is_replayed_after_the_failure_that_it_handled(
    bench: Bench, mode: Mode
) -> None:
    def respond(request: dict[str, Any]) -> Reply:
        return Reply("down", status=500) if request["model"] == "gpt-4.1" else echo(request)

    bench.respond = respond

    async def way(calls: Calls, bench: Bench) -> Any:
        asked = bench.model(model="gpt-4.1").with_fallbacks([bench.model()])
        return await calls.ask(asked, "hello")

    recorded, replayed = await killed_and_resumed(mode, bench, way)
    assert fields(replayed) == fields(recorded)
    assert [request["model"] for request in bench.server.requests] == [
        "gpt-4.1",  # its failure was handled, and is raised again
        "gpt-4o-mini",
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_a_replay_streams_the_whole_answer_as_messages(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(bench.model(stream_usage=True), "tell me a longer story")
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), as_node(mode, node))

    async def streamed(input: Any) -> list[tuple[Any, dict[str, Any]]]:
        options: Any = {"stream_mode": "messages"}
        if mode == "async":
            return [c async for c in graph.astream(input, thread(), **options)]
        return list(graph.stream(input, thread(), **options))

    with pytest.raises(Killed):
        await streamed({"messages": "go"})
    assert bench.calls == 1 and bench.server.requests[0]["stream"] is True
    [(message, metadata)] = await streamed(None)
    assert message.content == "re: tell me a longer story"
    assert message.usage_metadata["input_tokens"] > 0
    assert metadata["langgraph_node"] == "node"
    assert not any("rowtrail" in key for key in metadata)
    assert bench.calls == 1


async def test_a_replay_fires_the_events_of_a_model_call(bench: Bench) -> None:
    fuse = Fuse()

    async def node(state: MessagesState) -> Any:
        first = await bench.model().ainvoke("hello")
        async for _ in bench.model().astream("hello again"):
            pass
        fuse()
        return {"messages": [first]}

    graph = one_node(bench.saver(), node)

    async def events(input: Any) -> list[str]:
        found = graph.astream_events(input, thread(), version="v2")
        return [event["event"] async for event in found if "chat_model" in event["event"]]

    with pytest.raises(Killed):
        await events({"messages": "go"})
    replayed = await events(None)
    assert bench.calls == 2
    assert replayed.count("on_chat_model_start") == replayed.count("on_chat_model_end") == 2
    assert "on_chat_model_stream" in replayed


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_a_replay_is_seen_by_the_third_streaming_protocol(bench: Bench) -> None:
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        answer = bench.model().invoke("hello")
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        for _ in graph.stream_events({"messages": "go"}, thread(), version="v3"):
            pass
    events = list(graph.stream_events(None, thread(), version="v3"))
    assert bench.calls == 1
    assert "re: hello" in str(events)
