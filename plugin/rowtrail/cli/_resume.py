"""`rowtrail resume`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from typing import NoReturn

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._group import Busy, Failure
from rowtrail.cli._journal import (
    db_option,
    find_run,
    json_option,
    open_journal,
    record_dead,
    run_argument,
)
from rowtrail.cli._output import Cell, print_fields, say, shorten
from rowtrail.history import (
    Reader,
    ResumePlan,
    absolute,
    fetch_open_attempt,
    json_text,
    resume_plan,
)
from rowtrail.history.rows import QuestionRow
from rowtrail.journal import DB_VARIABLE, DEFAULT_PATH, RUN_VARIABLE, THREAD_VARIABLE

_BY_EFFECT = {
    "read": "made again",
    "idempotent": "made again with the same key",
    "write": "its on_doubt decides; settle it before with `rowtrail in-doubt`",
}

SHOWN_CHARS = 200
"""Of a question: two lines or three."""
SHOWN_NAMES = 6
"""About a line."""
SHOWN_QUESTIONS = 5
"""With what else is shown, a screen of 24 lines."""
PROGRAM = "python agent.py"
"""Stands for what began the run: which program that was is not recorded."""


@click.command(
    "resume", short_help="Start a program that continues a run, or say what it would do."
)
@run_argument("run")
@click.argument("program", metavar="[-- PROGRAM ...]", nargs=-1, type=click.UNPROCESSED)
@db_option
@json_option
@max_tokens_option
def command(run: str, program: tuple[str, ...], db: str, as_json: bool) -> None:
    """Start PROGRAM so that it continues RUN, with recorded calls replayed; without PROGRAM, say
    what would be replayed, made again or asked about, and print the command to type.

    The environment says so to the program: $ROWTRAIL_DB is the journal, $ROWTRAIL_RUN the run and
    $ROWTRAIL_THREAD its thread. `rowtrail.Journal()` and `RowtrailSaver()` without a path use the
    journal, and the first `journal.run()` without an id continues the run. A graph goes on with its
    thread and no input: thread = os.environ.get("ROWTRAIL_THREAD"); graph.invoke(None if thread
    else question, {"configurable": {"thread_id": thread or "new"}}). The exit code is the
    program's; 5 where a live process holds the run.

    \b
    Example:
      rowtrail resume @last
      rowtrail resume report-42 -- python agent.py
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        record_dead(reader)
        run_id = find_run(reader, run)
        plan = resume_plan(reader, run_id)
        if program and plan.run["status"] == "running":
            raise _busy(reader, run_id)
    if program:
        say(f"resuming {run_id}: {_summary(plan)}")
        _start(program, db, plan)
    elif as_json:
        click.echo(json_text({**asdict(plan), "command": _command(plan, db)}, indent=2))
    else:
        print_fields(_fields(plan, db))
        if plan.run["status"] == "running":
            say("a live process holds the run: wait for it, or stop it")
        else:
            say(f"{PROGRAM!r} stands for the program that began the run")


def _busy(reader: Reader, run_id: str) -> Busy:
    holder = fetch_open_attempt(reader, run_id)
    who = "a live process" if holder is None else f"process {holder['pid']} on {holder['host']}"
    return Busy(f"{who} holds the run {run_id!r}: wait for it, or stop it")


def _command(plan: ResumePlan, db: str) -> str | None:
    """Return what to type to resume the run, None while a live process holds it."""
    if plan.run["status"] == "running":
        return None
    return f"{_typed('resume', plan.run['run_id'], db=db)} -- {PROGRAM}"


def _typed(*words: str, db: str) -> str:
    """Return a command as a shell takes it, with `--db` where the journal is not found without."""
    found = os.environ.get(DB_VARIABLE) or DEFAULT_PATH
    return shlex.join(["rowtrail", *words, *(() if db == found else ("--db", db))])


def _summary(plan: ResumePlan) -> str:
    parts = [f"{show.counted(sum(plan.replayed.values()), 'result')} at hand"]
    if plan.again:
        parts.append(f"{show.counted(sum(plan.again.values()), 'call')} to be made again")
    if plan.in_doubt:
        parts.append(f"{sum(plan.in_doubt.values()):,} in doubt")
    if asked := _asked(plan):
        parts.append(f"{show.counted(len(asked), 'question')} to answer")
    return ", ".join(parts)


def _asked(plan: ResumePlan) -> list[QuestionRow]:
    return [question for question in plan.questions if question["kind"] != "in_doubt"]


def _fields(plan: ResumePlan, db: str) -> list[tuple[str, Cell]]:
    kept = _counts(plan.replayed) or "nothing"
    saved = show.counted(plan.saved_tokens, "token")
    fields = [
        ("run", show.text(plan.run["run_id"])),
        ("thread", show.text(plan.run["thread_id"])),
        ("status", show.status(plan.run["status"])),
        ("replayed", Cell(f"{kept}, where they are asked for again")),
        (
            "saved",
            Cell(f"{saved}, {show.money(plan.saved_usd).text}"),
        ),
        ("made again", Cell(f"{_counts(plan.again) or 'nothing'}{_named(plan.again_names)}")),
    ]
    fields += [
        (
            "in doubt",
            Cell(f"{count:,} {effect}{_named(plan.in_doubt_names[effect])}: {_BY_EFFECT[effect]}"),
        )
        for effect, count in plan.in_doubt.items()
    ]
    asked = _asked(plan)
    fields += [("asks", _question(question)) for question in asked[:SHOWN_QUESTIONS]]
    if len(asked) > SHOWN_QUESTIONS:
        fields.append(("asks", Cell(f"{len(asked) - SHOWN_QUESTIONS:,} more")))
    return fields + _commands(plan, db)


def _commands(plan: ResumePlan, db: str) -> list[tuple[str, Cell]]:
    """Return what to type: to settle what is in doubt, and then to resume."""
    doubts = [
        question["step_id"]
        for question in plan.questions
        if question["kind"] == "in_doubt" and question["step_id"] is not None
    ]
    fields = [
        ("to settle", Cell(f"{_typed('in-doubt', step, db=db)} --text RESULT (or --not-done)"))
        for step in doubts[:SHOWN_QUESTIONS]
    ]
    command = _command(plan, db)
    return fields if command is None else [*fields, ("to resume", show.text(command))]


def _question(row: QuestionRow) -> Cell:
    text = show.text(row["question"]).text
    return Cell(f"{row['kind']}: {shorten(text, SHOWN_CHARS)}")


def _named(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return f" ({', '.join(show.text(name).text for name in names[:SHOWN_NAMES])}{more})"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(show.counted(count, f"{kind} call") for kind, count in counts.items())


def _start(program: tuple[str, ...], db: str, plan: ResumePlan) -> NoReturn:
    """Become the program, or where a process cannot, wait for it and end as it does."""
    environment = {
        **os.environ,
        DB_VARIABLE: absolute(db),
        RUN_VARIABLE: plan.run["run_id"],
    }
    environment.pop(THREAD_VARIABLE, None)
    if plan.run["thread_id"] is not None:
        environment[THREAD_VARIABLE] = plan.run["thread_id"]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if os.name != "nt":
            os.execvpe(program[0], program, environment)
        import subprocess  # `exec` of Windows returns to the shell at once

        sys.exit(subprocess.call(program, env=environment))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # which path it tried last says little
        raise Failure(f"{program[0]!r} cannot be started: {why}") from error
