"""The view `conversation` of threads without checkpoints: what their models were sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.adapter import ANSWERS, llm_request, record, scope_here, tool_request

Message = Mapping[str, Any]
Line = tuple[str, str]
BRIEF = {"role": "system", "content": "Be brief."}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(text: str, *calls: str) -> Message:
    tool_calls = [{"id": each, "name": "look", "args": {}} for each in calls]
    return {"role": "assistant", "content": text, **({"tool_calls": tool_calls} if calls else {})}


def found(text: str, call: str) -> Message:
    return {"role": "tool", "content": text, "tool_call_id": call}


def ask(messages: list[Message], answer: Message, agent: str | None = None, **more: Any) -> None:
    """Record a call of a model."""
    scope = scope_here("ask", agent=agent)
    assert scope is not None
    request = llm_request(scope, more.pop("model", "m"), messages, more)
    record(scope, request, lambda: answer, ANSWERS)


def look(call: str, text: str) -> None:
    """Record a call of a tool."""
    scope = scope_here("look")
    assert scope is not None
    record(scope, tool_request(scope, "look", {"call": call}, tool_call_id=call), lambda: text)


def lines(journal: Journal, where: str = "thread_id = 't'") -> list[Line]:
    """Return text and status of a conversation, and see that its places count on."""
    rows = journal.sql(
        f"SELECT position, content, status FROM conversation WHERE {where} ORDER BY position"
    ).rows
    assert [row[0] for row in rows] == list(range(len(rows)))
    return [(text, status) for _, text, status in rows]


def texts(journal: Journal, where: str = "thread_id = 't'") -> list[str]:
    return [text for text, _ in lines(journal, where)]


def talk(journal: Journal, *words: str, thread_id: str | None = "t") -> list[Message]:
    """Have a run for each word, each of which is sent all that was said before."""
    history: list[Message] = [BRIEF]
    for n, word in enumerate(words):
        with journal.run(f"{thread_id}-{n}", thread_id=thread_id):
            history.append(user(word))
            ask(history, said(f"re: {word}"))
        history.append(said(f"re: {word}"))
    return history


def test_what_is_sent_again_is_there_once(journal: Journal) -> None:
    history = talk(journal, "one", "two", "three")

    assert lines(journal) == [(each["content"], "current") for each in history]
    rows = journal.sql("SELECT role, run_id, step_id FROM conversation ORDER BY position").rows
    assert rows == [
        ("system", "t-0", None),
        *(
            row
            for n in range(3)
            for row in (("user", f"t-{n}", None), ("assistant", f"t-{n}", str(n + 1)))
        ),
    ]


def test_the_same_words_twice_are_two_messages(journal: Journal) -> None:
    history = talk(journal, "yes", "yes", "yes")

    assert texts(journal) == [each["content"] for each in history]
    steps = journal.sql("SELECT step_id FROM conversation WHERE role = 'assistant'").rows
    assert sorted(steps) == [("1",), ("2",), ("3",)]


def test_calls_of_tools_and_their_results_name_their_steps(journal: Journal) -> None:
    question = [BRIEF, user("How long?")]
    # a provider may send an answer with two calls back as three messages
    echo = [said("I look."), said("", "c1"), said("", "c2"), found("1", "c1"), found("2", "c2")]

    with journal.run("r", thread_id="t", agent="clerk"):
        ask(question, said("I look.", "c1", "c2"))
        look("c1", "1")
        look("c2", "2")
        ask([*question, *echo], said("Three."))

    rows = journal.sql(
        "SELECT c.content, s.seq, c.agent FROM conversation c LEFT JOIN steps s USING (step_id) "
        "ORDER BY c.position"
    ).rows
    assert rows == [
        ("Be brief.", None, None),
        ("How long?", None, None),
        ("I look.", 1, "clerk"),
        ("", 1, "clerk"),
        ("", 1, "clerk"),
        ("1", 2, "clerk"),
        ("2", 3, "clerk"),
        ("Three.", 4, "clerk"),
    ]
    moments = journal.sql("SELECT at FROM conversation ORDER BY position").rows
    assert moments == sorted(moments)


def test_a_run_that_goes_on_is_there_as_far_as_it_is(journal: Journal) -> None:
    with journal.run("r", thread_id="t"):
        scope = scope_here("ask")
        assert scope is not None

        def answer() -> Any:
            assert texts(journal) == ["How long?"]
            return said("One.")

        record(scope, llm_request(scope, "m", [user("How long?")], {}), answer, ANSWERS)
        assert texts(journal) == ["How long?", "One."]


def test_a_run_that_is_given_again_says_nothing_twice(journal: Journal) -> None:
    for _ in range(2):
        with journal.run("r", thread_id="t"):
            ask([user("How long?")], said("One."))

    assert texts(journal) == ["How long?", "One."]


def test_a_call_that_failed_is_asked_once(journal: Journal) -> None:
    def fail() -> Any:
        raise ValueError("overloaded")

    with journal.run("r", thread_id="t"):
        scope = scope_here("ask")
        assert scope is not None
        request = llm_request(scope, "m", [user("How long?")], {})
        with pytest.raises(ValueError, match="overloaded"):
            record(scope, request, fail, ANSWERS)
        assert texts(journal) == ["How long?"]
        ask([user("How long?")], said("One."))

    assert texts(journal) == ["How long?", "One."]


def test_what_agents_as_tools_say_is_not_of_the_thread(journal: Journal) -> None:
    @rowtrail.step(kind="tool", name="expert")
    def expert() -> str:
        ask([user("inside")], said("an answer inside"), agent="expert")
        return "so"

    @rowtrail.step(name="part")
    def part() -> None:
        ask([user("How long?")], said("", "c1"))

    with journal.run("r", thread_id="t", agent="boss"):
        part()
        expert()
        ask([user("How long?"), said("", "c1"), found("so", "c1")], said("One."))

    assert texts(journal) == ["How long?", "", "so", "One."]


@pytest.mark.parametrize("model", ["m", "another"])
def test_a_hand_off_goes_on_with_the_conversation(journal: Journal, model: str) -> None:
    transfer = [said("", "c1"), found("writer", "c1")]
    with journal.run("r", thread_id="t", agent="triage"):
        ask([{**BRIEF, "content": "Triage."}, user("Help!")], said("", "c1"))
        messages = [{**BRIEF, "content": "Write."}, user("Help!"), *transfer]
        ask(messages, said("Helped."), agent="writer", model=model)

    rows = journal.sql("SELECT content, agent, status FROM conversation ORDER BY position").rows
    assert rows == [
        ("Triage.", None, "current"),
        ("Help!", None, "current"),
        ("Write.", None, "current"),
        ("", "triage", "current"),
        ("writer", None, "current"),
        ("Helped.", "writer", "current"),
    ]


def test_a_guardrail_that_asks_a_model_hides_nothing(journal: Journal) -> None:
    with journal.run("r", thread_id="t", agent="clerk"):
        ask([BRIEF, user("How long?")], said("", "c1"))
        ask([user("Is it allowed?")], said("Yes."), agent="guard")
        ask([BRIEF, user("How long?"), said("", "c1"), found("1", "c1")], said("One."))
        ask([user("Is that right?")], said("Quite."), agent="guard")

    assert lines(journal) == [
        ("Is it allowed?", "removed"),
        ("Yes.", "removed"),
        ("Be brief.", "current"),
        ("How long?", "current"),
        ("", "current"),
        ("1", "current"),
        ("One.", "current"),
        ("Is that right?", "current"),
        ("Quite.", "current"),
    ]


def test_what_is_not_sent_any_more_is_removed(journal: Journal) -> None:
    talk(journal, "one", "two")
    with journal.run("short", thread_id="t"):
        ask([BRIEF, user("two"), said("re: two"), user("three")], said("re: three"))

    assert lines(journal) == [
        ("Be brief.", "current"),
        ("one", "removed"),
        ("re: one", "removed"),
        ("two", "current"),
        ("re: two", "current"),
        ("three", "current"),
        ("re: three", "current"),
    ]


def test_what_a_provider_remembers_is_there_too(journal: Journal) -> None:
    """Then each call is sent what is new alone."""
    with journal.run("r", thread_id="t"):
        ask([BRIEF, user("How long?")], said("", "c1", "c2"))
        ask([BRIEF, found("1", "c1"), found("2", "c2"), user("So?")], said("Three."))

    assert texts(journal) == ["Be brief.", "How long?", "", "1", "2", "So?", "Three."]


def test_runs_without_a_thread_have_a_conversation_each(journal: Journal) -> None:
    talk(journal, "one", thread_id=None)
    with journal.run("other"):
        ask([user("one")], said("another answer"))

    assert texts(journal, "run_id = 'None-0'") == ["Be brief.", "one", "re: one"]
    assert texts(journal, "run_id = 'other'") == ["one", "another answer"]


def test_a_run_that_asks_no_model_says_nothing(journal: Journal) -> None:
    with journal.run("r", thread_id="t"):
        look("c1", "1")

    assert lines(journal) == []


def test_a_thread_is_read_without_the_runs_that_have_none(journal: Journal) -> None:
    def cost() -> int:
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1

        connection = sqlite3.connect(journal.path)
        connection.set_progress_handler(tick, 1)
        connection.execute("SELECT * FROM conversation WHERE thread_id = 't'").fetchall()
        connection.close()
        return ticks

    talk(journal, "one", "two")
    before = cost()
    for n in range(20):
        with journal.run(f"lone-{n}"):
            ask([user(str(n))], said("so"))
        talk(journal, "one", thread_id=f"other-{n}")

    assert cost() < before * 1.05
