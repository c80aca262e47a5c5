"""`python -m examples.ask_history`: records the run, asks, and prints what it cost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from examples.ask_history._agent import record
from examples.ask_history._report import FULL_STEPS, ask_all, print_report


@click.command()
@click.option(
    "--steps", type=click.IntRange(120, 20_000), default=FULL_STEPS, show_default=True,
    help="Steps of the run; fewer than 450 have fewer than 30 files.",
)  # fmt: skip
@click.option("--seed", default=7, show_default=True, help="Other files with another one.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="New folder to keep it in.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(steps: int, seed: int, folder: Path | None, as_json: bool) -> None:
    """Record an agent's run over real files, and ask its journal 30 questions.

    The exit code is 1 if an answer is wrong or, with 1,000 steps or more, if questions and answers
    together have more than 2 % of the tokens of the run's plain log.

    \b
    Example:
      python -m examples.ask_history --dir audit
      rowtrail sql --db audit/agent.db @failures
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch) / "audit"
        if place.exists():
            raise click.UsageError(f"--dir {str(place)!r} exists: give a new folder")
        report = ask_all(record(place, steps, seed))
    if as_json:
        click.echo(report.as_json())
    else:
        print_report(report)
    raise SystemExit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
