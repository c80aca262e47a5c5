"""A plain client inside a graph: its calls belong to the node, as those of LangChain's do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from openai import OpenAI

from rowtrail.testing import LLMServer, Reply
from rowtrail_clients import recorded
from rowtrail_langgraph import RowtrailSaver


def test_a_node_that_fails_after_a_call_is_given_its_answer_again(db: Path) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    answers = iter(["An outline.", "A report."])
    with LLMServer(lambda request: Reply(next(answers))) as server, RowtrailSaver(db) as saver:
        client = recorded(OpenAI(base_url=server.base_url, api_key="none"), saver.journal)
        crashes = [KeyboardInterrupt]

        def write(state: MessagesState) -> dict[str, Any]:
            said: list[Any] = [{"role": "user", "content": "Write."}]
            for _ in range(2):
                answer = client.chat.completions.create(model="gpt-4o-mini", messages=said)
                said.append({"role": "assistant", "content": answer.choices[0].message.content})
                if crashes:
                    raise crashes.pop()
            return {"messages": said[1:]}

        builder = StateGraph(MessagesState)
        builder.add_node(write)
        builder.add_edge(START, "write")
        graph: Any = builder.compile(checkpointer=saver)
        with pytest.raises(KeyboardInterrupt):
            graph.invoke({"messages": [("user", "Go.")]}, config)
        state = graph.invoke(None, config)
        rows = saver.journal.sql("SELECT node, status, replays FROM steps").rows

    assert [each.content for each in state["messages"]] == ["Go.", "An outline.", "A report."]
    assert server.calls == 2
    assert rows == [("write", "done", 1), ("write", "done", 0)]
