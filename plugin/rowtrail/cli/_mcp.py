"""`rowtrail mcp`."""

from __future__ import annotations

from importlib import import_module

import click

from rowtrail.cli._journal import db_option, find_run, find_thread, open_journal
from rowtrail.history import Only, check_readable


@click.command("mcp", short_help="Serve the journal to MCP clients, read-only, on stdio.")
@click.option(
    "--thread", metavar="ID", help="Serve the rows of this thread only; @last is the newest."
)
@click.option("--run", metavar="ID", help="Serve the rows of this run only; @last is the newest.")
@db_option
def command(thread: str | None, run: str | None, db: str) -> None:
    """Serve the journal to MCP clients (editors, assistants, agents), read-only, on stdio.

    Tools: query, search, list_runs, get_run, get_step. Resources: rowtrail://schema and
    rowtrail://runs/RUN_ID. It needs the extra `mcp`. A client starts it with this entry:

    \b
      {"mcpServers": {"history":
        {"command": "rowtrail", "args": ["mcp", "--db", "/path/to/agent.db"]}}}

    \b
    Example:
      rowtrail mcp --db agent.db
      rowtrail mcp --db agent.db --thread support-7
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:  # a wrong file is named now, not at the first question
        check_readable(reader)
        thread_id = None if thread is None else find_thread(reader, thread)
        only = Only(thread_id, None if run is None else find_run(reader, run))
    import_module("rowtrail_mcp").serve(db, only)
