"""The public contract: every documented view and column, read by another program meanwhile."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from rowtrail import Journal, step
from rowtrail.content import Codec
from rowtrail.journal import (
    Attempt,
    Beginning,
    Call,
    Request,
    active_scope,
    begin_call,
    end_attempt,
    fingerprint_of,
)
from rowtrail.usage import Usage
from rowtrail_langgraph import RowtrailSaver
from tests.conftest import Rows

# DESIGN.md section 4
VIEWS = {
    "threads": """
        thread_id, first_at, last_at, runs, steps, input_tokens, output_tokens
    """,
    "runs": """
        run_id, thread_id, agent, status, waiting_for, started_at, ended_at, attempts, steps,
        llm_calls, tool_calls, in_doubt, input_tokens, output_tokens, saved_tokens, cost_usd,
        saved_usd, error
    """,
    "attempts": """
        attempt_id, run_id, n, pid, host, started_at, last_seen_at, ended_at, outcome
    """,
    "steps": """
        step_id, run_id, thread_id, attempt_id, scope, node, agent, seq, parent_id, kind, name,
        status, reason_code, reason, effect, started_at, ended_at, duration_ms, input, output,
        error, tool_call_id, idempotency_key, model, provider, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, reasoning_tokens, tokens_source, cost_usd,
        replays, fingerprint
    """,
    "llm_calls": """
        step_id, run_id, thread_id, parent_id, scope, node, agent, reason_code, model, provider,
        status, started_at, duration_ms, prompt_messages, answer, tool_calls, finish_reason,
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
        tokens_source, cost_usd, replays
    """,
    "tool_calls": """
        step_id, run_id, thread_id, parent_id, scope, node, agent, reason_code, name, status,
        effect, args, result, error, started_at, duration_ms, tool_call_id, idempotency_key,
        replays
    """,
    "messages": """
        step_id, run_id, thread_id, position, direction, role, name, content, tool_calls,
        tool_call_id
    """,
    "conversation": """
        thread_id, position, at, run_id, step_id, agent, role, name, content, tool_calls,
        tool_call_id, status
    """,
    "questions": """
        question_id, run_id, thread_id, node, step_id, kind, asked_at, question, answered_at,
        answer
    """,
    "replays": """
        step_id, run_id, kind, name, attempt_id, at, saved_input_tokens, saved_output_tokens,
        saved_usd
    """,
    "checkpoints": """
        thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, run_id, step, source,
        created_at, metadata
    """,
    "state": """
        thread_id, checkpoint_ns, checkpoint_id, channel, position, value, type
    """,
    "spend": """
        day, model, calls, input_tokens, output_tokens, cost_usd, saved_tokens, saved_usd
    """,
}
COLUMNS = [
    (view, column)
    for view, columns in VIEWS.items()
    for column in re.split(r",\s*", columns.strip())
]
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TOOL_CALL = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}
PROMPT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "The weather?", "name": "ada"},
    {"role": "assistant", "content": "", "tool_calls": [TOOL_CALL]},
    {"role": "tool", "content": "rain", "tool_call_id": "call_1", "name": "weather"},
]
ANSWER = {
    "role": "assistant",
    "content": "It rains.",
    "tool_calls": [TOOL_CALL],
    "finish_reason": "stop",
}
USAGE = Usage(1000, 100, "provider", 500, 20, 30)


def request(attempt: Attempt, kind: Any, asked: Any, **more: Any) -> Request:
    encoded = attempt.prepare(Codec().encode(asked))
    name = more.pop("name", "gpt-4o-mini" if kind == "llm" else "weather")
    return Request(kind, name, fingerprint_of(kind, name, asked), lambda: encoded, **more)


def ask(attempt: Attempt, text: str = "", answer: Any = ANSWER, usage: Usage = USAGE) -> Call:
    messages = [*PROMPT, {"role": "user", "content": text}]
    call = begin_call(
        attempt.scope("1/agent", node="agent"),
        request(
            attempt,
            "llm",
            {"temperature": 0, "text": text},
            prompt=tuple(attempt.prepare(Codec().encode(m)) for m in messages),
            prompt_owner="t/prompt",
            model="gpt-4o-mini",
            provider="openai",
        ),
    )
    if not call.replayed:
        with call.running():
            pass
        call.complete(answer, usage=usage)
    return call


def use(attempt: Attempt, city: str, result: Any = "rain") -> None:
    call = begin_call(
        attempt.scope("2/tools[0]", node="tools"),
        request(attempt, "tool", {"city": city}, effect="write", tool_call_id="call_1"),
    )
    if call.replayed:
        return
    with call.running():
        inner()
    if isinstance(result, BaseException):
        call.fail(result)
    else:
        call.complete(result)


@step(name="inner")
def inner() -> str:
    return "from inside"


going_on: list[Call] = []


def fill(journal: Journal) -> None:
    """Make runs that finish, replay, fail, crash and leave doubt."""
    for number in range(2):
        attempt = journal.attempt(Beginning("name", "done", thread_id="t", agent="forecaster"))
        ask(attempt)
        use(attempt, "Oslo")
        end_attempt(
            attempt, "done" if number else "failed", None if number else "ValueError: malformed"
        )
    attempt = journal.attempt(Beginning("name", "failed", thread_id="t"))
    use(attempt, "Nowhere", LookupError("no such city"))
    end_attempt(attempt, "failed", "LookupError: no such city")
    attempt = journal.attempt(Beginning("name", "doubtful", thread_id="u"))
    use(attempt, "Bergen", KeyboardInterrupt())
    end_attempt(attempt, "cancelled")
    attempt = journal.attempt(Beginning("name", "running", thread_id="u"))
    going_on.append(begin_call(attempt.scope(""), request(attempt, "tool", {"city": "Rome"})))
    going_on[-1].made()
    converse(journal)
    graph = StateGraph(MessagesState)
    graph.add_node("talk", lambda state: {"messages": [("ai", "hello")]})
    graph.add_edge(START, "talk")
    graph.add_edge("talk", END)
    compiled: Any = graph.compile(checkpointer=RowtrailSaver(journal))
    compiled.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "g"}})


class Scripted(FakeMessagesListChatModel):
    """Answers from a list, whatever tools it is given."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


@tool
def delegate(what: str) -> str:
    """Let another agent do it."""
    answer = AIMessage("inner", tool_calls=[{"name": "look", "args": {}, "id": "call_in"}])
    inside: Any = create_agent(
        Scripted(responses=[answer, AIMessage("seen")]), [look], name="helper"
    )
    found = inside.invoke({"messages": [("user", what)]})["messages"][-1].content
    return f"{found}, {interrupt('Go on?')}"


@tool
def look() -> str:
    """Look."""
    return "a view"


def converse(journal: Journal) -> None:
    """Let an agent ask another agent and a person, and edit what was said."""
    call = {"name": "delegate", "args": {"what": "look"}, "id": "call_out"}
    answers: list[BaseMessage] = [AIMessage("", tool_calls=[call]), AIMessage("done")]
    agent: Any = create_agent(
        Scripted(responses=answers), [delegate], checkpointer=RowtrailSaver(journal), name="boss"
    )
    config = {"configurable": {"thread_id": "c"}}
    agent.invoke({"messages": [HumanMessage("go", id="m1"), HumanMessage("now", id="m2")]}, config)
    agent.invoke(Command(resume="yes"), config)
    changes = [HumanMessage("gone", id="m1"), RemoveMessage("m2")]
    agent.update_state(config, {"messages": changes})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    with Journal(tmp_path_factory.mktemp("views") / "agent.db") as journal:
        fill(journal)
        yield journal


@pytest.fixture
def shown(filled: Journal, rows: Rows) -> Rows:
    """Return a function that asks the open journal with the `sqlite3` shell."""
    return lambda query: rows(query, Path(filled.path))


@pytest.mark.parametrize(("view", "column"), COLUMNS, ids=[f"{v}.{c}" for v, c in COLUMNS])
def test_every_documented_column_is_there_and_filled(shown: Rows, view: str, column: str) -> None:
    found = shown(f"SELECT {column} FROM {view} WHERE {column} IS NOT NULL LIMIT 1")
    assert found, f"no row of {view} has a {column}"


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_nothing_that_only_python_can_read(shown: Rows, view: str) -> None:
    for row in shown(f"SELECT * FROM {view}"):
        for column, value in row.items():
            assert value is None or isinstance(value, (str, int, float)), column
            if isinstance(value, str) and column.endswith("_at"):
                assert MOMENT.fullmatch(value), column
    types = {
        value
        for column in re.split(r",\s*", VIEWS[view].strip())
        for row in shown(f"SELECT DISTINCT typeof({column}) FROM {view}")
        for value in row.values()
    }
    assert "blob" not in types


IDS = ["step_id", "run_id", "thread_id", "attempt_id", "parent_id", "tool_call_id", "checkpoint_id"]


@pytest.mark.parametrize(("view", "column"), [c for c in COLUMNS if c[1] in IDS])
def test_ids_are_text(shown: Rows, view: str, column: str) -> None:
    query = f"SELECT DISTINCT typeof({column}) AS t FROM {view} WHERE {column} IS NOT NULL"
    assert shown(query) == [{"t": "text"}]


def test_runs_show_what_became_of_them(shown: Rows) -> None:
    found = {row["run_id"]: row for row in shown("SELECT * FROM runs WHERE thread_id IN ('t','u')")}
    assert {run_id: row["status"] for run_id, row in found.items()} == {
        "done": "done",
        "failed": "failed",
        "doubtful": "cancelled",
        "running": "running",
    }
    done = found["done"]
    assert (done["agent"], done["attempts"], done["steps"]) == ("forecaster", 2, 3)
    assert (done["llm_calls"], done["tool_calls"], done["in_doubt"]) == (1, 1, 0)
    assert (done["input_tokens"], done["output_tokens"], done["saved_tokens"]) == (1000, 100, 1100)
    assert done["cost_usd"] == done["saved_usd"] > 0
    assert found["failed"]["error"] == "LookupError: no such city"
    assert found["failed"]["cost_usd"] is None
    assert found["doubtful"]["in_doubt"] == 1


def test_a_replay_is_a_row_with_what_it_saved(shown: Rows) -> None:
    found = shown("SELECT p.*, s.kind FROM replays p JOIN steps s USING (step_id) ORDER BY s.seq")
    assert [row["kind"] for row in found] == ["llm", "tool"]
    llm, tool = found
    assert (llm["saved_input_tokens"], llm["saved_output_tokens"]) == (1000, 100)
    assert llm["saved_usd"] > 0
    assert (tool["saved_input_tokens"], tool["saved_usd"]) == (None, None)
    (attempt,) = shown(f"SELECT n FROM attempts WHERE attempt_id = '{llm['attempt_id']}'")
    assert attempt["n"] == 2


def test_replaying_a_tool_saves_what_was_asked_inside_it(journal: Journal, rows: Rows) -> None:
    for _ in range(2):
        attempt = journal.attempt(Beginning("name", "r"))
        scope = attempt.scope("")
        call = begin_call(scope, request(attempt, "tool", {"team": 1}, name="team"))
        if not call.replayed:
            with call.running():
                inside = active_scope()
                assert inside is not None and inside.parent_row is not None
                asked = begin_call(
                    inside, request(attempt, "llm", {"prompt": 1}, model="gpt-4o-mini")
                )
                asked.complete("answer", usage=USAGE)
            call.complete("done")
        end_attempt(attempt, "done")
    assert rows("SELECT saved_input_tokens, saved_output_tokens FROM replays") == [
        {"saved_input_tokens": 1000, "saved_output_tokens": 100}
    ]
    assert rows("SELECT input_tokens, saved_tokens FROM runs") == [
        {"input_tokens": 1000, "saved_tokens": 1100}
    ]


def test_usage_counts_once(shown: Rows) -> None:
    (spend,) = shown("SELECT * FROM spend WHERE model = 'gpt-4o-mini'")
    assert (spend["calls"], spend["input_tokens"], spend["output_tokens"]) == (1, 1000, 100)
    assert spend["saved_tokens"] == 1100
    assert spend["cost_usd"] == pytest.approx(spend["saved_usd"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", spend["day"])


def test_an_llm_call_shows_its_prompt_and_its_answer(shown: Rows) -> None:
    (call,) = shown("SELECT * FROM llm_calls WHERE thread_id = 't'")
    assert json.loads(call["prompt_messages"])[:4] == PROMPT
    assert (call["answer"], call["finish_reason"]) == ("It rains.", "stop")
    assert json.loads(call["tool_calls"]) == [TOOL_CALL]
    assert (call["cache_read_tokens"], call["cache_write_tokens"]) == (500, 20)
    assert (call["reasoning_tokens"], call["tokens_source"]) == (30, "provider")
    (row,) = shown("SELECT input FROM steps WHERE kind = 'llm' AND thread_id = 't'")
    assert json.loads(row["input"])["parameters"] == {"temperature": 0, "text": ""}


def test_messages_are_rows_with_roles(shown: Rows) -> None:
    found = shown("SELECT * FROM messages WHERE thread_id = 't' ORDER BY position")
    assert [(row["direction"], row["role"]) for row in found] == [
        ("in", "system"),
        ("in", "user"),
        ("in", "assistant"),
        ("in", "tool"),
        ("in", "user"),
        ("out", "assistant"),
    ]
    assert [row["position"] for row in found] == list(range(6))
    assert (found[1]["name"], found[1]["content"]) == ("ada", "The weather?")
    assert found[3]["tool_call_id"] == "call_1"


def test_a_tool_call_shows_arguments_and_result(shown: Rows) -> None:
    done, failed, doubtful, running = shown(
        "SELECT * FROM tool_calls WHERE thread_id <> 'c' ORDER BY step_id + 0"
    )
    assert (done["args"], done["result"], done["replays"]) == ('{"city":"Oslo"}', "rain", 1)
    assert (failed["status"], failed["error"]) == ("failed", "LookupError: no such city")
    assert [row["status"] for row in (done, doubtful, running)] == ["done", "in_doubt", "running"]
    assert done["effect"] == "write"


def test_a_step_inside_another_names_its_parent(shown: Rows) -> None:
    found = shown(
        "SELECT s.name, p.name AS parent FROM steps s JOIN steps p ON p.step_id = s.parent_id "
        "WHERE s.thread_id <> 'c'"
    )
    assert found == [{"name": "inner", "parent": "weather"}] * 3


def test_threads_sum_up_their_runs(shown: Rows) -> None:
    (thread,) = shown("SELECT * FROM threads WHERE thread_id = 't'")
    assert (thread["runs"], thread["steps"]) == (2, 5)
    assert (thread["input_tokens"], thread["output_tokens"]) == (1000, 100)
    assert thread["first_at"] <= thread["last_at"]


def test_state_has_a_row_for_each_item_of_a_list(shown: Rows) -> None:
    found = shown(
        "SELECT channel, position, value, type FROM state WHERE thread_id = 'g' "
        "AND checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = 'g') "
        "ORDER BY position"
    )
    assert [(row["channel"], row["position"], row["type"]) for row in found] == [
        ("messages", 0, "HumanMessage"),
        ("messages", 1, "AIMessage"),
    ]
    assert [json.loads(row["value"])["content"] for row in found] == ["hi", "hello"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("plain text", "plain text"), ({"content": "as a message"}, "as a message"), (7, "7")],
)
def test_an_answer_without_a_framework_is_shown_too(
    journal: Journal, rows: Rows, answer: Any, expected: str
) -> None:
    @step(kind="llm", name="draft")
    def draft() -> Any:
        return answer

    with journal.run("r"):
        draft()
    assert rows("SELECT CAST(answer AS TEXT) AS answer FROM llm_calls") == [{"answer": expected}]
    assert rows("SELECT direction, role, CAST(content AS TEXT) AS content FROM messages") == [
        {"direction": "out", "role": "assistant", "content": expected}
    ]


def test_an_unknown_cost_is_not_nothing(journal: Journal, rows: Rows) -> None:
    attempt = journal.attempt(Beginning("name", "r"))
    ask(attempt, usage=Usage(10, 1, "estimate"))
    end_attempt(attempt, "done")
    assert rows("SELECT cost_usd FROM runs UNION ALL SELECT cost_usd FROM spend") == [
        {"cost_usd": None},
        {"cost_usd": None},
    ]
    assert rows("SELECT tokens_source FROM steps") == [{"tokens_source": "estimate"}]


def test_views_answer_while_a_transaction_is_open(journal: Journal, rows: Rows) -> None:
    begun, release = threading.Event(), threading.Event()

    def work(tx: Any) -> None:
        tx.run("meta_set", key="half", value="written")
        begun.set()
        release.wait(60)

    with journal.run("r"):
        inner()
    done = journal.store.submit(work)
    assert begun.wait(60)
    assert rows("SELECT name FROM steps") == [{"name": "inner"}]
    release.set()
    done.result(10)


def test_views_can_be_read_when_nobody_has_the_journal_open(db: Path, rows: Rows) -> None:
    with Journal(db) as journal, journal.run("r"):
        inner()
    assert rows("SELECT name, output FROM steps") == [{"name": "inner", "output": '"from inside"'}]
