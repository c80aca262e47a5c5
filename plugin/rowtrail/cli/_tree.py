"""`rowtrail show` as a tree: who called what, in as many lines as a screen has."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._output import Cell, Column, print_table, say
from rowtrail.history import Line, Reader, cell_text, run_tree
from rowtrail.history.rows import QuestionRow, StepLine

SCREEN_LINES = 40
"""Where there is no terminal: what a person reads at once, and a model in some 1,000 tokens."""
MIN_LINES = 12
"""A lower terminal is scrolled."""
LAST_LINES = 4
"""Of the screen: titles, the line for the next command, what is said on stderr."""
TEXT_CHARS = 80
"""Of an answer or an argument, where there is room."""
INDENT = "  "
MAX_VALUES = 12
"""Arguments of equal calls that one line can name."""

Given = dict[str, str]
"""Arguments of a call by name, as texts."""

COLUMNS = (
    Column("step", right=True),
    Column("what", width=160, is_flexible=True),
    Column("status"),
    Column("try", right=True, is_rare=True, rank=3),
    Column("time", right=True, rank=2),
    Column("tokens in/out", right=True, rank=1),
    Column("cost", right=True, is_rare=True, rank=4),
)


def print_tree(reader: Reader, run_id: str, *, used_lines: int, with_all: bool) -> None:
    """Print the steps of a run below `used_lines` that stand on the screen."""
    rows = SCREEN_LINES
    if sys.stdout.isatty():
        rows = shutil.get_terminal_size((120, SCREEN_LINES)).lines
    most = None if with_all else max(rows - used_lines - LAST_LINES, MIN_LINES)
    tree = run_tree(reader, run_id, most_lines=most)
    if not tree.lines:
        click.echo("no steps")
        return
    tries = {step["attempt_id"] for line in tree.lines for step in _steps(line)}
    number = {attempt: n for n, attempt in enumerate(sorted(tries, key=int), start=1)}
    texts = _arguments(tree.lines)
    cells = [_cells(line, number if len(number) > 1 else {}, texts) for line in tree.lines]
    print_table(COLUMNS, [cells])
    if tree.left_out:
        say(f"{show.counted(tree.left_out, 'step')} left out: --all or --view table lists them")


def _steps(line: Line) -> tuple[StepLine, ...]:
    return (*line.steps, *line.hidden)


def _cells(line: Line, tries: dict[str, int], texts: dict[str, Given]) -> tuple[Cell, ...]:
    indent = INDENT * min(line.depth, 8)
    if line.question is not None:
        return _question(line.question, indent)
    every = _steps(line)
    first = min((int(step["step_id"]) for step in line.steps), default=None)
    ids = "" if first is None else f"{first}{'+' if len(line.steps) > 1 else ''}"
    taken = _sum(step["input_tokens"] for step in every)
    given = _sum(step["output_tokens"] for step in every)
    costs = [step["cost_usd"] for step in every if step["cost_usd"] is not None]
    made = {tries[step["attempt_id"]] for step in line.steps if step["attempt_id"] in tries}
    return (
        Cell(ids),
        Cell(f"{indent}{_what(line, texts)}", None if line.steps else {"bold": True}),
        _status(line),
        Cell("-".join(str(n) for n in sorted({min(made), max(made)})) if made else ""),
        Cell(_time(line)),
        Cell("" if not taken and not given else show.tokens(taken, given).text),
        Cell(show.money(sum(costs)).text if costs else ""),
    )


def _question(question: QuestionRow, indent: str) -> tuple[Cell, ...]:
    text = cell_text(question["question"]) or question["kind"].replace("_", " ")
    answer = cell_text(question["answer"])
    is_open = question["answered_at"] is None
    said = f" -> {answer}" if answer else ""
    status = Cell("? waiting", {"fg": "yellow", "bold": True}) if is_open else Cell("answered")
    return (Cell(""), Cell(f"{indent}? {text}{said}"), status, *[Cell("")] * 4)


def _sum(values: Iterable[int | None]) -> int:
    return sum(value or 0 for value in values)


def _status(line: Line) -> Cell:
    if not line.steps:
        return Cell("")
    counts = Counter(step["status"] for step in line.steps)
    newest = show.status(next(iter(counts)))
    if len(counts) > 1:
        text = ", ".join(f"{n} {show.status(status).text}" for status, n in counts.items())
        newest = Cell(text, show.status("failed").style if "failed" in counts else None)
    replays = sum(bool(step["replays"]) for step in _steps(line))
    if not replays:
        return newest
    count = "" if len(_steps(line)) == 1 else f" {replays}"
    return Cell(f"{newest.text}, replayed{count}", newest.style)


def _time(line: Line) -> str:
    known = [step for step in line.steps if step["ended_at"] is not None]
    if len(known) == 1 and known[0]["duration_ms"] is not None:
        return show.duration_text(known[0]["duration_ms"])
    if not known:
        return ""
    longest = max(step["duration_ms"] or 0.0 for step in known)
    return f"<= {show.duration_text(longest)}"


def _what(line: Line, texts: dict[str, Given]) -> str:
    if not line.steps:
        return f"{cell_text(line.agent)}{_inside(line)}"
    step, count = line.steps[0], len(line.steps)
    times = f" x{count}" if count > 1 else ""
    name = cell_text(step["model"] or step["name"])
    inside = _inside(line)
    if step["kind"] == "llm":
        said = "" if count > 1 else _answer(step)
        return " ".join(filter(None, [f"{name}{times}{inside}", said]))
    said = _said([texts.get(s["step_id"], {}) for s in line.steps])
    result = ""
    if count == 1 and not line.hidden and step["output"] is not None:
        result = f"-> {_plain(step['output'])}"
    return " ".join(filter(None, [f"{name}{times}", said, inside.strip(), result]))


def _inside(line: Line) -> str:
    """Return who works inside a step, and what is not shown of it."""
    parts = [f" > {cell_text(line.agent)}"] if line.agent is not None and line.steps else []
    counts = Counter(_kind(step) for step in line.hidden)
    if counts:
        parts.append(f" ({', '.join(f'{n} {kind}' for kind, n in counts.items())})")
    return "".join(parts)


def _kind(step: StepLine) -> str:
    return "llm" if step["kind"] == "llm" else cell_text(step["name"])


def _answer(step: StepLine) -> str:
    """Return the first words of an answer, the tools that it calls, or what went wrong."""
    output = step["output"]
    if output is None:
        return ""
    if step["status"] != "done":
        return _plain(output)
    calls = _calls(output)
    if calls is None:
        return f'"{_plain(output)}"'
    return "-> " + ", ".join(f"{name} x{n}" if n > 1 else name for name, n in calls.items())


def _calls(output: str) -> Counter[str] | None:
    """Return how often an answer calls each tool, None where it is no list of calls."""
    if not output.startswith('[{"'):
        return None
    try:
        calls = cast("Sequence[Any]", json.loads(output))
    except (ValueError, RecursionError):
        return None
    named = [cast("dict[str, Any]", call).get("name") for call in calls if isinstance(call, dict)]
    return Counter(cell_text(name) for name in named if isinstance(name, str)) or None


def _plain(text: str) -> str:
    """Return a text on one line: a JSON text without its quotes, blanks joined."""
    if text.startswith('"'):
        try:
            text = json.loads(text)
        except ValueError:  # it is cut
            text = text[1:]
    return cell_text(" ".join(str(text).split()))[:TEXT_CHARS]


def _said(calls: Sequence[Given]) -> str:
    """Return the arguments of equal calls in short: those of all of them once, then the others."""
    same = _same(calls) if len(calls) > 1 else set(calls[0])
    shared = [value for name, value in calls[0].items() if name in same and value]
    others = (
        " ".join(value for name, value in call.items() if name not in same and value)
        for call in calls
    )
    several = list(dict.fromkeys(filter(None, others)))
    more = ["..."] if len(several) > MAX_VALUES else []
    return ", ".join([*shared, *several[:MAX_VALUES], *more])


def _arguments(lines: Sequence[Line]) -> dict[str, Given]:
    """Return by step the arguments that tell its call from others of the same name."""
    steps = [step for line in lines for step in line.steps if step["kind"] != "llm"]
    given = {step["step_id"]: _given(step["input"]) for step in steps}
    by_name: dict[str, list[Given]] = {}
    for step in steps:
        by_name.setdefault(step["name"], []).append(given[step["step_id"]])
    same = {name: _same(calls) for name, calls in by_name.items()}
    return {
        step["step_id"]: {
            name: value[:TEXT_CHARS]
            for name, value in given[step["step_id"]].items()
            if name not in same[step["name"]]
        }
        for step in steps
    }


def _same(calls: Sequence[Given]) -> set[str]:
    """Return the arguments that all of several calls have in common, which tell nothing."""
    if len(calls) < 2:
        return set()
    values: dict[str, set[str]] = {}
    for call in calls:
        for name, value in call.items():
            values.setdefault(name, set()).add(value)
    common = {name for name, found in values.items() if len(found) == 1}
    return set() if common == set(values) else common


def _given(text: str | None) -> Given:
    """Return arguments by name as texts; those of a text that is cut, as far as they go."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"": cell_text(text)}
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {"": value}
    args, named = fields.get("args", []), fields.get("kwargs", {})
    if set(fields) <= {"args", "kwargs"} and isinstance(args, list) and isinstance(named, dict):
        numbered = {str(n): arg for n, arg in enumerate(cast("Sequence[Any]", args))}
        fields = numbered | cast("dict[str, Any]", named)
    return {name: _short(item) for name, item in fields.items()}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cell_text(" ".join(text.split()))
