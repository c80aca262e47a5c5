"""`rowtrail resume RUN -- PROGRAM` with a graph: the thread comes from the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rowtrail import Journal

PROGRAM = """
import os, signal, uuid
from langgraph.graph import END, START, MessagesState, StateGraph
import rowtrail
from rowtrail_langgraph import RowtrailSaver

@rowtrail.step(kind="llm")
def think(what):
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(what + "\\n")
    return what

def node(state):
    first = think("one")
    if "ROWTRAIL_THREAD" not in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"messages": [("ai", first + think("two"))]}

builder = StateGraph(MessagesState)
builder.add_node("node", node)
builder.add_edge(START, "node")
builder.add_edge("node", END)
with RowtrailSaver() as saver:
    graph = builder.compile(checkpointer=saver)
    thread_id = os.environ.get("ROWTRAIL_THREAD") or uuid.uuid4().hex
    config = {"configurable": {"thread_id": thread_id}}
    print(graph.invoke({"messages": [("user", "hello")]}, config)["messages"][-1].content)
"""


def test_a_killed_graph_is_continued_on_its_thread(db: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    environment = {**os.environ, "ROWTRAIL_DB": str(db), "LEDGER": str(ledger)}
    program = [sys.executable, "-c", PROGRAM]

    killed = subprocess.run(program, env=environment, check=False, timeout=60)
    resumed = subprocess.run(
        [sys.executable, "-m", "rowtrail", "resume", "@last", "--", *program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert killed.returncode < 0
    assert resumed.stdout.strip() == "onetwo"
    assert ledger.read_text().split() == ["one", "two"]
    with Journal(db) as journal:
        (run,) = journal.runs()
    assert (run["status"], run["attempts"]) == ("done", 2)
