"""The command line: `rowtrail`, one module for each command, loaded when it is asked for."""

from __future__ import annotations

import click

from rowtrail import __version__
from rowtrail.cli._group import Entry, LazyGroup

__all__ = ["main"]

COMMANDS = {
    "demo": Entry(
        "rowtrail_langgraph.demo:command",
        "Kill an agent three times, and resume it without paying twice.",
    ),
    "runs": Entry("rowtrail.cli._runs:command", "List runs, crashed and in doubt first."),
    "threads": Entry("rowtrail.cli._threads:command", "List threads, the last active first."),
    "show": Entry("rowtrail.cli._show:command", "Show a run, its attempts and its steps."),
    "tail": Entry("rowtrail.cli._tail:command", "Follow what agents do, as they do it."),
    "spend": Entry(
        "rowtrail.cli._spend:command", "Say where tokens and money went, and what replay saved."
    ),
    "why": Entry("rowtrail.cli._why:command", "Say why a step was made or replayed."),
    "diff": Entry("rowtrail.cli._diff:command", "Compare two runs, step by step."),
    "search": Entry(
        "rowtrail.cli._search:command", "Find words, or their meaning, in what was recorded."
    ),
    "index": Entry("rowtrail.cli._index:command", "Fill the search index of a journal."),
    "sql": Entry("rowtrail.cli._sql:command", "Answer one SELECT over the journal's views."),
    "schema": Entry("rowtrail.cli._schema:command", "Print the views, in few words for a model."),
    "mcp": Entry(
        "rowtrail.cli._mcp:command", "Serve the journal to MCP clients, read-only, on stdio."
    ),
    "resume": Entry(
        "rowtrail.cli._resume:command", "Continue a run with a program, or say what that does."
    ),
    "in-doubt": Entry(
        "rowtrail.cli._in_doubt:command", "List steps that may have happened, and settle them."
    ),
    "doctor": Entry(
        "rowtrail.cli._doctor:command", "Check the journal, and say what may be lost right now."
    ),
    "verify": Entry("rowtrail.cli._verify:command", "Check that the journal is whole."),
    "repair": Entry(
        "rowtrail.cli._repair:command", "Build a sound journal of what a damaged one still holds."
    ),
    "prune": Entry("rowtrail.cli._prune:command", "Delete old threads or checkpoints."),
    "backup": Entry(
        "rowtrail.cli._backup:command", "Copy the journal into a new file, while agents go on."
    ),
    "export": Entry("rowtrail.cli._export:command", "Write one run, or all, as JSON lines or CSV."),
    "import": Entry(
        "rowtrail_langgraph.importing.command:command",
        "Take over a file of LangGraph's SqliteSaver.",
    ),
    "completion": Entry(
        "rowtrail.cli._completion:command", "Print what makes a shell complete commands and ids."
    ),
}


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The journal is --db PATH, else $ROWTRAIL_DB, else ./agent.db. "
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 verification failed, 5 busy.",
)
@click.version_option(
    __version__, "--version", prog_name="rowtrail", message="%(prog)s %(version)s"
)
@click.option("--db", metavar="PATH", help="The journal; it may stand behind the command, too.")
def main(db: str | None) -> None:
    """Ask a journal what an agent did: its runs, its calls, what they cost and what failed.

    \b
    Example:
      rowtrail runs --status crashed
      rowtrail show @last
      rowtrail sql "select name, count(*) from tool_calls group by name"
    """  # noqa: D301  (click reads the backspace)
