"""Files of LangGraph's SQLite savers, new and old, and the graphs that wrote them."""

from __future__ import annotations

import gzip
import operator
import shutil
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any, Literal

from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Send

Mode = Literal["sync", "async"]
Log = list[str]

MODES: tuple[Mode, ...] = ("sync", "async")
DATA = Path(__file__).parent / "data"
OLD_VERSIONS = ("1.0.0", "2.0.6")


@asynccontextmanager
async def langgraph_saver(path: Path, mode: Mode) -> AsyncGenerator[Any]:
    """Open LangGraph's own saver on a file."""
    if mode == "async":
        async with AsyncSqliteSaver.from_conn_string(str(path)) as asaver:
            yield asaver
    else:
        with SqliteSaver.from_conn_string(str(path)) as saver:
            yield saver


def counted(state: Any, prefix: str) -> str:
    """Return an id that tells how long the conversation is."""
    return f"{prefix}{len(state['messages'])}"


def chat(saver: Any, log: Log | None = None) -> Any:
    """Return the graph of `write_chat`."""
    log = [] if log is None else log

    def reply(state: MessagesState) -> Any:
        log.append(counted(state, "reply"))
        text = f"re: {state['messages'][-1].content}"
        return {"messages": [AIMessage(text, id=counted(state, "a"))]}

    def tidy(state: MessagesState) -> Any:
        return {"messages": [RemoveMessage(str(m.id)) for m in state["messages"][:-6]]}

    builder = StateGraph(MessagesState)
    builder.add_sequence([reply, tidy])
    builder.add_edge(START, "reply")
    return builder.compile(checkpointer=saver)


def said(text: str) -> Any:
    """Return a message of the user as input."""
    return {"messages": [HumanMessage(text, id=f"h {text}")]}


def write_chat(path: Path, *thread_ids: str, turns: int = 3) -> None:
    """Write threads of a few turns with `SqliteSaver`."""
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = chat(saver)
        for thread_id in thread_ids:
            for n in range(turns):
                graph.invoke(said(f"question {n}"), {"configurable": {"thread_id": thread_id}})


def copied(path: Path, to: Path) -> Path:
    """Copy a file that nobody writes, with its WAL."""
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copyfile(f"{path}{suffix}", f"{to}{suffix}")
    return to


def change(path: Path, *statements: str) -> None:
    """Change a file behind its saver's back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


class _OldState(MessagesState):
    found: Annotated[list[Any], operator.add]
    notes: dict[str, Any]


def unpacked(version: str, path: Path) -> Path:
    """Unpack a file that an old langgraph-checkpoint-sqlite wrote, for `old_graph`.

    1.0.0 was used with langgraph 0.2.3 (checkpoints of version 1), 2.0.6 with 0.3.34 (version 3).
    """
    packed = DATA / f"langgraph_checkpoint_sqlite_{version}.db.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


def old_graph(saver: Any, **compiled: Any) -> Any:
    """Return the graph that wrote the threads `chat`, `sends` and `approval` of the old files."""

    def model(state: Any) -> Any:
        n = len(state["messages"])
        call = {"name": "look", "args": {"n": n}, "id": f"c{n}", "type": "tool_call"}
        message = AIMessage(f"answer {n}", id=f"a{n}", tool_calls=[call])
        return {"messages": [message], "notes": {"n": n, "pair": [1, 2]}}

    def look(state: Any) -> Any:
        return {"found": [state["n"]]}

    def approve(state: Any) -> Any:
        return {"messages": [AIMessage("approved", id=f"ok{len(state['messages'])}")]}

    builder = StateGraph(_OldState)
    builder.add_node("model", model)
    builder.add_node("look", look)
    builder.add_node("approve", approve)
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model", lambda state: [Send("look", {"n": n}) for n in range(3)], ["look"]
    )
    builder.add_edge("look", "approve")
    builder.add_edge("approve", END)
    return builder.compile(checkpointer=saver, **compiled)
