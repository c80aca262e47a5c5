"""The job of the adapter kit on the plain SDKs: a loop, in each of three wire formats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

import rowtrail
from rowtrail.testing.adapter_suite import Stage, Subject, requests_made
from rowtrail_clients import recorded

WHAT = {"type": "object", "properties": {"what": {"type": "string"}}}
LETTER = {"type": "object", "properties": {"to": {"type": "string"}, "body": {"type": "string"}}}
SCHEMAS = {"measure": WHAT, "send": LETTER}
WAYS = ("sync", "async", "stream", "astream")


@dataclass
class Agent:
    """What the three loops share."""

    stage: Stage
    client: Any
    tools: dict[str, Callable[..., str]]

    @property
    def is_streamed(self) -> bool:
        return "stream" in self.stage.way


def make(stage: Stage, sync: Any, asynchronous: Any, base_url: str) -> Agent:
    cls = asynchronous if stage.way.startswith("a") else sync
    client = recorded(cls(base_url=base_url, api_key="none", max_retries=0), stage.journal)
    send = rowtrail.step(kind="tool", name="send", effect="write", on_doubt=stage.was_sent)
    return Agent(
        stage,
        client,
        {
            "measure": rowtrail.step(kind="tool", name="measure")(stage.measure),
            "send": send(stage.send),
        },
    )


def make_openai(stage: Stage) -> Agent:
    return make(stage, openai.OpenAI, openai.AsyncOpenAI, stage.base_url)


def make_anthropic(stage: Stage) -> Agent:
    root = stage.base_url.removesuffix("/v1")
    return make(stage, anthropic.Anthropic, anthropic.AsyncAnthropic, root)


async def _await(found: Any) -> Any:
    return await found if hasattr(found, "__await__") else found


async def _each(stream: Any) -> list[Any]:
    return [each async for each in stream] if hasattr(stream, "__aiter__") else list(stream)


Calls = list[tuple[str, str, dict[str, Any]]]


def _added(pieces: dict[int, dict[str, Any]], delta: Any) -> None:
    for piece in delta.tool_calls or ():
        call = pieces.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or piece.id
        call["name"] += piece.function.name or ""
        call["arguments"] += piece.function.arguments or ""


async def ask_chat(agent: Agent, messages: list[Any]) -> tuple[str, Calls]:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in SCHEMAS.items()
    ]
    asked: dict[str, Any] = {"model": agent.stage.model, "messages": messages, "tools": tools}
    create = agent.client.chat.completions.create
    pieces: dict[int, dict[str, Any]] = {}
    if agent.is_streamed:
        options = {"include_usage": True}
        chunks = await _each(await _await(create(**asked, stream=True, stream_options=options)))
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        text = "".join(delta.content or "" for delta in deltas)
        for delta in deltas:
            _added(pieces, delta)
        calls = [(c["id"], c["name"], json.loads(c["arguments"])) for c in pieces.values()]
    else:
        said = (await _await(create(**asked))).choices[0].message
        text = said.content or ""
        calls = [
            (call.id, call.function.name, json.loads(call.function.arguments))
            for call in said.tool_calls or ()
        ]
    told = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
        for i, n, a in calls
    ]
    messages.append(
        {"role": "assistant", "content": text, **({"tool_calls": told} if told else {})}
    )
    return text, calls


def tell_chat(messages: list[Any], results: list[tuple[str, str]]) -> None:
    for call_id, result in results:
        messages.append({"role": "tool", "tool_call_id": call_id, "content": result})


async def ask_responses(agent: Agent, messages: list[Any]) -> tuple[str, Calls]:
    tools = [
        {"type": "function", "name": name, "parameters": schema, "strict": False}
        for name, schema in SCHEMAS.items()
    ]
    asked: dict[str, Any] = {"model": agent.stage.model, "input": messages, "tools": tools}
    create = agent.client.responses.create
    if agent.is_streamed:
        events = await _each(await _await(create(**asked, stream=True)))
        response = events[-1].response
    else:
        response = await _await(create(**asked))
    calls: Calls = []
    for item in response.output:
        messages.append(item.model_dump(exclude_none=True))
        if item.type == "function_call":
            calls.append((item.call_id, item.name, json.loads(item.arguments)))
    return response.output_text, calls


def tell_responses(messages: list[Any], results: list[tuple[str, str]]) -> None:
    for call_id, result in results:
        messages.append({"type": "function_call_output", "call_id": call_id, "output": result})


async def ask_messages(agent: Agent, messages: list[Any]) -> tuple[str, Calls]:
    tools = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
    asked: dict[str, Any] = {
        "model": agent.stage.model,
        "max_tokens": 99,
        "messages": messages,
        "tools": tools,
    }
    api = agent.client.messages
    if agent.stage.way == "stream":
        with api.stream(**asked) as stream:
            said = stream.get_final_message()
    elif agent.stage.way == "astream":
        async with api.stream(**asked) as stream:
            said = await stream.get_final_message()
    else:
        said = await _await(api.create(**asked))
    messages.append({"role": "assistant", "content": [each.model_dump() for each in said.content]})
    text = "".join(block.text for block in said.content if block.type == "text")
    calls = [(b.id, b.name, b.input) for b in said.content if b.type == "tool_use"]
    return text, calls


def tell_messages(messages: list[Any], results: list[tuple[str, str]]) -> None:
    told = [
        {"type": "tool_result", "tool_use_id": call_id, "content": result}
        for call_id, result in results
    ]
    messages.append({"role": "user", "content": told})


def subject(make: Any, ask: Any, tell: Any) -> Subject[Agent]:
    """Return an agent that asks until the model wants no tool any more; a run is gone on with by
    running it again."""

    async def work(agent: Agent) -> str:
        messages: list[Any] = [{"role": "user", "content": agent.stage.question}]
        while True:
            text, calls = await ask(agent, messages)
            if not calls:
                return str(text)
            tell(messages, [(i, agent.tools[name](**args)) for i, name, args in calls])

    def run(agent: Agent, stage: Stage) -> str:
        async def within() -> str:
            async with stage.journal.run(
                stage.run_id, thread_id=stage.thread_id, agent=stage.agent
            ):
                return await work(agent)

        return asyncio.run(within())

    return Subject(make, run, run, requests_made, WAYS)


CHAT = subject(make_openai, ask_chat, tell_chat)
RESPONSES = subject(make_openai, ask_responses, tell_responses)
MESSAGES = subject(make_anthropic, ask_messages, tell_messages)
