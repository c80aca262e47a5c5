"""`rowtrail demo`: a real agent on real files, killed three times, resumed without paying twice."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("demo", short_help="Kill an agent three times, and resume it without paying twice.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder for the journal and the demo's files  [default: ./demo-TIME]",
)
@click.option("--model", metavar="NAME", help="Ask a real model, such as openai:gpt-4o-mini.")
@click.option("--no-baseline", is_flag=True, help="Leave out the run without rowtrail.")
def command(as_json: bool, folder: Path | None, model: str | None, no_baseline: bool) -> None:
    """Run a LangGraph agent, kill its process three times with SIGKILL, and resume it each time.

    Without a key or a network: the model is an endpoint on this machine that counts what it is
    asked. The exit code is 0 only if nothing was paid, run or written twice. It needs the extra
    `langgraph`, and langchain-openai.

    \b
    Example:
      rowtrail demo --dir demo
      rowtrail sql --db demo/agent.db "select kind, name, status, replays from steps"
    """  # noqa: D301  (click reads the backspace)
    from rowtrail_langgraph.demo._stage import run_demo

    raise SystemExit(run_demo(folder, model, as_json=as_json, baseline=not no_baseline))
