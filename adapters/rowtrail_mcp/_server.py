"""The server: what a client may ask, and how it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import rowtrail
from rowtrail.history import Only, schema_text
from rowtrail.history.rows import RunStatus
from rowtrail.vocabulary import Kind
from rowtrail_mcp._history import DEFAULT_TOKENS, MAX_TOKENS, PART_CHARS, History
from rowtrail_mcp._sdk import READS, add_resource, server_of

if TYPE_CHECKING:
    from mcp.server import MCPServer

_INSTRUCTIONS = (
    "The history of agents, recorded by rowtrail: every run, LLM call, tool call, message and "
    "checkpoint as rows. Begin with list_runs, query('@waiting'), query('@conversation') or "
    "query('@failures'); get_step reads one step."
)

Tokens = Annotated[
    int, Field(description="How many tokens the answer may have", ge=20, le=MAX_TOKENS)
]
Value = Literal["input", "output", "error"]


def history_server(path: str, only: Only | None = None) -> MCPServer:
    """Return a server of the journal at `path`; each question opens the file for itself.

    Args:
        path: The journal's file.
        only: The thread or run whose rows it serves; None for all.
    """
    server = server_of("rowtrail", instructions=_INSTRUCTIONS, version=rowtrail.__version__)
    history = History(path, only or Only())
    _add_tools(server, history)
    _add_resources(server, history)
    return server


def serve(path: str, only: Only | None = None) -> None:
    """Serve the journal on standard input and output, until the input ends."""
    history_server(path, only).run("stdio")


class _Tools:
    """The tools: their signatures are what a client reads of them."""

    def __init__(self, history: History) -> None:
        self._history = history

    def query(
        self,
        sql: Annotated[str, Field(description="One SELECT, or a name such as @failures")],
        params: Annotated[
            dict[str, str | int | float | None] | None,
            Field(description="Values for :name in the query"),
        ] = None,
        max_tokens: Tokens = DEFAULT_TOKENS,
    ) -> str:
        return self._history.query(sql, params or {}, max_tokens)

    def search(
        self,
        text: Annotated[str, Field(description="Words, or some in quotes, side by side")],
        kind: Annotated[Kind | None, Field(description="Only such steps")] = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        since: Annotated[str | None, Field(description="Only since then, UTC ISO-8601")] = None,
        until: Annotated[str | None, Field(description="Only until then, UTC ISO-8601")] = None,
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
        max_tokens: Tokens = DEFAULT_TOKENS,
    ) -> str:
        return self._history.search(
            text,
            kind,
            thread_id,
            run_id,
            since=since,
            until=until,
            limit=limit,
            max_tokens=max_tokens,
        )

    def list_runs(
        self,
        status: RunStatus | None = None,
        thread_id: str | None = None,
        agent: str | None = None,
        before: Annotated[
            str | None, Field(description="Only runs that started before, UTC ISO-8601")
        ] = None,
        cursor: Annotated[
            str | None, Field(description="Go on where the last answer says so")
        ] = None,
        max_tokens: Tokens = DEFAULT_TOKENS,
    ) -> str:
        return self._history.runs(
            status, thread_id, agent, before=before, cursor=cursor, max_tokens=max_tokens
        )

    def get_run(
        self,
        run_id: str,
        after_seq: Annotated[int, Field(description="Only steps behind this one", ge=0)] = 0,
        max_tokens: Tokens = DEFAULT_TOKENS,
    ) -> str:
        return self._history.run(run_id, after_seq, max_tokens)

    def get_step(
        self,
        step_id: str,
        value: Annotated[
            Value | None, Field(description="Only this value; without it, the start of each")
        ] = None,
        offset: Annotated[int, Field(description="Characters to leave out first", ge=0)] = 0,
        chars: Annotated[int, Field(ge=1, le=PART_CHARS)] = 4_000,
    ) -> str:
        return self._history.step(step_id, value, offset, chars)


def _add_tools(server: MCPServer, history: History) -> None:
    tools = _Tools(history)
    about_query = f"Ask the journal in SQL; nothing can be changed.\n{schema_text()}"
    for tool, about in (
        (tools.query, about_query),
        (
            tools.search,
            "Find words in messages, tool arguments, results, errors and questions, best first.",
        ),
        (tools.list_runs, "List runs, the newest first, 50 at a time."),
        (tools.get_run, "Show a run and its steps in order."),
        (
            tools.get_step,
            "Show one step: what was asked and answered; long values in parts.",
        ),
    ):
        server.add_tool(tool, description=about, annotations=READS, structured_output=False)


def _add_resources(server: MCPServer, history: History) -> None:
    def schema() -> str:
        """The views, their columns, and the named queries."""
        return schema_text()

    def run(run_id: str) -> str:
        """A run and its steps."""
        return history.run_resource(run_id)

    add_resource(server, "rowtrail://schema", schema)
    add_resource(server, "rowtrail://runs/{run_id}", run)
