"""What a task of a graph hands on to threads: which run and task it is, none of its state."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rowtrail.journal.places import enter, leave, lent, own_run
from rowtrail_langgraph._private import HIDDEN_PREFIX, RUNTIME_KEY

RUN_KEY = f"{HIDDEN_PREFIX}rowtrail_run"
"""Where a graph's config carries its `GraphRun`."""

AGENT_KEY = f"{HIDDEN_PREFIX}rowtrail_agent"
"""Where it carries the name of the agent that the graph is, None for the agent of the run."""

NULL_TASK_ID = "00000000-0000-0000-0000-000000000000"
"""Task that LangGraph writes the answer to the next question under."""

_METADATA_KEYS = (
    "langgraph_checkpoint_ns",
    "langgraph_node",
    "langgraph_path",
    "langgraph_step",
    "thread_id",
)


class Task:
    """One task of a graph, with all its tries; keeps alive what it lends to threads."""

    def __init__(self) -> None:
        self.has_ended = False
        self.markers: list[TaskMarker] = []
        self.asking: dict[int, int] = {}
        """By the position of a question in the task, the step whose code asked it last."""

    def end(self) -> None:
        """Forget what was handed on: a thread that outlives the task keeps nothing of it."""
        self.has_ended = True
        for marker in self.markers:
            marker.whole = None
        self.markers.clear()


class TaskMarker:
    """What code in a thread has of the task that gave it work.

    Attributes:
        config: The little of the task's config that tells whose calls are made.
        whole: All of the config until the task ends: an interrupt needs it.
    """

    def __init__(self, config: Mapping[str, Any], task: Task | None) -> None:
        self.config = _little(config)
        self.whole: Mapping[str, Any] | None = None
        self._task = task
        if task is not None and not task.has_ended:
            self.whole = config
            task.markers.append(self)

    @property
    def is_unfinished(self) -> bool:
        """Return whether the task has not ended."""
        return self._task is not None and not self._task.has_ended


class _Runtime:
    """Stands for LangGraph's, which holds the context, the store and the state before too."""

    def __init__(self, execution_info: Any) -> None:
        self.execution_info = execution_info


current_task: ContextVar[Task | None] = ContextVar("rowtrail_task", default=None)

passed_marker: ContextVar[TaskMarker | None] = ContextVar("rowtrail_marker", default=None)
"""What the running code has of the task that submitted it to a pool."""


def mark(config: Mapping[str, Any]) -> TaskMarker:
    """Return what code with `config` in force hands on: the same for the same config."""
    task = current_task.get()
    if task is not None and task.markers and task.markers[-1].whole is config:
        return task.markers[-1]
    return TaskMarker(config, task)


@contextmanager
def task_running() -> Generator[Task]:
    """Make a task of its own what the code inside belongs to, whatever its graph runs in."""
    task = Task()
    entered = enter((current_task, task), (passed_marker, None), (own_run, False), (lent, None))
    try:
        yield task
    finally:
        task.end()
        leave(entered)


def _little(config: Mapping[str, Any]) -> dict[str, Any]:
    configurable = config.get("configurable") or {}
    metadata = config.get("metadata") or {}
    runtime = configurable.get(RUNTIME_KEY)
    return {
        "configurable": {
            RUN_KEY: configurable.get(RUN_KEY),
            AGENT_KEY: configurable.get(AGENT_KEY),
            RUNTIME_KEY: _Runtime(getattr(runtime, "execution_info", None)),
            "thread_id": configurable.get("thread_id"),
        },
        "metadata": {key: metadata[key] for key in _METADATA_KEYS if key in metadata},
    }
