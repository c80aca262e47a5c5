"""The openai and anthropic SDKs as they are, over real sockets: what is recorded is handed back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel

from rowtrail import Journal
from rowtrail.errors import UnsupportedError, UsageError
from rowtrail.testing import LLMServer, Reply, Usage
from rowtrail_clients import recorded

SDKS_HTTPX: Any = import_module("httpx2" if find_spec("httpx2") else "httpx")
"""The library that the installed SDKs are on."""

TEXT = "The river is twelve kilometres long, and three metres deep."
ASKED: list[Any] = [{"role": "user", "content": "How long is the river?"}]
USAGE = Usage(100, 20, 64, 8)
APIS = ("chat", "responses", "messages")
WAYS = list(product(APIS, ("sync", "async"), ("whole", "stream")))
FINISHED = {"chat": "stop", "responses": "completed", "messages": "end_turn"}


def respond(request: dict[str, Any]) -> Reply:
    return Reply(TEXT, usage=USAGE)


class Caller:
    """Asks one question by one API of one client, and returns all that the SDK gave."""

    def __init__(self, url: str, journal: Journal, api: str, kind: str = "sync", **options: Any):
        root = url.removesuffix("/v1")
        options = {"api_key": "none", "max_retries": 0, **options}
        classes: dict[Any, Any] = {
            (True, "sync"): anthropic.Anthropic,
            (True, "async"): anthropic.AsyncAnthropic,
            (False, "sync"): openai.OpenAI,
            (False, "async"): openai.AsyncOpenAI,
        }
        is_anthropic = api == "messages"
        base_url = root if is_anthropic else url
        self.client = classes[is_anthropic, kind](base_url=base_url, **options)
        self.recorded: Any = recorded(self.client, journal)
        self.journal = journal
        self.api = api

    def create(self, **more: Any) -> Any:
        match self.api:
            case "chat":
                if more.get("stream"):
                    more["stream_options"] = {"include_usage": True}
                return self.recorded.chat.completions.create(
                    model="gpt-4o-mini", messages=more.pop("messages", ASKED), **more
                )
            case "responses":
                asked = more.pop("messages", ASKED)
                return self.recorded.responses.create(model="gpt-4o-mini", input=asked, **more)
            case _:
                asked = more.pop("messages", ASKED)
                return self.recorded.messages.create(
                    model="claude-opus-5", max_tokens=99, messages=asked, **more
                )

    def ask(self, how: str = "whole", run: str = "r", **more: Any) -> list[str]:
        """Ask in a run."""
        is_async = isinstance(self.client, (openai.AsyncOpenAI, anthropic.AsyncAnthropic))
        options = {**more, **({"stream": True} if how == "stream" else {})}
        if is_async:
            return asyncio.run(self._aask(run, options))
        with self.journal.run(run):
            found = self.create(**options)
            return [each.to_json() for each in (found if how == "stream" else [found])]

    async def _aask(self, run: str, options: dict[str, Any]) -> list[str]:
        async with self.journal.run(run):
            found = await self.create(**options)
            if "stream" not in options:
                return [found.to_json()]
            return [each.to_json() async for each in found]

    def rows(self, columns: str = "status, error") -> list[tuple[Any, ...]]:
        return self.journal.sql(f"SELECT {columns} FROM steps ORDER BY step_id + 0").rows


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer(respond) as server:
        yield server


@pytest.mark.parametrize(("api", "kind", "how"), WAYS)
def test_an_answer_is_handed_back_as_it_came_and_not_asked_for_again(
    server: LLMServer, journal: Journal, api: str, kind: str, how: str
) -> None:
    first = Caller(server.base_url, journal, api, kind).ask(how)
    second = Caller(server.base_url, journal, api, kind).ask(how)

    assert second == first and TEXT[:9] in "".join(first)
    assert len(first) == 1 or how == "stream"
    assert server.calls == 1
    [call] = journal.sql("SELECT * FROM llm_calls").to_dicts()
    shown = {"answer": TEXT, "finish_reason": FINISHED[api], "status": "done", "replays": 1}
    tokens = {"input_tokens": 100, "output_tokens": 20, "cache_read_tokens": 64}
    assert call.items() >= (shown | tokens).items()
    assert call["provider"] == ("anthropic" if api == "messages" else "openai")
    assert call["reasoning_tokens"] == (None if api == "messages" else 8)
    said = journal.sql("SELECT role, content FROM messages ORDER BY direction, position").rows
    assert said == [("user", ASKED[0]["content"]), ("assistant", TEXT)]


@pytest.mark.parametrize(("api", "how"), list(product(APIS, ("whole", "stream"))))
def test_calls_of_tools_are_in_the_views(journal: Journal, api: str, how: str) -> None:
    calls = [("measure", {"what": "length"}), ("measure", {"what": "the deepest of its places"})]
    with LLMServer(lambda request: Reply("Let me see.", tool_calls=calls)) as server:
        caller = Caller(server.base_url, journal, api)
        assert caller.ask(how) == caller.ask(how)
    [(answer, text)] = journal.sql("SELECT answer, tool_calls FROM llm_calls").rows
    assert answer == "Let me see."
    assert [(call["name"], call["args"]) for call in json.loads(text)] == calls
    assert all(call["id"] for call in json.loads(text))


class City(BaseModel):
    name: str
    people: int


def test_every_method_of_the_sdks_gives_the_same_twice(journal: Journal) -> None:
    def use(server: LLMServer) -> list[Any]:
        chat = Caller(server.base_url, journal, "chat").recorded
        claude = Caller(server.base_url, journal, "messages").recorded
        given: dict[str, Any] = {"model": "gpt-4o-mini", "messages": ASKED}
        completions = chat.chat.completions
        if not hasattr(completions, "parse"):  # where it was before
            completions = chat.beta.chat.completions
        with journal.run("r"):
            parsed = completions.parse(**given, response_format=City)
            answer = chat.responses.parse(model="gpt-4o-mini", input="Where?", text_format=City)
            raw = chat.chat.completions.with_raw_response.create(**given)
            with chat.chat.completions.with_streaming_response.create(**given, seed=1) as streaming:
                streamed = streaming.read()
            with completions.stream(**given) as events:
                kinds = [event.type for event in events]
            with claude.messages.stream(
                model="claude-opus-5", max_tokens=9, messages=ASKED
            ) as messages:
                text = "".join(messages.text_stream)
        assert parsed.choices[0].message.parsed == City(name="Oslo", people=700_000)
        assert answer.output_parsed == City(name="Oslo", people=700_000)
        assert raw.http_response.elapsed and raw.headers["content-type"] == "application/json"
        return [raw.content, streamed, kinds, text]

    with LLMServer(lambda request: Reply('{"name": "Oslo", "people": 700000}')) as server:
        first = use(server)
        calls = server.calls
        assert use(server) == first
        assert calls == server.calls == 6


@pytest.mark.parametrize(("api", "kind", "how"), WAYS)
def test_what_the_sdk_retries_is_a_failed_step_and_one_that_is_done(
    journal: Journal, api: str, kind: str, how: str
) -> None:
    replies = iter([Reply("slow down", status=429), Reply("broken", status=500), Reply(TEXT)])
    with LLMServer(lambda request: next(replies)) as server:
        caller = Caller(server.base_url, journal, api, kind, max_retries=2)
        first = caller.ask(how)
        assert caller.ask(how) == first
        assert server.calls == 3
    rows = caller.rows()
    assert [status for status, _ in rows] == ["failed", "failed", "done"]
    assert rows[0][1].endswith("429 slow down") and rows[1][1].endswith("500 broken")


@pytest.mark.parametrize(("api", "kind", "how"), WAYS)
def test_a_failed_call_is_raised_as_without_a_journal_and_made_again(
    journal: Journal, api: str, kind: str, how: str
) -> None:
    replies = iter([Reply("slow down", status=429), Reply(TEXT)])
    error = (anthropic if api == "messages" else openai).RateLimitError
    with LLMServer(lambda request: next(replies)) as server:
        caller = Caller(server.base_url, journal, api, kind)
        with pytest.raises(error, match="slow down") as caught:
            caller.ask(how)
        assert "slow down" in str(caught.value.body)
        Caller(server.base_url, journal, api, kind).ask(how)
    assert [status for status, _ in caller.rows()] == ["failed", "done"]


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_failure_that_was_handled_is_seen_again_after_a_crash(
    journal: Journal, kind: str, how: str
) -> None:
    """What was paid after it is not paid twice."""

    def answer(request: dict[str, Any]) -> Reply:
        return Reply("no", status=503) if request["model"] == "gpt-4o-mini" else Reply(TEXT)

    with LLMServer(answer) as server:
        first = Caller(server.base_url, journal, "chat", kind, max_retries=1)
        second = Caller(server.base_url, journal, "messages", kind)

        async def work() -> None:
            streams = {"stream": True} if how == "stream" else {}
            async with journal.run("r"):
                with pytest.raises(openai.InternalServerError, match="no"):
                    await settled(first.create(**streams))
                await read(await settled(second.create(**streams)))
                raise KeyboardInterrupt

        for calls in (3, 3):
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(work())
            assert server.calls == calls


async def settled(found: Any) -> Any:
    return await found if isinstance(found, Awaitable) else found


async def read(found: Any) -> None:
    if isinstance(found, AsyncIterator):
        async for _ in found:
            pass
    elif isinstance(found, Iterator):
        for _ in found:
            pass


@pytest.mark.parametrize(("api", "kind"), list(product(APIS, ("sync", "async"))))
def test_a_time_out_is_a_failed_step(journal: Journal, api: str, kind: str) -> None:
    with LLMServer(lambda request: Reply(TEXT, delay=30)) as server:
        caller = Caller(server.base_url, journal, api, kind, timeout=0.2)
        with pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError)):
            caller.ask()
    [(status, error)] = caller.rows()
    assert status == "failed" and "ReadTimeout" in error


@pytest.mark.parametrize(("api", "how"), list(product(APIS, ("whole", "stream"))))
def test_a_cancelled_call_is_made_again(journal: Journal, api: str, how: str) -> None:
    pauses = iter([30.0, 0.0])

    def slow(request: dict[str, Any]) -> Reply:
        pause = next(pauses)
        return Reply(TEXT, delay=pause if how == "whole" else 0, pause=pause)

    with LLMServer(slow) as server:
        caller = Caller(server.base_url, journal, api, "async")

        async def leave() -> None:
            async with asyncio.timeout(0.5), journal.run("r"):
                await read(await caller.create(**({"stream": True} if how == "stream" else {})))

        with pytest.raises(TimeoutError):
            asyncio.run(leave())
        again = Caller(server.base_url, journal, api, "async").ask(how)
        assert TEXT[:9] in "".join(again)
    assert [status for status, _ in caller.rows()][-1] == "done"
    assert "running" not in [status for status, _ in caller.rows()]


@pytest.mark.parametrize(("api", "kind"), list(product(APIS, ("sync", "async"))))
def test_a_stream_that_is_left_early_is_asked_for_again(
    server: LLMServer, journal: Journal, api: str, kind: str
) -> None:
    caller = Caller(server.base_url, journal, api, kind)

    async def leave() -> None:
        async with journal.run("r"):
            stream = await settled(caller.create(stream=True))
            if kind == "async":
                async for _ in stream:
                    break
            else:
                for _ in stream:
                    break
            await settled(stream.close())

    asyncio.run(leave())
    [(status, error, output)] = caller.rows("status, error, output")
    assert (status, error) == ("failed", "GeneratorExit: ")
    assert json.loads(output)["role"] == "assistant"
    Caller(server.base_url, journal, api, kind).ask("stream")
    assert server.calls == 2


@pytest.mark.parametrize("api", APIS)
def test_nobody_has_a_stream_whole_that_is_not_on_disk(
    server: LLMServer, journal: Journal, api: str
) -> None:
    caller = Caller(server.base_url, journal, api)
    with journal.run("r"):
        seen: list[str] = []
        for event in caller.create(stream=True):
            [(status, _)] = caller.rows()
            if status == "done":
                break
            seen.append(event.to_json())
    assert len(seen) > 3
    assert not any(word in text for text in seen for word in ('"stop"', "end_turn", 'completed"'))


def test_what_ends_a_part_of_a_stream_comes_with_the_next_part(journal: Journal) -> None:
    """A model that thinks first is not silent until its end."""
    seen: list[str] = []
    seen_when_sent: dict[str, list[str]] = {}

    def sent() -> Iterator[bytes]:
        for kind in ("output_item.added", "output_item.done", "output_text.delta", "completed"):
            seen_when_sent[kind] = list(seen)
            told = {"type": f"response.{kind}", "delta": "It", "item": {"type": "reasoning"}}
            response: Any = {"response": {"output": []}} if kind == "completed" else {}
            yield f"data: {json.dumps(told | response)}\n\n".encode()

    def handler(request: Any) -> Any:
        headers = {"content-type": "text/event-stream"}
        return SDKS_HTTPX.Response(200, headers=headers, content=sent())

    caller = odd(handler, journal, "responses")
    with journal.run("r"):
        for event in caller.create(stream=True):
            seen += [event.type.removeprefix("response.")]
    assert seen_when_sent == {
        "output_item.added": [],
        "output_item.done": ["output_item.added"],
        "output_text.delta": ["output_item.added"],
        "completed": ["output_item.added", "output_item.done", "output_text.delta"],
    }
    assert seen[-1] == "completed"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_what_interrupts_a_stream_is_raised_and_the_call_made_again(
    journal: Journal, error: type[BaseException]
) -> None:
    errors = [error]

    def sent() -> Iterator[bytes]:
        yield f"data: {json.dumps(delta('The'))}\n\n".encode()
        if errors:
            raise errors.pop()
        yield b"data: [DONE]\n\n"

    def handler(request: Any) -> Any:
        return SDKS_HTTPX.Response(
            200, headers={"content-type": "text/event-stream"}, content=sent()
        )

    caller = odd(handler, journal)
    with pytest.raises(error):
        caller.ask("stream")
    [(status, said)] = caller.rows()
    assert (status, error.__name__ in said) == ("failed", True)
    assert len(caller.ask("stream")) == 1
    assert [status for status, _ in caller.rows()] == ["failed", "done"]


def odd(handler: Callable[[Any], Any], journal: Journal, api: str = "chat") -> Caller:
    """Return a caller whose provider is a function."""
    http = SDKS_HTTPX.Client(transport=SDKS_HTTPX.MockTransport(handler))
    return Caller("http://provider.test/v1", journal, api, http_client=http)


def events(*told: Any) -> Any:
    text = "".join(f"data: {json.dumps(each)}\n\n" for each in told)
    return SDKS_HTTPX.Response(200, headers={"content-type": "text/event-stream"}, text=text)


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def test_an_error_inside_a_stream_is_a_failed_step(journal: Journal) -> None:
    caller = odd(
        lambda request: events(delta("The"), {"error": {"message": "overloaded"}}), journal
    )
    for _ in range(2):
        with pytest.raises(openai.APIError, match="overloaded"):
            caller.ask("stream")
    assert [status for status, _ in caller.rows()] == ["failed", "failed"]
    assert "overloaded" in caller.rows()[0][1]


def test_a_stream_that_breaks_off_is_no_answer(journal: Journal) -> None:
    caller = odd(lambda request: events(delta("The"), delta(" ri")), journal)
    assert len(caller.ask("stream")) == len(caller.ask("stream")) == 2
    assert [status for status, _ in caller.rows()] == ["failed", "failed"]


def test_what_is_no_json_and_what_is_compressed_comes_back_as_it_was(journal: Journal) -> None:
    html = odd(lambda request: SDKS_HTTPX.Response(200, html="<p>é</p>"), journal)
    with journal.run("html"):
        assert (
            html.recorded.chat.completions.with_raw_response.create(
                model="m", messages=ASKED
            ).content.decode()
            == "<p>é</p>"
        )
    import gzip

    said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "é"}}], "x": 1.50}
    for text in (json.dumps(said, indent=3), json.dumps(said, ensure_ascii=False)):
        made = 0

        def compressed(request: Any, text: str = text) -> Any:
            nonlocal made
            made += 1
            headers = {"content-encoding": "gzip", "content-type": "application/json"}
            return SDKS_HTTPX.Response(200, headers=headers, content=gzip.compress(text.encode()))

        for _ in range(2):
            caller = odd(compressed, journal)
            with journal.run(text):
                raw = caller.recorded.chat.completions.with_raw_response.create(
                    model="m", messages=ASKED
                )
                assert raw.content == text.encode()
        assert made == 1


def test_outside_a_run_nothing_is_recorded_and_the_log_says_so_once(
    server: LLMServer, journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caller = Caller(server.base_url, journal, "chat")
    with caplog.at_level(logging.WARNING, logger="rowtrail"):
        caller.create()
        caller.create()
        with Journal(tmp_path / "other.db") as other, other.run("r"):
            caller.create()
            assert other.sql("SELECT * FROM steps").rows == []
    assert server.calls == 3 and caller.rows() == []
    assert [record.message.count("outside a run") for record in caplog.records] == [1]


def test_the_client_that_was_given_stays_as_it_is(server: LLMServer, journal: Journal) -> None:
    caller = Caller(server.base_url, journal, "chat")
    assert recorded(caller.recorded, journal) is caller.recorded
    assert recorded(caller.recorded.with_options(timeout=5), journal).timeout == 5
    with journal.run("r"):
        caller.client.chat.completions.create(model="gpt-4o-mini", messages=ASKED)
    assert caller.rows() == []


def test_a_client_that_cannot_be_recorded_is_refused(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="recorded\\(\\) takes the clients"):
        recorded(object(), journal)
    client = recorded(openai.OpenAI(api_key="none"), journal)
    with Journal(tmp_path / "other.db") as other, pytest.raises(UsageError, match="another"):
        recorded(client, other)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_client_over_httpx_is_recorded_as_one_over_httpx2(
    server: LLMServer, journal: Journal, kind: str
) -> None:
    def ask(how: str) -> list[str]:
        http: Any = httpx.Client() if kind == "sync" else httpx.AsyncClient()
        return Caller(server.base_url, journal, "chat", kind, http_client=http).ask(how)

    for how in ("whole", "stream"):
        assert ask(how) == ask(how)
    assert server.calls == 2


def fingerprints(caller: Caller) -> list[str]:
    return [fingerprint for (fingerprint,) in caller.rows("fingerprint")]


def test_what_changes_from_attempt_to_attempt_is_no_part_of_a_request(
    server: LLMServer, journal: Journal
) -> None:
    def turns(call_id: str) -> list[Any]:
        call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        result = {"role": "tool", "tool_call_id": call_id, "content": "12 km"}
        return [*ASKED, {"role": "assistant", "tool_calls": [call]}, result]

    for n in "01":
        caller = Caller(server.base_url, journal, "chat", api_key=n, max_retries=int(n))
        headers = {"traceparent": n, "x-request-id": n}
        caller.ask(run=n, messages=turns(f"call_{n}"), extra_headers=headers)
    assert len(set(journal.sql("SELECT fingerprint FROM steps").rows)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.5},
        {"messages": [{"role": "user", "content": "How deep?"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "?", "id": "x"}]}]},
        {"extra_headers": {"openai-beta": "v2"}},
        {"extra_query": {"api-version": "2"}},
        {"extra_body": {"thinking": True}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_request_is_not_given_the_answer(
    server: LLMServer, journal: Journal, changed: dict[str, Any]
) -> None:
    caller = Caller(server.base_url, journal, "chat")
    caller.ask(run="a")
    caller.ask(run="b", **changed)
    assert len(set(fingerprints(caller))) == 2


def test_ids_that_name_what_a_provider_keeps_are_part_of_a_request(
    server: LLMServer, journal: Journal
) -> None:
    caller = Caller(server.base_url, journal, "responses")
    for at, item in enumerate(
        [
            {"type": "item_reference", "id": "msg_1"},
            {"type": "item_reference", "id": "msg_2"},
            {"role": "user", "content": [{"type": "input_file", "file_id": "1"}]},
            {"role": "user", "content": [{"type": "input_file", "file_id": "2"}]},
        ]
    ):
        caller.ask(run=str(at), messages=[*ASKED, item])
    caller.ask(run="previous", previous_response_id="resp_1")
    caller.ask(run="none")
    assert len(set(fingerprints(caller))) == 6


def test_what_is_no_model_call_passes_through(journal: Journal) -> None:
    def handler(request: Any) -> Any:
        data = [{"object": "embedding", "index": 0, "embedding": [1.0]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        said = {"object": "list", "model": "m", "data": data, "usage": usage}
        return SDKS_HTTPX.Response(200, json=said)

    caller = odd(handler, journal)
    with journal.run("r"):
        caller.recorded.embeddings.create(model="m", input="x", encoding_format="float")
        caller.recorded.models.list()
    assert caller.rows() == []
