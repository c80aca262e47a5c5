"""Two requests have one fingerprint where, and only where, a provider is sent the same.

The oracle is what the clients of three providers send to a socket: address, path, body and headers,
without what rule 5 sets aside: made-up ids, credentials, tracing, and what goes with one request.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import MessagesState
from pydantic import BaseModel, Field, PrivateAttr, SecretStr

from rowtrail import Journal
from rowtrail.journal import Scope, active_scope
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.capture._models import model_request
from tests._sample import IS_FULL
from tests.adapters._graphs import one_node
from tests.adapters._savers import thread

VOLATILE_HEADERS = re.compile(
    "authorization|x-api-key|x-goog-api-key|user-agent|x-stainless-.*|host|content-length|accept"
    "|accept-encoding|connection|content-type|traceparent|x-request-id|x-goog-api-client"
    "|x-goog-request-params|idempotency-key|x-server-timeout"
)
MADE_UP = re.compile(r"(?:call|rs|msg|fc|toolu|run)_made[0-9]+")


class Endpoint:
    """A server that keeps what it was sent and refuses all of it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = sorted(
                    (name.lower(), value)
                    for name, value in self.headers.items()
                    if VOLATILE_HEADERS.fullmatch(name.lower()) is None
                )
                endpoint.sent.append([self.path, headers, _numbered(body.decode())])
                self.send_response(400)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def _numbered(body: str) -> Any:
    """Return a body whose made-up ids are numbered in the order of their appearance."""
    numbers: dict[str, str] = {}
    return json.loads(
        MADE_UP.sub(lambda found: numbers.setdefault(found[0], f"id{len(numbers)}"), body)
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    yield served
    served.close()


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scope]:
    path = tmp_path_factory.mktemp("identity") / "agent.db"
    with Journal(path, durability="normal") as journal, journal.run("r"):
        found = active_scope()
        assert found is not None
        yield found


@dataclass(frozen=True)
class Talk:
    """A conversation in which a model called a tool."""

    said: str = "go"
    answered: str = "I look"
    cities: tuple[str, ...] = ("Ulm", "Bonn")
    results: tuple[str, ...] = ("rain", "sun")
    reasoned: str | None = None
    file: str | None = None
    swaps: bool = False
    blocks: bool = False
    salt: int = 0
    """Of the ids that a provider or a framework makes up."""
    artifact: Any = None

    def messages(self, provider: str) -> list[BaseMessage]:
        calls = [
            {"name": "weather", "args": {"city": city}, "id": f"call_made{self.salt}{n}"}
            for n, city in enumerate(self.cities)
        ]
        results = [
            ToolMessage(text, tool_call_id=call["id"], artifact=self.artifact, id=self._id(n))
            for n, (text, call) in enumerate(zip(self.results, calls, strict=True))
        ]
        if self.swaps:
            results.reverse()
        answer = AIMessage(
            self._content(provider, calls),
            tool_calls=calls,
            id=self._id(7),
            response_metadata={"id": self._id(8)},
            usage_metadata={"input_tokens": self.salt, "output_tokens": 1, "total_tokens": 2},
        )
        asked = HumanMessage(self._asked(provider), id=self._id(9))
        return [SystemMessage("Be kind."), asked, answer, *results]

    def _id(self, n: int) -> str:
        return f"run_made{self.salt}{n}"

    def _asked(self, provider: str) -> Any:
        text = {"type": "text", "text": self.said}
        if self.file is None or provider == "google":
            return [text]
        file = {"type": "file", "file": {"file_id": self.file}}
        if provider == "anthropic":
            file = {"type": "document", "source": {"type": "file", "file_id": self.file}}
        return [text, file]

    def _content(self, provider: str, calls: list[dict[str, Any]]) -> Any:
        if provider == "google":
            return ""  # beside a tool call, it is sent no text
        if not self.blocks:
            return self.answered
        text: dict[str, Any] = {"type": "text", "text": self.answered}
        if provider == "anthropic":
            used = [
                {"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["args"]}
                for c in calls
            ]
            return [text, *used]
        if provider != "openai-responses":
            return [text]
        reasoning = {
            "type": "reasoning",
            "id": f"rs_made{self.salt}",
            "summary": [{"type": "summary_text", "text": self.reasoned or "hm"}],
        }
        called = [
            {
                "type": "function_call",
                "name": c["name"],
                "arguments": json.dumps(c["args"]),
                "call_id": c["id"],
                "id": f"fc_made{self.salt}{n}",
            }
            for n, c in enumerate(calls)
        ]
        return [reasoning, {**text, "id": f"msg_made{self.salt}"}, *called]


@dataclass(frozen=True)
class Asked:
    """One request: the fields of a model, what it is bound to, and messages."""

    fields: dict[str, Any]
    bound: dict[str, Any] = field(default_factory=dict[str, Any])
    talk: Talk = Talk()


class Weather(BaseModel):
    """Say the weather."""

    city: str = Field(description="The city.")


class Town(BaseModel):
    """Say the weather."""

    town: str


class Provider:
    """A provider's chat model; `values` are fields and values that they may have."""

    name = ""
    values: dict[str, list[Any]]
    same: dict[str, list[Any]]
    binds: tuple[str, ...] = ("tools", "stop", "temperature")

    def model(self, endpoint: Endpoint, asked: Asked) -> BaseChatModel:
        raise NotImplementedError


class OpenAI(Provider):
    name = "openai"
    values = {  # noqa: RUF012  (each class has its own)
        "model": ["gpt-4o-mini", "gpt-4.1"],
        "temperature": [0.0, 0.5],
        "seed": [1, 2],
        "top_p": [0.5],
        "max_tokens": [10, 20],
        "service_tier": ["flex", "priority"],
        "model_kwargs": [{"user": "u"}, {"user": "v"}, {}],
        "extra_body": [{"min_p": 0.1}, {"min_p": 0.2}, {}],
        "default_headers": [{"OpenAI-Beta": "a"}, {"openai-beta": "b"}, {"X-Tenant": "a"}, {}],
        "default_query": [{"api-version": "1"}, {"api-version": "2"}],
        "path": ["/v1", "/v2"],
        "store": [True],
    }
    same = {  # noqa: RUF012
        "api_key": [SecretStr("a"), SecretStr("b")],
        "timeout": [7.0],
        "tags": [["t"]],
        "metadata": [{"m": 1}],
        "name": ["n"],
        "default_headers": [{"traceparent": "00-1"}, {"X-Request-ID": "7"}, {"Authorization": "x"}],
    }

    def model(self, endpoint: Endpoint, asked: Asked) -> BaseChatModel:
        from langchain_openai import ChatOpenAI

        given: dict[str, Any] = {"api_key": SecretStr("k"), "model": "gpt-4o-mini", **asked.fields}
        path = given.pop("path", "/v1")
        return ChatOpenAI(base_url=endpoint.url + path, max_retries=0, **given)


class Anthropic(Provider):
    name = "anthropic"
    values = {  # noqa: RUF012
        "model": ["claude-a", "claude-b"],
        "temperature": [0.0, 0.5],
        "max_tokens": [10, 20],
        "top_k": [1],
        "model_kwargs": [{"metadata": {"user_id": "u"}}, {"metadata": {"user_id": "v"}}, {}],
        "default_headers": [{"anthropic-beta": "a"}, {"anthropic-beta": "b"}, {"X-Tenant": "a"}],
        "thinking": [{"type": "enabled", "budget_tokens": 1024}],
        "path": ["", "/proxy"],
    }
    same = {  # noqa: RUF012
        "api_key": [SecretStr("a"), SecretStr("b")],
        "default_request_timeout": [7.0],
        "tags": [["t"]],
        "default_headers": [{"traceparent": "00-1"}, {"X-Request-ID": "7"}],
    }

    def model(self, endpoint: Endpoint, asked: Asked) -> BaseChatModel:
        made: Any = pytest.importorskip("langchain_anthropic")
        given: dict[str, Any] = {
            "api_key": SecretStr("k"),
            "model": "claude-a",
            "max_tokens": 5,
            **asked.fields,
        }
        path = given.pop("path", "")
        model: BaseChatModel = made.ChatAnthropic(
            base_url=endpoint.url + path, max_retries=0, **given
        )
        return model


class Google(Provider):
    name = "google"
    binds = ("tools", "stop")  # a temperature of the call's own is not sent
    values = {  # noqa: RUF012
        "model": ["gemini-a", "gemini-b"],
        "temperature": [0.0, 0.5],
        "top_k": [1, 2],
        "max_output_tokens": [10],
        "cached_content": ["cachedContents/a", "cachedContents/b"],
        "response_mime_type": ["application/json"],
        "additional_headers": [{"X-Tenant": "a"}, {"X-Tenant": "b"}],
    }
    same = {  # noqa: RUF012
        "google_api_key": [SecretStr("a"), SecretStr("b")],
        "timeout": [7.0],
        "tags": [["t"]],
    }

    def model(self, endpoint: Endpoint, asked: Asked) -> BaseChatModel:
        made: Any = pytest.importorskip("langchain_google_genai")
        fields = made.ChatGoogleGenerativeAI.model_fields
        given: dict[str, Any] = {
            "google_api_key": SecretStr("k"),
            "model": "gemini-a",
            "transport": "rest",  # its older releases speak gRPC otherwise
            **asked.fields,
        }
        if "transport" not in fields:
            del given["transport"]
        model: BaseChatModel = made.ChatGoogleGenerativeAI(
            base_url=endpoint.url, max_retries=1, **given
        )
        return model


class OpenAIResponses(OpenAI):
    name = "openai-responses"
    binds = ("tools", "temperature")  # it is not told where to stop
    values = {name: told for name, told in OpenAI.values.items() if name != "seed"}  # noqa: RUF012

    def model(self, endpoint: Endpoint, asked: Asked) -> BaseChatModel:
        fields = {**asked.fields, "use_responses_api": True}
        return super().model(endpoint, replace(asked, fields=fields))


PROVIDERS = [OpenAI(), OpenAIResponses(), Anthropic(), Google()]

BINDINGS: dict[str, Any] = {
    "tools": [[Weather], [Town], [Weather, Town]],
    "stop": [["x"], ["y"]],
    "temperature": [0.0, 0.5],
}
talks = st.builds(
    Talk,
    said=st.sampled_from(["go", "stop"]),
    answered=st.sampled_from(["I look", "I see"]),
    cities=st.sampled_from([("Ulm", "Bonn"), ("Bonn", "Ulm"), ("Ulm", "Ulm")]),
    results=st.sampled_from([("rain", "sun"), ("sun", "rain")]),
    reasoned=st.sampled_from(["hm", "aha"]),
    file=st.sampled_from([None, "file-1", "file-2"]),
    swaps=st.booleans(),
    blocks=st.booleans(),
    salt=st.integers(0, 3),
    artifact=st.sampled_from([None, {"at": 1.5}, {"at": 2.5}]),
)


@st.composite
def requests(draw: st.DrawFn, provider: Provider) -> Asked:
    """Return a request with some fields that count and some that do not."""
    chosen = draw(st.lists(st.sampled_from(sorted(provider.values)), max_size=2, unique=True))
    fields = {name: draw(st.sampled_from(provider.values[name])) for name in chosen}
    free = [name for name in sorted(provider.same) if name not in fields]
    for name in draw(st.lists(st.sampled_from(free), max_size=2, unique=True)):
        fields[name] = draw(st.sampled_from(provider.same[name]))
    bound = {name: st.sampled_from(BINDINGS[name]) for name in provider.binds}
    return Asked(fields, draw(st.fixed_dictionaries({}, optional=bound)), draw(talks))


@st.composite
def pairs(draw: st.DrawFn, provider: Provider) -> tuple[Asked, Asked]:
    """Return two requests that differ in one thing, or in none that counts."""
    one, other = draw(requests(provider)), draw(requests(provider))
    # Each provider has ways to spell one text as blocks; which are the same to it differs.
    other = replace(other, talk=replace(other.talk, blocks=one.talk.blocks))
    part = draw(st.sampled_from(["fields", "bound", "talk", "field of the talk", "salt"]))
    if part == "salt":
        return one, replace(one, talk=replace(one.talk, salt=9, artifact="another"))
    if part == "field of the talk":
        name = draw(st.sampled_from(sorted(Talk.__dataclass_fields__)))
        return one, replace(one, talk=replace(one.talk, **{name: getattr(other.talk, name)}))
    return one, replace(one, **{part: getattr(other, part)})


_models: dict[str, BaseChatModel] = {}


def bound_model(provider: Provider, endpoint: Endpoint, asked: Asked) -> Any:
    known = f"{provider.name} {endpoint.url} {sorted(asked.fields.items())}"
    if known not in _models:  # making one takes a client longer than a request
        _models[known] = provider.model(endpoint, asked)
    model: Any = _models[known]
    bound = dict(asked.bound)
    tools = bound.pop("tools", None)
    if tools is not None:
        model = model.bind_tools(tools)
    return model.bind(**bound) if bound else model


def sent(provider: Provider, endpoint: Endpoint, asked: Asked) -> Any:
    """Return what the provider is sent, without what rule 5 sets aside."""
    before = len(endpoint.sent)
    with pytest.raises(Exception):  # noqa: B017, PT011  (each client has its own for status 400)
        bound_model(provider, endpoint, asked).invoke(asked.talk.messages(provider.name))
    assert len(endpoint.sent) == before + 1
    return endpoint.sent[-1]


def fingerprint(provider: Provider, endpoint: Endpoint, scope: Scope, asked: Asked) -> bytes:
    bound: Any = bound_model(provider, endpoint, asked)
    model, kwargs = getattr(bound, "bound", bound), dict(getattr(bound, "kwargs", {}))
    stop = kwargs.pop("stop", None)
    messages = asked.talk.messages(provider.name)
    request = model_request(scope, {}, model, messages, stop, kwargs)
    assert request.not_told_apart is None
    return request.fingerprint


@pytest.mark.filterwarnings("default")  # the clients have warnings of their own
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_fingerprints_differ_where_what_is_sent_differs(
    provider: Provider, endpoint: Endpoint, scope: Scope
) -> None:
    @settings(max_examples=400 if IS_FULL else 15)
    @given(pairs(provider))
    def check(pair: tuple[Asked, Asked]) -> None:
        wires = [sent(provider, endpoint, asked) for asked in pair]
        prints = [fingerprint(provider, endpoint, scope, asked) for asked in pair]
        assert (wires[0] == wires[1]) == (prints[0] == prints[1]), wires

    check()


# What no provider's client shows: fields of models of the user's own, and bound config.


class Manner:
    def __init__(self, tone: str) -> None:
        self.tone = tone


class Secretive:
    def __init__(self, tone: str) -> None:
        self._tone = tone


class Persona(BaseChatModel):
    persona: str = ""
    manner: Any = None
    answers: int = 0
    heard: list[str] = Field(default_factory=list[str])
    api_key: str = ""
    hint: str = Field(default="", exclude=True)
    _made: float = PrivateAttr(default=0.0)

    @property
    def _llm_type(self) -> str:
        return "persona"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.answers += 1
        self.heard.append(str(messages[-1].content))
        tone = getattr(self.manner, "tone", getattr(self.manner, "_tone", ""))
        text = f"{self.persona} {tone} {self.answers}"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


class OtherPersona(Persona):
    pass


def asked_of(scope: Scope, model: BaseChatModel, *messages: BaseMessage, **kwargs: Any) -> Any:
    return model_request(scope, {}, model, list(messages or (HumanMessage("hi"),)), None, kwargs)


DIFFERENT: list[tuple[Any, Any]] = [
    (Persona(persona="a"), Persona(persona="b")),
    (Persona(), OtherPersona()),
    (Persona(manner=Manner("a")), Persona(manner=Manner("b"))),
    (Persona(manner={"of": [Manner("a")]}), Persona(manner={"of": [Manner("b")]})),
    (Persona(manner=partial(str, "a")), Persona(manner=partial(str, "b"))),
]
SAME: list[tuple[Any, Any]] = [
    (Persona(api_key="a"), Persona(api_key="b")),
    (Persona(hint="a"), Persona(hint="b")),
    (Persona(manner=iter("a")), Persona(manner=iter("b"))),
    (Persona(name="a", tags=["a"], metadata={"a": 1}), Persona()),
    (Persona(persona="a", manner=Manner("x")), Persona(persona="a", manner=Manner("x"))),
]


@pytest.mark.parametrize("pair", DIFFERENT, ids=range(len(DIFFERENT)))
def test_models_that_differ_in_a_field_are_told_apart(scope: Scope, pair: tuple[Any, Any]) -> None:
    one, other = (asked_of(scope, model) for model in pair)
    assert one.fingerprint != other.fingerprint
    assert one.not_told_apart is other.not_told_apart is None


KEYS = st.text() | st.integers() | st.none() | st.binary(max_size=3) | st.tuples(st.integers())


def test_a_dict_in_a_field_counts_whatever_its_keys_are(scope: Scope) -> None:
    @given(parts=st.dictionaries(KEYS, st.integers(), min_size=1, max_size=3))
    def check(parts: dict[Any, int]) -> None:
        other = {**parts, next(iter(parts)): sum(parts.values()) + 1_000_000}
        one, same, differing = (
            asked_of(scope, Persona(manner=manner)) for manner in (parts, dict(parts), other)
        )
        assert one.fingerprint == same.fingerprint
        assert (one.fingerprint == differing.fingerprint) == (parts == other)

    check()


@pytest.mark.parametrize("pair", SAME, ids=range(len(SAME)))
def test_fields_that_never_count_tell_no_models_apart(scope: Scope, pair: tuple[Any, Any]) -> None:
    one, other = (asked_of(scope, model) for model in pair)
    assert one.fingerprint == other.fingerprint
    assert not {"api_key", "hint"} & set(one.arguments["parameters"])


def test_a_model_that_cannot_be_told_apart_is_never_replayed_and_warned_of_once(
    scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    requests = [asked_of(scope, Persona(manner=Secretive("a"))) for _ in range(3)]
    assert len({request.fingerprint for request in requests}) == 3
    assert "'manner'" in requests[0].not_told_apart
    assert [r.getMessage().count("__rowtrail_key__") for r in caplog.records] == [1]


IDS: list[Any] = [
    lambda made: {"type": "reasoning", "id": f"rs_{made}", "summary": []},
    lambda made: {"type": "text", "text": "x", "id": f"msg_{made}"},
    lambda made: {"type": "text", "text": "x", "id": f"lc_{made}"},
    lambda made: {"type": "server_tool_use", "id": made, "name": "s", "input": {}},
    lambda made: {"type": "non_standard", "value": {"type": "x", "y": 1, "id": made}},
]
NAMES: list[Any] = [
    lambda name: {"type": "file", "file_id": name},
    lambda name: {"type": "image", "source_type": "id", "id": name},
    lambda name: {"type": "item_reference", "id": name},
    lambda name: {"type": "code_interpreter_call", "container_id": name, "id": "ci"},
    lambda name: {"type": "tool_use", "id": "t", "name": "f", "input": {"id": name}},
]


def test_headers_count_wherever_they_are_given_and_credentials_inside_tools_never(
    scope: Scope, endpoint: Endpoint
) -> None:
    def asked(headers: Any, token: str = "", **kwargs: Any) -> Any:
        server = {
            "type": "mcp",
            "authorization": token,
            "headers": {"X-Tenant": "a", "cookie": token},
        }
        model = OpenAI().model(endpoint, Asked({"default_headers": headers}))
        return asked_of(scope, model, tools=[server], **kwargs)

    plain = asked({"x-a": "1"}, "one")
    assert "one" not in str(plain.arguments["parameters"])
    same = [asked({"X-A": "1"}, "two"), asked({}, extra_headers={"X-A": "1"})]
    same.append(asked({"X-A": "0", "X-Request-Id": "9"}, extra_headers={"x-a": "1"}))
    assert {each.fingerprint for each in same} == {plain.fingerprint}
    assert asked({"x-a": "2"}).fingerprint != plain.fingerprint


@pytest.mark.parametrize("block", IDS, ids=range(len(IDS)))
def test_ids_that_were_made_up_do_not_count(scope: Scope, block: Any) -> None:
    one, other = (
        asked_of(scope, Persona(), AIMessage([block(made), block(f"{made}2")]))
        for made in ("a", "b")
    )
    assert one.fingerprint == other.fingerprint
    twice = asked_of(scope, Persona(), AIMessage([block("a"), block("a")]))
    assert twice.fingerprint != one.fingerprint


@pytest.mark.parametrize("block", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("kind", [HumanMessage, AIMessage])
def test_ids_that_name_content_count(scope: Scope, block: Any, kind: Any) -> None:
    one, other = (asked_of(scope, Persona(), kind([block(name)])) for name in ("a", "b"))
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("flag", "metadata"),
    [("use_previous_response_id", {"id": "resp_"}), ("use_responses_api", {"id": "resp_"})],
)
def test_the_id_of_an_earlier_answer_counts_where_it_is_sent(
    scope: Scope, endpoint: Endpoint, flag: str, metadata: dict[str, str]
) -> None:
    model = OpenAI().model(endpoint, Asked({"use_responses_api": True, flag: True}))
    one, other = (
        asked_of(
            scope,
            model,
            AIMessage("x", response_metadata={"id": f"{metadata['id']}{n}"}),
            HumanMessage("go on"),
        )
        for n in "ab"
    )
    assert (one.fingerprint != other.fingerprint) == (flag == "use_previous_response_id")


@pytest.mark.parametrize("ways", [("invoke", "ainvoke"), ("stream", "astream")])
async def test_the_configurable_of_bound_config_counts(db: Path, ways: tuple[str, str]) -> None:
    async def ask(model: Any, way: str) -> None:
        if way == "invoke":
            model.invoke("hi")
        elif way == "ainvoke":
            await model.ainvoke("hi")
        elif way == "stream":
            list(model.stream("hi"))
        else:
            _ = [chunk async for chunk in model.astream("hi")]

    with RowtrailSaver(db) as saver:
        for way in ways:

            async def node(state: MessagesState, way: str = way) -> Any:
                for name in "ab":
                    bound = Persona().with_config(configurable={"who": name}, tags=[name])
                    await ask(bound, way)
                return {}

            graph = one_node(saver, node)
            await graph.ainvoke({"messages": "go"}, thread(way))
        rows = saver.journal.sql("SELECT count(*), count(DISTINCT fingerprint) FROM steps").rows
        assert [tuple(row) for row in rows] == [(4, 2)]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_what_a_model_changes_in_itself_is_no_part_of_the_next_question(
    db: Path, is_async: bool
) -> None:
    """Its answers are replayed on resume, so its counter stands where it stood at first."""
    made: list[list[Any]] = []

    async def node(state: MessagesState) -> Any:
        model = Persona(persona="p")
        answers = [await model.ainvoke("hi") if is_async else model.invoke("hi") for _ in "abc"]
        got = [answer.content for answer in answers]
        model.persona = "q"  # changed by somebody else: another question
        got.append(model.invoke("hi").content)
        made.append(got)
        if len(made) == 1:
            raise KeyboardInterrupt
        return {}

    with RowtrailSaver(db) as saver:
        graph = one_node(saver, node)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(graph.ainvoke({"messages": "go"}, thread()))
        asyncio.run(graph.ainvoke(None, thread()))
        assert made[1] == made[0]
        assert saver.journal.sql("SELECT count(*), sum(replays) FROM steps").rows[0][:2] == (4, 4)
