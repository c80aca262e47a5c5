"""Text that no database holds: no view fails for it, and every value comes back as it was."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import interrupt
from typing_extensions import TypedDict

from rowtrail import step
from rowtrail_langgraph import RowtrailSaver

TEXTS = {
    "NUL": "before\0after",
    "high half": "a\ud800b",
    "low half": "\udc9f",
    "halves apart": "\udc9f and \ud83d",
    "halves together": "\ud83d" + "\ude00",
    "with a whole character": "\U0001f600 \udc9f",
    "an escape that is text": r"C:\u0000\ud800\data",
    "an escape after a half": "\ud800" + r"\ud800",
    "controls": "".join(map(chr, range(32))) + "\x7f",
    "not a character": "\uffff\ufdd0",
}
VIEWS = (
    "threads",
    "runs",
    "steps",
    "llm_calls",
    "tool_calls",
    "messages",
    "conversation",
    "questions",
    "state",
    "checkpoints",
)


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    note: Any


@tool
def echo(text: str) -> str:
    """Return a text."""
    return text


@tool
def fail(text: str) -> str:
    """Raise a text."""
    raise ValueError(text)


@step
def told(text: str) -> dict[str, Any]:
    return {"said": text, text: [text]}


def agent(saver: RowtrailSaver, hostile: str, made: list[str]) -> Any:
    model = GenericFakeChatModel(messages=iter([AIMessage(hostile, id="answer")] * 9))

    def work(state: State) -> dict[str, Any]:
        made.append("work")
        answer = model.invoke(state["messages"])
        echoed = echo.invoke({"text": hostile})
        with pytest.raises(ValueError, match=r"."):
            fail.invoke({"text": hostile})
        assert told(hostile) == {"said": hostile, hostile: [hostile]}
        result = ToolMessage(echoed, tool_call_id="c", name="echo", id="result")
        return {"messages": [answer, result], "note": {"said": [hostile], hostile: (hostile, 1)}}

    def ask(state: State) -> None:
        interrupt({"question": hostile})

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("ask", ask)
    builder.add_edge(START, "work")
    builder.add_edge("work", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("hostile", TEXTS.values(), ids=TEXTS)
def test_every_view_is_read_by_plain_sqlite_and_every_value_comes_back(
    tmp_path: Path, hostile: str
) -> None:
    config = {"configurable": {"thread_id": "t"}}
    made: list[str] = []
    path = tmp_path / "agent.db"
    asked = {"messages": [HumanMessage(hostile, id="asked")]}
    with RowtrailSaver(str(path), effects={"echo": "read", "fail": "read"}) as saver:
        graph = agent(saver, hostile, made)
        graph.invoke(asked, config)
    with RowtrailSaver(str(path)) as saver:
        values = agent(saver, hostile, made).get_state(config).values
        assert [message.content for message in values["messages"]] == [hostile] * 3
        assert values["note"] == {"said": [hostile], hostile: (hostile, 1)}
        assert saver.journal.verify().faults == ()
        rows = saver.journal.sql("SELECT content FROM messages").rows
    assert made == ["work"]
    assert len({content for (content,) in rows}) == 1
    with closing(sqlite3.connect(path)) as plain:
        for view in VIEWS:
            for row in plain.execute(f"SELECT * FROM {view}").fetchall():
                assert not any(isinstance(value, bytes) for value in row)
                assert not any("\0" in value for value in row if isinstance(value, str))
        for (text,) in plain.execute("SELECT output FROM steps WHERE output IS NOT NULL"):
            shown = json.dumps(json.loads(text), ensure_ascii=False)
            assert shown.encode()  # no half of a pair is in it
            assert plain.execute("SELECT json_extract(?, '$')", (text,)).fetchone() is not None


@pytest.mark.parametrize("hostile", TEXTS.values(), ids=TEXTS)
def test_what_is_replayed_is_what_was_recorded(tmp_path: Path, hostile: str) -> None:
    made: list[str] = []

    @step
    def say(text: str) -> Any:
        made.append(text)
        if len(made) == 1:
            return {"text": text, text: [text]}
        raise AssertionError("made again")

    with RowtrailSaver(str(tmp_path / "agent.db")) as saver:
        for _ in range(2):
            with saver.journal.run("r"):
                assert say(hostile) == {"text": hostile, hostile: [hostile]}
    assert made == [hostile]
