"""Recording without hooks: runs of graphs that do not run on a capturing saver.

Such a run's beginning and end show in nothing but the calls themselves and the agent's own hooks. A
scope is a task of the graph, by LangGraph's own id of it: the same when a task is resumed from a
checkpoint, another one for every new input.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel

from rowtrail import Journal
from rowtrail.adapter import arecord, record
from rowtrail.errors import UsageError
from rowtrail.journal import (
    Attempt,
    Beginning,
    Request,
    Scope,
    active_scope,
    aend_attempt,
    end_attempt,
    run_scope,
)
from rowtrail_langgraph._private import AGENERATE, GENERATE, SCRATCHPAD_KEY
from rowtrail_langgraph.capture import (
    TOOL_RESULTS,
    ErrorsLeaveGraph,
    Positions,
    arecord_refusal,
    ask_a_person,
    bound_ainvoke,
    bound_invoke,
    current_config,
    is_installed,
    node_attempt,
    place_of,
    record_refusal,
    recorded_agenerate,
    recorded_astream,
    recorded_generate,
    recorded_stream,
    run_of,
    tool_request,
)

BEGINNING_POLL_S = 0.005
"""How often it is looked whether a run has begun that another call of it is beginning."""

NOT_ENDED = "the agent did not come to its end"


class ExplicitRuns:
    """The runs of one journal that are recorded without hooks, one at a time for each thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt | None] = {}
        """None while an attempt is being begun."""
        self._executions: dict[str, dict[str, tuple[Any, int]]] = defaultdict(dict)

    def scope(self) -> Scope:
        """Return the scope of the running task, beginning or continuing its run."""
        while (scope := self._found()) is None:
            if self._claims():
                self._keep(lambda: self._journal.attempt(self._resume()))
            else:
                self._journal.store.clock.sleep(BEGINNING_POLL_S)
        return scope

    async def ascope(self) -> Scope:
        """Async twin of `scope`."""
        while (scope := self._found()) is None:
            if self._claims():
                await self._akeep(self._journal.aattempt(self._resume()))
            else:
                await asyncio.sleep(BEGINNING_POLL_S)
        return scope

    def begin(self, digest: bytes) -> None:
        """Begin the run of a new input."""
        before = self._given_up()
        if before is not None:
            end_attempt(before, "failed", NOT_ENDED)
        self._keep(lambda: self._journal.attempt(_new_input(digest)))

    async def abegin(self, digest: bytes) -> None:
        """Async twin of `begin`."""
        before = self._given_up()
        if before is not None:
            await aend_attempt(before, "failed", NOT_ENDED)
        await self._akeep(self._journal.aattempt(_new_input(digest)))

    def end(self) -> None:
        """End the run of the thread."""
        attempt = self._ended()
        if attempt is not None:
            end_attempt(attempt, "done")

    async def aend(self) -> None:
        """Async twin of `end`."""
        attempt = self._ended()
        if attempt is not None:
            await aend_attempt(attempt, "done")

    def _found(self) -> Scope | None:
        """Return the scope if the run has begun."""
        found = active_scope()
        if found is not None and self._journal.has_active(found.attempt):
            return found
        config = current_config()
        with self._lock:
            attempt = self._attempts.get(_thread_id(config))
        if attempt is None:
            return None
        place = place_of(config)
        generation = (self._execution(place, config), node_attempt(config) - 1)
        return attempt.scope(place, node=_node(config), generation=generation, keep=True)

    def _claims(self) -> bool:
        """Return whether the caller is to begin the run of the thread."""
        thread_id = _thread_id(current_config())
        with self._lock:
            is_free = thread_id not in self._attempts
            self._attempts.setdefault(thread_id, None)
            return is_free

    def _keep(self, begin: Callable[[], Attempt]) -> None:
        thread_id = _thread_id(current_config())
        try:
            attempt = begin()
        except BaseException:  # Ctrl-C too: others wait for what is being begun
            self._drop(thread_id)
            raise
        self._note(thread_id, attempt)

    async def _akeep(self, begin: Awaitable[Attempt]) -> None:
        thread_id = _thread_id(current_config())
        try:
            attempt = await begin
        except BaseException:  # Ctrl-C too: others wait for what is being begun
            self._drop(thread_id)
            raise
        self._note(thread_id, attempt)

    def _note(self, thread_id: str, attempt: Attempt) -> None:
        attempt.ask = ask_a_person
        attempt.interrupts = Positions()
        with self._lock:
            self._attempts[thread_id] = attempt

    def _drop(self, thread_id: str) -> None:
        with self._lock:
            self._attempts.pop(thread_id, None)

    def _given_up(self) -> Attempt | None:
        """Make room for a new run of the thread, and return the one that was there."""
        thread_id = _thread_id(current_config())
        with self._lock:
            before = self._attempts.get(thread_id)
            self._attempts[thread_id] = None
            return before

    def _ended(self) -> Attempt | None:
        thread_id = _thread_id(current_config())
        with self._lock:
            self._executions.pop(thread_id, None)
            return self._attempts.pop(thread_id, None)

    def _resume(self) -> Beginning:
        return Beginning("resume", thread_id=_thread_id(current_config()))

    def _execution(self, place: str, config: Mapping[str, Any]) -> int:
        """Return how often the task was resumed in this process: each time with a scratchpad."""
        pad = (config.get("configurable") or {}).get(SCRATCHPAD_KEY)
        with self._lock:
            executions = self._executions[_thread_id(config)]
            before: Any
            number: int
            before, number = executions.get(place, (pad, 0))
            if before is not pad:
                number += 1
            executions[place] = (pad, number)
            return number


def _new_input(digest: bytes) -> Beginning:
    return Beginning("input", thread_id=_thread_id(current_config()), input_digest=digest)


_runs: weakref.WeakKeyDictionary[Journal, ExplicitRuns] = weakref.WeakKeyDictionary()
_runs_lock = threading.Lock()


def explicit_runs(journal: Journal) -> ExplicitRuns:
    """Return the runs of a journal that are recorded without hooks."""
    with _runs_lock:
        return _runs.setdefault(journal, ExplicitRuns(journal))


def is_captured() -> bool:
    """Return whether the hooks record the calls made here already."""
    return run_of(current_config()) is not None


@contextmanager
def in_scope(scope: Scope) -> Generator[None]:
    """Make `scope` the one to which the calls inside the block belong."""
    token = run_scope.set(scope)
    try:
        yield
    finally:
        run_scope.reset(token)


def recording(model: BaseChatModel) -> BaseChatModel:
    """Return a copy of a model that records its calls, where no hooks do."""
    if is_installed():
        return model
    cls = type(model)
    members = {
        "invoke": bound_invoke(cls.invoke),
        "ainvoke": bound_ainvoke(cls.ainvoke),
        GENERATE.name: recorded_generate(GENERATE.of(cls)),
        AGENERATE.name: recorded_agenerate(AGENERATE.of(cls)),
        "stream": recorded_stream(cls.stream),
        "astream": recorded_astream(cls.astream),  # type: ignore[arg-type]
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
    }
    clone = model.model_copy()
    object.__setattr__(clone, "__class__", type(cls.__name__, (cls,), members))
    return clone


def wrap_tool_call(journal: Journal) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return a `wrap_tool_call` for a plain `ToolNode`: records and replays its tool calls.

    The graph's config must name a `thread_id`.
    """

    def wrap(request: Any, execute: Callable[[Any], Any]) -> Any:
        if is_captured():
            return execute(request)
        with ErrorsLeaveGraph():
            scope = explicit_runs(journal).scope()
        if request.tool is None:
            answer = execute(request)
            record_refusal(scope, current_config(), request.tool_call, answer)
            return answer
        with ErrorsLeaveGraph():
            asked = _tool_request(scope, request, is_async=False)
        return record(scope, asked, lambda: execute(request), TOOL_RESULTS)

    return wrap


def awrap_tool_call(journal: Journal) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return the async twin of `wrap_tool_call`."""

    async def wrap(request: Any, execute: Callable[[Any], Any]) -> Any:
        if is_captured():
            return await execute(request)
        with ErrorsLeaveGraph():
            scope = await explicit_runs(journal).ascope()
        if request.tool is None:
            answer = await execute(request)
            await arecord_refusal(scope, current_config(), request.tool_call, answer)
            return answer
        with ErrorsLeaveGraph():
            asked = _tool_request(scope, request, is_async=True)
        return await arecord(scope, asked, lambda: execute(request), TOOL_RESULTS)

    return wrap


def _tool_request(scope: Scope, request: Any, *, is_async: bool) -> Request:
    config, call = current_config(), request.tool_call
    return tool_request(scope, config, request.tool, call["args"], call["id"], is_async=is_async)


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
