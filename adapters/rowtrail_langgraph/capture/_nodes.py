"""When a task of a graph begins and ends: hooks around LangGraph's runner of tasks.

Nothing public says so, and a node's config looks the same after its end. Every task of a graph,
sync and async, goes with all its tries through `run_with_retry` or `arun_with_retry`, which
`langgraph.pregel._runner` calls by these names.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from rowtrail_langgraph.capture._handed import task_running
from rowtrail_langgraph.capture._place import is_in_run


def watched(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `run_with_retry`, so that it is known when a task that is recorded has ended."""

    @functools.wraps(original)
    def run_with_retry(task: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_in_run(task.config):
            return original(task, *args, **kwargs)
        with task_running():
            return original(task, *args, **kwargs)

    return run_with_retry


def awatched(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap `arun_with_retry`, the async twin of `run_with_retry`."""

    @functools.wraps(original)
    async def arun_with_retry(task: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_in_run(task.config):
            return await original(task, *args, **kwargs)
        with task_running():
            return await original(task, *args, **kwargs)

    return arun_with_retry
