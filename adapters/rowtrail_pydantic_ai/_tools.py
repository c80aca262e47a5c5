"""Calls of tools, recorded where they leave the framework: inside its hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
from pydantic_ai.tools import AgentDepsT
from pydantic_ai.toolsets import FunctionToolset, ToolsetTool, WrapperToolset

from rowtrail.adapter import DECLARED, Scope, arecord, leaves_calls_by
from rowtrail.adapter.effects import Effects
from rowtrail.journal import Step

DOUBT = "rowtrail_in_doubt"
"""Key in the metadata of a deferred call: the step that may have happened, and the question."""

leaves_calls_by(ApprovalRequired, CallDeferred)


@dataclass
class RecordedToolset(WrapperToolset[AgentDepsT]):
    """A toolset whose calls are steps.

    Attributes:
        effects: What its tools do to the world.
        scope_of: Returns the scope of a call by the name and the effect of the tool.
    """

    effects: Effects
    scope_of: Callable[..., Scope | None]

    async def call_tool(
        self,
        name: str,
        tool_args: dict[str, Any],
        ctx: RunContext[AgentDepsT],
        tool: ToolsetTool[AgentDepsT],
    ) -> Any:
        """Call a tool, or hand back what it returned."""

        async def make() -> Any:
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)

        if tool.tool_def.tool_kind is not None:  # the framework's own, such as tool search
            return await make()
        tools = tool.toolset.tools if isinstance(tool.toolset, FunctionToolset) else {}
        called = tools.get(getattr(tool, "original_name", None) or name)
        function = called.function if called and hasattr(called.function, DECLARED) else None
        declared = self.effects.declared(name, tool.tool_def.metadata, function)
        scope = self.scope_of(name, declared.effect)
        if scope is None:
            return await make()
        request = declared.request(scope, name, tool_args, tool_call_id=ctx.tool_call_id)
        # who approved this call may not have known of the doubt: then `rowtrail in-doubt` settles
        if request.on_doubt == "ask" and not ctx.tool_call_approved:
            request = replace(request, on_doubt=_ask)
        return await arecord(scope, request, make)


def _ask(step: Step) -> NoReturn:
    """Ask a person about a call in doubt, as the framework asks about calls."""
    raise ApprovalRequired({DOUBT: {"step_id": step.id, "question": step.doubt}})
