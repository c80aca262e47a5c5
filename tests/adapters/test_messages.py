"""LangChain's messages in the journal's form, and back: the same class, fields and order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rowtrail import Journal, step
from rowtrail.content import Encoded
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._messages import MESSAGE_TYPES
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.conftest import Rows

CODEC = GraphCodec(JsonPlusSerializer())
CALL = {"name": "f", "args": {"x": 1}, "id": "c1", "type": "tool_call"}


def made(kind: type[BaseMessage], **fields: Any) -> BaseMessage:
    if issubclass(kind, RemoveMessage):
        return kind(id="1", **fields)
    more: dict[str, Any] = {"content": "hi"}
    if issubclass(kind, ToolMessage):
        more["tool_call_id"] = "c1"
    if issubclass(kind, ChatMessage):
        more["role"] = "critic"
    if issubclass(kind, FunctionMessage):
        more["name"] = "f"
    return kind(**{**more, **fields})


def parts(message: BaseMessage) -> Any:
    """Return everything that a message holds; the order of keys inside a field counts."""
    fields = sorted(message.__dict__.items())
    return fields, message.__pydantic_extra__, repr(fields), repr(message.__pydantic_extra__)


def assert_same(message: BaseMessage) -> dict[str, Any]:
    encoded = CODEC.encode(message)
    again = CODEC.decode(encoded)
    assert again == message
    assert type(again) is type(message)
    assert parts(again) == parts(message)
    assert CODEC.encode(again).text == encoded.text
    assert CODEC.decode_items([encoded, encoded]) == [message, message]
    assert encoded.text is not None
    stored: dict[str, Any] = json.loads(encoded.text)
    return stored


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        (HumanMessage, "user"),
        (HumanMessageChunk, "user"),
        (AIMessage, "assistant"),
        (AIMessageChunk, "assistant"),
        (SystemMessage, "system"),
        (SystemMessageChunk, "system"),
        (ToolMessage, "tool"),
        (ToolMessageChunk, "tool"),
        (FunctionMessage, "tool"),
        (ChatMessage, "critic"),
        (ChatMessageChunk, "critic"),
        (RemoveMessage, "remove"),
    ],
)
def test_every_class_has_a_role(kind: type[BaseMessage], role: str) -> None:
    stored = assert_same(made(kind))
    assert stored["role"] == role
    assert "type" not in stored


def test_every_class_is_tested() -> None:
    assert len(MESSAGE_TYPES) == 12


@pytest.mark.parametrize(
    ("told", "word", "left"),
    [
        ({"finish_reason": "stop"}, "stop", None),
        ({"model_name": "m", "finish_reason": "stop"}, "stop", {"model_name": "m"}),
        (
            {"finish_reason": "stop", "logprobs": None},
            "stop",
            {"finish_reason": True, "logprobs": None},
        ),
        (
            {"stop_reason": "end_turn", "stop_sequence": None},
            "end_turn",
            {"stop_reason": True, "stop_sequence": None},
        ),
        ({"stopReason": "tool_use"}, "tool_use", {"stopReason": True}),
        ({"done_reason": "stop"}, "stop", {"done_reason": True}),
        ({"status": "completed"}, "completed", {"status": True}),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_output_tokens",
            {"status": "incomplete", "incomplete_details": {"reason": True}},
        ),
        # where a word would not come back to its place, it stays there
        ({"finish_reason": True, "status": "ok"}, None, {"finish_reason": True, "status": "ok"}),
        ({"finish_reason": None}, None, {"finish_reason": None}),
        ({"finish_reason": ""}, None, {"finish_reason": ""}),
    ],
)
def test_a_finish_reason_is_stored_once_and_comes_back_to_its_place(
    told: dict[str, Any], word: str | None, left: Any
) -> None:
    message = AIMessage("x", response_metadata=told)

    stored = assert_same(message)

    assert stored.get("finish_reason") == word
    assert stored.get("meta", {}).get("response_metadata") == left
    again = CODEC.decode(CODEC.encode(message))
    assert list(again.response_metadata) == list(told)


def test_tool_calls_are_stored_in_the_journals_words() -> None:
    said = {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"x":1}'}}]}
    stored = assert_same(AIMessage("", tool_calls=[CALL], additional_kwargs=said))
    assert stored["tool_calls"] == [{"name": "f", "args": {"x": 1}, "id": "c1"}]
    assert stored["meta"] == {"additional_kwargs": said}


@pytest.mark.parametrize(
    "call",
    [
        {"name": "f", "args": {}, "id": "1"},
        {"name": "f", "args": {}, "id": "1", "type": None},
        {"name": "f", "args": {}, "id": "1", "type": "other"},
        {"name": "f", "args": {}, "id": "1", "type": ["tool_call"]},
        {"name": "f", "args": {}, "id": "1", "type": "tool_call", "extras": {"a": 1}},
        "no call",
    ],
    ids=repr,
)
def test_an_unusual_tool_call_comes_back_as_it_was(call: Any) -> None:
    message: Any = AIMessage("")
    message.tool_calls = [call, {**CALL}]
    assert_same(message)
    message.tool_calls = (call,)
    assert_same(message)


@pytest.mark.parametrize("name", ["role", "finish_reason", "meta", "extra", "mine"])
@pytest.mark.parametrize("kind", MESSAGE_TYPES)
def test_a_field_of_the_users_own_comes_back(kind: type[BaseMessage], name: str) -> None:
    if name in kind.model_fields:
        return
    message = made(kind, **{name: {"any": "thing"}}, other=1)
    stored = assert_same(message)
    assert isinstance(stored["role"], str)
    assert CODEC.decode(CODEC.encode(message)).__pydantic_extra__ == message.__pydantic_extra__


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            "HumanMessage",
            '{"content":"hi","type":"human","id":"1"}',
            HumanMessage("hi", id="1"),
        ),
        (
            "AIMessage",
            (
                '{"content":"x","response_metadata":{"finish_reason":"stop"},"type":"ai",'
                '"tool_calls":[{"name":"f","args":{"x":1},"id":"c1","type":"tool_call"}]}'
            ),
            AIMessage("x", tool_calls=[CALL], response_metadata={"finish_reason": "stop"}),
        ),
        (
            "ChatMessage",
            '{"content":"x","type":"chat","role":"critic"}',
            ChatMessage(content="x", role="critic"),
        ),
        (
            "ToolMessage",
            '{"content":"x","type":"tool","tool_call_id":"c1","artifact":[1],"status":"error"}',
            ToolMessage("x", tool_call_id="c1", artifact=[1], status="error"),
        ),
    ],
)
def test_what_earlier_versions_wrote_is_read(kind: str, text: str, message: BaseMessage) -> None:
    again = CODEC.decode(Encoded(kind, text))
    assert again == message
    assert type(again) is type(message)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
PLACES = ["finish_reason", "stop_reason", "stopReason", "done_reason", "status", "model_name"]
METADATA = st.dictionaries(
    st.sampled_from([*PLACES, "incomplete_details"]),
    VALUES | st.dictionaries(st.sampled_from(["reason", "x"]), VALUES, max_size=2),
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=4), "args": st.dictionaries(st.text(), VALUES), "id": VALUES},
        optional={"type": st.sampled_from(["tool_call", None, "x", ["y"], []])},
    ),
    max_size=2,
)


@given(METADATA, CALLS, st.dictionaries(st.text(max_size=6), VALUES, max_size=2), st.booleans())
def test_whatever_a_model_answers_comes_back(
    told: dict[str, Any], calls: list[Any], kwargs: dict[str, Any], is_chunk: bool
) -> None:
    kind: type[AIMessage] = AIMessageChunk if is_chunk else AIMessage
    message = kind(content="x", response_metadata=told, additional_kwargs=kwargs)
    message.tool_calls = calls
    assert_same(message)


def test_nested_messages_come_back_too() -> None:
    value = {"a": [HumanMessage("hi", role="x"), AIMessage("x", tool_calls=[CALL])]}
    assert CODEC.decode(CODEC.encode(value)) == value


def test_search_and_state_show_the_journals_words(db: Path, rows: Rows) -> None:
    messages: list[AnyMessage] = [HumanMessage("hi"), AIMessage([{"type": "text", "text": "ho"}])]
    with RowtrailSaver(db, **QUICK) as saver:
        saver.put(thread(), checkpoint({"messages": messages}), {}, {})
    shown = [json.loads(row["value"]) for row in rows("SELECT value FROM state ORDER BY position")]
    assert [message["role"] for message in shown] == ["user", "assistant"]


def test_a_step_that_returns_a_message_outside_graphs_is_shown_in_full(
    journal: Journal, rows: Rows
) -> None:
    answer = AIMessage(
        [{"type": "text", "text": "ho"}],
        tool_calls=[CALL],
        response_metadata={"stop_reason": "tool_use", "id": "msg_1"},
    )

    @step(kind="llm", name="model")
    def model() -> AIMessage:
        return answer

    @step(kind="llm", name="untyped")
    def untyped() -> Any:
        return [answer]

    for _ in range(2):
        with journal.run("r"):
            assert parts(model()) == parts(answer)
            assert parts(untyped()[0]) == parts(answer)

    call, _ = rows("SELECT answer, tool_calls, finish_reason FROM llm_calls ORDER BY step_id")
    assert (call["answer"], call["finish_reason"]) == ("ho", "tool_use")
    assert json.loads(call["tool_calls"]) == [{"name": "f", "args": {"x": 1}, "id": "c1"}]
