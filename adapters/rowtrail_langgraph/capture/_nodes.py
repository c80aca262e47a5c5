"""When a task of a graph begins and ends: hooks around LangGraph's runner of tasks.

Nothing public says so, and a node's config looks the same after its end. Every task of a graph,
sync and async, goes with all its tries through `run_with_retry` or `arun_with_retry`, which
`langgraph.pregel._runner` calls by these names.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from rowtrail_langgraph._private import SCRATCHPAD_KEY
from rowtrail_langgraph.capture._interrupts import ErrorsLeaveGraph
from rowtrail_langgraph.capture._marker import Task, task_running
from rowtrail_langgraph.capture._place import in_run, run_of
from rowtrail_langgraph.capture._questions import interrupts_in


def watched(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `run_with_retry`, so that it is known when a task that is recorded has ended."""

    @functools.wraps(original)
    def run_with_retry(task: Any, *args: Any, **kwargs: Any) -> Any:
        config = in_run(task.config)
        if config is None:
            return original(task, *args, **kwargs)
        with task_running() as running, listening(config, running):
            return original(task, *args, **kwargs)

    return run_with_retry


def awatched(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap `arun_with_retry`, the async twin of `run_with_retry`."""

    @functools.wraps(original)
    async def arun_with_retry(task: Any, *args: Any, **kwargs: Any) -> Any:
        config = in_run(task.config)
        if config is None:
            return await original(task, *args, **kwargs)
        with task_running() as running, listening(config, running):
            return await original(task, *args, **kwargs)

    return arun_with_retry


@contextmanager
def listening(config: Mapping[str, Any], task: Task) -> Generator[None]:
    """Notice what a task with this config asks a person and is answered, in all its tries."""
    pad = (config.get("configurable") or {}).get(SCRATCHPAD_KEY)
    found: Sequence[Interrupt] = ()
    try:
        yield
    except GraphInterrupt as error:
        found = interrupts_in(error.args[0] if error.args else ())
        raise
    finally:
        answers: list[Any] = [] if pad is None else list(pad.resume)
        run = run_of(config)
        if run is not None and (found or answers):
            with ErrorsLeaveGraph():
                run.questions.note(run.scope(config), run.codec, found, task, answers)
