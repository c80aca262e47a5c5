"""`rowtrail why`."""

from __future__ import annotations

from dataclasses import asdict

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._differences import differences_text
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import Cell, print_fields, print_text
from rowtrail.history import Why, find_step, json_text, visible, why


@click.command("why", short_help="Say why a step was made or replayed.")
@click.argument("step", metavar="STEP")
@db_option
@json_option
@max_tokens_option
def command(step: str, db: str, as_json: bool) -> None:
    """Say why STEP was made and not replayed, and where its result was handed back.

    STEP is an id from the column `step` of `rowtrail show RUN`, or @last. Where a request had
    changed, the recorded step that comes nearest is named, with the first message or argument that
    differs, and what to do where it looks like something that is made up anew each time.

    \b
    Example:
      rowtrail why 17
      rowtrail why @last --json
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        found = why(reader, find_step(reader, step))
    if as_json:
        click.echo(json_text(asdict(found), indent=2))
        return
    print_fields(_fields(found))
    for name, text in _details(found):
        click.echo()
        print_text(name, style={"bold": True})
        for line in text.split("\n"):
            print_text(line)


def _fields(found: Why) -> list[tuple[str, Cell]]:
    step = found.step
    return [
        ("step", Cell(f"{step['step_id']} (number {step['seq']} of the run)")),
        ("run", show.text(step["run_id"])),
        ("call", Cell(f"{step['kind']} {show.text(step['name']).text}")),
        ("scope", show.text(step["node"] or step["scope"])),
        ("status", show.status(step["status"])),
        ("reason", show.text(step["reason"])),
        ("made" if found.made else "not made", Cell(visible(found.because))),
        ("replayed", Cell(show.counted(step["replays"], "time") if step["replays"] else "never")),
    ]


def _details(found: Why) -> list[tuple[str, str]]:
    """Return the parts below the fields, each with its title."""
    parts: list[tuple[str, str]] = []
    if found.nearest is not None:
        title = f"nearest recorded request: step {found.nearest['step_id']}"
        parts.append((title, differences_text(found.differences, "recorded", "asked")))
    if found.remedy is not None:
        parts.append(("what to do", visible(found.remedy)))
    if found.late is not None:
        came = found.late["error"] or found.late["output"] or "a result without a readable form"
        parts.append(("came late, after it was decided what became of it", visible(came)))
    if found.replayed:
        lines = [
            f"attempt {replay['attempt']} of {show.text(replay['run_id']).text}, "
            f"{show.moment(replay['at']).text}"
            for replay in found.replayed
        ]
        parts.append(
            ("handed back, its request was made again in the same scope", "\n".join(lines))
        )
    if found.same:
        lines = [
            f"step {same['step_id']} of {show.text(same['run_id']).text}" for same in found.same
        ]
        note = (
            "\nResults of other runs are not handed back, unless configurable has "
            '"rowtrail_replay": "always".'
        )
        parts.append(("the same request in other runs of the thread", "\n".join(lines) + note))
    return parts
