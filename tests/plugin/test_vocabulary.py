"""Messages in the shape of every provider, as the journal stores them and its views show them."""

from __future__ import annotations

import copy
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtrail import Journal, schema, step
from rowtrail.content import Codec
from rowtrail.errors import UsageError
from rowtrail.journal import Beginning, Request, begin_call, end_attempt, fingerprint_of
from rowtrail.vocabulary import Answer, Message, ToolCall, finish_reason, text_of
from tests.conftest import Rows

ARGS = {"city": "Oslo"}
JSON_ARGS = json.dumps(ARGS)
CALL = {"id": "call_1", "name": "weather", "args": ARGS}
RAINS = "It rains."
PICTURE = "data:image/png;base64,iVBORw0KGgo="


@dataclass(frozen=True)
class Case:
    """A provider's object, and what the views show of it."""

    shape: dict[str, Any]
    role: str
    text: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    finish: str | None = None


def openai_chat() -> Iterator[tuple[str, Case]]:
    for role in ("system", "developer", "user", "assistant", "critic"):
        shown = "system" if role == "developer" else role
        yield f"{role} text", Case({"role": role, "content": RAINS}, shown, RAINS)
        blocks = [
            {"type": "text", "text": "It "},
            {"type": "image_url", "image_url": {"url": PICTURE}},
            {"type": "text", "text": "rains."},
        ]
        yield f"{role} blocks", Case({"role": role, "content": blocks}, shown, RAINS)
    yield "named", Case({"role": "user", "content": "hi", "name": "ada"}, "user", "hi", name="ada")
    call = {"id": "call_1", "type": "function", "function": {"name": "weather"}}
    call["function"] = {"name": "weather", "arguments": JSON_ARGS}
    asks = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    yield "calls", Case(asks, "assistant", calls=(CALL,))
    yield "text and calls", Case({**asks, "content": RAINS}, "assistant", RAINS, (CALL,))
    broken = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    yield (
        "a call without JSON",
        Case(
            {"role": "assistant", "content": "", "tool_calls": [broken]},
            "assistant",
            calls=({"id": "call_1", "name": "f", "args": '{"a":'},),
        ),
    )
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}}
    yield (
        "a custom call",
        Case(
            {"role": "assistant", "content": None, "tool_calls": [custom]},
            "assistant",
            calls=({"id": "call_1", "name": "sh", "args": "ls -l"},),
        ),
    )
    legacy = {"name": "weather", "arguments": JSON_ARGS}
    yield (
        "a function call of old",
        Case(
            {"role": "assistant", "content": None, "function_call": legacy},
            "assistant",
            calls=({**CALL, "id": None},),
        ),
    )
    result = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    yield "result", Case(result, "tool", "rain", tool_call_id="call_1")
    function = {"role": "function", "name": "weather", "content": "rain"}
    yield "a function's result of old", Case(function, "tool", "rain", name="weather")
    for reason in ("stop", "length", "tool_calls", "content_filter"):
        choice = {"index": 0, "finish_reason": reason, "message": {**asks, "content": RAINS}}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": {}}
        yield f"response {reason}", Case(whole, "assistant", RAINS, (CALL,), finish=reason)


def openai_responses() -> Iterator[tuple[str, Case]]:
    said = {
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [
            {"type": "output_text", "text": "It ", "annotations": []},
            {"type": "output_text", "text": "rains.", "annotations": []},
        ],
    }  # fmt: skip
    asked = {"role": "user", "content": [
        {"type": "input_text", "text": "The "},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "input_text", "text": "weather?"},
    ]}  # fmt: skip
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
        "arguments": JSON_ARGS, "status": "completed",
    }  # fmt: skip
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
    }
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    yield "message", Case(said, "assistant", RAINS)
    yield "question", Case(asked, "user", "The weather?")
    yield (
        "short question",
        Case({"role": "user", "content": "The weather?"}, "user", "The weather?"),
    )
    yield "call", Case(call, "assistant", calls=(CALL,))
    custom = {"type": "custom_tool_call", "call_id": "call_1", "name": "sh", "input": "ls"}
    yield "custom", Case(custom, "assistant", calls=({"id": "call_1", "name": "sh", "args": "ls"},))
    yield "reasoning", Case(thought, "assistant")
    yield "search", Case(search, "assistant")
    for kind in ("function_call_output", "custom_tool_call_output"):
        result = {"type": kind, "call_id": "call_1", "output": "rain"}
        yield kind, Case(result, "tool", "rain", tool_call_id="call_1")
    parts = {"type": "function_call_output", "call_id": "call_1", "output": [
        {"type": "input_text", "text": "rain"},
    ]}  # fmt: skip
    yield "result of parts", Case(parts, "tool", "rain", tool_call_id="call_1")
    whole: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": [thought, said],
    }
    yield "response", Case(whole, "assistant", RAINS, finish="completed")
    both = {**whole, "output": [thought, said, call]}
    yield "response with a call", Case(both, "assistant", RAINS, (CALL,), finish="completed")
    calls_only = {**whole, "output": [thought, call]}
    yield "response of a call", Case(calls_only, "assistant", "", (CALL,), finish="completed")
    twice = {**whole, "output": [said, search, said]}
    yield "response of two messages", Case(twice, "assistant", RAINS * 2, finish="completed")
    cut = {**whole, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    yield "response cut off", Case(cut, "assistant", RAINS, finish="max_output_tokens")


def anthropic() -> Iterator[tuple[str, Case]]:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    text = {"type": "text", "text": RAINS}
    call = {"type": "tool_use", "id": "call_1", "name": "weather", "input": ARGS}
    picture = {"type": "image", "source": {"type": "base64", "data": "iVBORw0KGgo="}}
    for role in ("user", "assistant"):
        yield f"{role} text", Case({"role": role, "content": RAINS}, role, RAINS)
        yield f"{role} blocks", Case({"role": role, "content": [text, picture]}, role, RAINS)
    told = {"role": "assistant", "content": [thought, text, call]}
    yield "calls", Case(told, "assistant", RAINS, (CALL,))
    yield "thought", Case({"role": "assistant", "content": [thought]}, "assistant")
    for content in ("rain", [{"type": "text", "text": "rain"}, picture]):
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": content}
        shape = {"role": "user", "content": [result]}
        yield f"result {type(content)}", Case(shape, "tool", "rain", tool_call_id="call_1")
    empty = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1"}]}
    yield "result of nothing", Case(empty, "tool", tool_call_id="call_1")
    for reason in ("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"):
        whole: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "stop_reason": reason,
            "usage": {},
            **told,
        }
        yield f"response {reason}", Case(whole, "assistant", RAINS, (CALL,), finish=reason)


def gemini() -> Iterator[tuple[str, Case]]:
    call = {"name": "weather", "args": ARGS}
    text = {"text": RAINS}
    yield "user", Case({"role": "user", "parts": [{"text": "hi"}]}, "user", "hi")
    yield "no role", Case({"parts": [{"text": "hi"}]}, "user", "hi")
    yield "model", Case({"role": "model", "parts": [text]}, "assistant", RAINS)
    data = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    yield "picture", Case({"role": "user", "parts": [data, text]}, "user", RAINS)
    thought = {"text": "hm", "thought": True, "thoughtSignature": "c2ln"}
    yield "thought", Case({"role": "model", "parts": [thought, text]}, "assistant", RAINS)
    for key, answer in (
        ("functionCall", "functionResponse"),
        ("function_call", "function_response"),
    ):
        told = {"role": "model", "parts": [text, {key: {**call, "id": "call_1"}}]}
        yield key, Case(told, "assistant", RAINS, (CALL,))
        nameless = {"role": "model", "parts": [{key: call}]}
        yield f"{key} without id", Case(nameless, "assistant", calls=({**CALL, "id": None},))
        for said in ({"result": "rain"}, {"output": "rain"}):
            part = {answer: {"id": "call_1", "name": "weather", "response": said}}
            shape = {"role": "user", "parts": [part]}
            yield f"{answer} {said}", Case(shape, "tool", "rain", (), "call_1", "weather")
        part = {answer: {"name": "weather", "response": {"sky": "grey", "mm": 3}}}
        yield (
            f"{answer} of JSON",
            Case({"parts": [part]}, "tool", '{"sky": "grey", "mm": 3}', (), None, "weather"),
        )
        for reason in ("STOP", "MAX_TOKENS", "SAFETY"):
            finish = "finishReason" if key == "functionCall" else "finish_reason"
            whole = {"candidates": [{"content": told, finish: reason, "index": 0}]}
            yield (
                f"response {key} {reason}",
                Case(whole, "assistant", RAINS, (CALL,), finish=reason),
            )
    blocked = {"candidates": [{"finishReason": "SAFETY"}]}
    yield "response without content", Case(blocked, "assistant", finish="SAFETY")


def others() -> Iterator[tuple[str, Case]]:
    use = {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": ARGS}}
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    told = {"role": "assistant", "content": [thought, {"text": RAINS}, use]}
    yield "bedrock message", Case(told, "assistant", RAINS, (CALL,))
    result = {"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}}
    shape = {"role": "user", "content": [result]}
    yield "bedrock result", Case(shape, "tool", "rain", tool_call_id="call_1")
    whole = {"output": {"message": told}, "stopReason": "tool_use", "usage": {}}
    yield "bedrock response", Case(whole, "assistant", RAINS, (CALL,), finish="tool_use")
    ollama = {"role": "assistant", "content": RAINS, "tool_calls": [
        {"function": {"name": "weather", "arguments": ARGS}},
    ]}  # fmt: skip
    calls = ({**CALL, "id": None},)
    yield "ollama message", Case(ollama, "assistant", RAINS, calls)
    done = {"model": "m", "message": ollama, "done": True, "done_reason": "stop"}
    yield "ollama response", Case(done, "assistant", RAINS, calls, finish="stop")
    rain = {"role": "tool", "tool_name": "weather", "content": "rain"}
    yield "ollama result", Case(rain, "tool", "rain", name="weather")
    stored = {"role": "assistant", "content": RAINS, "tool_calls": [CALL], "finish_reason": "stop"}
    yield "our own", Case(stored, "assistant", RAINS, (CALL,), finish="stop")


CASES = {
    f"{form.__name__}: {name}": case
    for form in (openai_chat, openai_responses, anthropic, gemini, others)
    for name, case in form()
}
ANSWERS = {name: case for name, case in CASES.items() if case.role == "assistant"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_providers_shape_is_read_in_the_journals_words(case: Case) -> None:
    given = copy.deepcopy(case.shape)

    message = Message.of(case.shape)

    assert case.shape == given, "it was changed"
    assert (message.role, message.text) == (case.role, case.text)
    assert [call.to_stored() for call in message.tool_calls] == list(case.calls)
    assert (message.tool_call_id, message.name) == (case.tool_call_id, case.name)
    assert message.finish_reason == case.finish


@pytest.mark.parametrize("kind", [Message, Answer])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_read_back_equal_and_so_is_what_it_came_from(case: Case, kind: type[Message]) -> None:
    message = kind.of(case.shape)

    again = Codec().decode(Codec().encode(message))

    assert again == message
    assert type(again) is kind
    assert again.original == case.shape
    assert kind.of(message.to_stored()).to_stored() == message.to_stored()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_its_text_is_stored_once(case: Case) -> None:
    """Except where thoughts are cut out of it, or several items make one answer."""
    encoded = Codec().encode(Message.of(case.shape))
    assert encoded.text is not None
    often = json.dumps(case.shape).count(RAINS)
    is_cut = "thought" in json.dumps(case.shape) and "parts" in case.shape
    assert encoded.text.count(RAINS) <= max(often, 1) * (2 if is_cut or often > 1 else 1)


def ask(journal: Journal, prompt: list[Any], answer: Any) -> None:
    attempt = journal.attempt(Beginning("name", "r"))
    encoded = attempt.prepare(Codec().encode({}))
    call = begin_call(
        attempt.scope(""),
        Request(
            "llm",
            "model",
            fingerprint_of("llm", "model", {}),
            lambda: encoded,
            prompt=tuple(attempt.prepare(Codec().encode(each)) for each in prompt),
            prompt_owner="r/prompt",
        ),
    )
    with call.running():
        pass
    call.complete(answer)
    end_attempt(attempt, "done")


def test_the_views_show_every_shape(journal: Journal, rows: Rows) -> None:
    cases = list(CASES.values())
    ask(journal, [Message.of(case.shape) for case in cases], "done")

    found = rows("SELECT * FROM messages WHERE direction = 'in' ORDER BY position")

    assert len(found) == len(cases)
    for row, case in zip(found, cases, strict=True):
        shown = (row["role"], row["content"], row["tool_call_id"], row["name"])
        assert shown == (case.role, case.text, case.tool_call_id, case.name), case.shape
        assert json.loads(row["tool_calls"] or "[]") == list(case.calls)


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
def test_an_llm_call_shows_every_shape_of_an_answer(
    journal: Journal, rows: Rows, case: Case
) -> None:
    ask(journal, [], Answer.of(case.shape))

    (call,) = rows("SELECT answer, tool_calls, finish_reason FROM llm_calls")
    (message,) = rows("SELECT role, content, tool_calls FROM messages WHERE direction = 'out'")

    assert (call["answer"], call["finish_reason"]) == (case.text, case.finish)
    assert json.loads(call["tool_calls"] or "[]") == list(case.calls)
    assert message == {
        "role": "assistant",
        "content": case.text,
        "tool_calls": call["tool_calls"],
    }


def test_results_of_parallel_calls_are_messages_of_their_own() -> None:
    results = [{"type": "tool_result", "tool_use_id": i, "content": f"r{i}"} for i in "ab"]
    more = {"type": "text", "text": "and now?"}
    claude = Message.each_of({"role": "user", "content": [*results, more]})
    parts = [
        {"functionResponse": {"id": i, "name": "f", "response": {"result": f"r{i}"}}} for i in "ab"
    ]
    google = Message.each_of({"role": "user", "parts": parts})

    assert [(m.role, m.tool_call_id, m.text) for m in claude] == [
        ("tool", "a", "ra"),
        ("tool", "b", "rb"),
        ("user", None, "and now?"),
    ]
    assert [(m.role, m.tool_call_id, m.text) for m in google] == [
        ("tool", "a", "ra"),
        ("tool", "b", "rb"),
    ]
    assert Message.of({"role": "user", "content": results}).text == "rarb"
    assert Message.of({"role": "user", "content": [*results, more]}).role == "user"


@pytest.mark.parametrize("shape", [{}, {"x": 1}, {"type": "thing"}, {"role": 3}, {"choices": []}])
def test_what_is_no_message_is_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no message of OpenAI"):
        Message.of(shape)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"finish_reason": "stop", "model_name": "m"}, "stop"),
        ({"finish_reason": "STOP", "safety_ratings": []}, "STOP"),
        ({"stop_reason": "end_turn", "stop_sequence": None}, "end_turn"),
        ({"status": "completed", "incomplete_details": None}, "completed"),
        ({"status": "incomplete", "incomplete_details": {"reason": "other"}}, "other"),
        ({"stopReason": "max_tokens", "metrics": {}}, "max_tokens"),
        ({"done": True, "done_reason": "length"}, "length"),
        ({"finish_reason": None, "stop_reason": "end_turn"}, "end_turn"),
        ({"finish_reason": "", "status": 200}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_finish_reason_is_the_providers_word(told: dict[str, Any], word: str | None) -> None:
    assert finish_reason(told) == word


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
BLOCKS = SCALARS | st.dictionaries(
    st.sampled_from(["type", "text", "thinking", "x"]),
    SCALARS
    | st.sampled_from(["text", "input_text", "output_text", "thinking"])
    | st.lists(SCALARS, max_size=2),
)  # fmt: skip


@given(st.text() | st.lists(BLOCKS, max_size=4))
def test_the_views_and_python_agree_on_the_text_of_any_content(content: Any) -> None:
    stored = Codec().encode(Message("user", content)).text
    with sqlite3.connect(":memory:") as connection:
        expression = schema.views()["messages"].partition("tool_call_id")[0]
        start = expression.index("CASE json_type(i.text)")
        expression = expression[start : expression.index(" AS content")]
        (shown,) = connection.execute(
            f"SELECT {expression} FROM (SELECT ? AS text) i", (stored,)
        ).fetchone()
    connection.close()
    if isinstance(stored, str) and "$rowtrail" not in stored and "\\u" not in stored:
        assert shown == text_of(content)


KEYS = st.sampled_from(
    [
        *("role", "content", "parts", "type", "tool_calls", "function", "name", "arguments"),
        *("output", "choices", "candidates", "message", "id", "toolResult", "functionResponse"),
        *("response", "text", "thought", "call_id", "meta", "finish_reason", "tool_use_id"),
    ]
)
WORDS = SCALARS | st.sampled_from(
    ["user", "model", "message", "function_call", "tool_result", "tool_use", "reasoning", "{}"]
)


def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4)


INNER = WORDS | deeper(WORDS | deeper(WORDS | deeper(WORDS)))


@settings(max_examples=300)
@given(st.dictionaries(KEYS, INNER, max_size=6))
def test_any_object_is_read_or_refused(shape: dict[str, Any]) -> None:
    try:
        message = Message.of(shape)
    except UsageError:
        return
    assert message.original == shape
    assert isinstance(message.role, str)
    assert Codec().decode(Codec().encode(message)) == message
    assert all(isinstance(part, Message) for part in Message.each_of(shape))


def test_a_message_made_of_its_parts_is_stored_flat(journal: Journal, rows: Rows) -> None:
    call = ToolCall("call_1", "weather", ARGS)
    said = Message("assistant", [{"type": "text", "text": RAINS}], (call,), more={"id": "m1"})
    ask(journal, [said], Answer(content=RAINS, finish_reason="stop"))

    (stored,) = rows("SELECT prompt_messages FROM llm_calls")
    assert json.loads(stored["prompt_messages"]) == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": RAINS}],
            "tool_calls": [CALL],
            "id": "m1",
        }
    ]


def test_an_answer_that_is_no_message_is_shown_as_json(db: Path, rows: Rows) -> None:
    with Journal(db) as journal:
        ask(journal, [], {"no": "message"})
    assert rows("SELECT answer FROM llm_calls") == [{"answer": '{"no":"message"}'}]


def test_a_step_may_return_an_answer(journal: Journal, rows: Rows) -> None:
    asked: list[str] = []
    shape = {"role": "assistant", "stop_reason": "tool_use", "content": [
        {"type": "text", "text": RAINS},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": ARGS},
    ]}  # fmt: skip

    @step(kind="llm", name="model")
    def model(text: str) -> Answer:
        asked.append(text)
        return Answer.of(shape)

    answers: list[Answer] = []
    for _ in range(2):
        with journal.run("r"):
            answers.append(model("The weather?"))

    assert asked == ["The weather?"]
    assert answers[0] == answers[1]
    assert answers[1].original == shape
    (call,) = rows("SELECT answer, tool_calls, finish_reason FROM llm_calls")
    assert (call["answer"], call["finish_reason"]) == (RAINS, "tool_use")
    assert json.loads(call["tool_calls"]) == [CALL]


GIVEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "as its JSON": copy.deepcopy,
    "as an answer": Answer.of,
    "as a message": Message.of,
    "as a stored answer": lambda shape: Answer.of(shape).to_stored(),
}


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
def test_a_replay_gives_an_answer_in_the_form_that_the_call_gave_it(
    journal: Journal, give: Callable[[dict[str, Any]], Any]
) -> None:
    model = step(kind="llm", name="model")(lambda case: give(CASES[case].shape))
    with journal.run("r"):
        made = {case: model(case) for case in CASES}

    with journal.run("r"):
        replayed = {case: model(case) for case in CASES}

    assert replayed == made
    assert {case: type(each) for case, each in replayed.items()} == {
        case: type(each) for case, each in made.items()
    }


def test_the_page_on_messages_says_what_is_so() -> None:
    page = (Path(__file__).parents[2] / "docs" / "messages.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], check=True, timeout=60)


def _deep(n: int) -> dict[str, Any]:
    shape: dict[str, Any] = {"role": "assistant", "content": "x"}
    for _ in range(n):
        shape = {"choices": [{"message": shape}]}
    return shape


FORGED = [
    {"role": "user", "content": "x", "meta": {"original": {"shape": {}}}, "tool_calls": [1]},
    {"role": "user", "content": "x", "meta": {"original": {"shape": 1}}},
    {"role": "user", "content": "x", "meta": {"original": {"shape": {}, "content_at": 5}}},
    {"role": "user", "content": "x", "meta": {"original": {"shape": {}, "content_at": ["a", 1]}}},
    {"role": "user", "content": "x", "meta": {"original": None}},
    _deep(3000),
]


@pytest.mark.parametrize("shape", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("read", [Message.of, Answer.of, Message.each_of])
def test_what_pretends_to_be_a_stored_message_is_read_or_refused(read: Any, shape: Any) -> None:
    try:
        found = read(shape)
    except UsageError:
        return
    for message in found if isinstance(found, list) else [found]:
        assert isinstance(message.original, dict | None)
        assert message.to_stored()["role"] in ("user", "assistant")
