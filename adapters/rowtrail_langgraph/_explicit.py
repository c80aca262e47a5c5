"""Recording without hooks: runs of graphs that do not run on a capturing saver.

Nothing tells such a run's beginning and end but the calls themselves and the agent's own hooks. A
scope is a task of the graph, by LangGraph's own id of it: the same when a task is resumed from a
checkpoint, another one for every new input.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from rowtrail import Journal
from rowtrail.errors import UsageError
from rowtrail.journal import Attempt, Beginning, Call, Scope, active_scope, run_scope
from rowtrail_langgraph import _capture
from rowtrail_langgraph._ask import SCRATCHPAD, ask_a_person
from rowtrail_langgraph._bubble import bubbling
from rowtrail_langgraph._models import (
    recorded_agenerate,
    recorded_astream,
    recorded_generate,
    recorded_stream,
)
from rowtrail_langgraph._place import current_config, node_attempt, place_of, run_of
from rowtrail_langgraph._tools import reported, says_error, tool_request


class ExplicitRuns:
    """The runs of one journal that are recorded without hooks, one at a time for each thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._executions: dict[str, tuple[Any, int]] = {}

    def scope(self) -> Scope:
        """Return the scope of the running task, beginning or continuing its run."""
        found = active_scope()
        if found is not None and found.attempt.journal is self._journal:
            return found
        config = current_config()
        attempt = self._attempt(_thread_id(config))
        place = place_of(config)
        generation = (self._execution(place, config), node_attempt(config) - 1)
        return attempt.scope(place, node=_node(config), generation=generation)

    def _execution(self, place: str, config: Mapping[str, Any]) -> int:
        """Return how often the task was resumed in this process: each has a scratchpad of its own."""
        pad = (config.get("configurable") or {}).get(SCRATCHPAD)
        with self._lock:
            before, number = self._executions.get(place, (pad, 0))
            if before is not pad:
                number += 1
            self._executions[place] = (pad, number)
            return number

    def begin(self, digest: bytes) -> None:
        """Begin the run of a new input."""
        thread_id = _thread_id(current_config())
        with self._lock:
            before = self._attempts.pop(thread_id, None)
            if before is not None:
                before.end("failed", "the agent did not come to its end")
            self._attempts[thread_id] = self._begun("input", thread_id, digest)

    def end(self) -> None:
        """End the run of the thread."""
        with self._lock:
            attempt = self._attempts.pop(_thread_id(current_config()), None)
            self._executions.clear()
        if attempt is not None:
            attempt.end("done")

    def _attempt(self, thread_id: str) -> Attempt:
        with self._lock:
            if thread_id not in self._attempts:
                self._attempts[thread_id] = self._begun("resume", thread_id, None)
            return self._attempts[thread_id]

    def _begun(self, intent: Any, thread_id: str, digest: bytes | None) -> Attempt:
        attempt = self._journal.attempt(
            Beginning(intent, thread_id=thread_id, input_digest=digest)
        )
        attempt.ask = ask_a_person
        return attempt


_runs: weakref.WeakKeyDictionary[Journal, ExplicitRuns] = weakref.WeakKeyDictionary()
_runs_lock = threading.Lock()


def explicit_runs(journal: Journal) -> ExplicitRuns:
    """Return the runs of a journal that are recorded without hooks."""
    with _runs_lock:
        return _runs.setdefault(journal, ExplicitRuns(journal))


def is_captured() -> bool:
    """Tell whether the hooks record the calls made here already."""
    return run_of(current_config()) is not None


@contextmanager
def in_scope(scope: Scope) -> Iterator[None]:
    """Make `scope` the one to which the calls inside the block belong."""
    token = run_scope.set(scope)
    try:
        yield
    finally:
        run_scope.reset(token)


def recording(model: BaseChatModel) -> BaseChatModel:
    """Return a copy of a model that records its calls, where no hooks do."""
    if _capture.is_installed():
        return model
    cls = type(model)
    members = {
        "_generate_with_cache": recorded_generate(cls._generate_with_cache),
        "_agenerate_with_cache": recorded_agenerate(cls._agenerate_with_cache),
        "stream": recorded_stream(cls.stream),
        "astream": recorded_astream(cls.astream),
        "__module__": cls.__module__,
    }
    clone = model.model_copy()
    object.__setattr__(clone, "__class__", type(cls.__name__, (cls,), members))
    return clone


def wrap_tool_call(journal: Journal) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return a `wrap_tool_call` for a plain `ToolNode`: records and replays its tool calls.

    The graph's config must name a `thread_id`.
    """

    def wrap(request: Any, execute: Callable[[Any], Any]) -> Any:
        if is_captured() or request.tool is None:
            return execute(request)
        with bubbling():
            scope = explicit_runs(journal).scope()
            call = scope.begin(_tool_request(scope, request))
        if call.replayed:
            return call.result
        try:
            with call.running():
                result = execute(request)
        except BaseException as error:
            with bubbling():
                call.fail(error)
            raise
        with bubbling():
            if says_error(result):
                call.fail(reported(result), output=result)
            else:
                call.complete(result)
        return result

    return wrap


def awrap_tool_call(journal: Journal) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return the async twin of `wrap_tool_call`."""

    async def wrap(request: Any, execute: Callable[[Any], Any]) -> Any:
        if is_captured() or request.tool is None:
            return await execute(request)
        with bubbling():
            scope = explicit_runs(journal).scope()
            call: Call = await scope.abegin(_tool_request(scope, request))
        if call.replayed:
            return call.result
        try:
            with call.running():
                result = await execute(request)
        except BaseException as error:
            with bubbling():
                await call.afail(error)
            raise
        with bubbling():
            if says_error(result):
                await call.afail(reported(result), output=result)
            else:
                await call.acomplete(result)
        return result

    return wrap


def _tool_request(scope: Scope, request: Any) -> Any:
    call = request.tool_call
    return tool_request(scope, current_config(), request.tool, call["args"], call["id"])


def _thread_id(config: Mapping[str, Any]) -> str:
    thread_id = (config.get("configurable") or {}).get("thread_id")
    if thread_id is None:
        raise UsageError(
            "recording needs to know the conversation: invoke the graph with "
            "config={'configurable': {'thread_id': '...'}}"
        )
    return str(thread_id)


def _node(config: Mapping[str, Any]) -> str | None:
    return (config.get("metadata") or {}).get("langgraph_node")

