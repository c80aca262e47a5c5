"""Installing the hooks into langchain-core and langgraph, and taking them out again."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp, ParentCommand
from langgraph.prebuilt.tool_node import ToolNode
from langgraph.pregel import Pregel, _runner

from rowtrail.adapter import leaves_calls_by
from rowtrail.errors import UnsupportedError
from rowtrail.journal import scope_finders
from rowtrail.journal.places import Carrier, carriers, elsewhere_finders, stop_handing_on
from rowtrail_langgraph.capture import _models, _nodes, _refused, _runs, _tools
from rowtrail_langgraph.capture._handed import handed_on
from rowtrail_langgraph.capture._place import current_graph_scope, held_by_task, is_elsewhere


@dataclass(frozen=True)
class _Hook:
    """One method or function that is wrapped; `needs` are parameters that it must have."""

    owner: type | ModuleType
    method: str
    wrap: Callable[[Any], Any]
    needs: tuple[str, ...]


_HOOKS = (
    _Hook(
        BaseChatModel,
        "_generate_with_cache",
        _models.recorded_generate,
        ("messages", "stop", "run_manager", "kwargs"),
    ),
    _Hook(
        BaseChatModel,
        "_agenerate_with_cache",
        _models.recorded_agenerate,
        ("messages", "stop", "run_manager", "kwargs"),
    ),
    _Hook(BaseChatModel, "invoke", _models.bound_invoke, ("input", "config", "kwargs")),
    _Hook(BaseChatModel, "ainvoke", _models.bound_ainvoke, ("input", "config", "kwargs")),
    _Hook(BaseChatModel, "stream", _models.recorded_stream, ("input", "config", "stop", "kwargs")),
    _Hook(
        BaseChatModel, "astream", _models.recorded_astream, ("input", "config", "stop", "kwargs")
    ),
    _Hook(BaseTool, "run", _tools.recorded_run, ("tool_input", "tool_call_id", "config")),
    _Hook(BaseTool, "arun", _tools.recorded_arun, ("tool_input", "tool_call_id", "config")),
    _Hook(
        ToolNode,
        "_execute_tool_sync",
        _refused.recorded_execute,
        ("request", "input_type", "config"),
    ),
    _Hook(
        ToolNode,
        "_execute_tool_async",
        _refused.recorded_aexecute,
        ("request", "input_type", "config"),
    ),
    _Hook(Pregel, "stream", _runs.recorded_stream, ("input", "config")),
    _Hook(Pregel, "astream", _runs.recorded_astream, ("input", "config")),
    _Hook(_runner, "run_with_retry", _nodes.watched, ("task",)),
    _Hook(_runner, "arun_with_retry", _nodes.awatched, ("task",)),
)

_ALSO_NEEDED = (
    (BaseChatModel, "_get_invocation_params"),
    (BaseChatModel, "_get_ls_params"),
    (BaseChatModel, "_should_stream"),
    (BaseTool, "_filter_injected_args"),
)

# Without hooks too: calls are left by them.
leaves_calls_by(GraphBubbleUp, ParentCommand)

_lock = threading.Lock()
_originals: list[tuple[type | ModuleType, str, Any]] = []
_carrier = Carrier(handed_on, held_by_task)


def install() -> None:
    """Install the hooks, once per process; they do nothing outside graphs on a rowtrail saver.

    Raises:
        UnsupportedError: This langchain-core or langgraph lacks a method that is hooked.
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
    """Tell whether the hooks are in place."""
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
    for hook in _HOOKS:
        method = hook.owner.__dict__.get(hook.method)
        has = set() if method is None else set(inspect.signature(method).parameters)
        missing = [name for name in hook.needs if name not in has]
        if missing:
            raise _unsupported(f"{hook.owner.__name__}.{hook.method}({', '.join(hook.needs)})")
    for owner, name in _ALSO_NEEDED:
        if not hasattr(owner, name):
            raise _unsupported(f"{owner.__name__}.{name}")


def _unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"langchain-core {version('langchain-core')} with langgraph {version('langgraph')} has no "
        f"{what}, which recording calls needs: install versions that rowtrail supports, or use "
        "RowtrailSaver(..., capture=False) with JournalMiddleware"
    )
