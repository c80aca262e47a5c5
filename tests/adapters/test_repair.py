"""Threads of LangGraph in a damaged journal: repaired, resumed, and never from half a state."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from rowtrail.testing import LLMServer, Reply
from rowtrail.verify import repair, verify
from rowtrail_langgraph import RowtrailSaver
from tests.adapters.test_retention import config, graph, texts

TURNS = 6

AGENT = """
import os, signal, sys
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from rowtrail_langgraph import RowtrailSaver
DB, LEDGER, URL, WORD = sys.argv[1:]

@tool
def send(to: str) -> str:
    "Send."
    with open(LEDGER, "a") as file:
        file.write(to + "\\n")
    return "sent to " + to

model = ChatOpenAI(model="m", base_url=URL, api_key="k", max_retries=0)

def plan(state):
    return {"messages": [model.invoke(state["messages"])]}

def act(state):
    first = send.invoke({"to": "ann"})
    second = model.invoke([HumanMessage("did " + first)])
    if WORD == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"messages": [second]}

builder = StateGraph(MessagesState)
builder.add_node("plan", plan)
builder.add_node("act", act)
builder.add_edge(START, "plan")
builder.add_edge("plan", "act")
builder.add_edge("act", END)
with RowtrailSaver(DB, effects={"send": "write"}) as saver:
    graph = builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "t"}}
    given = None if WORD == "resume" else {"messages": [HumanMessage("go")]}
    try:
        result = graph.invoke(given, config)
        print([m.content for m in result["messages"]])
    except Exception as error:
        print(type(error).__name__)
"""


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(query).fetchall()
        connection.commit()
    return found


@pytest.fixture
def talked(tmp_path: Path) -> Path:
    """Return the journal of a thread of some turns."""
    path = tmp_path / "agent.db"
    with RowtrailSaver(path) as saver:
        for turn in range(TURNS):
            graph(saver).invoke({"messages": [HumanMessage(f"{turn}")]}, config("t"))
    return path


def states(path: Path) -> list[list[str]]:
    """Give the messages of each checkpoint that can be read, the newest first."""
    with RowtrailSaver(path) as saver:
        return [
            [message.content for message in found.values.get("messages", [])]
            for found in graph(saver).get_state_history(config("t"))
        ]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM item WHERE id = (SELECT max(item) FROM log_item)",
        "UPDATE item SET text = replace(text, 'answer', 'answes') WHERE text LIKE '%answer to 5%'",
        "UPDATE list SET pieces = 'x' WHERE id = (SELECT max(id) FROM list)",
        "UPDATE list SET length = 99 WHERE id = (SELECT max(id) FROM list)",
        "DELETE FROM list WHERE id > 4",
        "UPDATE checkpoint SET body = x'7a00' WHERE id = (SELECT max(id) FROM checkpoint)",
        "UPDATE checkpoint SET metadata = '[' WHERE id = (SELECT max(id) FROM checkpoint)",
        "DELETE FROM label WHERE id = 2",
        "DELETE FROM log",
    ],
)
def test_every_state_that_is_left_is_one_that_was(talked: Path, damage: str) -> None:
    before = states(talked)
    assert verify(str(talked)).ok
    rows(talked, damage)
    assert not verify(str(talked)).ok
    fixed = talked.with_name("fixed.db")
    built = repair(str(talked), str(fixed))
    assert built.loss_count
    after = states(fixed)
    assert all(state in before for state in after)
    with RowtrailSaver(fixed) as saver:  # the thread goes on from there
        graph(saver).invoke(None, config("t"))
        known = texts(saver, "t")
        assert known in before
        graph(saver).invoke({"messages": [HumanMessage("more")]}, config("t"))
        assert texts(saver, "t") == [*known, "more", "answer to more"]


def test_the_report_names_the_thread_and_the_checkpoint(talked: Path) -> None:
    rows(talked, "UPDATE list SET pieces = 'x' WHERE id = (SELECT max(id) FROM list)")
    [fault] = verify(str(talked)).faults
    assert fault.check == "list"
    assert any("of thread 't'" in affected for affected in fault.affects)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("old", "new", "calls", "sent"),
    [
        (b"", b"", 0, 1),  # whole: both calls of the node are replayed
        (b"second answer", b"second answes", 1, 1),  # asked again
        (b"sent to ann", b"sent to amy", 0, 1),  # in doubt: nobody makes it again
    ],
    ids=["whole", "answer", "result"],
)
def test_a_killed_agent_is_resumed_from_a_repaired_journal(
    tmp_path: Path, old: bytes, new: bytes, calls: int, sent: int
) -> None:
    db, ledger = tmp_path / "agent.db", tmp_path / "ledger"

    def respond(request: dict[str, Any]) -> Reply:
        last = str(request["messages"][-1]["content"])
        return Reply("second answer" if last.startswith("did") else "first answer")

    with LLMServer(respond) as server:

        def run(path: Path, word: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-c", AGENT, str(path), str(ledger), server.base_url, word],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        assert run(db, "die").returncode == -signal.SIGKILL
        assert len(server.requests) == 2
        rows(db, "SELECT 1 FROM meta")
        broken, fixed = Path(shutil.copy(db, tmp_path / "broken.db")), tmp_path / "fixed.db"
        if old:
            content = broken.read_bytes()
            assert old in content
            broken.write_bytes(content.replace(old, new))
            assert not verify(str(broken)).ok
        repair(str(broken), str(fixed))
        done = run(fixed, "resume")
        assert done.returncode == 0, done.stderr
        assert len(server.requests) == 2 + calls
        right = "['go', 'first answer', 'second answer']\n"
        assert done.stdout == (right if old != b"sent to ann" else "InDoubtError\n")
        assert ledger.read_text().splitlines() == ["ann"] * sent
