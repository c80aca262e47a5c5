"""Searching what a graph said: prompts that grow, tool messages, content of several kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from rowtrail import Journal
from rowtrail_langgraph import RowtrailSaver

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 300


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"hailstorm in {city}"


@pytest.fixture
def saver(db: Path) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(str(db)) as opened:
        yield opened


class ByLetters(Embeddings):
    """Finds alike what has the same letters."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]


def converse(saver: RowtrailSaver, thread: str, *said: BaseMessage) -> None:
    """Let a model answer each message; an answer that calls a tool has it run."""

    def answers() -> Iterator[AIMessage]:
        for number, _ in enumerate(said):
            yield AIMessage(f"answer number{number} of {thread}")

    model = GenericFakeChatModel(messages=answers())

    def agent(state: Any) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_edge(START, "agent")
    graph = builder.compile(checkpointer=saver)
    for message in said:
        graph.invoke({"messages": [message]}, {"configurable": {"thread_id": thread}})


def texts(journal: Journal, text: str, **filters: Any) -> list[tuple[str, str]]:
    answer = journal.search(text, mode="keyword", **filters)
    plain = str.maketrans("", "", "[]")
    return [(row["where"], row["snippet"].translate(plain)) for row in answer]


def count(journal: Journal, table: str) -> int:
    index = apsw.Connection(f"{journal.path}-search")
    rows = index.execute(f"SELECT count(*) FROM {table}").fetchall()
    index.close()
    return int(str(rows[0][0]))


def test_a_message_in_many_prompts_is_one_text_found_in_each_run(saver: RowtrailSaver) -> None:
    turns = 30
    converse(saver, "t", *(HumanMessage(f"question number{i}") for i in range(turns)))
    journal = saver.journal
    first, *_, last = [row["run_id"] for row in reversed(journal.runs())]

    assert texts(journal, '"question number3"') == [("message", "question number3")]
    assert [row["run_id"] for row in journal.search('"question number0"')] == [first]
    assert [row["run_id"] for row in journal.search('"question number0"', run_id=last)] == [last]
    assert texts(journal, f'"question number{turns - 1}"', run_id=first) == []
    assert texts(journal, '"answer number7"') == [("message", "answer number7 of t")]
    # Not turns squared: a prompt costs what is new in it, once for its thread and once for its run.
    assert count(journal, "log_doc") <= 2 * turns
    assert count(journal, "span") <= 2 * turns


def test_a_thread_that_the_saver_deletes_is_forgotten(saver: RowtrailSaver) -> None:
    converse(saver, "north", HumanMessage("shared words"), HumanMessage("alpha"))
    converse(saver, "south", HumanMessage("shared words"), HumanMessage("beta"))
    assert len(texts(saver.journal, "alpha")) == len(texts(saver.journal, "beta")) == 1

    saver.delete_thread("north")

    assert texts(saver.journal, "alpha") == []
    assert texts(saver.journal, "shared") == [("message", "shared words")]
    assert texts(saver.journal, '"of north"') == []
    assert count(saver.journal, "run") == 2


def test_a_thread_without_checkpoints_is_forgotten_too(saver: RowtrailSaver) -> None:
    converse(saver, "north", HumanMessage("alpha"))
    saver.journal.prune(thread_ids=["north"], keep_journal=True)
    assert len(texts(saver.journal, "alpha")) == 1

    saver.delete_thread("north")

    assert texts(saver.journal, "alpha") == []
    assert count(saver.journal, "run") == 0


def test_tool_calls_are_found_by_arguments_and_results(saver: RowtrailSaver) -> None:
    builder: Any = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([weather]))
    builder.add_edge(START, "tools")
    graph = builder.compile(checkpointer=saver)
    call = {"name": "weather", "args": {"city": "Kiruna"}, "id": "c1"}
    config: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"messages": [AIMessage("", tool_calls=[call])]}, config)

    assert ("arguments", "city: Kiruna") in texts(saver.journal, "kiruna")
    assert texts(saver.journal, "hailstorm", kind="tool") == [("result", "hailstorm in Kiruna")]


def test_content_in_blocks_is_found_and_pictures_are_not(saver: RowtrailSaver) -> None:
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}
    said = HumanMessage(content=[{"type": "text", "text": "what is in this picture"}, picture])
    converse(saver, "t", said)

    assert texts(saver.journal, "picture") == [("message", "what is in this picture")]
    assert texts(saver.journal, "iVBORw0KGgo base64 image_url") == []


def test_the_saver_hands_an_embedder_of_langchain_to_its_journal(db: Path) -> None:
    with RowtrailSaver(str(db), embedder=ByLetters()) as saver:
        converse(saver, "t", HumanMessage("hello"))

        answer = saver.journal.search("hello", mode="semantic", limit=1)

    (row,) = answer
    assert row["snippet"] == "hello"
    assert row["score"] > 0.99  # the same text has the same vector
