"""A query that may see one thread, run or agent finds no other row, whatever it contains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph

import rowtrail
from rowtrail import Journal
from rowtrail.adapter import record_question, scope_here
from rowtrail.engine.reading import open_reader
from rowtrail.errors import QueryError, UnknownIdError, UsageError
from rowtrail.history import Only, query
from rowtrail.schema import PUBLIC_VIEWS
from rowtrail_langgraph import RowtrailSaver

MINE, OTHER, QUOTED = "thread-mine", "thread-other", 'it\'s "x" -- ; DROP\0'
USAGE: Any = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}


@tool
def look(word: str) -> str:
    """Look a word up."""
    return f"found {word}"


@rowtrail.step(kind="tool", name="note")
def note(text: str) -> str:
    return f"noted {text}"


def ask(question: str) -> None:
    scope = scope_here("ask")
    assert scope is not None
    record_question(scope, question)


def think(word: str) -> Any:
    answer = AIMessage(f"answer to {word}", usage_metadata=USAGE)
    return GenericFakeChatModel(messages=iter([answer])).invoke([HumanMessage(word)])


@rowtrail.step(name="outer")
def outer(text: str) -> str:
    return str(think(text).content)


def converse(saver: RowtrailSaver, thread_id: str, words: list[str]) -> None:
    """Run a graph once per word in a thread."""

    def node(state: MessagesState) -> dict[str, Any]:
        word = str(state["messages"][-1].content)
        look.invoke({"word": word})
        return {"messages": [think(word)]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    graph = builder.compile(checkpointer=saver)
    for word in words:
        graph.invoke({"messages": [HumanMessage(word)]}, {"configurable": {"thread_id": thread_id}})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    path = tmp_path_factory.mktemp("only") / "agent.db"
    with RowtrailSaver(str(path)) as saver:
        converse(saver, MINE, ["mine-1", "mine-2"])
        converse(saver, OTHER, ["SECRET-1", "SECRET-2"])
        journal = saver.journal
        for _ in range(2):  # the second time, all of it is replayed
            with journal.run("run-mine", thread_id=MINE, agent="clerk"):
                note("mine-3")
                outer("mine-4")
                ask("mine-6?")
            with journal.run("run-SECRET", thread_id=OTHER, agent="SECRET-agent"):
                note("SECRET-3")
                outer("SECRET-4")
                ask("SECRET-5?")
        with journal.run("run-same-agent", thread_id=QUOTED, agent="clerk"):
            note("mine-5")
        with journal.run("run-without-thread-SECRET"):
            note("SECRET-6")
        yield journal


def rows(journal: Journal, sql: str, **only: Any) -> list[tuple[Any, ...]]:
    return sorted(journal.sql(sql, limit=10_000, **only).rows, key=repr)


BY_STATE = ("threads", "state", "spend", "checkpoints", "conversation")
BY_RUN = [view for view in PUBLIC_VIEWS if view not in BY_STATE]


@pytest.mark.parametrize("view", BY_RUN)
def test_what_is_seen_of_each_view_is_what_belongs_there(filled: Journal, view: str) -> None:
    mine = "run_id IN (SELECT run_id FROM runs WHERE thread_id = 'thread-mine')"
    clerk = "run_id IN (SELECT run_id FROM runs WHERE agent = 'clerk')"
    every = f"SELECT * FROM {view}"

    assert rows(filled, every, thread_id=MINE) == rows(filled, f"{every} WHERE {mine}")
    assert rows(filled, every, agent="clerk") == rows(filled, f"{every} WHERE {clerk}")
    one = rows(filled, f"{every} WHERE run_id = 'run-mine'")
    assert one
    assert rows(filled, every, run_id="run-mine") == one
    assert rows(filled, every, run_id="run-mine", thread_id=MINE, agent="clerk") == one
    assert rows(filled, every, run_id="run-mine", thread_id=OTHER) == []


@pytest.mark.parametrize("view", ["threads", "state", "checkpoints", "conversation"])
def test_thread_sees_its_own_state_and_totals(filled: Journal, view: str) -> None:
    mine = rows(filled, f"SELECT * FROM {view} WHERE thread_id = '{MINE}'")
    every = rows(filled, f"SELECT * FROM {view}")

    assert 0 < len(mine) < len(every)
    assert rows(filled, f"SELECT * FROM {view}", thread_id=MINE) == mine


def test_totals_of_a_run_hold_nothing_of_other_runs(filled: Journal) -> None:
    ids = "SELECT run_id FROM runs WHERE thread_id = ? ORDER BY started_at LIMIT 1"
    first = filled.sql(ids, [MINE]).rows[0][0]

    assert rows(filled, "SELECT runs, steps, input_tokens FROM threads", run_id=first) == [
        (1, 2, 100)
    ]
    seen = rows(filled, "SELECT DISTINCT run_id FROM checkpoints", run_id=first)
    assert seen == [(first,)]
    for what in ("value FROM state WHERE channel = 'messages'", "content FROM conversation"):
        values = rows(filled, f"SELECT {what}", run_id=first)
        assert values and "mine-2" not in repr(values)


def test_spend_of_all_threads_is_the_spend_of_all(filled: Journal) -> None:
    whole = "SELECT sum(calls), sum(input_tokens), sum(output_tokens), sum(saved_tokens) FROM spend"
    parts = [rows(filled, whole, thread_id=thread)[0] for thread in (MINE, OTHER)]

    assert rows(filled, whole, thread_id=MINE) == [(3, 300, 30, 110)]
    assert tuple(map(sum, zip(*parts, strict=True))) == rows(filled, whole)[0]
    assert rows(filled, "SELECT day, model FROM spend", thread_id=MINE) == rows(
        filled, "SELECT day, model FROM spend"
    )


COUNTED = "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 500)"
PRYING = [
    *(f"SELECT * FROM {view}" for view in PUBLIC_VIEWS),
    *(f"SELECT * FROM {view} WHERE 1 OR thread_id = '{OTHER}'" for view in ("steps", "state")),
    f"SELECT * FROM steps WHERE thread_id = '{OTHER}'",
    "SELECT * FROM temp.steps",
    "WITH x AS (SELECT * FROM steps) SELECT * FROM x",
    "WITH x AS NOT MATERIALIZED (SELECT * FROM messages) SELECT * FROM x, x AS y",
    "SELECT * FROM runs AS a LEFT JOIN steps AS b ON 1",
    "SELECT * FROM steps AS a CROSS JOIN steps AS b ON a.step_id <> b.step_id",
    "SELECT (SELECT group_concat(input) FROM steps), (SELECT group_concat(content) FROM messages)",
    "SELECT * FROM (SELECT output FROM steps UNION ALL SELECT content FROM messages)",
    "SELECT * FROM runs WHERE run_id IN (SELECT run_id FROM steps) OR run_id LIKE '%SECRET%'",
    "SELECT * FROM runs WHERE EXISTS (SELECT 1 FROM tool_calls WHERE result LIKE '%SECRET%')",
    "SELECT value FROM messages, json_each(json_array(content, role))",
    "SELECT max(output), min(output), count(*) OVER () FROM steps GROUP BY run_id",
    "SELECT * FROM steps AS s WHERE s.step_id NOT IN (SELECT step_id FROM tool_calls)",
    f"{COUNTED} SELECT s.* FROM c JOIN steps s ON s.step_id = CAST(c.n AS TEXT)",
    "WITH runs AS (SELECT 1 AS run_id) SELECT s.* FROM steps s JOIN runs r ON 1",
    "SELECT * FROM checkpoints c JOIN state s ON s.checkpoint_id = c.parent_checkpoint_id OR 1",
    "SELECT * FROM threads UNION SELECT thread_id, 1, 2, 3, 4, 5, 6 FROM runs",
]


@pytest.mark.parametrize("only", [{"thread_id": MINE}, {"run_id": "run-mine"}, {"agent": "clerk"}])
@pytest.mark.parametrize("sql", PRYING, ids=lambda sql: sql[:60])
def test_no_query_sees_what_is_not_its_own(filled: Journal, sql: str, only: dict[str, str]) -> None:
    found = filled.sql(sql, limit=10_000, **only).rows  # type: ignore[arg-type]

    assert "SECRET" not in repr(found)
    assert OTHER not in repr(found)


@pytest.mark.parametrize("table", ["run", "step", "item", "checkpoint", "spend_day", "thread"])
@pytest.mark.parametrize("schema", ["", "main.", "temp.", "journal."])
def test_base_tables_stay_out_of_reach(filled: Journal, schema: str, table: str) -> None:
    for sql in (
        f"SELECT * FROM {schema}{table}",
        f"SELECT count(*) FROM {schema}{table}",
        f"WITH {table}_ AS (SELECT * FROM {schema}{table}) SELECT * FROM {table}_",
        f"WITH steps AS (SELECT * FROM {schema}{table}) SELECT * FROM steps",
    ):
        with pytest.raises(QueryError):
            filled.sql(sql, thread_id=MINE)


def test_ids_are_only_compared(filled: Journal) -> None:
    assert rows(filled, "SELECT name FROM steps", thread_id=QUOTED) == [("note",)]
    with pytest.raises(UnknownIdError, match="no thread"):
        filled.sql("SELECT 1", thread_id="x' OR '1' = '1")
    with pytest.raises(UnknownIdError, match="no run '\\\\ud800'"):
        filled.sql("SELECT 1", run_id="\ud800")
    with pytest.raises(UnknownIdError) as caught:
        filled.sql("SELECT 1", agent="nobody")
    assert (caught.value.kind, caught.value.value) == ("agent", "nobody")
    with pytest.raises(UsageError, match="thread_id=7 is no text"):
        filled.sql("SELECT 1", thread_id=7)  # type: ignore[arg-type]


def test_reader_is_asked_within_the_same_limits(filled: Journal) -> None:
    path = str(Path(filled.path))
    with open_reader(path) as reader:
        seen = query(reader, "SELECT DISTINCT thread_id FROM steps", only=Only(thread_id=MINE))

    assert seen.rows == [(MINE,)]


def test_journal_in_memory_is_asked_within_the_same_limits() -> None:
    with Journal(":memory:") as journal:
        for thread in (MINE, OTHER):
            with journal.run(f"run-{thread}", thread_id=thread):
                note(thread)

        assert rows(journal, "SELECT count(*), max(run_id) FROM steps", thread_id=MINE) == [
            (1, f"run-{MINE}")
        ]
