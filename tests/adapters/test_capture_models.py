"""Every way to call a chat model inside a graph: recorded, and replayed equal in every field."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from pydantic import BaseModel, create_model

from rowtrail.testing import Reply, Usage
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    chain_of,
    counting,
    fields,
    killed_and_resumed,
    one_node,
    run,
    thread,
)

Way = Callable[[Calls, Bench], Coroutine[Any, Any, Any]]


class Weather(BaseModel):
    """What the weather is."""

    place: str
    degrees: int


@tool
def weather(place: str) -> str:
    """Tell the weather."""
    return f"fine in {place}"


WEATHER_CALL = Reply(
    "let me see",
    tool_calls=[("weather", {"place": "Ulm"}), ("weather", {"place": "Bonn"})],
    usage=Usage(120, 30, cached_tokens=64, reasoning_tokens=8),
)


AS_TOOL = Reply(tool_calls=[("Weather", {"place": "Ulm", "degrees": 21})])


AS_JSON = Reply('{"place": "Ulm", "degrees": 21}')


async def invoke(calls: Calls, bench: Bench) -> Any:
    return await calls.ask(bench.model(), [("system", "be short"), ("user", "hello")])


async def invoke_streaming(calls: Calls, bench: Bench) -> Any:
    return await calls.ask(bench.model(streaming=True, stream_usage=True), "hello, a longer one")


async def stream(calls: Calls, bench: Bench) -> Any:
    model = bench.model(stream_usage=True)
    return reduce(add, await calls.stream(model, "hello, this takes some chunks"))


async def stream_of_tool_calls(calls: Calls, bench: Bench) -> Any:
    bench.respond = lambda _: WEATHER_CALL
    model = bench.model(stream_usage=True).bind_tools([weather])
    return reduce(add, await calls.stream(model, "weather?"))


async def bound_tools(calls: Calls, bench: Bench) -> Any:
    bench.respond = lambda _: WEATHER_CALL
    return await calls.ask(bench.model().bind_tools([weather]), "weather?")


async def structured_by_function(calls: Calls, bench: Bench) -> Any:
    bench.respond = lambda _: AS_TOOL
    asked = bench.model().with_structured_output(
        Weather, method="function_calling", include_raw=True
    )
    return await calls.ask(asked, "weather?")


async def structured_by_schema(calls: Calls, bench: Bench) -> Any:
    bench.respond = lambda _: AS_JSON
    asked = bench.model().with_structured_output(Weather, method="json_schema", include_raw=True)
    return await calls.ask(asked, "weather?")


async def structured_by_local_schema(calls: Calls, bench: Bench) -> Any:
    class Local(BaseModel):
        """A class that no serializer can import."""

        place: str
        degrees: int

    bench.respond = lambda _: AS_JSON
    asked = bench.model().with_structured_output(Local, method="json_schema")
    found: Any = await calls.ask(asked, "weather?")
    assert type(found) is Local
    return found.model_dump()


async def structured_by_json_mode(calls: Calls, bench: Bench) -> Any:
    bench.respond = lambda _: AS_JSON
    return await calls.ask(
        bench.model().with_structured_output(Weather, method="json_mode"), "weather as json?"
    )


async def output_version_v1(calls: Calls, bench: Bench) -> Any:
    bench.respond = lambda _: WEATHER_CALL
    return await calls.ask(bench.model(output_version="v1").bind_tools([weather]), "weather?")


async def stream_output_version_v1(calls: Calls, bench: Bench) -> Any:
    chunks = await calls.stream(bench.model(output_version="v1"), "hello, this takes chunks")
    merged, *rest = chunks
    for chunk in rest:
        merged += chunk
    return merged


async def chain(calls: Calls, bench: Bench) -> Any:
    prompt = ChatPromptTemplate.from_messages([("system", "be short"), ("user", "say {what}")])
    return await calls.ask(prompt | bench.model() | StrOutputParser(), {"what": "hi"})


async def chain_with_its_own_configurable(calls: Calls, bench: Bench) -> Any:
    asked = ChatPromptTemplate.from_messages([("user", "say {what}")]) | bench.model()
    return await calls.ask(asked, {"what": "hi"}, config={"configurable": {"session_id": "7"}})


async def chain_with_its_own_metadata(calls: Calls, bench: Bench) -> Any:
    asked = ChatPromptTemplate.from_messages([("user", "say {what}")]) | bench.model()
    config = {"metadata": {"why": "a test"}, "tags": ["mine"]}
    return await calls.ask(asked, {"what": "hi"}, config=config)


async def streamed_chain(calls: Calls, bench: Bench) -> Any:
    prompt = ChatPromptTemplate.from_messages([("user", "say {what}")])
    return "".join(await calls.stream(prompt | bench.model() | StrOutputParser(), {"what": "hi"}))


WAYS: tuple[Way, ...] = (
    invoke,
    invoke_streaming,
    stream,
    stream_of_tool_calls,
    bound_tools,
    structured_by_function,
    structured_by_schema,
    structured_by_local_schema,
    structured_by_json_mode,
    output_version_v1,
    stream_output_version_v1,
    chain,
    chain_with_its_own_configurable,
    chain_with_its_own_metadata,
    streamed_chain,
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_replayed_answer_equals_the_recorded_one_in_every_field(
    bench: Bench, mode: Mode, way: Way
) -> None:
    recorded, replayed = await killed_and_resumed(mode, bench, way)
    assert fields(replayed) == fields(recorded)
    assert bench.calls == 1
    [row] = bench.steps()
    assert (row["kind"], row["name"], row["status"]) == ("llm", "gpt-4o-mini", "done")
    assert (row["model"], row["provider"], row["replays"]) == ("gpt-4o-mini", "openai", 1)


@pytest.mark.parametrize("mode", MODES)
async def test_two_equal_prompts_in_one_node_stay_two_samples(bench: Bench, mode: Mode) -> None:
    bench.respond = counting()
    got: list[list[str]] = []
    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        model = bench.model()
        first = await calls.ask(model, "roll")
        both = await calls.batch(model, ["roll", "roll"])
        got.append([message.content for message in [first, *both]])
        fuse()
        return {"messages": [first]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    await run(mode, graph, None, thread())
    assert bench.calls == 3
    assert sorted(got[0]) == ["re: roll #1", "re: roll #2", "re: roll #3"]
    # a batch runs its prompts at once: which sample is whose may change, but none is lost or new
    assert got[1][0] == got[0][0] and sorted(got[1]) == sorted(got[0])


@pytest.mark.parametrize("mode", MODES)
async def test_a_batch_is_replayed_in_its_order(bench: Bench, mode: Mode) -> None:
    bench.respond = counting()
    prompts = [f"question {n}" for n in range(6)]

    async def way(calls: Calls, bench: Bench) -> Any:
        return await calls.batch(bench.model(), prompts)

    recorded, replayed = await killed_and_resumed(mode, bench, way)
    assert fields(replayed) == fields(recorded)
    assert [m.content.split(" #")[0] for m in replayed] == [f"re: {prompt}" for prompt in prompts]
    assert bench.calls == 6


async def test_prompts_gathered_in_another_order_get_their_own_answers(bench: Bench) -> None:
    orders = iter([[0, 1, 2, 3], [3, 1, 0, 2]])
    got: list[dict[int, str]] = []
    fuse = Fuse()

    async def node(state: MessagesState) -> Any:
        model, order = bench.model(), next(orders)
        answers = await asyncio.gather(*(model.ainvoke(f"question {n}") for n in order))
        got.append({n: str(a.content) for n, a in zip(order, answers, strict=True)})
        fuse()
        return {}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        await graph.ainvoke({"messages": "go"}, thread())
    await graph.ainvoke(None, thread())
    assert bench.calls == 4
    assert got[1] == got[0]


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "prompt": ({}, {"prompt": "another"}),
    "system prompt": ({}, {"prompt": [("system", "be rude"), ("user", "hello")]}),
    "temperature": ({}, {"model": {"temperature": 0.7}}),
    "model": ({}, {"model": {"model": "gpt-4.1"}}),
    "stop": ({}, {"call": {"stop": ["x"]}}),
    "tools": ({}, {"tools": [weather]}),
    "seed": ({}, {"model": {"seed": 7}}),
    "response format": ({}, {"call": {"response_format": {"type": "json_object"}}}),
}


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "key": ({}, {"model": {"api_key": "another"}}),
    "timeout": ({}, {"model": {"timeout": 7}}),
    "retries": ({}, {"model": {"max_retries": 1}}),
    "headers": ({}, {"model": {"default_headers": {"x-trace": "1"}}}),
    "streaming": ({}, {"model": {"streaming": True, "stream_usage": True}}),
    "tags": ({}, {"model": {"tags": ["t"], "metadata": {"m": 1}}}),
    "message ids": (
        {"prompt": [HumanMessage("hello", id="1")]},
        {"prompt": [HumanMessage("hello", id="2")]},
    ),
}


async def asked_before_and_after(
    bench: Bench, before: dict[str, Any], after: dict[str, Any], **saver: Any
) -> None:
    """Kill a node after it asked one thing, and resume it when it asks another."""
    variants = iter([before, after])
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        variant = next(variants)
        model: Any = bench.model(**variant.get("model", {}))
        if "tools" in variant:
            model = model.bind_tools(variant["tools"])
        model.invoke(variant.get("prompt", "hello"), **variant.get("call", {}))
        fuse()
        return {}

    graph = one_node(bench.saver(**saver), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_request_is_a_live_call(bench: Bench, change: str) -> None:
    await asked_before_and_after(bench, *CHANGES[change])
    assert bench.calls == 2
    assert bench.replays == 0
    first, second = bench.steps("status, reason, fingerprint")
    assert first["status"] == second["status"] == "done"  # the old answer stays readable
    assert first["fingerprint"] != second["fingerprint"]
    assert second["reason"].startswith("changed")


@pytest.mark.parametrize("change", SAME)
async def test_what_is_not_asked_does_not_change_a_request(bench: Bench, change: str) -> None:
    await asked_before_and_after(bench, *SAME[change])
    assert (bench.calls, bench.replays) == (1, 1)


async def test_a_schema_with_other_fields_is_another_request(bench: Bench) -> None:
    def answer_class(**fields: Any) -> type[BaseModel]:
        return create_model("Answer", **fields)

    schemas = iter([answer_class(place=(str, ...)), answer_class(town=(str, ...))])
    bench.respond = lambda r: Reply(
        '{"town": "Ulm"}' if "town" in str(r["response_format"]) else '{"place": "Ulm"}'
    )
    fuse = Fuse()

    def node(state: MessagesState) -> Any:
        asked = bench.model().with_structured_output(next(schemas), method="json_schema")
        found: Any = asked.invoke("where?")
        fuse()
        return {"messages": [("ai", str(found.model_dump()))]}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    state = graph.invoke(None, thread())
    assert state["messages"][-1].content == "{'town': 'Ulm'}"
    assert bench.calls == 2


class Samples(BaseChatModel):
    """Answers with several samples at once, and cannot stream."""

    ledger: Any
    samples: int = 3

    @property
    def _llm_type(self) -> str:
        return "samples"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.ledger.add(str(messages[-1].content))
        n = len(self.ledger.lines)
        return ChatResult(
            generations=[
                ChatGeneration(message=AIMessage(f"{messages[-1].content} #{n}.{i}"))
                for i in range(self.samples)
            ]
        )


@pytest.mark.parametrize("mode", MODES)
async def test_several_generations_are_replayed_each(bench: Bench, mode: Mode) -> None:
    prompts: Any = [[HumanMessage("one")], [HumanMessage("two")]]

    async def way(calls: Calls, bench: Bench) -> Any:
        model = Samples(ledger=bench.ledger)
        found = await model.agenerate(prompts) if mode == "async" else model.generate(prompts)
        return [[g.message for g in one] for one in found.generations]  # type: ignore[union-attr]

    recorded, replayed = await killed_and_resumed(mode, bench, way)
    assert sorted(bench.ledger.lines) == ["one", "two"]
    assert [len(one) for one in replayed] == [3, 3]
    assert fields(replayed) == fields(recorded)


@pytest.mark.parametrize("mode", MODES)
async def test_a_model_that_cannot_stream_is_recorded_once_when_streamed(
    bench: Bench, mode: Mode
) -> None:
    async def way(calls: Calls, bench: Bench) -> Any:
        return await calls.stream(Samples(ledger=bench.ledger, samples=1), "hello")

    recorded, replayed = await killed_and_resumed(mode, bench, way)
    assert bench.ledger.lines == ["hello"]
    assert fields(replayed) == fields(recorded)
    assert bench.statuses() == [("Samples", "done")]


def test_a_call_in_a_thread_of_its_own_is_recorded_when_it_is_given_the_config(
    bench: Bench,
) -> None:
    fuse = Fuse()

    def node(state: MessagesState, config: RunnableConfig) -> Any:
        model = bench.model()
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(model.invoke, "hello", config)
            streamed = pool.submit(lambda: list(model.stream("hello again", config)))
            asked.result()
            streamed.result()
        fuse()
        return {}

    graph = one_node(bench.saver(), node)
    with pytest.raises(Killed):
        graph.invoke({"messages": "go"}, thread())
    graph.invoke(None, thread())
    assert bench.calls == 2
    assert {(row["node"], row["status"], row["replays"]) for row in bench.steps()} == {
        ("node", "done", 1)
    }


@pytest.mark.parametrize("mode", MODES)
async def test_a_config_of_the_callers_own_keeps_a_call_in_its_node(
    bench: Bench, mode: Mode
) -> None:
    async def ask(calls: Calls) -> Any:
        chain = ChatPromptTemplate.from_messages([("user", "say {what}")]) | bench.model()
        config = {"configurable": {"session": "7"}, "metadata": {"why": "a test"}}
        return await calls.ask(chain, {"what": "hi"}, config=config)

    async def first(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await ask(calls)]}

    async def second(state: MessagesState, calls: Calls) -> Any:
        return {"messages": [await ask(calls)]}

    saver = bench.saver()
    graph = chain_of(saver, as_node(mode, first), as_node(mode, second))
    await run(mode, graph, {"messages": "go"}, thread())
    rows = bench.steps("node, scope, status")
    assert [(row["node"], row["scope"].partition("/")[2]) for row in rows] == [
        ("first", "first"),
        ("second", "second"),
    ]
    assert bench.calls == 2  # the same words in another node are another call
