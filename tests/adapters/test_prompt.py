"""What a chat-model call costs in a long conversation, and what its fingerprint tells apart."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.graph import START, MessagesState, StateGraph

from rowtrail import Journal
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.capture import _prompt
from rowtrail_langgraph.capture._models import plain_codec
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._memo import Memo
from tests.adapters._savers import thread


def graph(saver: RowtrailSaver, *, mutates: bool = False) -> Any:
    answers = (AIMessage(f"answer {n}", id=f"a{n}") for n in itertools.count())
    model = GenericFakeChatModel(messages=answers)

    def agent(state: MessagesState) -> dict[str, Any]:
        messages: list[AnyMessage] = state["messages"]
        if mutates:
            messages[0].content = f"{messages[0].content}!"
        return {"messages": [model.invoke([SystemMessage("Be kind."), *messages])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_edge(START, "agent")
    return builder.compile(checkpointer=saver)


def test_a_call_in_a_long_conversation_costs_what_is_new(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"encode_value": 0, "canonical_message": 0}

    def count(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def counted(*args: Any) -> Any:
            calls[name] += 1
            return plain(*args)

        monkeypatch.setattr(owner, name, counted)

    count(GraphCodec, "encode_value")
    count(_prompt, "canonical_message")
    with RowtrailSaver(db, durability="normal") as saver:
        agent = graph(saver)
        costs: list[dict[str, int]] = []
        for turn in range(25):
            calls.update(encode_value=0, canonical_message=0)
            new = {"messages": [HumanMessage(f"hi {turn}", id=f"h{turn}")]}
            agent.invoke(new, thread(), durability="sync")
            costs.append(calls.copy())

        assert costs[-1] == costs[2]
        assert costs[-1]["canonical_message"] <= 3
        longest = saver.journal.sql("SELECT max(position) FROM messages WHERE direction = 'in'")
        assert longest.rows[0][0] == 2 * 24 + 1


def test_a_message_mutated_between_two_calls_is_asked_and_stored_as_it_is(db: Path) -> None:
    with RowtrailSaver(db, durability="normal") as saver:
        agent = graph(saver, mutates=True)
        for turn in range(4):
            agent.invoke({"messages": [HumanMessage(f"hi {turn}", id=f"h{turn}")]}, thread())

        asked = saver.journal.sql(
            "SELECT content FROM messages WHERE direction = 'in' AND position = 1 ORDER BY step_id"
        )
        assert [row[0] for row in asked.rows] == [f"hi 0{'!' * n}" for n in range(1, 5)]
        prints = saver.journal.sql("SELECT count(DISTINCT fingerprint) FROM steps")
        assert prints.rows[0][0] == 4


def talk(*ids: str, last: str = "thanks") -> list[BaseMessage]:
    """Return a conversation with a tool call for each id; the answers come in reverse."""
    calls = [{"name": "f", "args": {"n": n}, "id": each} for n, each in enumerate(ids)]
    answers = [ToolMessage("done", tool_call_id=each) for each in reversed(ids)]
    return [HumanMessage("go"), AIMessage("", tool_calls=calls), *answers, HumanMessage(last)]


class Prompts:
    """Prompts of one thread; without a memo none knows another."""

    def __init__(self, journal: Journal, memo: Memo | None) -> None:
        self._content = journal.recorder.content
        self._memo = memo

    def canonical(self, messages: list[BaseMessage]) -> str:
        return _prompt.prompt_of(
            messages,
            lambda message: self._content.prepare(plain_codec().encode_value(message)),
            memo=self._memo or Memo(),
            thread_id="t",
            owner="o",
        ).canonical


@pytest.mark.parametrize("remembers", [False, True])
def test_conversations_are_told_apart_by_all_but_made_up_ids(db: Path, remembers: bool) -> None:
    with Journal(db, durability="normal") as journal:
        prompts = Prompts(journal, Memo() if remembers else None)
        same = [talk("a", "b"), talk("x", "y"), talk("b", "a")]
        crossed = talk("a", "b")
        crossed[2:4] = crossed[3:1:-1]
        others = [
            crossed,
            talk("a"),
            talk("a", "b", last="no thanks"),
            talk("a", "b")[1:],
            [*talk("a", "b"), HumanMessage("go")],
            [AIMessage("go"), *talk("a", "b")[1:]],
            [HumanMessage("go", name="x"), *talk("a", "b")[1:]],
            [HumanMessage("go\0"), *talk("a", "b")[1:]],
        ]
        for _ in range(2):  # the second time they are known
            assert len({prompts.canonical(each) for each in same}) == 1
            assert len({prompts.canonical(each) for each in [same[0], *others]}) == 9


def test_a_memo_changes_no_fingerprint(db: Path) -> None:
    with Journal(db, durability="normal") as journal:
        remembering, plain = Prompts(journal, Memo()), Prompts(journal, None)
        messages = talk("a", "b", "c")
        for number in range(12):
            target = messages[number % len(messages)]
            if number % 3 == 0:
                messages.append(HumanMessage(f"more {number}"))
            elif number % 3 == 1:
                target.content = f"changed {number}"
            else:
                messages = [*messages[1:], messages[0]]
            assert remembering.canonical(messages) == plain.canonical(copy.deepcopy(messages))


def test_outside_graphs_a_message_that_was_changed_in_place_is_another(db: Path) -> None:
    model = GenericFakeChatModel(messages=itertools.repeat(AIMessage("yes")))
    said = HumanMessage("hi")
    with Journal(db, durability="normal") as journal:
        RowtrailSaver(journal)
        with journal.run("r"):
            for content in ("hi", "hi", "bye"):
                said.content = content
                model.invoke([SystemMessage("be kind"), said])
        prints = journal.sql("SELECT fingerprint FROM steps ORDER BY seq").rows
        shown = journal.sql("SELECT content FROM messages WHERE role = 'user' ORDER BY step_id")
    assert prints[0] == prints[1] != prints[2]
    assert [row[0] for row in shown.rows] == ["hi", "hi", "bye"]
