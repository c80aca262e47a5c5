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
    first = think(f"one:{len(state['messages'])}")
    if thread is None:
        os.kill(os.getpid(), signal.SIGKILL)
    second = think("two")
    if "FAIL" in os.environ:
        raise ValueError("not yet")
    return {"messages": [("ai", first + second)]}

builder = StateGraph(MessagesState)
builder.add_node("node", node)
builder.add_edge(START, "node")
builder.add_edge("node", END)
thread = os.environ.get("ROWTRAIL_THREAD")
with RowtrailSaver() as saver:
    graph = builder.compile(checkpointer=saver)
    question = None if thread else {"messages": [("user", "hello")]}
    config = {"configurable": {"thread_id": thread or uuid.uuid4().hex}}
    print(graph.invoke(question, config)["messages"][-1].content)
"""


def test_a_graph_that_was_killed_and_then_failed_is_continued_on_its_thread(
    db: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    environment = {**os.environ, "ROWTRAIL_DB": str(db), "LEDGER": str(ledger)}
    program = [sys.executable, "-c", PROGRAM]

    def resume(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rowtrail", "resume", "@last", "--", *program],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    killed = subprocess.run(program, env=environment, check=False, timeout=60)
    failed = resume(FAIL="1")
    resumed = resume()

    assert killed.returncode < 0
    assert (failed.returncode, "not yet" in failed.stderr) == (1, True)
    assert (resumed.returncode, resumed.stdout.strip()) == (0, "one:1two"), resumed.stderr
    # "two" is the answer on which the code failed: it is asked again
    assert ledger.read_text().split() == ["one:1", "two", "two"]
    with Journal(db) as journal:
        (run,) = journal.runs()
    assert (run["status"], run["attempts"]) == ("done", 3)
