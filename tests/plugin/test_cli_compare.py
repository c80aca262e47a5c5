"""`rowtrail why` and `rowtrail diff`: what decided, and what differs."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.adapter import ANSWERS, llm_request, record, scope_here
from rowtrail.history import diff, why
from rowtrail.history._compare import differences, essence
from rowtrail.history._remedy import remedy
from tests.plugin.conftest import Cli

SYSTEM = {"role": "system", "content": "You write reports."}


@rowtrail.step(kind="llm", name="model")
def ask(messages: list[dict[str, Any]], temperature: float = 0.0) -> dict[str, Any]:
    said = messages[-1]["content"]
    return {"role": "assistant", "content": f"answer to {said}", "id": str(id(messages))}


@rowtrail.step(kind="tool", name="search")
def search(query: str, limit: int = 3) -> str:
    return f"found {query}"


@rowtrail.step(kind="tool", name="weather")
def weather(city: str) -> str:
    return WEATHER[city]


@rowtrail.step(name="die")
def die() -> None:
    raise KeyboardInterrupt


WEATHER = {"Oslo": "rain", "Rome": "sun"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def step_id(journal: Journal, run_id: str, number: int) -> str:
    return str(journal.steps(run_id)[number - 1]["step_id"])


def crash(journal: Journal, run_id: str = "run") -> None:
    with pytest.raises(KeyboardInterrupt), journal.run(run_id, thread_id="thread"):
        ask([SYSTEM, user("Why do journals matter?")])
        search("journals")
        die()


def test_why_names_the_first_message_that_changed(cli: Cli, journal: Journal, db: Path) -> None:
    crash(journal)
    with journal.run("run"):
        search("journals")
        ask([SYSTEM, user("Why do ledgers matter?")])
    changed = step_id(journal, "run", 4)

    found = why(journal.store, changed)
    done = cli("why", changed, "--db", db)

    assert found.step["reason_code"] == "changed"
    assert found.nearest is not None and found.nearest["step_id"] == step_id(journal, "run", 1)
    (difference,) = found.differences
    assert difference.path == "args[0][1].content"
    assert "journals" in str(difference.a) and "ledgers" in str(difference.b)
    assert done.code == 0
    assert "args[0][1].content" in done.out
    assert "recorded  Why do journals matter?" in done.out


def test_why_compares_with_the_recorded_call_that_is_most_alike(
    journal: Journal, cli: Cli, db: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), journal.run("run"):
        search("apples", limit=5)
        search("pears", limit=7)
        weather("Oslo")
        die()
    with journal.run("run"):
        search("apples", limit=5)  # replayed: it is no candidate
        search("plums", limit=7)
    changed = step_id(journal, "run", 5)

    found = cli("why", changed, "--db", db, "--json").json

    assert found["nearest"]["step_id"] == step_id(journal, "run", 2)
    assert [d["path"] for d in found["differences"]] == ["args[0]"]
    assert (found["differences"][0]["a"], found["differences"][0]["b"]) == ("pears", "plums")


@pytest.mark.parametrize(
    ("before", "after", "pattern"),
    [
        (str(UUID(int=1 << 100)), str(UUID(int=7)), "[0-9a-fA-F]{8}"),
        ("2026-01-01T10:00:00Z", "2026-01-02 11:22:33.5", "T ]"),
        ("run 17", "run 18", r"\d+"),
        ("kind", "unkind", None),
        ("kind 1", "unkind 2", None),
    ],
)
def test_why_names_the_pattern_of_what_is_made_up_anew_each_time(
    cli: Cli, journal: Journal, db: Path, before: str, after: str, pattern: str | None
) -> None:
    for text in (before, after):
        with contextlib.suppress(KeyboardInterrupt), journal.run("run"):
            ask([SYSTEM, user(f"Be {text} now.")])
            raise KeyboardInterrupt

    found = cli("why", "@last", "--db", db, "--json").json

    if pattern is None:
        assert found["remedy"] is None
        return
    assert pattern in found["remedy"]
    (given,) = re.findall(r"canonical=\[r'(.*?)'\]", found["remedy"])
    assert re.sub(given, "", f"Be {before} now.") == re.sub(given, "", f"Be {after} now.")
    assert "canonical=" in cli("why", "@last", "--db", db).out


@pytest.mark.parametrize(("other_id", "is_told"), [("m1", True), ("m2", False)])
def test_a_message_that_was_changed_in_place_is_told_by_its_id(
    other_id: str, is_told: bool
) -> None:
    recorded, asked = (
        {"messages": [{"role": "user", "id": each, "content": text}]}
        for each, text in (("m1", "here"), (other_id, "there"))
    )
    found = remedy(recorded, asked, effect="read")
    assert is_told == (found is not None and 'durability="sync"' in found)


def test_why_weighs_every_message(cli: Cli, journal: Journal, db: Path) -> None:
    asked = [SYSTEM, user("Why?"), user("outline")]
    with pytest.raises(KeyboardInterrupt), journal.run("run"):
        ask(asked)
        ask([SYSTEM, user("Why?"), user("an answer"), user("report")])
        die()
    with journal.run("run"):
        ask([{**SYSTEM, "content": "You write poems."}, *asked[1:]])

    found = cli("why", "@last", "--db", db, "--json").json

    assert found["nearest"]["step_id"] == step_id(journal, "run", 1)
    assert [d["path"] for d in found["differences"]] == ["args[0][0].content"]


def test_why_tells_where_a_result_was_handed_back(cli: Cli, journal: Journal, db: Path) -> None:
    crash(journal)
    for _ in range(2):
        with journal.run("run"):
            search("journals")

    shown = cli("why", step_id(journal, "run", 2), "--db", db)
    never = cli("why", step_id(journal, "run", 1), "--db", db)

    assert ["replayed", "2", "times"] in shown.lines
    assert "attempt 2 of run" in shown.out and "attempt 3 of run" in shown.out
    assert ["replayed", "never"] in never.lines


def test_why_finds_the_same_request_in_other_runs_of_the_thread(
    cli: Cli, journal: Journal, db: Path
) -> None:
    for run in ("first", "second"):
        with journal.run(run, thread_id="thread"):
            search("journals")

    found = cli("why", "@last", "--db", db, "--json").json

    assert found["same"] == [{"run_id": "first", "step_id": step_id(journal, "first", 1)}]
    assert "new there" in found["because"]


@pytest.mark.parametrize("step", ["999", "x", "1; DROP TABLE step", "9" * 400, "", "1.0"])
def test_a_step_that_is_none_is_named(cli: Cli, journal: Journal, db: Path, step: str) -> None:
    crash(journal)

    done = cli("why", step, "--db", db)

    assert (done.code, done.out) == (3, "")
    assert "no step has the id" in done.err


def test_diff_aligns_steps_by_what_they_ask_not_by_where_they_stand(journal: Journal) -> None:
    with journal.run("a"):
        search("one")
        search("two")
        weather("Oslo")
        ask([user("question")])
    WEATHER["Oslo"] = "snow"
    with journal.run("b"):
        ask([user("question")])
        search("two")
        search("three")
        weather("Oslo")
        weather("Rome")
    WEATHER["Oslo"] = "rain"

    pairs = list(diff(journal.store, "a", "b"))

    shown = [(p.mark, p.a and p.a.seq, p.b and p.b.seq) for p in pairs]
    assert shown == [
        ("changed", 1, 3),
        ("same", 2, 2),
        ("answer", 3, 4),
        ("missing", None, 5),
        ("same", 4, 1),
    ]
    changed, answer = pairs[0].differences, pairs[2].differences
    assert next((d.path, d.a, d.b) for d in changed) == ("input.args[0]", "one", "three")
    assert [(d.path, d.a, d.b) for d in answer] == [("output", "rain", "snow")]


def test_diff_prints_what_changed_and_counts_the_rest(cli: Cli, journal: Journal, db: Path) -> None:
    for run, text in (("run-a", "same"), ("run-b", "other")):
        with journal.run(run):
            search("always")
            search(text)
            ask([user("question")])
            if run == "run-b":
                weather("Rome")

    done = cli("diff", "run-a", "@last", "--db", db)
    full = cli("diff", "run-a", "run-b", "--all", "--db", db)
    found = cli("diff", "run-a", "run-b", "--db", db, "--json").json

    assert [line[0] for line in done.out.splitlines() if line[0] in "=~*-+"] == ["*", "+"]
    assert [line[0] for line in full.out.splitlines() if line[0] in "=~*-+"] == list("=*=+")
    assert done.out.splitlines()[-1] == (
        "run-a and run-b: 2 same, 0 answered otherwise, 1 changed, 0 only in the first, "
        "1 only in the second"
    )
    assert found["counts"] == {"same": 2, "answer": 0, "changed": 1, "only_a": 0, "only_b": 1}
    assert [pair["mark"] for pair in found["pairs"]] == ["changed", "missing"]
    assert found["pairs"][1]["a"] is None
    assert found["pairs"][1]["b"]["name"] == "weather"


def test_diff_of_long_runs_is_complete(journal: Journal) -> None:
    for run in ("a", "b"):
        with journal.run(run):
            for number in range(120):
                search(f"{run if number % 3 == 0 else ''}{number}")

    pairs = list(diff(journal.store, "a", "b"))

    assert [pair.mark for pair in pairs] == ["changed", "same", "same"] * 40
    assert all(p.differences[0].a == f"a{p.a.seq - 1}" for p in pairs[::3] if p.a is not None)


def test_diff_of_an_unknown_run_ends_with_3(cli: Cli, journal: Journal, db: Path) -> None:
    crash(journal)

    assert cli("diff", "run", "nope", "--db", db).code == 3


def test_ids_and_usage_are_no_difference() -> None:
    def answer(number: int) -> dict[str, Any]:
        return {
            "role": "assistant",
            "content": "hello",
            "id": f"run-{number}",
            "tool_calls": [{"name": "search", "args": {"q": "x"}, "id": f"call_{number}"}],
            "finish_reason": "tool_calls" if number else "tool_use",
            "meta": {"usage": {"input_tokens": number}},
        }

    assert differences([answer(0)], [answer(1)], 5) == []
    assert essence({"id": 3, "type": "box"}) == {"id": 3, "type": "box"}, "no message: kept"


def test_a_difference_deep_in_a_long_text_is_shown_with_what_is_around_it() -> None:
    text = "x" * 5000
    (found,) = differences({"t": text + "left" + text}, {"t": text + "right" + text}, 5)

    assert found.path == "t"
    assert found.a is not None and found.b is not None
    assert "left" in found.a and "right" in found.b
    assert len(found.a) < 100


def test_differences_of_types_and_lengths_are_found_and_limited() -> None:
    found = differences({"a": [1, 2], "b": 1, "c": None}, {"a": [1], "b": True, "d": 0}, 3)

    assert [(d.path, d.a, d.b) for d in found] == [
        ("a[1]", "2", None),
        ("b", "1", "true"),
        ("c", "null", None),
    ]


def test_hostile_depth_and_text_are_compared_and_printed_safely(
    cli: Cli, journal: Journal, db: Path
) -> None:
    deep: Any = "bottom"
    for _ in range(300):
        deep = [deep]
    with journal.run("a"):
        search(json.dumps(deep) + "\x1b[31m")
    with journal.run("b"):
        search(json.dumps([deep]) + "\x1b[32m\u202e")

    done = cli("diff", "a", "b", "--db", db)

    assert done.code == 0
    assert not set(done.out) & set("\x1b\u202e")
    assert differences(deep, [deep], 5)


def say(messages: list[dict[str, Any]], answer: str) -> dict[str, Any]:
    """Ask a model with a prompt of messages."""
    scope = scope_here("model", "read")
    assert scope is not None
    request = llm_request(scope, "model", messages, {"temperature": 0})
    given = {"role": "assistant", "content": answer}
    record(scope, request, lambda: given, ANSWERS)
    return given


def talk(journal: Journal, questions: list[str], *, thread: str = "talk") -> None:
    """Ask questions one after the other, a run each, with all that was said before."""
    said: list[dict[str, Any]] = [SYSTEM]
    for n, question in enumerate(questions):
        with journal.run(f"{thread}-{n}", thread_id=thread):
            said.append(user(question))
            said.append(say(said, f"answer to {question}"))


def test_runs_of_one_thread_are_compared_by_what_was_asked_newly(journal: Journal) -> None:
    talk(journal, ["cats?", "dogs?", "dogs?", "birds?"])

    (same,) = diff(journal.store, "talk-1", "talk-2")
    (changed,) = diff(journal.store, "talk-2", "talk-3")

    assert (same.mark, same.differences) == ("same", ())
    assert changed.mark == "changed"
    paths = [difference.path for difference in changed.differences]
    assert paths == ["input.messages[0].content", "output.content"]
    assert (changed.differences[0].a, changed.differences[0].b) == ("dogs?", "birds?")


def test_runs_of_two_threads_are_compared_whole(journal: Journal) -> None:
    talk(journal, ["cats?", "dogs?"], thread="one")
    talk(journal, ["mice?", "dogs?"], thread="two")

    (pair,) = diff(journal.store, "one-1", "two-1")

    assert pair.mark == "changed"
    assert pair.differences[0].path == "input.messages[1].content"


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize("new_run", [False, True])
def test_why_says_where_only_the_input_was_appended_again(
    cli: Cli, journal: Journal, db: Path, again: int, new_run: bool
) -> None:
    with pytest.raises(KeyboardInterrupt), journal.run("run", thread_id="thread"):
        say([SYSTEM, user("Plan a trip.")], "a plan")
        die()
    with journal.run("later" if new_run else "run", thread_id="thread"):
        say([SYSTEM, *[user("Plan a trip.")] * (again + 1)], "a plan")

    done = cli("why", "@last", "--db", db)

    assert done.code == 0
    assert "the only change is the input, which was appended again" in done.out


@pytest.mark.parametrize("added", ["Plan another trip.", "plan a trip."])
def test_another_input_is_not_taken_for_the_same(
    cli: Cli, journal: Journal, db: Path, added: str
) -> None:
    with pytest.raises(KeyboardInterrupt), journal.run("run", thread_id="thread"):
        say([SYSTEM, user("Plan a trip.")], "a plan")
        die()
    with journal.run("run", thread_id="thread"):
        say([SYSTEM, user("Plan a trip."), user(added)], "a plan")

    assert "appended again" not in cli("why", "@last", "--db", db).out
