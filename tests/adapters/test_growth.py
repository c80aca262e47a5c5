"""How a conversation's file grows: with what is new, not with what is repeated."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.graph import START, StateGraph, add_messages
from typing_extensions import TypedDict

from rowtrail.engine.sqlite import SqliteTx
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.conftest import Rows

TEXT = "a conversation repeats itself, its file need not. " * 10
MAX_BYTES_PER_TURN = 6_000  # two messages of 500 B, three checkpoints, their ids and versions

TABLES = ("item", "log_item", "list", "checkpoint", "channel_value", "pending_write")


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[dict[str, Any]], operator.add]


def agent(saver: RowtrailSaver, forget: Callable[[State], list[Any]]) -> Any:
    def node(state: State) -> dict[str, Any]:
        number = len(state["messages"])
        answer = AIMessage(f"{number} {TEXT}", id=f"a{number} {len(state['notes'])}")
        return {"messages": [answer, *forget(state)], "notes": [{"turn": number}]}

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


def nothing(state: State) -> list[Any]:
    return []


def the_oldest(state: State) -> list[Any]:
    """Keep the newest messages only."""
    return [RemoveMessage(id=str(m.id)) for m in state["messages"][:-20]]


def an_old_one(state: State) -> list[Any]:
    """Write one of the first messages anew, every ten turns."""
    if len(state["notes"]) % 10 or len(state["messages"]) < 3:
        return []
    return [AIMessage(f"edited {len(state['notes'])} {TEXT}", id=state["messages"][1].id)]


def talk(db: Path, turns: int, forget: Callable[[State], list[Any]] = nothing) -> None:
    with RowtrailSaver(db, **QUICK) as saver:
        graph = agent(saver, forget)
        for number in range(turns):
            given = HumanMessage(f"{number} {TEXT}", id=f"h{number}")
            graph.invoke({"messages": [given], "notes": []}, thread(), durability="sync")


def sizes(rows: Rows, db: Path) -> dict[str, int]:
    """Return the bytes of the file, and how many rows each table has."""
    counted = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)
    (row,) = rows(f"SELECT {counted}", db)
    return {"bytes": db.stat().st_size, **row}


@pytest.mark.parametrize("forget", [nothing, the_oldest, an_old_one])
def test_a_file_grows_in_step_with_the_turns(
    tmp_path: Path, rows: Rows, forget: Callable[[State], list[Any]]
) -> None:
    found = []
    for turns in (40, 120):
        db = tmp_path / f"{turns}.db"
        talk(db, turns, forget)
        found.append(sizes(rows, db))

    short, long = found
    assert long["bytes"] - short["bytes"] < 80 * MAX_BYTES_PER_TURN
    for table in TABLES:
        assert long[table] <= 3.4 * short[table], table  # the first turns have less to forget


def test_a_message_is_stored_once_however_many_checkpoints_have_it(db: Path, rows: Rows) -> None:
    talk(db, 20)

    stored = rows("SELECT text FROM item WHERE instr(text, 'a conversation repeats') > 0")
    # A message with its id, and without where the graph was given none yet.
    assert len(stored) == 40
    state = rows("SELECT count(*) AS n FROM state WHERE channel = 'messages'")
    assert state[0]["n"] > 800


def test_what_does_not_change_takes_no_room(db: Path, rows: Rows) -> None:
    values = {"big": {"text": TEXT * 100}, "many": [TEXT + str(n) for n in range(200)], "none": []}
    with RowtrailSaver(db, **QUICK) as saver:
        saver.put(thread(), checkpoint(values), {}, {})
        before = sizes(rows, db)
        for number in range(50):
            saver.put(thread(), checkpoint(values), {"step": number}, {})
        after = sizes(rows, db)

    assert [after[table] for table in ("item", "log_item", "list")] == [
        before[table] for table in ("item", "log_item", "list")
    ]
    assert after["checkpoint"] == 51


def test_listing_asks_a_few_questions_for_many_checkpoints(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = SqliteTx.all

    def counted(tx: SqliteTx, name: str, /, **params: Any) -> Any:
        asked.append(name)
        return ask(tx, name, **params)

    with RowtrailSaver(db, **QUICK) as saver:
        config: Any = thread()
        for number in range(60):
            values = {"items": [*range(number)], "other": ["x"] * number}
            config = saver.put(config, checkpoint(values), {}, {})
            saver.put_writes(config, [("items", [number])], "task")
        monkeypatch.setattr(SqliteTx, "all", counted)

        assert len([*saver.list(thread())]) == 60

    assert len(asked) < 60
