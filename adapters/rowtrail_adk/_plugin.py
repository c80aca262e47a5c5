"""`RowtrailPlugin`: what tells the runs of an app from others, and sees where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from google.adk.agents.callback_context import CallbackContext
from google.adk.agents.invocation_context import InvocationContext
from google.adk.events.event import Event
from google.adk.models.llm_request import LlmRequest
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext

from rowtrail.adapter.effects import Effects
from rowtrail.adapter.opening import LazyJournal, run_in_thread
from rowtrail.engine import Durability
from rowtrail.journal import Journal, check_durability, journal_path
from rowtrail_adk._hooks import error_of_journal, wrap_method
from rowtrail_adk._models import hook_models
from rowtrail_adk._runs import enters_run
from rowtrail_adk._tools import BY_PLUGIN, records_tool
from rowtrail_adk._turns import turn_here


class RowtrailPlugin(BasePlugin):
    """Records the invocations of an app, and replays what is recorded when one is given again.

    The run is the framework's invocation, named by `invocation_id`; without one, each `run_async`
    is a new run. Its thread is the session. An answer to a confirmation or a long-running tool
    goes on with the run that asked. Inside `journal.run`, or in a tool of another app on the same
    journal, it is part of that run.

    Args:
        path_or_journal: The file, opened at the first run, or a journal that is open; when None,
            what $ROWTRAIL_DB says, else `./agent.db`.
        effects: What tools do to the world, by name: `"write"`, or `{"effect": "write",
            "on_doubt": "retry"}`. Tools may say so themselves, by `custom_metadata={"rowtrail":
            ...}` or by `@rowtrail.step` on the function.
        durability: As of `Journal`, where a path was given; likewise `strict`.
        name: Of the plugin.

    Raises:
        UsageError: An effect or a durability is none of the documented ones.
    """

    def __init__(
        self,
        path_or_journal: str | os.PathLike[str] | Journal | None = None,
        *,
        effects: Mapping[str, Any] | None = None,
        durability: Durability = "full",
        strict: bool = False,
        name: str = "rowtrail",
    ) -> None:
        super().__init__(name=name)
        self.effects = Effects(effects or {}, place=BY_PLUGIN)
        check_durability(durability)
        self._given = path_or_journal
        self._opens = partial(Journal, durability=durability, strict=strict)
        self._lazy = self._unopened()
        wrap_method(Runner, "run_async", partial(enters_run, RowtrailPlugin))

    def _unopened(self) -> LazyJournal:
        if isinstance(self._given, Journal):
            return LazyJournal.around(self._given)
        return LazyJournal(journal_path(self._given), self._opens)

    @property
    def journal(self) -> Journal:
        """Return the journal; opens it, and blocks meanwhile, if nothing has yet."""
        return self._lazy.open()

    async def aopen(self) -> Journal:
        """Return the journal, opened on a thread of its own."""
        return await self._lazy.aopen()

    async def close(self) -> None:
        """Close the journal, if it was given as a path; a further run opens it again."""
        if not isinstance(self._given, Journal):
            opened, self._lazy = self._lazy, self._unopened()
            await run_in_thread(opened.close)

    async def before_run_callback(self, *, invocation_context: InvocationContext) -> None:
        """Enter the run, now that its id is known."""
        turn = turn_here.get()
        if turn is not None and turn.run is None and not turn.is_part:
            await turn.begin(invocation_context)

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> None:
        """Note which agent is about to ask."""
        turn = turn_here.get()
        if turn is not None:
            hook_models(callback_context, llm_request)

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> None:
        """Note which class of tool is about to be called."""
        if turn_here.get() is not None:
            wrap_method(type(tool), "run_async", records_tool)

    async def on_event_callback(
        self, *, invocation_context: InvocationContext, event: Event
    ) -> Event | None:
        """Record the questions of an event; one that the session has is handed on as it was."""
        turn = turn_here.get()
        if turn is None or turn.is_part or event.partial:
            return None
        return await turn.note(invocation_context, event)

    async def on_model_error_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest, error: Exception
    ) -> None:
        """Let nothing make an answer of the journal's own errors."""
        _raise_own(error)

    async def on_tool_error_callback(
        self,
        *,
        tool: BaseTool,
        tool_args: dict[str, Any],
        tool_context: ToolContext,
        error: Exception,
    ) -> None:
        """Let nothing make a message to the model of the journal's own errors."""
        _raise_own(error)


def _raise_own(error: Exception) -> None:
    found = error_of_journal(error)
    if found is not None:
        raise found
