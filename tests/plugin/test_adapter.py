"""The door for adapters: a row says what a call did, and it is made again or handed back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rowtrail import NOT_DONE, InDoubtError, Journal, step
from rowtrail.adapter import (
    ANSWERS,
    AskedQuestion,
    Effect,
    Form,
    ListOfChunks,
    Replayed,
    Scope,
    StreamForm,
    Usage,
    WholeAnswer,
    afetch_questions,
    afetch_run_that_asked,
    arecord,
    arecord_answer,
    arecord_question,
    arecord_stream,
    asettle_doubts,
    fetch_questions,
    fetch_run_that_asked,
    llm_request,
    record,
    record_answer,
    record_question,
    record_stream,
    scope_here,
    settle_doubts,
    tool_request,
    with_numbered_ids,
)

pytestmark = pytest.mark.both_engines

USAGE = Usage(10, 2, "provider")


class Calls:
    """A call in its four forms, whose outcome the test decides; counts how often it was made."""

    def __init__(self, journal: Journal, way: str, effect: Effect = "read") -> None:
        self.journal = journal
        self.way = way
        self.effect: Effect = effect
        self.made = 0
        self.outcome: Callable[[], str] = lambda: "abc"
        self.form: Form[str] = Form()

    def ask(self) -> str:
        """Make the call in the run `r`, as a framework's hook would."""
        if self.way.startswith("a"):
            return asyncio.run(self._aask())
        with self.journal.run("r"):
            scope = self._scope()
            request = tool_request(scope, "use", {"n": 1}, effect=self.effect)
            if self.way == "stream":
                return "".join(record_stream(scope, request, self._chunks, WORDS))
            return record(scope, request, self._make, self.form)

    async def _aask(self) -> str:
        async with self.journal.run("r"):
            scope = self._scope()
            request = tool_request(scope, "use", {"n": 1}, effect=self.effect)
            if self.way == "astream":
                chunks = arecord_stream(scope, request, self._achunks, AWORDS)
                return "".join([chunk async for chunk in chunks])
            return await arecord(scope, request, self._amake, self.form)

    def _scope(self) -> Scope:
        scope = scope_here("use", self.effect)
        assert scope is not None
        return scope

    def _make(self) -> str:
        self.made += 1
        return self.outcome()

    async def _amake(self) -> str:
        return self._make()

    def _chunks(self) -> Iterator[str]:
        yield from ""
        yield from self._make()

    async def _achunks(self) -> AsyncGenerator[str]:
        for chunk in self._make():
            yield chunk

    def row(self) -> dict[str, Any]:
        """Return the newest row of the call."""
        return self.journal.sql("SELECT * FROM steps ORDER BY step_id + 0").to_dicts()[-1]


WORDS: StreamForm[str] = StreamForm(ListOfChunks, lambda replayed: iter(replayed.result))


async def _each(chunks: list[str]) -> AsyncGenerator[str]:
    for chunk in chunks:
        yield chunk


AWORDS: StreamForm[str] = StreamForm(ListOfChunks, lambda replayed: _each(replayed.result))

WAYS = ("sync", "async", "stream", "astream")


def raising(error: BaseException) -> Callable[[], str]:
    def outcome() -> str:
        raise error

    return outcome


@pytest.mark.parametrize(("way", "effect"), [*product(WAYS, ("read", "write"))])
def test_a_result_is_handed_back_and_the_call_is_not_made_again(
    journal: Journal, way: str, effect: Effect
) -> None:
    calls = Calls(journal, way, effect)
    assert [calls.ask(), calls.ask()] == ["abc", "abc"]
    assert (calls.made, calls.row()["status"], calls.row()["replays"]) == (1, "done", 1)


@pytest.mark.parametrize(("way", "effect"), [*product(WAYS, ("read", "write"))])
def test_an_exception_is_recorded_and_raised_and_the_call_is_made_again(
    journal: Journal, way: str, effect: Effect
) -> None:
    calls = Calls(journal, way, effect)
    calls.outcome = raising(LookupError("no such city"))
    with pytest.raises(LookupError):
        calls.ask()
    assert (calls.row()["status"], calls.row()["error"]) == ("failed", "LookupError: no such city")
    calls.outcome = lambda: "xyz"
    assert (calls.ask(), calls.made) == ("xyz", 2)


@pytest.mark.parametrize(
    ("way", "error"), [*product(WAYS, (KeyboardInterrupt, SystemExit, asyncio.CancelledError))]
)
def test_a_write_that_was_interrupted_is_in_doubt_and_not_made_again(
    journal: Journal, way: str, error: type[BaseException]
) -> None:
    calls = Calls(journal, way, "write")
    calls.outcome = raising(error())
    with pytest.raises(error):
        calls.ask()
    assert calls.row()["status"] == "in_doubt"
    calls.outcome = lambda: "xyz"
    with pytest.raises(InDoubtError):
        calls.ask()
    assert calls.made == 1


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_failure_that_is_reported_as_a_result_is_a_failure(journal: Journal, way: str) -> None:
    calls = Calls(journal, way, "write")
    calls.form = Form(failure=lambda result: ValueError(result) if result == "bad" else None)
    calls.outcome = lambda: "bad"
    assert calls.ask() == "bad"
    row = calls.row()
    assert (row["status"], row["error"], row["output"]) == ("failed", "ValueError: bad", '"bad"')


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_result_that_cannot_be_stored_is_in_doubt_where_the_call_was_a_write(
    journal: Journal, way: str
) -> None:
    calls = Calls(journal, way, "write")
    calls.form = Form(store=lambda result: {"abc": 1}[result[::-1]])
    with pytest.raises(KeyError):
        calls.ask()
    with pytest.raises(InDoubtError):
        calls.ask()
    assert calls.made == 1


def boom(*_: object) -> Any:
    raise ValueError("boom")


@pytest.mark.parametrize("part", ["store", "usage", "failure", "interrupts"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_form_that_fails_after_the_call_lets_no_retry_make_it_again(
    journal: Journal, part: str, is_async: bool
) -> None:
    made = 0

    def make() -> str:
        nonlocal made
        made += 1
        return "sent"

    async def amake() -> str:
        return make()

    parts: dict[str, Any] = {part: boom}
    form: Form[str] = Form(**parts)
    with journal.run("r"):
        scope = scope_here("send", "write")
        assert scope is not None
        request = tool_request(scope, "send", {"n": 1}, effect="write")
        for expected in (ValueError, InDoubtError):
            with pytest.raises(expected):
                if is_async:
                    asyncio.run(arecord(scope, request, amake, form))
                else:
                    record(scope, request, make, form)
    assert made == 1


@pytest.mark.parametrize("leaves", [False, True])
async def test_an_answer_that_the_framework_builds_is_stored_at_its_end(
    journal: Journal, *, leaves: bool
) -> None:
    built: list[str] = []
    seen: list[tuple[str, str]] = []

    async def stream() -> AsyncGenerator[str]:
        for word in ("12", "km"):
            built.append(word)
            yield word

    def answer() -> str | None:
        return " ".join(built) or None

    async def replay(replayed: Replayed) -> AsyncGenerator[str]:
        yield replayed.result

    form = StreamForm[str](
        lambda: WholeAnswer(answer, Form(store=str.upper, usage=lambda _: USAGE)), replay
    )
    for _ in range(2):
        async with journal.run("r"):
            scope = scope_here("ask")
            assert scope is not None
            request = llm_request(scope, "toy", [], {})
            async with aclosing(arecord_stream(scope, request, stream, form)) as chunks:
                async for chunk in chunks:
                    seen.append((chunk, journal.sql("SELECT status FROM steps").rows[-1][0]))
                    if leaves:
                        break
    if leaves:
        assert seen == [("12", "running"), ("12", "running")], "it was made again"
    else:
        assert seen == [("12", "running"), ("km", "running"), ("12 KM", "done")]
        [row] = journal.sql("SELECT input_tokens, output_tokens FROM steps").rows
        assert tuple(row) == (USAGE.input_tokens, USAGE.output_tokens)


class Failing(ListOfChunks[str]):
    def stored(self) -> Any:
        raise ValueError("boom")


def test_a_collector_that_fails_hides_no_error(journal: Journal) -> None:
    def make() -> Iterator[str]:
        yield "a"
        raise LookupError("the stream broke")

    form: StreamForm[str] = StreamForm(Failing, lambda replayed: iter(replayed.result))
    with journal.run("r"):
        scope = scope_here("send", "write")
        assert scope is not None
        request = tool_request(scope, "send", {"n": 1}, effect="write")
        with pytest.raises(LookupError):
            list(record_stream(scope, request, make, form))
    [row] = journal.sql("SELECT status FROM steps").to_dicts()
    assert row["status"] == "failed"


STRANGE: list[Any] = [object(), print, {"image": object()}, [[[...]]]]


@pytest.mark.parametrize("strange", STRANGE, ids=lambda strange: type(strange).__name__)
def test_a_prompt_that_has_no_stored_form_refuses_no_call(journal: Journal, strange: Any) -> None:
    with journal.run("r"):
        scope = scope_here("m")
        assert scope is not None
        request = llm_request(scope, "m", [{"role": "user", "content": strange}, strange], {})
        assert record(scope, request, lambda: "answer") == "answer"


@pytest.mark.parametrize("way", ["sync", "async"])
def test_what_is_stored_is_what_the_form_makes_of_it_and_back(journal: Journal, way: str) -> None:
    async def arestore(replayed: Replayed) -> str:
        return "".join(reversed(replayed.result))

    calls = Calls(journal, way)
    restore = arestore if way == "async" else lambda replayed: "".join(reversed(replayed.result))
    calls.form = Form(store=lambda result: result[::-1], restore=restore, usage=lambda _: USAGE)
    assert [calls.ask(), calls.ask()] == ["abc", "abc"]
    row = calls.row()
    assert (row["output"], row["input_tokens"], row["output_tokens"]) == ('"cba"', 10, 2)


@pytest.mark.parametrize("way", WAYS)
def test_the_journal_s_own_errors_pass_the_guard(journal: Journal, way: str) -> None:
    passed: list[str] = []

    class Guard:
        def __enter__(self) -> None: ...

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
            passed.extend([] if kind is None else [kind.__name__])

    calls = Calls(journal, way, "write")
    calls.outcome = raising(KeyboardInterrupt())
    with suppress(KeyboardInterrupt):
        calls.ask()
    if way.endswith("stream"):
        return
    calls.form = Form(guard=Guard)
    with pytest.raises(InDoubtError):
        calls.ask()
    assert passed == ["InDoubtError"]


def test_the_last_chunk_comes_once_the_answer_is_on_disk(db: Path) -> None:
    with Journal(db) as journal, journal.run("r"):
        scope = scope_here("use")
        assert scope is not None
        request = tool_request(scope, "use", {"n": 1})
        seen = []
        for chunk in record_stream(scope, request, lambda: iter("abc"), WORDS):
            [row] = journal.sql("SELECT status FROM steps").to_dicts()
            seen.append((chunk, row["status"]))
    assert seen == [("a", "running"), ("b", "running"), ("c", "done")]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_consumer_that_leaves_leaves_a_doubt_with_what_came(
    journal: Journal, is_async: bool
) -> None:
    async def aleave(scope: Scope) -> None:
        request = tool_request(scope, "use", {"n": 1})
        stream = arecord_stream(scope, request, lambda: _each(list("abc")), AWORDS)
        assert await anext(stream) == "a"
        await stream.aclose()

    async def main() -> None:
        async with journal.run("r"):
            scope = scope_here("use")
            assert scope is not None
            await aleave(scope)

    if is_async:
        asyncio.run(main())
    else:
        with journal.run("r"):
            scope = scope_here("use")
            assert scope is not None
            stream = record_stream(
                scope, tool_request(scope, "use", {"n": 1}), lambda: iter("abc"), WORDS
            )
            assert next(iter(stream)) == "a"
            del stream
    [row] = journal.sql("SELECT status, output FROM steps").to_dicts()
    assert (row["status"], row["output"]) == ("in_doubt", '["a","b"]')


def test_a_model_s_request_shows_what_it_was_told(journal: Journal) -> None:
    told = [{"role": "user", "content": "The weather?"}]
    with journal.run("r"):
        scope = scope_here("gpt-4o-mini")
        assert scope is not None
        request = llm_request(scope, "gpt-4o-mini", told, {"temperature": 0}, provider="openai")
        form: Form[str] = Form(usage=lambda _: USAGE)
        assert record(scope, request, lambda: "It rains.", form) == "It rains."
    [row] = journal.sql("SELECT * FROM llm_calls").to_dicts()
    assert (row["model"], row["provider"], row["input_tokens"]) == ("gpt-4o-mini", "openai", 10)
    assert json.loads(row["prompt_messages"]) == told
    assert row["cost_usd"] is None or row["cost_usd"] > 0


CALL = {"city": "Oslo"}

TALKS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "OpenAI chat": (
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "The weather?"}]},
            {"role": "tool", "tool_call_id": "c0", "content": "rain"},
        ],
        {
            "choices": [
                {
                    "finish_reason": "tool_calls",
                    "message": {
                        "role": "assistant",
                        "content": "I look.",
                        "tool_calls": [
                            {
                                "id": "c1",
                                "type": "function",
                                "function": {"name": "look", "arguments": json.dumps(CALL)},
                            }
                        ],
                    },
                }
            ]
        },
        "tool_calls",
    ),
    "OpenAI Responses": (
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "The weather?"}]},
            {"type": "function_call_output", "call_id": "c0", "output": "rain"},
        ],
        {
            "object": "response",
            "status": "completed",
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "I look."}],
                },
                {
                    "type": "function_call",
                    "call_id": "c1",
                    "name": "look",
                    "arguments": json.dumps(CALL),
                },
            ],
        },
        "completed",
    ),
    "Anthropic": (
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "The weather?"},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c0", "content": "rain"}],
            },
        ],
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": CALL},
            ],
            "stop_reason": "tool_use",
        },
        "tool_use",
    ),
    "Gemini": (
        [
            {"role": "system", "parts": [{"text": "Be brief."}]},
            {"role": "user", "parts": [{"text": "The weather?"}]},
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": "c0",
                            "name": "look",
                            "response": {"output": "rain"},
                        }
                    }
                ],
            },
        ],
        {
            "candidates": [
                {
                    "finishReason": "STOP",
                    "content": {
                        "role": "model",
                        "parts": [
                            {"text": "I look."},
                            {"functionCall": {"id": "c1", "name": "look", "args": CALL}},
                        ],
                    },
                }
            ]
        },
        "STOP",
    ),
}


@pytest.mark.parametrize("form", TALKS)
def test_the_views_mean_the_same_whatever_the_provider_s_form(journal: Journal, form: str) -> None:
    told, answer, finish_reason = TALKS[form]
    handed: list[Any] = []
    for _ in range(2):
        with journal.run("r"):
            scope = scope_here("m")
            assert scope is not None
            request = llm_request(scope, "m", told, {})
            handed.append(record(scope, request, lambda: answer, ANSWERS))
    assert handed == [answer, answer]
    rows = journal.sql("SELECT * FROM messages ORDER BY position").to_dicts()
    assert [(row["direction"], row["role"], row["content"]) for row in rows] == [
        ("in", "system", "Be brief."),
        ("in", "user", "The weather?"),
        ("in", "tool", "rain"),
        ("out", "assistant", "I look."),
    ]
    assert rows[2]["tool_call_id"] == "c0"
    [row] = journal.sql("SELECT * FROM llm_calls").to_dicts()
    assert (row["answer"], row["finish_reason"], row["replays"]) == ("I look.", finish_reason, 1)
    [call] = json.loads(row["tool_calls"])
    assert (call["id"], call["name"], call["args"]) == ("c1", "look", CALL)


@pytest.mark.parametrize("form", TALKS)
@pytest.mark.parametrize("is_async", [False, True])
def test_an_llm_function_s_answer_is_shown_as_one_and_returned_as_it_came(
    journal: Journal, form: str, is_async: bool
) -> None:
    _, answer, finish_reason = TALKS[form]
    made: list[str] = []

    @step(kind="llm")
    def ask(question: str) -> Any:
        made.append(question)
        return answer

    @step(kind="llm")
    async def aask(question: str) -> Any:
        made.append(question)
        return answer

    for _ in range(2):
        with journal.run("r"):
            given = asyncio.run(aask("The weather?")) if is_async else ask("The weather?")
            assert given == answer
    assert made == ["The weather?"]
    [row] = journal.sql("SELECT * FROM llm_calls").to_dicts()
    assert (row["answer"], row["finish_reason"]) == ("I look.", finish_reason)


def test_a_form_that_is_not_known_is_shown_as_it_is(journal: Journal) -> None:
    strange = {"type": "of_next_year", "n": 1}
    with journal.run("r"):
        scope = scope_here("m")
        assert scope is not None
        request = llm_request(scope, "m", [strange, "words"], {})
        assert record(scope, request, lambda: strange, ANSWERS) == strange
    [row] = journal.sql("SELECT * FROM llm_calls").to_dicts()
    assert json.loads(row["prompt_messages"]) == [strange, "words"]
    assert json.loads(row["answer"]) == strange


def test_other_parameters_are_another_request(journal: Journal) -> None:
    made = 0

    def make() -> str:
        nonlocal made
        made += 1
        return "It rains."

    for temperature in (0, 1, 0):
        with journal.run("r"):
            scope = scope_here("gpt-4o-mini")
            assert scope is not None
            request = llm_request(scope, "gpt-4o-mini", [], {"temperature": temperature})
            record(scope, request, make)
    assert made == 2


# Questions, and who calls.


def questions(journal: Journal) -> list[tuple[Any, ...]]:
    query = "SELECT kind, question, answer, answered_at IS NULL FROM questions ORDER BY question_id"
    return list(journal.sql(query).rows)


def test_a_question_of_any_framework_is_shown_with_its_answer(journal: Journal) -> None:
    with journal.run("r", thread_id="t"):
        scope = scope_here("ask")
        assert scope is not None
        first = record_question(scope, "Go on?")
        second = record_question(scope, {"tool": "send"}, kind="approval", position=1)
        assert record_question(scope, "Go on, then?") == first != second
        waiting = journal.runs()[0]["waiting_for"]
        record_answer(scope, ["yes"])
    assert waiting == '{"tool":"send"}'
    assert questions(journal) == [
        ("interrupt", "Go on, then?", '["yes"]', 0),
        ("approval", '{"tool":"send"}', None, 1),
    ]


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_run_that_returns_waits_while_a_question_is_open(journal: Journal, answered: int) -> None:
    with journal.run("r"):
        scope = scope_here("ask")
        assert scope is not None
        for position in range(2):
            record_question(scope, f"Question {position}?", position=position)
    assert journal.runs()[0]["status"] == "waiting"
    assert journal.runs()[0]["waiting_for"] == "Question 1?"
    with journal.run("r"):  # asked again, and answered now
        scope = scope_here("ask")
        assert scope is not None
        for position in range(2):
            record_question(scope, f"Question {position}?", position=position)
        for position in range(answered):
            record_answer(scope, "yes", position=position)
    is_open = answered < 2
    assert journal.runs()[0]["status"] == ("waiting" if is_open else "done")
    assert journal.runs()[0]["waiting_for"] == ("Question 1?" if is_open else None)


async def test_what_a_run_asked_is_read_again_in_order(journal: Journal) -> None:
    with journal.run("r"):
        scope = scope_here("ask")
        assert scope is not None
        record_question(scope, {"call": "one"}, kind="approval")
        record_question(scope, "Go on?", position=1)
        record_answer(scope, {"approved": True})
    with journal.run("r"):
        scope = scope_here("ask")
        assert scope is not None
        asked = fetch_questions(scope)
        assert await afetch_questions(scope) == asked
    assert asked == [
        AskedQuestion(0, {"call": "one"}, {"approved": True}, is_answered=True),
        AskedQuestion(1, "Go on?", None, is_answered=False),
    ]
    assert fetch_run_that_asked(journal, '"one"') == "r"
    assert await afetch_run_that_asked(journal, '"two"') is None


@pytest.mark.parametrize("kind", ["function_call", "message", "reasoning"])
def test_ids_that_were_made_up_count_by_their_order(kind: str) -> None:
    def said(first: str, second: str) -> list[Any]:
        return [
            {"type": kind, "id": first, "call_id": second},
            {"type": "function_call_output", "call_id": second, "output": "12 km"},
            {"type": "item_reference", "id": "kept"},
        ]

    assert with_numbered_ids(said("a", "b")) == with_numbered_ids(said("c", "d"))
    assert with_numbered_ids(said("a", "b")) != with_numbered_ids(said("a", "a"))
    assert with_numbered_ids(said("a", "b"))[2] == {"type": "item_reference", "id": "kept"}


async def test_coroutines_ask_too(journal: Journal) -> None:
    async with journal.run("r"):
        scope = scope_here("ask")
        assert scope is not None
        await arecord_question(scope, "Go on?")
        await arecord_answer(scope, "no", position=1)  # nobody asked
        assert questions(journal) == [("interrupt", "Go on?", None, 1)]
        await arecord_answer(scope, "yes")
    assert questions(journal) == [("interrupt", "Go on?", "yes", 0)]


def test_a_question_asked_again_in_another_attempt_is_the_same(journal: Journal) -> None:
    for _ in range(2):
        with suppress(LookupError), journal.run("r"):
            scope = scope_here("ask")
            assert scope is not None
            record_question(scope, "Go on?")
            raise LookupError
    assert questions(journal) == [("interrupt", "Go on?", None, 1)]


def test_agents_of_one_run_have_calls_of_their_own(journal: Journal) -> None:
    made: list[str] = []

    def ask(agent: str | None) -> str:
        def make() -> str:
            made.append(str(agent))
            return f"by {agent}"

        scope = scope_here("use", agent=agent)
        assert scope is not None
        return record(scope, tool_request(scope, "use", {"n": 1}), make)

    agents = (None, "writer", "critic", "writer", "boss")
    for _ in range(2):
        with journal.run("r", agent="boss"):
            answers = [ask(agent) for agent in agents]
        assert answers == ["by None", "by writer", "by critic", "by writer", "by boss"]
    assert made == [str(agent) for agent in agents], "replayed the second time"
    found = journal.sql("SELECT agent, count(*) FROM tool_calls GROUP BY 1 ORDER BY 1").rows
    assert [tuple(row) for row in found] == [("boss", 2), ("critic", 1), ("writer", 2)]


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("said", [NOT_DONE, "sent by hand"], ids=["retry", "result"])
async def test_a_doubt_that_a_scope_asked_about_is_settled_by_the_id_of_its_call(
    journal: Journal, said: Any, is_asked: bool
) -> None:
    async def send() -> str:
        made.append(1)
        if len(made) == 1:
            raise TimeoutError
        return "sent"

    made: list[int] = []
    for attempt in range(3):
        async with journal.run("r"):
            scope = scope_here("send", "write")
            assert scope is not None
            if attempt == 1 and is_asked:
                [row] = journal.steps("r")
                record_question(scope, "Sent?", kind="in_doubt", step_id=row["step_id"])
            if attempt == 2:
                settle_doubts(scope, {"other": "sent by nobody"})
                await asettle_doubts(scope, {"call-1": said})
            request = tool_request(scope, "send", {}, effect="write", tool_call_id="call-1")
            if attempt < 2 or not is_asked:
                with pytest.raises((TimeoutError, InDoubtError)):
                    await arecord(scope, request, send)
            else:
                expected = "sent" if said is NOT_DONE else said
                assert await arecord(scope, request, send) == expected
    assert len(made) == (2 if is_asked and said is NOT_DONE else 1)
    [question] = journal.sql("SELECT kind, answer FROM questions").to_dicts()
    assert (question["kind"], question["answer"] is not None) == ("in_doubt", is_asked)
