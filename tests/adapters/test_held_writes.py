"""Writes of tasks that are executed before their checkpoint is saved: committed with it."""

from __future__ import annotations

import asyncio
import operator
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, Driver, Mode, both_modes, checkpoint, thread

PATIENCE_S = 30


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


class LateSaver(RowtrailSaver):
    """Saves the checkpoints of loops only when `gate` is open; `written` says that writes came."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.gate = threading.Event()
        self.written = threading.Event()

    def put(
        self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any
    ) -> RunnableConfig:
        if metadata["source"] == "loop":
            assert self.gate.wait(PATIENCE_S)
        return super().put(config, checkpoint, metadata, new_versions)

    async def aput(
        self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any
    ) -> RunnableConfig:
        if metadata["source"] == "loop":
            assert await asyncio.to_thread(self.gate.wait, PATIENCE_S)
        return await super().aput(config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Any, task_id: str, task_path: str = ""
    ) -> None:
        super().put_writes(config, writes, task_id, task_path)
        self._note(writes)

    async def aput_writes(
        self, config: RunnableConfig, writes: Any, task_id: str, task_path: str = ""
    ) -> None:
        await super().aput_writes(config, writes, task_id, task_path)
        self._note(writes)

    def _note(self, writes: Any) -> None:
        if ("seen", ["quick"]) in writes:
            self.written.set()


@pytest.fixture(params=[True, False], ids=["capture", "plain"])
def saver(db: Path, request: pytest.FixtureRequest) -> Iterator[LateSaver]:
    with LateSaver(db, capture=request.param, durability="normal") as opened:
        yield opened


def rows(saver: RowtrailSaver, query: str) -> list[Any]:
    with closing(sqlite3.connect(saver.journal.path)) as connection:
        return [tuple(row) for row in connection.execute(query)]


WRITTEN = (
    "SELECT c.step, c.body IS NOT NULL, count(*) FROM checkpoint c "
    "JOIN pending_write w ON w.checkpoint = c.id GROUP BY c.id ORDER BY c.id"
)


class Scene:
    """A node `quick` beside one that fails until it is mended, on a saver that is late."""

    def __init__(self, saver: LateSaver) -> None:
        self.saver = saver
        self.executed: Counter[str] = Counter()
        self.is_mended = False
        self.before: list[Any] = []
        builder = StateGraph(State)
        builder.add_node("quick", self.quick)
        builder.add_node("late", self.late)
        builder.add_node("after", self.after)
        builder.add_edge(START, "quick")
        builder.add_edge(START, "late")
        builder.add_edge("quick", "after")
        builder.add_edge("late", "after")
        self.graph = builder.compile(checkpointer=saver)

    def quick(self, state: State) -> dict[str, Any]:
        self.executed["quick"] += 1
        return {"seen": ["quick"]}

    def late(self, state: State) -> dict[str, Any]:
        self.executed["late"] += 1
        assert self.saver.written.wait(PATIENCE_S)
        self.before = rows(self.saver, WRITTEN)
        self.saver.gate.set()
        if not self.is_mended:
            raise ValueError("not yet")
        return {"seen": ["late"]}

    def after(self, state: State) -> dict[str, Any]:
        return {"seen": ["after"]}

    def invoke(self, given: Any, mode: Mode) -> Any:
        if mode == "sync":
            return self.graph.invoke(given, thread())
        return asyncio.run(self.graph.ainvoke(given, thread()))


def history(scene: Scene) -> list[Any]:
    return [
        (found.values, found.next, [(task.name, task.result) for task in found.tasks])
        for found in scene.graph.get_state_history(thread())
    ]


@both_modes
def test_are_stored_with_their_checkpoint(saver: LateSaver, mode: Mode) -> None:
    scene = Scene(saver)
    scene.is_mended = True

    assert scene.invoke({"seen": ["in"]}, mode)["seen"] == ["in", "late", "quick", "after"]

    assert (0, 1, 1) not in scene.before
    assert (None, 0, 2) not in scene.before  # no row in place of the checkpoint
    assert [step for step, *_ in rows(saver, WRITTEN)] == [-1, 0, 1]
    assert all(is_whole for _, is_whole, _ in rows(saver, WRITTEN))


@both_modes
def test_a_task_that_ended_beside_one_that_failed_is_not_executed_again(
    saver: LateSaver, mode: Mode
) -> None:
    scene = Scene(saver)
    with pytest.raises(ValueError, match="not yet"):
        scene.invoke({"seen": ["in"]}, mode)
    state = scene.graph.get_state(thread())
    assert state.next == ("late",)

    scene.is_mended = True
    assert scene.invoke(None, mode)["seen"] == ["in", "late", "quick", "after"]

    assert scene.executed == {"quick": 1, "late": 2}


@both_modes
def test_a_history_is_that_of_another_saver(saver: LateSaver, mode: Mode) -> None:
    saver.gate.set()
    ours = Scene(saver)
    ours.is_mended = True
    theirs = Scene(saver)
    theirs.is_mended = True
    theirs.graph.checkpointer = InMemorySaver()
    for scene in (ours, theirs):
        for number in range(3):
            scene.invoke({"seen": [str(number)]}, mode)
    assert history(ours) == history(theirs)


@both_modes
async def test_what_no_graph_writes_is_stored_at_once(db: Path, mode: Mode) -> None:
    with RowtrailSaver(db, **QUICK) as saver:
        driver = Driver(saver, mode)
        await driver.get(thread())
        later = thread(checkpoint_id=checkpoint()["id"])

        await driver.put_writes(later, [("items", [2])], "task")

        assert rows(saver, WRITTEN) == [(None, 0, 1)]
