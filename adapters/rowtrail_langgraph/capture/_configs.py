"""What a config says of a run: what a program asks for in it, and the run that it carries on."""

from __future__ import annotations

import functools
from typing import Any, cast

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel

from rowtrail.errors import UsageError
from rowtrail.journal import ReplayMode
from rowtrail_langgraph._private import ensure_config
from rowtrail_langgraph.capture._marker import AGENT_KEY, RUN_KEY
from rowtrail_langgraph.capture._place import GraphRun, RunCarrier

REPLAY_KEY = "rowtrail_replay"
"""Key of `configurable`: one of `REPLAY_MODES`."""

REPLAY_MODES = ("always", "never", "resume")
"""`always` replays what earlier runs of the thread recorded; `never` begins a run anew, whatever
was left unfinished; `resume` goes on after any failure when the same input is sent again."""

RUN_ID_KEY = "rowtrail_run_id"
"""Key of `configurable`: names the request, so that one that was done is no new one."""


def replay_mode(asked: Any) -> ReplayMode:
    """Return what a program asks for under `REPLAY_KEY`.

    Raises:
        UsageError: It is no such mode.
    """
    if asked is None:
        return "default"
    if asked not in REPLAY_MODES:
        raise UsageError(
            f"configurable[{REPLAY_KEY!r}] is {asked!r}: give one of {', '.join(REPLAY_MODES)}"
        )
    return cast("ReplayMode", asked)


def with_run(
    graph: Pregel[Any, Any, Any, Any],
    config: RunnableConfig | None,
    run: GraphRun,
    agent: str | None = None,
) -> RunnableConfig:
    """Return a config with which what a graph runs inside belongs to a run."""
    given: dict[str, Any] = dict(config or {})
    # Older versions do not merge this with what is bound to the graph: they take one or the other.
    configurable = given.get("configurable") or (graph.config or {}).get("configurable")
    given["configurable"] = {**(configurable or {}), RUN_KEY: run, AGENT_KEY: agent}
    callbacks = given.get("callbacks")
    if callbacks is None and not _merges_callbacks():
        callbacks = ensure_config(graph.config, config).get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(RunCarrier(run))
    else:
        callbacks = [*(callbacks or ()), RunCarrier(run)]
    given["callbacks"] = callbacks
    return given  # type: ignore[return-value]


@functools.cache
def _merges_callbacks() -> bool:
    """Return whether LangGraph adds a call's callbacks to those around it; older ones replace."""
    handled = RunnableConfig(callbacks=[BaseCallbackHandler()])
    return len(ensure_config(handled, handled)["callbacks"] or ()) == 2  # type: ignore[arg-type]
