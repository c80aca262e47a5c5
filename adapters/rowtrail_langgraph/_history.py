"""`history_tool`: tools with which an agent asks its own history."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import Field

from rowtrail import Journal
from rowtrail.errors import QueryError, UnknownIdError, UsageError
from rowtrail.history import Answer, fit, schema_text
from rowtrail.history.searching import check_can_search
from rowtrail.journal import active_scope
from rowtrail.usage import count_tokens
from rowtrail_langgraph.capture import current_config
from rowtrail_langgraph.saver import RowtrailSaver

HistoryScope = Literal["thread", "run", "all"]

_SEES: dict[HistoryScope, str] = {
    "thread": "You see what was recorded in this conversation, and nothing else.",
    "run": "You see what was recorded for the request you work on, and nothing else.",
    "all": "You see what was recorded for all agents and conversations.",
}
_QUERY = """\
Ask the history of your calls in SQL: what was tried, what came back, what failed, what it cost. \
{sees} Answers have at most {max_tokens} tokens: name the columns that you need, narrow with \
WHERE, cut long values with substr(column, 1, 200). Nothing can be changed.
{schema}
Examples: {{"query": "@failures"}}; {{"query": "@conversation"}}; {{"query": "@tried", "params": \
{{"tool": "fetch", "args": "example.org"}}}}; {{"query": "SELECT name, substr(result, 1, 300) \
FROM tool_calls WHERE status = 'done' ORDER BY started_at DESC LIMIT 5"}}."""
_SEARCH = """\
Search the history of your calls for words: messages, tool arguments, results, errors and \
questions. {sees} \
The best rows come first; "words in quotes" are looked for side by side. Read a step in full with \
query_history: SELECT input, output FROM steps WHERE step_id = '...'."""

NAMES = ("query_history", "search_history")
OWN_ROWS = 20
"""So many more rows are looked for at first: questions to the history find each other."""

_OWN_CALL = re.compile(
    r"\[?(?:query|search)\]?_\[?history\]?: |step_id \| .*\| where \| snippet \|"
)
"""Where, in the words of a message, a call of one of the tools, or an answer of the search, begins;
matching words are in [ ]."""

_COLUMNS: dict[HistoryScope, tuple[str, ...]] = {
    "run": ("step_id", "name", "where", "snippet", "at"),
    "thread": ("step_id", "run_id", "name", "where", "snippet", "at"),
    "all": ("step_id", "run_id", "thread_id", "name", "where", "snippet", "at"),
}
_READS = {"rowtrail": {"effect": "read"}}


class _Seen(TypedDict, total=False):
    """The rows that a question may see."""

    thread_id: str
    run_id: str


def history_tool(
    journal_or_saver: Journal | RowtrailSaver,
    *,
    scope: HistoryScope = "thread",
    max_tokens: int = 800,
) -> list[BaseTool]:
    """Return the tools `query_history` (SQL) and `search_history` (words) for an agent.

    `create_agent(model, [*my_tools, *history_tool(saver)], checkpointer=saver)`. What they see is
    decided by the graph that runs them, not by what the model writes: no SQL reads another
    thread's rows. Like every tool call, questions are recorded, and replayed when the agent is
    resumed. A wrong query is answered with what is wrong and what is near.

    It needs the extra `search`.

    Args:
        journal_or_saver: The journal, or the saver on it; it stays the caller's to close.
        scope: `thread`: the conversation of the running graph. `run`: its run, from the input to
            the answer. `all`: the whole journal.
        max_tokens: How many tokens an answer may have.

    Raises:
        UsageError: The scope is not one of these, or `max_tokens` leaves no room; by a tool, where
            no graph with a thread or run is running.
        MissingPackageError: The extra `search` is not installed.
    """
    if scope not in _SEES:
        raise UsageError(f"scope={scope!r} is unknown: use one of {', '.join(_SEES)}")
    if max_tokens < 1:
        raise UsageError(f"max_tokens={max_tokens!r} leaves no room: use 1 or more")
    check_can_search("history_tool")
    asked = journal_or_saver
    journal = asked.journal if isinstance(asked, RowtrailSaver) else asked
    history = _History(journal, scope, max_tokens)
    sees = _SEES[scope]
    described = _QUERY.format(sees=sees, max_tokens=max_tokens, schema=schema_text())
    return [
        _tool(history.query, NAMES[0], described),
        _tool(history.search, NAMES[1], _SEARCH.format(sees=sees)),
    ]


def _tool(function: Callable[..., str], name: str, description: str) -> BaseTool:
    return StructuredTool.from_function(
        function,
        name=name,
        description=description,
        handle_tool_error=True,
        metadata=_READS,
    )


class _History:
    """The journal as one agent may see it."""

    def __init__(self, journal: Journal, scope: HistoryScope, max_tokens: int) -> None:
        self._journal = journal
        self._scope: HistoryScope = scope
        self._max_tokens = max_tokens

    def query(
        self,
        query: Annotated[str, Field(description="One SELECT, or the name of a query: @failures")],
        params: Annotated[
            dict[str, str | int | float | None] | None,
            Field(description="Values for :name in the query"),
        ] = None,
    ) -> str:
        """Answer a query."""
        return self._answered(
            lambda seen: self._journal.sql(query, params or {}, max_tokens=self._max_tokens, **seen)
        )

    def search(
        self,
        text: Annotated[str, Field(description="What to look for")],
        kind: Annotated[
            Literal["llm", "tool", "function"] | None, Field(description="Only such steps")
        ] = None,
        since: Annotated[
            str | None, Field(description="Only steps since then, UTC ISO-8601")
        ] = None,
        until: Annotated[
            str | None, Field(description="Only steps until then, UTC ISO-8601")
        ] = None,
        limit: Annotated[int, Field(description="How many rows at most", ge=1, le=50)] = 10,
    ) -> str:
        """Find words."""

        def ask(seen: _Seen) -> Answer:
            asked = limit + OWN_ROWS
            while True:
                found = self._journal.search(
                    text, kind=kind, since=since, until=until, limit=asked, **seen
                )
                kept = self._without_own(found, limit)
                if len(kept.rows) == limit or len(found.rows) < asked:
                    break
                asked *= 2
            return fit(
                kept,
                [found.note] if found.note else [],
                self._max_tokens,
                text,
            )

        return self._answered(ask)

    def _without_own(self, found: Answer, limit: int) -> Answer:
        """Return the rows of a search that questions like it did not leave, where they lead."""
        rows = [row for row in found if not _is_own(row)][:limit]
        columns = _COLUMNS[self._scope]
        return Answer(columns, [tuple(row[column] for column in columns) for row in rows])

    def _answered(self, ask: Callable[[_Seen], Answer]) -> str:
        """Return the answer to a question, or what is wrong with it, within the budget."""
        seen = self._seen()
        try:
            answer = ask(seen)
        except UnknownIdError:
            return self._cut("Nothing was recorded here yet.")
        except (QueryError, UsageError) as error:
            raise ToolException(self._cut(str(error))) from error
        text = answer.text()
        return self._cut(text if answer.rows else f"{text}\n(no rows)")

    def _cut(self, text: str) -> str:
        while (tokens := count_tokens(text, None)[0]) > self._max_tokens:
            text = text[: max(len(text) * self._max_tokens // tokens - 1, 1)]
        return text

    def _seen(self) -> _Seen:
        """Return what the running graph may see; the model has no say in it."""
        if self._scope == "all":
            return {}
        scope = active_scope()
        attempt = None if scope is None else scope.attempt
        if attempt is not None and attempt.recorder.store is self._journal.store:
            if self._scope == "thread" and attempt.thread_id is not None:
                return {"thread_id": attempt.thread_id}
            return {"run_id": attempt.run_id}  # a run without a thread is a conversation of its own
        thread_id: Any = (current_config().get("configurable") or {}).get("thread_id")
        if self._scope == "thread" and thread_id is not None:
            return {"thread_id": str(thread_id)}
        raise UsageError(
            f"the history of this {self._scope} was asked where no {self._scope} is running: call "
            "the tool in a graph on a RowtrailSaver with a thread_id, or in journal.run(...)"
        )


def _is_own(row: Mapping[str, Any]) -> bool:
    """Return whether a row of a search is a question to the history, or a message that asks one."""
    if row["name"] in NAMES:
        return True
    snippet: str = row["snippet"]
    call = _OWN_CALL.search(snippet) if row["where"] == "message" else None
    if call is None:
        return False
    before = snippet[: call.start()].lstrip("… ")
    return not before or ("[" not in before and "[" in snippet[call.start() :])
