"""Installing the hooks into langchain-core and langgraph, and taking them out again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from langgraph.errors import GraphBubbleUp, ParentCommand

from rowtrail.adapter import leaves_calls_by
from rowtrail.journal import scope_finders
from rowtrail.journal.places import Carrier, carriers, elsewhere_finders, stop_handing_on
from rowtrail_langgraph._private import (
    AEXECUTE_TOOL,
    AGENERATE,
    ARUN_TASK,
    EXECUTE_TOOL,
    GENERATE,
    NEEDED,
    RUN_TASK,
    Needed,
    check,
)
from rowtrail_langgraph.capture import _models, _nodes, _refused, _runs, _tools
from rowtrail_langgraph.capture._marker import passed_marker
from rowtrail_langgraph.capture._place import current_graph_scope, is_elsewhere, marker_to_pass


class _Hook(NamedTuple):
    """One method or function that is wrapped."""

    needed: Needed
    wrap: Callable[[Any], Any]

    @property
    def owner(self) -> type | ModuleType:
        """What has it."""
        owner: type | ModuleType = self.needed.resolved_owner()
        return owner

    @property
    def method(self) -> str:
        """Its name."""
        return self.needed.name


def _public(owner: str, name: str, *parameters: str) -> Needed:
    return Needed(owner, name, "record calls", parameters, is_own=True)


_MODEL = "langchain_core.language_models:BaseChatModel"
_TOOL = "langchain_core.tools:BaseTool"
_GRAPH = "langgraph.pregel:Pregel"

_HOOKS = (
    _Hook(GENERATE, _models.recorded_generate),
    _Hook(AGENERATE, _models.recorded_agenerate),
    _Hook(_public(_MODEL, "invoke", "input", "config", "kwargs"), _models.bound_invoke),
    _Hook(_public(_MODEL, "ainvoke", "input", "config", "kwargs"), _models.bound_ainvoke),
    _Hook(_public(_MODEL, "stream", "input", "config", "stop", "kwargs"), _models.recorded_stream),
    _Hook(
        _public(_MODEL, "astream", "input", "config", "stop", "kwargs"), _models.recorded_astream
    ),
    _Hook(_public(_TOOL, "run", "tool_input", "tool_call_id", "config"), _tools.recorded_run),
    _Hook(_public(_TOOL, "arun", "tool_input", "tool_call_id", "config"), _tools.recorded_arun),
    _Hook(EXECUTE_TOOL, _refused.recorded_execute),
    _Hook(AEXECUTE_TOOL, _refused.recorded_aexecute),
    _Hook(_public(_GRAPH, "stream", "input", "config"), _runs.recorded_stream),
    _Hook(_public(_GRAPH, "astream", "input", "config"), _runs.recorded_astream),
    _Hook(RUN_TASK, _nodes.watched),
    _Hook(ARUN_TASK, _nodes.awatched),
)
_WITHOUT_HOOKS = ", or use RowtrailSaver(..., capture=False) with JournalMiddleware"

# Without hooks too: calls are left by them.
leaves_calls_by(GraphBubbleUp, ParentCommand)

_lock = threading.Lock()
_originals: list[tuple[type | ModuleType, str, Any]] = []
_carrier = Carrier(passed_marker, marker_to_pass)


def install() -> None:
    """Install the hooks, once per process; they do nothing outside graphs on a rowtrail saver.

    Raises:
        UnsupportedError: This langchain-core, langgraph or pydantic lacks a name that is needed.
    """
    with _lock:
        if _originals:
            return
        _check()
        for hook in _HOOKS:
            original = hook.owner.__dict__[hook.method]
            _originals.append((hook.owner, hook.method, original))
            setattr(hook.owner, hook.method, hook.wrap(original))
        scope_finders.append(current_graph_scope)
        elsewhere_finders.append(is_elsewhere)
        carriers.append(_carrier)


def is_installed() -> bool:
    """Return whether the hooks are in place."""
    return bool(_originals)


def uninstall() -> None:
    """Take the hooks out again; without hooks this does nothing."""
    with _lock:
        for owner, method, original in _originals:
            setattr(owner, method, original)
        if _originals:
            scope_finders.remove(current_graph_scope)
            elsewhere_finders.remove(is_elsewhere)
            carriers.remove(_carrier)
            stop_handing_on()
        _originals.clear()


def _check() -> None:
    check((*(hook.needed for hook in _HOOKS), *NEEDED), or_else=_WITHOUT_HOOKS)
