"""Every private name of the Agents SDK that is used, each looked for before anything else.

No public name is passed by all calls of models and tools: a `RunConfig` has a provider of models
but not those of agents, and a copy of an agent or a tool is another one to the program's hooks.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import agents
import agents.tool
from agents.agent_tool_state import get_agent_tool_state_scope, peek_agent_tool_run_result
from agents.run_internal import run_loop, tool_execution

from rowtrail.errors import UnsupportedError

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
Invoke = Callable[[Any, str], Awaitable[Any]]

INVOCATIONS = ("_invoke_function_tool_with_metadata", "invoke_function_tool")
"""What calls a function tool within its time limit; the first in newer versions."""

_MARK = "rowtrail_hook"
_lock = threading.Lock()


def install(model: Wrap, tool: Wrap, failure: Wrap) -> None:
    """Wrap what finds the model of a turn, what calls a tool, and what makes messages of errors.

    A second time changes nothing.

    Raises:
        UnsupportedError: This version of the SDK lacks one of them, or it takes other arguments.
    """
    invoke = next((name for name in INVOCATIONS if hasattr(tool_execution, name)), INVOCATIONS[0])
    hooks: tuple[tuple[Any, str, set[str], Wrap], ...] = (
        (run_loop, "get_model", {"agent", "run_config"}, model),
        (tool_execution, invoke, {"function_tool", "context", "arguments"}, tool),
        (
            agents.tool,
            "maybe_invoke_function_tool_failure_error_function",
            {"function_tool", "context", "error"},
            failure,
        ),
    )
    with _lock:
        for owner, name, parameters, _ in hooks:
            found = getattr(owner, name, None)
            if found is None or set(inspect.signature(found).parameters) != parameters:
                raise _unsupported(f"{owner.__name__}.{name}({', '.join(sorted(parameters))})")
        for owner, name, _, wrap in hooks:
            _wrap_once(owner, name, wrap)


def install_in_class(cls: type[Any], name: str, wrap: Wrap) -> None:
    """Wrap a method where a class has it from; a second time changes nothing."""
    owner = next(each for each in cls.__mro__ if name in vars(each))
    if not hasattr(vars(owner)[name], _MARK):
        with _lock:
            _wrap_once(owner, name, wrap)


def _wrap_once(owner: Any, name: str, wrap: Wrap) -> None:
    original = vars(owner)[name]
    if not hasattr(original, _MARK):
        wrapped = wrap(original)
        setattr(wrapped, _MARK, True)
        setattr(owner, name, wrapped)


def address_of(model: Any) -> str:
    """Return the host that a model asks, empty where it does not say."""
    url = getattr(getattr(model, "_client", None), "base_url", None)
    return str(getattr(url, "host", ""))


def function_of(tool: agents.FunctionTool) -> Callable[..., Any] | None:
    """Return the function under `@function_tool`, None where a tool was made in another way."""
    try:
        return tool.__wrapped__  # of newer versions, which raise for other tools
    except AttributeError:
        body = getattr(tool.on_invoke_tool, "_invoke_tool_impl", None)
        inside = inspect.getclosurevars(body).nonlocals if inspect.isfunction(body) else {}
        return inside.get("the_func")


def with_body(tool: agents.FunctionTool, wrap: Callable[[Invoke], Invoke]) -> agents.FunctionTool:
    """Return a copy of a tool for one call, whose body is wrapped.

    The body is inside what makes messages of errors, so that a recorded failure is handled as it
    was.
    """
    twin = object.__new__(type(tool))
    vars(twin).update(vars(tool))
    invoker: Any = tool.on_invoke_tool
    if hasattr(invoker, "_invoke_tool_impl"):
        twin.on_invoke_tool = copy.copy(invoker)
        vars(twin.on_invoke_tool)["_invoke_tool_impl"] = wrap(invoker._invoke_tool_impl)
    else:
        twin.on_invoke_tool = wrap(invoker)
    return twin


def asks_inside(context: Any) -> bool:
    """Return whether the agent that a tool call ran waits for a person."""
    call = getattr(context, "tool_call", None)
    if call is None:
        return False
    result = peek_agent_tool_run_result(call, scope_id=get_agent_tool_state_scope(context))
    return bool(getattr(result, "interruptions", None))


def decision_on(state: Any, item: agents.ToolApprovalItem) -> bool | None:
    """Return what a person decided about a call in a state, None where nobody has."""
    find = getattr(state, "_find_nested_approval_state", None)
    inside = find(item) if find is not None else None
    owner, item = inside or (state, item)
    context, call_id = owner._context, call_id_of(item)
    if context is None or call_id is None:
        return None
    status: bool | None = context.get_approval_status(
        item.tool_name or "", call_id, existing_pending=item
    )
    return status


def call_id_of(item: agents.ToolApprovalItem) -> str | None:
    """Return the id of the call that waits for approval."""
    raw: Any = item.raw_item
    found = raw.get("call_id") if isinstance(raw, dict) else getattr(raw, "call_id", None)
    return found if found is None else str(found)


def rejection_of(state: Any, item: agents.ToolApprovalItem) -> str | None:
    """Return what a person said of a call that is not to be made; older versions have no words."""
    get = getattr(state._context, "get_rejection_message", None)
    call_id = call_id_of(item)
    if get is None or call_id is None:
        return None
    said: str | None = get(item.tool_name or "", call_id, existing_pending=item)
    return said


def failure_of(streamed: agents.RunResultStreaming) -> BaseException | None:
    """Return what a streamed run ended with."""
    task = streamed.run_loop_task
    if task is not None and task.cancelled():
        import asyncio

        return asyncio.CancelledError()
    stored: BaseException | None = getattr(streamed, "_stored_exception", None)
    return stored if stored is not None or task is None else task.exception()


def _unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"openai-agents {agents.__version__} has no {what}: rowtrail_openai_agents needs 0.11 to "
        "0.24; a newer rowtrail may know newer versions"
    )
