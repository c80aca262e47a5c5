"""The queries that are asked often, and the schema in few words: each is right, and fits."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

import rowtrail
from rowtrail import Journal, schema
from rowtrail.errors import QueryError
from rowtrail.history import describe_schema, named_queries, schema_text
from rowtrail.testing import FakeClock
from rowtrail.usage import count_tokens
from rowtrail_langgraph import RowtrailSaver
from tests.conftest import Child

MAX_SCHEMA_TOKENS = 700
CLOCK = FakeClock()

DIES = """
import os, sys, rowtrail
@rowtrail.step(kind="tool", name="send", effect="write", on_doubt="fail")
def send(to): os._exit(9)
with rowtrail.Journal(sys.argv[1]) as journal, journal.run("killed"):
    send("ada")
"""


@rowtrail.step(kind="tool", name="fetch")
def fetch(url: str) -> str:
    CLOCK.advance(len(url))
    if "broken" in url:
        raise ValueError(f"no answer from {url}")
    return f"page of {url}"


@rowtrail.step(kind="tool", name="search")
def search(word: str) -> str:
    CLOCK.advance(0.5)
    return f"found {word}"


def think(word: str, tokens: int) -> str:
    usage: Any = {"input_tokens": tokens, "output_tokens": 10, "total_tokens": tokens + 10}
    answer = AIMessage(f"answer to {word}", usage_metadata=usage)
    model = GenericFakeChatModel(messages=iter([answer]))
    return str(model.invoke([HumanMessage(word)]).content)


def chat(saver: RowtrailSaver, thread_id: str, text: str) -> None:
    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {state['messages'][-1].content}")]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    graph = builder.compile(checkpointer=saver)
    graph.invoke({"messages": [HumanMessage(text)]}, {"configurable": {"thread_id": thread_id}})
    CLOCK.advance(60)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    path = tmp_path_factory.mktemp("named") / "agent.db"
    with Journal(path, clock=CLOCK) as journal:
        saver = RowtrailSaver(journal)
        chat(saver, "talk", "first")
        chat(saver, "talk", "second")
        chat(saver, "other", "third")
        for run, city in (("monday", "Oslo"), ("tuesday", "Rome")):
            for _ in range(2):  # the second time, all of it is replayed
                with journal.run(run, thread_id="reports"):
                    fetch("a.example/" + city)
                    search("same")
                    think("the weather", 1000)
                    think(f"news of {city}", 500)
                    if run == "tuesday":
                        search("only on tuesday")
                CLOCK.advance(60)
        for _ in range(2):
            with pytest.raises(ValueError, match="no answer"), journal.run("errs", fresh=True):
                fetch("broken.example")
            CLOCK.advance(60)
        yield journal


def test_failures_are_counted_by_their_reason(asked: Journal) -> None:
    (row,) = asked.sql("@failures")

    assert (row["kind"], row["name"], row["times"], row["last_run"]) == ("tool", "fetch", 2, "errs")
    assert row["error"] == "ValueError: no answer from broken.example"
    assert asked.sql("@failures", {"name": "search"}).rows == []


@pytest.mark.parametrize("args", ['{"args": ["a.example/Oslo"]}', "a.example/Oslo"])
def test_what_was_tried_is_found_by_value_or_by_text(asked: Journal, args: str) -> None:
    (row,) = asked.sql("@tried", {"tool": "fetch", "args": args})

    assert (row["run_id"], row["status"], row["replays"]) == ("monday", "done", 1)
    assert row["outcome"] == "page of a.example/Oslo"
    assert asked.sql("@tried", {"tool": "search", "args": args}).rows == []
    assert asked.sql("@tried", {"args": '{"args": ["a.example"]}'}).rows == []
    failed = asked.sql("@tried", {"args": "broken"}).to_dicts()
    assert [row["outcome"] for row in failed] == ["ValueError: no answer from broken.example"] * 2


def test_spend_says_which_model_took_what(asked: Journal) -> None:
    (row,) = asked.sql("@spend")

    assert (row["calls"], row["input_tokens"], row["output_tokens"]) == (4, 3000, 40)
    assert (row["percent"], row["cost_usd"]) == (100.0, None)


def test_slow_tools_come_first(asked: Journal) -> None:
    first, second = asked.sql("@slow")

    assert (first["name"], first["calls"], first["max_ms"]) == ("fetch", 4, 14_000.0)
    assert "example" in first["slowest_args"]
    assert (second["name"], second["mean_ms"]) == ("search", 500.0)


def test_what_is_in_doubt_can_be_settled_from_the_answer(tmp_path: Path, child: Child) -> None:
    path = tmp_path / "agent.db"
    child(DIES, path, status=9)

    with Journal(path) as journal:
        journal.recover()
        (row,) = journal.sql("@in_doubt")
        assert (row["run_id"], row["name"], row["effect"]) == ("killed", "send", "write")
        assert "ada" in row["args"] and row["idempotency_key"]
        journal.settle(row["step_id"], result="sent")
        assert journal.sql("@in_doubt").rows == []


def test_changes_between_two_runs_are_told_step_by_step(asked: Journal) -> None:
    changes = asked.sql("@changed", {"before": "monday", "after": "tuesday"}).to_dicts()

    assert [(row["change"], row["name"]) for row in changes[:1]] == [("other request", "fetch")]
    assert "Oslo" in changes[0]["before"] and "Rome" in changes[0]["after"]
    assert [(row["change"], row["kind"]) for row in changes[1:]] == [
        ("other request", "llm"),
        ("only after", "tool"),
    ]
    assert (changes[1]["before"], changes[1]["after"]) == ("news of Oslo", "news of Rome")
    assert asked.sql("@changed", {"before": "monday", "after": "monday"}).rows == []
    backwards = asked.sql("@changed", {"before": "tuesday", "after": "monday"}).to_dicts()
    assert [row["change"] for row in backwards][-1] == "only before"


def test_answers_that_changed_are_told_apart_from_requests(journal: Journal) -> None:
    answers = iter(["rain", "sun"])

    @rowtrail.step(kind="tool", name="weather")
    def weather(city: str) -> str:
        return next(answers)

    for run in ("one", "two"):
        with journal.run(run):
            weather("Oslo")
            search("same")

    (row,) = journal.sql("@changed")
    assert (row["change"], row["name"]) == ("other answer", "weather")
    assert (row["before"], row["after"]) == ('"rain"', '"sun"')


def test_last_state_of_a_thread_is_that_of_its_newest_checkpoint(asked: Journal) -> None:
    talk = asked.sql("@state", {"thread": "talk"}).to_dicts()
    newest = asked.sql("@state").to_dicts()

    assert [row["channel"] for row in talk] == ["messages"] * 4
    assert "you said second" in talk[-1]["value"]
    assert {row["thread_id"] for row in newest} == {"other"}


def test_saved_counts_what_was_not_paid_again(asked: Journal) -> None:
    tuesday, monday = asked.sql("@saved")

    assert (monday["run_id"], monday["replays"], monday["saved_input_tokens"]) == (
        "monday",
        4,
        1500,
    )
    assert (tuesday["replays"], tuesday["attempts"]) == (5, 1)


def test_repeats_are_found_across_runs(asked: Journal) -> None:
    repeats = asked.sql("@repeats").to_dicts()

    assert [(row["name"], row["times"], row["runs"]) for row in repeats[1:]] == [
        ("search", 2, 2),
        ("fetch", 2, 1),
    ] or {(row["name"], row["times"]) for row in repeats[1:]} == {("search", 2), ("fetch", 2)}
    assert (repeats[0]["asked"], repeats[0]["tokens_again"]) == ("the weather", 1010)


def test_timeline_is_of_the_run_or_of_the_newest(asked: Journal) -> None:
    monday = asked.sql("@timeline", {"run": "monday"}).to_dicts()

    assert [(row["seq"], row["kind"]) for row in monday] == [
        (1, "tool"),
        (2, "tool"),
        (3, "llm"),
        (4, "llm"),
    ]
    assert monday[2]["outcome"] == "answer to the weather"
    assert {row["name"] for row in asked.sql("@timeline")} == {"fetch"}


def test_timeline_goes_on_behind_a_step(asked: Journal) -> None:
    rest = asked.sql("@timeline", {"run": "tuesday", "after": "3"}).to_dicts()

    assert [row["seq"] for row in rest] == [4, 5]


def test_runs_are_listed_newest_first_and_by_what_they_are(asked: Journal) -> None:
    every = asked.sql("@runs").to_dicts()
    reports = asked.sql("@runs", {"thread": "reports"}).to_dicts()
    older = asked.sql("@runs", {"thread": "reports", "before": reports[0]["started_at"]})

    assert every[0]["run_id"] == "errs"
    assert [row["run_id"] for row in reports] == ["tuesday", "monday"]
    assert [row["run_id"] for row in older] == ["monday"]
    assert [row["run_id"] for row in asked.sql("@runs", {"status": "failed"})] == ["errs"]
    assert asked.sql("@runs", {"agent": "nobody"}).rows == []


def test_step_is_read_in_parts(asked: Journal) -> None:
    (step,) = asked.sql("SELECT step_id, output FROM steps WHERE name = 'search' LIMIT 1")
    (whole,) = asked.sql("@step", {"step": step["step_id"]})
    (part,) = asked.sql("@step", {"step": step["step_id"], "start": 3, "chars": 4})

    assert (whole["output"], whole["output_chars"]) == (step["output"], len(step["output"]))
    assert (part["output"], part["output_chars"]) == (step["output"][2:6], len(step["output"]))


@pytest.mark.parametrize("name", named_queries())
def test_every_named_query_is_answered_in_every_way(asked: Journal, name: str) -> None:
    query = named_queries()[name]

    with Journal(":memory:") as empty:
        assert empty.sql(name).rows == []
    assert (
        asked.sql(f" {name.upper()}; ").columns
        == asked.sql(query.sql, dict.fromkeys(query.parameters)).columns
    )
    within = asked.sql(name, max_tokens=100, thread_id="reports")
    assert count_tokens(within.text(), None)[0] <= 100
    for parameter in query.parameters:
        assert f":{parameter}" in query.usage
        assert asked.sql(name, {parameter: "' OR 1 --"}) is not None


def test_named_query_keeps_to_its_scope(asked: Journal) -> None:
    assert [row["run_id"] for row in asked.sql("@saved", run_id="monday")] == ["monday"]
    assert asked.sql("@failures", thread_id="reports").rows == []


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("@failure", {}, "did you mean '@failures'"),
        ("@", {}, "there are @failures, @tried"),
        ("@tried", {"tol": 1}, "no parameter 'tol': it takes tool, args"),
        ("@tried", ("fetch",), "give a dict"),
        ("@slow", {"a": 1}, "takes none"),
        ("@slow; SELECT 1", {}, "no query is named"),
    ],
)
def test_wrong_name_or_parameter_is_told(asked: Journal, name: str, params: Any, says: str) -> None:
    with pytest.raises(QueryError, match=re.escape(says)) as caught:
        asked.sql(name, params)
    assert caught.value.query == name


def told_columns(line: str, text: str) -> Iterator[str]:
    """Yield the columns that a line of the schema names, also by the first and last of them."""
    words = re.sub(r"(\S+)\.\.(\S+) as in (\w+),?", r"\1..\2..\3", line).split()
    for word in words:
        if ".." not in word:
            yield word
            continue
        first, last, view = word.split("..")
        other = re.search(rf"^{view}: (.*)", text, re.MULTILINE)
        assert other is not None
        columns = list(told_columns(other[1], text))
        yield from columns[columns.index(first) : columns.index(last) + 1]


def test_schema_tells_every_column_in_few_tokens() -> None:
    text = schema_text()
    told = describe_schema()

    # the estimate is above what o200k_base and cl100k_base count
    assert count_tokens(text, None)[0] <= MAX_SCHEMA_TOKENS
    assert -(-len(text) // 4) <= MAX_SCHEMA_TOKENS
    assert [view["name"] for view in told["views"]] == list(schema.PUBLIC_VIEWS)
    for view in told["views"]:
        line = re.search(rf"^{view['name']}: (.*)", text, re.MULTILINE)
        assert line is not None and view["about"]
        assert list(told_columns(line[1], text)) == view["columns"]
    assert all(name in text for name in named_queries())


@pytest.mark.parametrize(
    "says",
    [
        "crashed(process died)",
        "failed(raised)",
        "superseded(made again)",
        "role: system|user|assistant|tool",
        "input_tokens include cached",
        "json_extract(args,'$.city')",
    ],
)
def test_schema_tells_what_values_mean(says: str) -> None:
    assert says in schema_text()


@pytest.mark.parametrize("name", [q.name for q in named_queries().values() if q.parameters])
def test_named_query_without_rows_says_what_it_takes(name: str) -> None:
    query = named_queries()[name]

    with Journal(":memory:") as empty:
        found = empty.sql(name)
        with pytest.raises(QueryError, match=re.escape(query.usage)):
            empty.sql(name, {"no_such": 1})
        assert count_tokens(empty.sql(name, max_tokens=150).text(), None)[0] <= 150
        with contextlib.suppress(QueryError):  # not even its columns fit
            assert count_tokens(empty.sql(name, max_tokens=45).text(), None)[0] <= 45
    assert found.note == f"{name} takes {query.usage}" and not found.truncated


def wait_and_edit(saver: RowtrailSaver) -> None:
    """Leave a thread that waits, and one that was answered and then edited by two people."""

    def publish(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"Published: {interrupt('Publish it?')}.", id="said")]}

    builder = StateGraph(MessagesState)
    builder.add_node("publish", publish)
    builder.add_edge(START, "publish")
    graph = builder.compile(checkpointer=saver, name="editor")
    waits: Any = {"configurable": {"thread_id": "waits"}}
    config: Any = {"configurable": {"thread_id": "edited"}}
    for asking in (waits, config):
        graph.invoke({"messages": [HumanMessage("Here.", id="here")]}, asking)
    graph.invoke(Command(resume="yes"), config)
    by_ada: Any = {**config, "metadata": {"editor": "ada"}}
    graph.update_state(by_ada, {"messages": [AIMessage("Never.", id="said")]}, as_node="publish")
    gone: Any = {"messages": [RemoveMessage("here")]}
    graph.update_state(config, gone, as_node="publish")


def test_waiting_names_each_question_that_is_open(journal: Journal) -> None:
    wait_and_edit(RowtrailSaver(journal))

    (row,) = journal.sql("@waiting").to_dicts()

    assert (row["thread_id"], row["agent"], row["kind"]) == ("waits", "editor", "interrupt")
    assert row["question"] == "Publish it?"
    assert journal.sql("@waiting", {"thread": "edited"}).rows == []


def test_edits_say_what_was_there_what_is_and_who_did_it(journal: Journal) -> None:
    wait_and_edit(RowtrailSaver(journal))

    removed, changed = journal.sql("@edits").to_dicts()

    assert (removed["before"], removed["after"], removed["made_by"]) == ("Here.", None, None)
    assert (changed["before"], changed["after"]) == ("Published: yes.", "Never.")
    assert changed["made_by"] == '{"editor":"ada"}'
    assert journal.sql("@edits", {"thread": "waits"}).rows == []


def test_conversation_is_that_of_a_thread_or_of_the_last_active(journal: Journal) -> None:
    wait_and_edit(RowtrailSaver(journal))

    rows = journal.sql("@conversation").to_dicts()
    waits = journal.sql("@conversation", {"thread": "waits"}).to_dicts()
    behind = journal.sql("@conversation", {"after": 0}).to_dicts()

    assert {(row["content"], row["status"]) for row in rows} == {
        ("Here.", "removed"),
        ("Published: yes.", "edited"),
        ("Never.", "current"),
    }
    assert behind == rows[1:]
    assert [(row["role"], row["content"]) for row in waits] == [("user", "Here.")]


def test_slowest_steps_come_first(asked: Journal) -> None:
    rows = asked.sql("@slowest").to_dicts()

    assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
    assert (rows[0]["name"], rows[0]["ms"]) == ("fetch", 14_000.0)
    assert {row["kind"] for row in asked.sql("@slowest", {"kind": "llm"})} == {"llm"}
    assert {row["run_id"] for row in asked.sql("@slowest", {"run": "monday"})} == {"monday"}


def test_costliest_runs_are_those_with_most_tokens_where_no_cost_is_known(asked: Journal) -> None:
    rows = asked.sql("@costliest").to_dicts()

    assert [(row["calls"], row["input_tokens"]) for row in rows] == [(2, 1500), (2, 1500)]
    (step,) = asked.sql(f"SELECT * FROM steps WHERE step_id = '{rows[0]['costliest_step']}'")
    assert step["input_tokens"] == 1000
    assert asked.sql("@costliest", {"agent": "nobody"}).rows == []


def test_schema_tells_the_values_that_rows_may_have(asked: Journal) -> None:
    values = describe_schema()["values"]

    assert values["steps.status"] == ["running", "done", "failed", "in_doubt", "superseded"]
    for name, listed in values.items():
        view, _, column = name.partition(".")
        found = {value for (value,) in asked.sql(f"SELECT DISTINCT {column} FROM {view}").rows}
        assert found - {None} <= set(listed)
