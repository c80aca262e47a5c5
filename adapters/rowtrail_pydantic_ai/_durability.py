"""The capability: it enters a run of the journal, and wraps an agent's models and tools."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic_ai import AgentRunResult, DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.capabilities import AbstractCapability, BatchModelRequests, CapabilityOrdering
from pydantic_ai.capabilities.abstract import AgentNode, WrapRunHandler
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolApproved
from pydantic_ai.toolsets import AbstractToolset

from rowtrail import NOT_DONE, Journal, adapter
from rowtrail.adapter import Effect, Scope
from rowtrail.adapter.effects import Effects
from rowtrail.adapter.opening import OpensJournal
from rowtrail.journal import active_scope, take_run_id
from rowtrail.vocabulary import QuestionKind
from rowtrail_pydantic_ai._models import RecordedModel
from rowtrail_pydantic_ai._tools import DOUBT, RecordedToolset

Context = RunContext[Any]

BY_CAPABILITY = 'RowtrailDurability(..., effects={{{name}: "{effect}"}})'
"""What declares the effect of a tool: a template."""

_agent: ContextVar[str | None] = ContextVar("rowtrail_pydantic_ai_agent", default=None)
"""Name of the agent whose run the code here is part of."""

_unnamed: ContextVar[str | None] = ContextVar("rowtrail_pydantic_ai_unnamed", default=None)
"""The run that begins here without an id of its user: empty until the framework has made one."""


class RowtrailDurability(OpensJournal, AbstractCapability[Any]):
    """Records the runs of an agent, and replays what is recorded when a run is given again.

    The run is named by the framework's `run_id`, its thread by `conversation_id`. Without a
    `run_id` it is a part of the run around it on this journal (`journal.run`, a tool of another
    agent), and a new run where there is none. `message_history` with `deferred_tool_results` goes
    on with the run that asked for them.

    Args:
        path_or_journal: The file, opened at the first run, or a journal that is open; when None,
            what $ROWTRAIL_DB says, else `./agent.db`.
        effects: What tools do to the world, by name: `"write"`, or `{"effect": "write",
            "on_doubt": "retry"}`. Tools may say so themselves, by `metadata={"rowtrail": ...}` or
            by `@rowtrail.step` under `@agent.tool`.

    Raises:
        UsageError: An effect is not one of the documented ones.
    """

    def __init__(
        self,
        path_or_journal: str | os.PathLike[str] | Journal | None = None,
        *,
        effects: Mapping[str, Any] | None = None,
    ) -> None:
        self._effects = Effects(effects or {}, place=BY_CAPABILITY)
        self.use_journal(path_or_journal)

    def get_ordering(self) -> CapabilityOrdering:
        """Return that batches are inside, wherever they stand: they ask no model further inside."""
        return CapabilityOrdering(wraps=[BatchModelRequests])

    def get_default_run_id(self) -> str | None:
        """Return the run that `rowtrail resume` continues with this program."""
        named = None if active_scope() is not None else take_run_id()
        _unnamed.set("" if named is None else None)
        return named

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """Return a conversation that is the same when the run is given again."""
        if _unnamed.get() == "":
            _unnamed.set(run_id)
        return str(uuid5(NAMESPACE_URL, f"rowtrail:{run_id}"))

    def get_wrapper_model(self, model: Model) -> Model | None:
        """Return the model, recorded."""
        return None if isinstance(model, RecordedModel) else RecordedModel(model, _scope)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """Return the tools of a run, recorded."""
        return RecordedToolset(toolset, self._effects, _scope)

    async def wrap_run(self, ctx: Context, *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Enter the run in the journal, unless it is part of one."""
        journal = await self.aopen()
        name = None if ctx.agent is None else ctx.agent.name
        around = active_scope()
        token = _agent.set(name)
        try:
            asked = await _run_that_asked(journal, ctx)
            run_id = asked or str(ctx.run_id)
            if (
                around is not None
                and around.attempt.recorder.store is journal.store
                and run_id in (_unnamed.get(), around.attempt.run_id)
            ):
                return await handler()
            run = journal.run(run_id, thread_id=ctx.conversation_id, agent=name)
            if asked is None and ctx.prompt is not None:
                run.of_input(ctx.prompt)
            async with run:
                result = await handler()
                if isinstance(result.output, DeferredToolRequests):
                    await _ask(result.output, result.all_messages())
                return result
        finally:
            _agent.reset(token)

    async def before_node_run(self, ctx: Context, *, node: AgentNode[Any]) -> AgentNode[Any]:
        """Record what people answered to the questions of deferred tools."""
        given = getattr(node, "deferred_tool_results", None)
        if isinstance(given, DeferredToolResults):
            await _answer(given, ctx.messages)
        return node


def _scope(name: str, effect: Effect = "read") -> Scope | None:
    """Return the scope of a call that is made here, None where it is made unrecorded."""
    return adapter.scope_here(name, effect, agent=_agent.get())


async def _run_that_asked(journal: Journal, ctx: Context) -> str | None:
    """Return the id of the run whose questions are answered, None where there is none."""
    last = ctx.messages[-1] if ctx.messages else None
    if isinstance(last, ModelResponse) and last.tool_calls:
        for call in last.tool_calls:
            if asked := await adapter.afetch_run_that_asked(journal, json.dumps(call.tool_call_id)):
                return asked
    return None


async def _ask(wanted: DeferredToolRequests, messages: Sequence[ModelMessage]) -> None:
    scope, positions = active_scope(), _positions(messages)
    if scope is None or scope.attempt.begun.status_before == "done":  # asked, and answered
        return
    for call in (*wanted.calls, *wanted.approvals):
        call_id = call.tool_call_id
        doubt = wanted.metadata.get(call_id, {}).get(DOUBT, {})
        kind: QuestionKind = "approval" if call in wanted.approvals else "interrupt"
        question = {"tool": call.tool_name, "args": call.args_as_dict(), "call_id": call_id}
        told: Any = {"kind": "in_doubt", "step_id": doubt["step_id"]} if doubt else {"kind": kind}
        position = positions[call_id]
        await adapter.arecord_question(scope, {**question, **doubt}, position=position, **told)


async def _answer(given: DeferredToolResults, messages: Sequence[ModelMessage]) -> None:
    scope, positions = active_scope(), _positions(messages)
    if scope is None:
        return
    said = given.to_tool_call_results()
    await adapter.asettle_doubts(scope, {call_id: _outcome(each) for call_id, each in said.items()})
    for call_id, answer in {**given.calls, **given.approvals}.items():
        if call_id in positions:
            await adapter.arecord_answer(scope, answer, position=positions[call_id])


def _outcome(said: Any) -> Any:
    """Return what became of a call in doubt: approved, it is made again."""
    return NOT_DONE if isinstance(said, ToolApproved) else getattr(said, "message", said)


def _positions(messages: Sequence[ModelMessage]) -> dict[str, int]:
    """Return the position of each call that the models of a conversation asked for."""
    answers = [each for each in messages if isinstance(each, ModelResponse)]
    calls = [call.tool_call_id for answer in answers for call in answer.tool_calls]
    return {call_id: position for position, call_id in enumerate(calls)}
