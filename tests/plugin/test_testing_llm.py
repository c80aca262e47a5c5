"""The local LLM server, asked by the real OpenAI and LangChain clients over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from rowtrail.testing import LLMServer, Reply, Usage

KEY = SecretStr("not-needed")
WAIT_S = 20
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def echo(request: dict[str, Any]) -> Reply:
    return Reply(f"you said {request['messages'][-1]['content']}")


def two_cities(_request: dict[str, Any]) -> Reply:
    calls = [("weather", {"city": "Oslo"}), ("weather", {"city": "Zürich, near the lake"})]
    return Reply("looking", tool_calls=calls, usage=Usage(100, 20, 64, 8))


def chat(server: LLMServer, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=server.base_url, api_key=KEY, model="gpt-4o-mini", **options)


def ask(model: ChatOpenAI, mode: str, **options: Any) -> AIMessage:
    """Ask "hi" the sync or async, whole or streamed way, and return one message."""
    if mode == "invoke":
        return model.invoke("hi", **options)
    if mode == "ainvoke":
        return asyncio.run(model.ainvoke("hi", **options))
    if mode == "stream":
        chunks = list(model.stream("hi", **options))
    else:
        chunks = asyncio.run(_collect(model, **options))
    assert len(chunks) > 2
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


async def _collect(model: ChatOpenAI, **options: Any) -> list[Any]:
    return [chunk async for chunk in model.astream("hi", **options)]


MODES = pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])


@MODES
def test_answer_is_what_respond_returned(mode: str) -> None:
    with LLMServer(echo) as server:
        answer = ask(chat(server), mode)

        assert answer.content == "you said hi"
        assert answer.response_metadata["finish_reason"] == "stop"
        assert server.calls == 1
        assert server.requests[0]["messages"] == [{"role": "user", "content": "hi"}]
        assert server.abandoned == []


@MODES
def test_tool_calls_and_usage_reach_the_message(mode: str) -> None:
    with LLMServer(two_cities) as server:
        answer = ask(chat(server, stream_usage=True), mode, tools=[WEATHER])

    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("weather", {"city": "Oslo"}),
        ("weather", {"city": "Zürich, near the lake"}),
    ]
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    assert answer.usage_metadata == {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_token_details": {"cache_read": 64},
        "output_token_details": {"reasoning": 8},
    }


def test_same_question_gets_fresh_ids_each_time() -> None:
    with LLMServer(two_cities) as server:
        first, second = (chat(server).invoke("hi") for _ in range(2))

    ids = {call["id"] for answer in (first, second) for call in answer.tool_calls}
    assert len(ids) == 4
    assert first.response_metadata["id"] != second.response_metadata["id"]
    assert first.response_metadata["id"].startswith("chatcmpl-")


def test_usage_is_estimated_from_characters() -> None:
    with LLMServer(lambda _request: Reply("x" * 400)) as server:
        short = chat(server).invoke("hi").usage_metadata
        long = chat(server).invoke("hi" * 400).usage_metadata

    assert short is not None
    assert long is not None
    assert short["output_tokens"] == long["output_tokens"] == 101
    assert long["input_tokens"] - short["input_tokens"] == pytest.approx(200, abs=2)


@pytest.mark.parametrize("include", [True, False])
def test_stream_sends_usage_only_when_asked(include: bool) -> None:
    with (
        LLMServer(echo) as server,
        openai.OpenAI(base_url=server.base_url, api_key="not-needed") as client,
    ):
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                stream_options={"include_usage": include},
            )
        )

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "you said hi"
    assert [chunk.usage is not None for chunk in chunks if not chunk.choices] == [True] * include


def test_structured_output_is_parsed_from_text() -> None:
    schema = {
        "title": "City",
        "description": "A city.",
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    with LLMServer(lambda _request: Reply('{"name": "Oslo"}')) as server:
        answer = chat(server).with_structured_output(schema, strict=True).invoke("hi")

    assert answer == {"name": "Oslo"}
    assert server.requests[0]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_error_status_raises_the_clients_error(
    status: int, error: type[openai.APIStatusError], mode: str
) -> None:
    with LLMServer(lambda _request: Reply("slow down", status=status)) as server:
        with pytest.raises(error, match="slow down"):
            ask(chat(server, max_retries=0), mode)

        assert server.calls == 1


def test_retry_after_an_error_is_counted() -> None:
    replies = [Reply(status=429), Reply("at last")]
    with LLMServer(lambda _request: replies.pop(0)) as server:
        answer = chat(server, max_retries=1).invoke("hi")

        assert answer.content == "at last"
        assert server.calls == 2


def test_exception_in_respond_is_told_to_the_client_once() -> None:
    def broken(_request: dict[str, Any]) -> Reply:
        raise LookupError("no script for this")

    with LLMServer(broken) as server:
        with pytest.raises(openai.BadRequestError, match="no script for this"):
            chat(server).invoke("hi")

        assert server.calls == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"not json", 400),
        ("/v1/chat/completions", b'{"messages": "hi"}', 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/completions", b"{}", 404),
        ("/v1/models", None, 404),
    ],
)
def test_what_is_no_chat_request_is_refused_and_not_counted(
    path: str, body: bytes | None, status: int
) -> None:
    with LLMServer(echo) as server:
        url = server.base_url.removesuffix("/v1") + path
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=WAIT_S)
        with caught.value as response:
            message = json.load(response)["error"]["message"]

        assert response.code == status
        assert message
        assert server.calls == 0


def test_gate_event_holds_a_call_in_flight() -> None:
    gate = threading.Event()
    with LLMServer(echo, gate=gate) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(chat(server).invoke, "hi")
        wait_until(lambda: server.calls == 1)
        assert not answer.done()

        gate.set()

        assert answer.result(WAIT_S).content == "you said hi"


def test_gate_callable_sees_the_request() -> None:
    seen: list[dict[str, Any]] = []
    with LLMServer(echo, gate=seen.append) as server:
        chat(server).invoke("hi")

        assert seen == server.requests


def test_delay_is_waited_for() -> None:
    with LLMServer(lambda _request: Reply("late", delay=5)) as server:
        with pytest.raises(openai.APITimeoutError):
            chat(server, timeout=0.2, max_retries=0).invoke("hi")

        assert server.calls == 1


def test_concurrent_calls_are_all_counted() -> None:
    with LLMServer(lambda request: Reply(request["messages"][0]["content"])) as server:
        model = chat(server)
        texts = [str(n) for n in range(40)]

        with ThreadPoolExecutor(8) as pool:
            answers = [message.content for message in pool.map(model.invoke, texts)]

        assert answers == texts
        assert sorted(request["messages"][0]["content"] for request in server.requests) == sorted(
            texts
        )


def test_close_frees_held_calls_and_can_be_called_twice() -> None:
    server = LLMServer(echo, gate=threading.Event())
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(chat(server, max_retries=0).invoke, "hi")
        wait_until(lambda: server.calls == 1)

        server.close()
        server.close()

        with pytest.raises(openai.APIConnectionError):
            answer.result(WAIT_S)


def test_log_has_each_request_as_one_line(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    for text in ("first\nline", "second"):
        with LLMServer(echo, log=log) as server:
            chat(server).invoke(text)

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["messages"][0]["content"] for line in lines] == ["first\nline", "second"]


CLIENT = """
import sys
from langchain_openai import ChatOpenAI
model = ChatOpenAI(base_url=sys.argv[1], api_key="not-needed", model="gpt-4o-mini")
model.invoke("first")
model.invoke("second")
"""


def test_call_of_a_killed_client_is_counted_as_abandoned(tmp_path: Path) -> None:
    held, release = threading.Event(), threading.Event()

    def gate(request: dict[str, Any]) -> None:
        if request["messages"][0]["content"] == "second":
            held.set()
            release.wait(WAIT_S)

    log = tmp_path / "requests.jsonl"
    with LLMServer(echo, gate=gate, log=log) as server:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, server.base_url])
        try:
            assert held.wait(WAIT_S)
        finally:
            os.kill(client.pid, signal.SIGKILL)
            client.wait(WAIT_S)
        release.set()
        wait_until(lambda: len(server.abandoned) == 1)

        assert server.calls == 2
        assert server.abandoned[0]["messages"][0]["content"] == "second"
        assert len(log.read_text().splitlines()) == 2


def test_server_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "policy.py").write_text(
        "from rowtrail.testing import Reply\ndef respond(request): return Reply('from afar')\n"
    )
    log = tmp_path / "requests.jsonl"
    code = "from rowtrail.testing import llm; llm.main()"
    arguments = ["--respond", "policy:respond", "--log", str(log)]
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        model = ChatOpenAI(base_url=base_url, api_key=KEY, model="gpt-4o-mini")
        answer = model.invoke("hi")
        process.stdin.close()

        assert process.wait(WAIT_S) == 0
    assert answer.content == "from afar"
    assert len(log.read_text().splitlines()) == 1


def wait_until(condition: Any) -> None:
    """Poll `condition` until it is true; fail after WAIT_S seconds."""
    done = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("the condition did not come true in time")


def ask_gemini(server: LLMServer, method: str) -> bytes:
    url = server.base_url.removesuffix("/v1") + f"/v1beta/models/gemini-2.5-flash:{method}"
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        answer: bytes = response.read()
    return answer


def test_gemini_is_answered_whole_and_in_the_same_pieces() -> None:
    with LLMServer(two_cities) as server:
        whole = json.loads(ask_gemini(server, "generateContent"))
        events = ask_gemini(server, "streamGenerateContent?alt=sse").decode().split("\n\n")
        pieces = [json.loads(each.removeprefix("data: ")) for each in events if each]
        assert [each["model"] for each in server.requests] == ["gemini-2.5-flash"] * 2
    [candidate] = whole["candidates"]
    assert candidate["finishReason"] == "STOP"
    assert whole["usageMetadata"] == {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 64,
        "candidatesTokenCount": 12,
        "thoughtsTokenCount": 8,
        "totalTokenCount": 120,
    }
    parts = [part for each in pieces for part in each["candidates"][0]["content"]["parts"]]
    assert parts == candidate["content"]["parts"]
    assert [part.get("functionCall", {}).get("name") for part in parts] == [
        None,
        "weather",
        "weather",
    ]
    reasons = [each["candidates"][0].get("finishReason") for each in pieces]
    assert reasons == [None, None, "STOP"]


def test_a_method_of_gemini_that_is_not_served_is_refused() -> None:
    with LLMServer(two_cities) as server:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask_gemini(server, "countTokens")
        assert server.calls == 0
