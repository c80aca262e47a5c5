"""Where in a graph a call is made, named so that a resumed or re-sent run gives the same name.

LangGraph's task ids change when an input is sent again and inside graphs without a checkpointer of
their own. A scope is therefore named by what stays: the superstep counted from the run's input, the
node, which `Send` or call it is, and the same of every task around it: `2/agent`, `3/tools[0]`,
`2/team|2/writer`.
"""

# pyright: reportIncompatibleMethodOverride=false
# RunCarrier: properties that are the same for every instance
from __future__ import annotations

import re
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt

from rowtrail.engine import Tx
from rowtrail.journal import Attempt, Scope
from rowtrail.journal.places import Place, enclosing_frame, here, lent, own_run, place_of_scope
from rowtrail_langgraph._private import RUNTIME_KEY, SCRATCHPAD_KEY
from rowtrail_langgraph.capture._agents import Agents, agent_of
from rowtrail_langgraph.capture._effects import Effects
from rowtrail_langgraph.capture._marker import RUN_KEY, TaskMarker, mark, passed_marker
from rowtrail_langgraph.capture._questions import Questions
from rowtrail_langgraph.values import GraphCodec, Memo

FIRST_STEP = -1
"""Superstep of the first input of a thread."""

_SEPARATOR = "|"
_IN_NAMES = re.compile(r"[|/>(:]")
"""What stands between the parts of a scope's name."""
_FRAMEWORK_KEYS = ("__", "thread_id", "checkpoint_", "rowtrail_")
"""How names in `configurable` begin that say where a call is made, not what it asks."""


class _Graph(NamedTuple):
    """A graph that runs inside a task: the name of the task, and where its supersteps begin."""

    prefix: str
    generation: tuple[int, ...]
    base_step: int
    around: Scope | None = None
    invoked_before: int = 0
    """How many graphs earlier tries of the task have invoked: LangGraph numbers them on."""


@dataclass(repr=False)
class GraphRun:
    """One invocation of a graph on a rowtrail saver, with the graphs that it invokes itself."""

    attempt: Attempt
    codec: GraphCodec
    effects: Effects
    root: _Graph | None = None
    """The graph whose tasks have no task around in their names; the invoked one if None."""
    renews_ids: bool = False
    """Whether a replayed answer gets a new id: sent again, the thread may hold it under its own."""
    memo: Memo | None = None
    """What the saver remembers of the messages of its threads."""
    is_waiting: bool = False
    has_begun: bool = False
    """Whether the graph executed or saved anything: if not, it refused what it was given."""
    drops_used_answer: bool = False
    """Whether an answer that a question has taken is kept from the next one."""
    agents: Agents = field(default_factory=Agents)
    """Which graphs that the run executes have which names."""
    questions: Questions = field(default_factory=Questions)
    """What its tasks asked and were answered."""
    _graphs: dict[str, _Graph] = field(default_factory=dict)
    _invoked: dict[tuple[str, int], int] = field(default_factory=dict)
    _scope_of_task: dict[str, tuple[int, str]] = field(default_factory=dict)
    _failures: dict[tuple[int, str], Exception] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        base = self.attempt.base_step
        if self.root is None:
            self.attempt.at_end = self._write_questions
        self._graphs[""] = self.root or _Graph("", (), FIRST_STEP if base is None else base)

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphRun:
        return self  # configs are copied freely; the run is one

    def enter_graph(self, config: Mapping[str, Any], around: Scope, base_step: int) -> None:
        """Note that the task of `config`, whose scope is `around`, invokes a graph."""
        ns = config["configurable"].get("checkpoint_ns", "")
        if not ns:
            return
        tries = around.generation[-1]
        with self._lock:
            before = sum(self._invoked.get((ns, earlier), 0) for earlier in range(tries))
            self._invoked[ns, tries] = self._invoked.get((ns, tries), 0) + 1
            graph = _graph_inside(around, base_step)._replace(invoked_before=before)
            self._graphs[ns] = self._graphs[_without_ids(ns)] = graph

    def inside(self, around: Scope, name: str | None) -> GraphRun:
        """Return this run for a graph that a task invokes as if the graph stood alone.

        Such a graph has a thread of its own and another saver, or none; its tasks are named as if
        nothing were around them. Of several that a task runs at once only a name is known.
        """
        root = _graph_inside(around, FIRST_STEP)
        if name is not None:
            root = root._replace(prefix=f"{root.prefix}{_IN_NAMES.sub('_', name)}:")
        return GraphRun(
            self.attempt,
            self.codec,
            self.effects,
            root,
            self.renews_ids,
            self.memo,
            agents=self.agents,
            questions=self.questions,
        )

    @contextmanager
    def watched(self) -> Generator[None]:
        """Notice that a graph inside stops to wait: a breakpoint leaves no write that tells."""
        try:
            yield
        except GraphInterrupt:
            self.is_waiting = True
            raise

    def scope(self, config: Mapping[str, Any]) -> Scope:
        """Return the scope of a call made with this config in force."""
        self.has_begun = True
        metadata = config.get("metadata") or {}
        place = place_of(config)
        frame = enclosing_frame()
        is_here = frame is not None and frame.request.place == place
        if frame is not None and is_here and frame.around.attempt is self.attempt:
            return frame.scope
        if not place:
            return self.attempt.scope("")
        path: Sequence[Any] = metadata.get("langgraph_path") or ()
        graph, suffix = self._graph_of(place, path)
        step = metadata.get("langgraph_step", 0) - graph.base_step
        node = metadata.get("langgraph_node")
        name = f"{graph.prefix}{suffix}{step}/{node}{_path_text(path)}"
        with self._lock:
            depth = place.count(_SEPARATOR)
            self._scope_of_task[place.rpartition(":")[2]] = (depth, name)
        generation = (*graph.generation, node_attempt(config) - 1)
        scope = self.attempt.scope(
            name, node=node, agent=agent_of(config), generation=generation, keep=True
        )
        if graph.around is not None:
            scope.around, scope.parent_row = graph.around, graph.around.parent_row
        return scope

    def _write_questions(self, tx: Tx) -> None:
        """Write what no writes of a task took along: with durability="exit" there may be none."""
        noted = self.questions.take()
        if noted is not None:
            noted(tx, self.attempt.recorder.store.clock.now_ms())

    def scope_name(self, task_id: str) -> str | None:
        """Return the scope of a task, None where it made no call."""
        with self._lock:
            found = self._scope_of_task.get(task_id)
        return None if found is None else found[1]

    def note_failure(self, task_id: str, error: BaseException) -> None:
        """Note that a task ended with an error, after all its tries."""
        if not isinstance(error, Exception):
            return  # killed or cancelled: no answer caused it
        with self._lock:
            scope = self._scope_of_task.get(task_id)
            if scope is not None:
                self._failures[scope] = error

    def failures(self) -> list[tuple[str, Exception]]:
        """Return the scopes that failed, each with its error, the innermost first.

        LangGraph tells of a task and of the one around it at the same time, in any order.
        """
        with self._lock:
            found = sorted(self._failures.items(), key=lambda item: -item[0][0])
        return [(name, error) for (_, name), error in found]

    def _graph_of(self, place: str, path: Sequence[Any]) -> tuple[_Graph, str]:
        """Return the graph that a task belongs to, and which run of it inside a task."""
        segments = place.split(_SEPARATOR)[: -_own_segments(path)]
        number = 0
        if segments and segments[-1].isdecimal():
            number = int(segments.pop())
        ns = _SEPARATOR.join(segments)
        with self._lock:
            found = self._graphs.get(ns) or self._graphs.get(_without_ids(ns))
        graph = found or _Graph(ns + _SEPARATOR, (0,), FIRST_STEP)
        number -= graph.invoked_before
        return graph, f"{number}:" if number > 0 else ""


def _graph_inside(around: Scope, base_step: int) -> _Graph:
    return _Graph(around.name + _SEPARATOR, around.generation, base_step, around)


class RunCarrier(BaseCallbackHandler):
    """Carries a run along with the callbacks of its graph; it handles nothing itself.

    A `configurable` or `metadata` of the caller's own takes the place of the task's in everything
    below, and a thread of the caller's own has no context. Callbacks are handed on there too.
    """

    _always: Any = True
    ignore_llm = ignore_chat_model = ignore_chain = ignore_agent = _always
    ignore_retriever = ignore_retry = ignore_custom_event = _always

    def __init__(self, run: GraphRun) -> None:
        self.run = run

    def __deepcopy__(self, memo: dict[int, Any]) -> RunCarrier:
        return self


def place_of(config: Mapping[str, Any]) -> str:
    """Return LangGraph's name of the task that a config belongs to, "" outside one."""
    return (config.get("metadata") or {}).get("langgraph_checkpoint_ns") or ""


def current_config(
    given: Mapping[str, Any] | None = None, callbacks: Any = None
) -> Mapping[str, Any]:
    """Return the config in force where this is called, with the run and the task it belongs to.

    Args:
        given: The config of the call, for where none is in force: a thread of the caller's own.
        callbacks: Likewise the callbacks of the call.
    """
    ambient: Mapping[str, Any] = var_child_runnable_config.get() or {}
    if own_run.get():  # a `journal.run` block inside the task
        return _without_run(ambient)
    for config in (ambient, given or {}, {"callbacks": callbacks}):
        found = in_run(config)
        if found is not None:
            return found
    marker = _marker_here()
    return ambient if marker is None else marker.config


def is_in_run(config: Mapping[str, Any]) -> bool:
    """Return whether a config belongs to a graph on a rowtrail saver."""
    return in_run(config) is not None


def in_run(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return `config` with its run and task, None outside graphs on a rowtrail saver."""
    return config if run_of(config) is not None and place_of(config) else _carried(config)


def _marker_here() -> TaskMarker | None:
    """Return what the task handed on that submitted this code, or that started this thread."""
    marker, borrowed = passed_marker.get(), lent.get()
    if marker is None and borrowed is not None:
        found: TaskMarker | None = borrowed.marker(passed_marker)
        return found
    return marker


def marker_to_pass() -> TaskMarker | None:
    """Return what code here hands on to threads, None outside graphs on a rowtrail saver."""
    ambient = var_child_runnable_config.get()
    if ambient is None or own_run.get():
        return passed_marker.get()
    found = in_run(ambient)
    return passed_marker.get() if found is None else mark(found)


def interruptible_config() -> Mapping[str, Any] | None:
    """Return the config with which code here can interrupt its task, None where nothing waits.

    A job in a pool interrupts the task that submitted it, which gets the exception as its result.
    """
    ambient = var_child_runnable_config.get()
    if ambient is not None and SCRATCHPAD_KEY in (ambient.get("configurable") or {}):
        return ambient
    marker = passed_marker.get()
    return ambient if marker is None or marker.whole is None else marker.whole


def is_elsewhere() -> bool:
    """Return whether code here is part of a graph that is not recorded."""
    ambient = var_child_runnable_config.get() or {}
    return bool(place_of(ambient)) and not is_in_run(ambient)


def _without_run(config: Mapping[str, Any]) -> Mapping[str, Any]:
    configurable = dict(config.get("configurable") or {})
    configurable.pop(RUN_KEY, None)
    return {**config, "configurable": configurable}


def _carried(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return `config` with what its callbacks know of its run and task, None if nothing."""
    callbacks = config.get("callbacks")
    handlers = getattr(callbacks, "handlers", callbacks)
    found = [h.run for h in handlers or () if isinstance(h, RunCarrier)]
    if not found:
        return None
    run = run_of(config) or found[-1]
    return {
        **config,
        "configurable": {**(config.get("configurable") or {}), RUN_KEY: run},
        "metadata": {**getattr(callbacks, "metadata", {}), **(config.get("metadata") or {})},
    }


def run_of(config: Mapping[str, Any]) -> GraphRun | None:
    """Return the run that a config belongs to, None outside graphs on a rowtrail saver."""
    found = (config.get("configurable") or {}).get(RUN_KEY)
    return found if isinstance(found, GraphRun) else None


def current_graph_scope() -> Scope | None:
    """Return the scope of a call made here, None outside graphs on a rowtrail saver."""
    config = current_config()
    run = run_of(config)
    return None if run is None else run.scope(config)


def own_configurable(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the `configurable` that the config of a call has beside that of its task."""
    asked = (given or {}).get("configurable")
    ambient = var_child_runnable_config.get()
    if not asked or (ambient is None and run_of(given or {}) is not None):
        return {}
    around = (ambient or {}).get("configurable") or {}
    return {
        name: value
        for name, value in asked.items()
        if not name.startswith(_FRAMEWORK_KEYS)
        and (name not in around or around[name] is not value)
    }


def place_in(config: Mapping[str, Any]) -> Place:
    """Return where code runs with this config in force."""
    run = run_of(config)
    return here() if run is None else place_of_scope(run.scope(config))


def _own_segments(path: Sequence[Any]) -> int:
    """Return how many segments of its namespace a task has of its own.

    A functional `@task` nests its segment under its caller's, in the same graph.
    Source: `graph_namespace` in langgraph.pregel._messages.
    """
    count = 1
    while len(path) == 4 and path[-1] is True:
        count += 1
        path = path[1]
    return count


def _path_text(path: Sequence[Any]) -> str:
    if len(path) == 4 and path[-1] is True:  # a call: its caller, and the how-manieth of its calls
        caller = path[1]
        name = caller[1] if len(caller) == 2 else ""
        return f"({name}{_path_text(caller)}.{path[2]})"
    if len(path) == 3:  # a Send, or the handler of another task's error
        return f"[{path[1]}]"
    return ""


def node_attempt(config: Mapping[str, Any]) -> int:
    """Return which try of its node a config belongs to, from 1: LangGraph's retries count."""
    runtime = (config.get("configurable") or {}).get(RUNTIME_KEY)
    info = getattr(runtime, "execution_info", None)
    return getattr(info, "node_attempt", 1) or 1


def _without_ids(ns: str) -> str:
    """Return the namespace that a graph with `checkpointer=True` has: without the tasks' ids."""
    return _SEPARATOR.join(part.partition(":")[0] for part in ns.split(_SEPARATOR))
