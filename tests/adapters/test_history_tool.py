"""An agent asks its own history: what it is told, what it cannot see, what is kept of it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode

from rowtrail import Journal, step
from rowtrail.errors import UsageError
from rowtrail.testing import Reply
from rowtrail.usage import count_tokens
from rowtrail_langgraph import JournalMiddleware, RowtrailSaver, history_tool
from tests.adapters._graphs import (
    MODES,
    Bench,
    Fuse,
    Killed,
    Mode,
    asks_for,
    look_up,
    one_node,
    run,
    scripted,
    thread,
    told,
)

SECRET = "SECRET"


def asking(saver: Any, tools: list[BaseTool]) -> Any:
    """Return a graph whose one node calls the tools that its input asks for."""
    return one_node(saver, ToolNode(tools))


async def answers(
    mode: Mode, graph: Any, thread_id: str, *calls: tuple[str, dict[str, Any]]
) -> list[str]:
    """Return what the tools answered in a new run of a thread."""
    state = await run(mode, graph, {"messages": [asks_for(*calls)]}, thread(thread_id))
    return told(state)[-len(calls) :]


def question(sql: str, **params: Any) -> tuple[str, dict[str, Any]]:
    return "query_history", {"query": sql, **({"params": params} if params else {})}


async def record(mode: Mode, bench: Bench, saver: RowtrailSaver) -> None:
    """Record a word in each of two threads, and a run without one."""
    graph = asking(saver, [look_up(bench.ledger)])
    await answers(mode, graph, "mine", ("look", {"word": "apple"}))
    await answers(mode, graph, "other", ("look", {"word": SECRET}))
    with saver.journal.run(f"run-{SECRET}"):
        look_up(bench.ledger).invoke({"word": SECRET})


@pytest.mark.parametrize("mode", MODES)
async def test_agent_asks_what_it_did_and_the_question_is_recorded(
    bench: Bench, mode: Mode
) -> None:
    sql = "SELECT name, args, result FROM tool_calls WHERE status = 'done' ORDER BY started_at"
    bench.respond = scripted(
        {
            "what is an apple?": Reply(tool_calls=[("look", {"word": "apple"})]),
            "apple is a word": Reply(tool_calls=[question(sql)]),
        }
    )
    saver = bench.saver()
    tools = [look_up(bench.ledger), *history_tool(saver)]
    agent: Any = create_agent(bench.model(), tools, checkpointer=saver)

    state = await run(mode, agent, {"messages": [HumanMessage("what is an apple?")]}, thread())

    expected = 'name | args | result\nlook | {"word":"apple"} | apple is a word'
    assert told(state) == ["apple is a word", expected]
    (row,) = bench.steps("kind, status, effect, output", "name = 'query_history'")
    assert (row["kind"], row["status"], row["effect"]) == ("tool", "done", "read")
    assert "apple is a word" in row["output"]
    described = next(
        found["function"]["description"]
        for found in bench.server.requests[0]["tools"]
        if found["function"]["name"] == "query_history"
    )
    assert "tool_calls: step_id run_id" in described and "@failures" in described


@pytest.mark.parametrize("mode", MODES)
async def test_question_is_replayed_when_the_agent_is_resumed(bench: Bench, mode: Mode) -> None:
    fuse = Fuse()
    saver = bench.saver()

    @tool
    def crash() -> str:
        """Die once."""
        fuse()
        return "lived"

    tools = [*history_tool(saver), crash]

    def node(state: Any) -> Any:
        asked = asks_for(question("SELECT count(*) AS n FROM steps"), ("crash", {}))
        return {
            "messages": [
                {query.name: query for query in tools}[call["name"]].invoke(call)
                for call in asked.tool_calls
            ]
        }

    graph = one_node(saver, node)
    with pytest.raises(Killed):
        await run("sync", graph, {"messages": ["go"]}, thread())
    state = await run("sync", graph, None, thread())

    assert told(state) == ["n\n1", "lived"]
    assert bench.replays == 1


PRYING = [
    "SELECT * FROM steps",
    "SELECT * FROM messages",
    "SELECT * FROM tool_calls WHERE thread_id = 'other' OR 1",
    "SELECT result FROM (SELECT * FROM tool_calls UNION ALL SELECT * FROM tool_calls)",
    "SELECT value FROM state WHERE thread_id = 'other'",
    "SELECT metadata FROM checkpoints",
    "SELECT * FROM threads",
    "SELECT * FROM runs AS a LEFT JOIN steps AS b ON 1 = 1",
    "WITH x AS (SELECT * FROM steps) SELECT * FROM x",
    "SELECT * FROM item",
    "SELECT * FROM temp.steps",
    "@tried",
    "@timeline",
    "@state",
    "@repeats",
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scope", ["thread", "run"])
async def test_no_question_reads_another_thread(bench: Bench, mode: Mode, scope: Any) -> None:
    saver = bench.saver()
    await record(mode, bench, saver)
    graph = asking(saver, history_tool(saver, scope=scope, max_tokens=100_000))
    asked = [*map(question, PRYING), question("@state", thread="other")]

    found = await answers(mode, graph, "mine", *asked, ("search_history", {"text": SECRET.lower()}))

    assert SECRET not in "".join(found)
    # the steps of an earlier run are the thread's; the messages in its state are also this run's
    assert ("apple is a word" in found[0]) == (scope == "thread")


@pytest.mark.parametrize("mode", MODES)
async def test_everything_is_seen_only_on_request(bench: Bench, mode: Mode) -> None:
    saver = bench.saver()
    await record(mode, bench, saver)
    graph = asking(saver, history_tool(saver.journal, scope="all"))

    found = await answers(
        mode,
        graph,
        "mine",
        question("SELECT count(*) FROM tool_calls WHERE name = 'look'"),
        ("search_history", {"text": SECRET, "kind": "tool"}),
    )

    assert found[0].endswith("\n3")
    assert f"run-{SECRET}" in found[1] or "other" in found[1]


@pytest.mark.parametrize("mode", MODES)
async def test_search_finds_what_was_said_in_the_thread(bench: Bench, mode: Mode) -> None:
    saver = bench.saver()
    await record(mode, bench, saver)
    graph = asking(saver, history_tool(saver))

    found = await answers(
        mode,
        graph,
        "mine",
        ("search_history", {"text": "apple", "kind": "tool", "limit": 3}),
        ("search_history", {"text": "nothing like it"}),
        ("search_history", {"text": "apple", "since": "yesterday"}),
        ("search_history", {"text": "apple", "limit": 1000}),
    )

    assert "[apple]" in found[0] and "look" in found[0]
    assert "_history" not in found[0]  # the questions do not find each other
    assert "(no rows)" in found[1]
    assert "'yesterday' is not a time" in found[2]
    assert "less than or equal to 50" in found[3]


@pytest.mark.parametrize("asked_before", [1, 40])
async def test_what_was_said_is_not_hidden_by_messages_that_ask_for_it(
    bench: Bench, asked_before: int
) -> None:
    saver = bench.saver()
    search = history_tool(saver.journal, scope="all")[1]

    @step(name="model", kind="llm")
    def ask_model(number: int) -> AIMessage:
        if not number:
            return AIMessage("On Monday the grocer raised what he takes for an apple, I was told.")
        call = {"name": "search_history", "args": {"text": f"apple {number}"}, "id": str(number)}
        return AIMessage("Let me look." if number % 2 else "", tool_calls=[cast("Any", call)])

    with saver.journal.run("questions"):
        for number in range(asked_before + 1):
            ask_model(number)
    found = search.invoke({"text": "apple", "kind": "llm", "limit": 1})

    assert "an [apple], I was told" in found
    assert "_history" not in found and "Let me" not in found


@pytest.mark.parametrize("max_tokens", [20, 60, 200])
async def test_answers_and_errors_fit_the_budget(bench: Bench, max_tokens: int) -> None:
    saver = bench.saver()
    await record("sync", bench, saver)
    graph = asking(saver, history_tool(saver, scope="all", max_tokens=max_tokens))
    asked = [
        question("SELECT * FROM steps"),
        question("SELECT seq, name, printf('%.*c', 5000, 'word ') FROM steps"),
        question("SELECT tokens FROM steps"),
        question("SELECT * FROM nothing"),
        question("DELETE FROM steps"),
        ("search_history", {"text": SECRET}),
    ]

    for text in await answers("sync", graph, "mine", *asked):
        assert 0 < count_tokens(text, None)[0] <= max_tokens


async def test_wrong_question_is_answered_with_what_is_near(bench: Bench) -> None:
    saver = bench.saver()
    graph = asking(saver, history_tool(saver))

    column, view, name = await answers(
        "sync",
        graph,
        "mine",
        question("SELECT tokens FROM steps"),
        question("SELECT * FROM toolcalls"),
        question("@failure"),
    )

    assert "did you mean 'input_tokens'?" in column
    assert "did you mean 'tool_calls'?" in view
    assert "did you mean '@failures'?" in name
    assert [row["status"] for row in bench.steps("status")] == ["failed"] * 3


async def test_model_cannot_widen_the_scope_by_its_arguments(bench: Bench) -> None:
    saver = bench.saver()
    await record("sync", bench, saver)
    graph = asking(saver, history_tool(saver))
    more = {
        "thread_id": "other",
        "scope": "all",
        "config": {"configurable": {"thread_id": "other"}},
    }

    (found,) = await answers(
        "sync", graph, "mine", ("query_history", {"query": "SELECT * FROM tool_calls", **more})
    )

    assert "apple" in found and SECRET not in found.replace('"other"', "")
    assert set(history_tool(saver)[0].args) == {"query", "params"}


async def test_run_without_a_thread_sees_itself(journal: Journal, bench: Bench) -> None:
    query, search = history_tool(journal)
    with journal.run("before"):
        look_up(bench.ledger).invoke({"word": SECRET})

    with journal.run("now"):
        look_up(bench.ledger).invoke({"word": "apple"})
        found = query.invoke({"query": "SELECT run_id, name FROM steps ORDER BY seq"})
        assert SECRET not in search.invoke({"text": SECRET})

    assert found.splitlines()[1:] == ["now | look", "now | query_history"]


@pytest.mark.parametrize("mode", MODES)
async def test_agent_without_hooks_is_kept_to_its_thread(bench: Bench, mode: Mode) -> None:
    with Journal(bench.path) as journal:
        saver = RowtrailSaver(journal)
        await record(mode, bench, saver)
        bench.respond = scripted(
            {"ask": Reply(tool_calls=[question("SELECT name, args FROM tool_calls")])}
        )
        agent: Any = create_agent(
            bench.model(),
            history_tool(journal),
            checkpointer=InMemorySaver(),
            middleware=[JournalMiddleware(journal)],
        )
        state = await run(mode, agent, {"messages": [HumanMessage("ask")]}, thread("mine"))

    (found,) = told(state)
    assert "apple" in found and SECRET not in found
    assert "query_history" in [row["name"] for row in bench.steps("name")]


def test_question_outside_a_conversation_is_a_wrong_use(journal: Journal) -> None:
    for scope in ("thread", "run"):
        query, search = history_tool(journal, scope=scope)
        with pytest.raises(UsageError, match="is running"):
            query.invoke({"query": "SELECT 1"})
        with pytest.raises(UsageError, match="is running"):
            search.invoke({"text": "a"})
    assert history_tool(journal, scope="all")[0].invoke({"query": "SELECT 1 AS n"}) == "n\n1"


async def test_thread_of_another_journal_is_not_taken_for_one_of_this(
    bench: Bench, journal: Journal
) -> None:
    graph = asking(bench.saver(path=bench.path.with_name("second.db")), history_tool(journal))

    assert await answers("sync", graph, "mine", question("SELECT * FROM runs")) == [
        "Nothing was recorded here yet."
    ]


def test_options_without_a_meaning_are_refused(journal: Journal) -> None:
    with pytest.raises(UsageError, match="scope='mine' is unknown"):
        history_tool(journal, scope="mine")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="max_tokens=0"):
        history_tool(journal, max_tokens=0)
