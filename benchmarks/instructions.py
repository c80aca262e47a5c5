"""`python -m benchmarks.instructions`: what a step costs in instructions, counted by valgrind.

A count hangs neither on the load of the machine nor on its disk: what the processor executes in all
threads of a process that makes 100 steps more than another one, divided by 100. The start, the
imports and the first steps, in which caches fill, are in both and cancel.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks._contenders import ROOT, environment, with_other
from benchmarks._progress import tell
from benchmarks._row import OTHER, ROWTRAIL, Bar, Row
from benchmarks._scratch import remove_database, scratch_folder
from benchmarks._size import Size

STEPS = 100
WARM_UP = 50
MISSING = "valgrind not found: apt-get install valgrind"
BARE = "two bare commits"
KINDS = {
    "write": "benchmarks._step_contenders:short_write_steps",
    "read": "benchmarks._step_contenders:short_read_steps",
    "llm": "benchmarks._llm_contenders:recorded",
    "bare": "benchmarks._step_contenders:short_bare_commits",
}
BARS = {"write": (Bar("at most", 480, any_size=True),)}

CALLGRIND = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}")
_COLLECTED = re.compile(r"Collected : (\d+)")


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the row of instructions, of the write step alone where the run is a small one."""
    kinds = ["write", "read", "llm"] if size.is_full else ["write"]
    return rows_of(kinds, folder, against)


def rows_of(kinds: Sequence[str], folder: Path, against: Path | None) -> list[Row]:
    """Return a row for each kind of step."""
    if not is_installed():
        return [
            Row("instructions", _label(kind), "K instructions", {}, BARS.get(kind, ()),
                {BARE: MISSING}, note=MISSING)
            for kind in kinds
        ]  # fmt: skip
    bare = per_step(KINDS["bare"], folder) / 1e3
    rows: list[Row] = []
    for kind in kinds:
        samples = {
            each.name: [per_step(each.opens, folder, each.source) / 1e3]
            for each in with_other(KINDS[kind], against)
        }
        samples[BARE] = [bare]
        rows.append(
            Row("instructions", _label(kind), "K instructions", samples, BARS.get(kind, ()))
        )
    return rows


def _label(kind: str) -> str:
    name = "LLM step, prompt of 20 messages" if kind == "llm" else f"{kind} step, 200 B of output"
    return f"{name}, average over {STEPS}"


def is_installed() -> bool:
    """Return whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def per_step(opens: str, folder: Path, source: Path | None = None) -> float:
    """Return the instructions of one step of a contender."""
    tell(f"instructions: {opens.partition(':')[2]}" + (f" of {source}" if source else ""))
    _contend(opens, folder, source, 1)  # compiles the modules, which only the first process does
    few = _instructions(opens, folder, source, WARM_UP)
    many = _instructions(opens, folder, source, WARM_UP + STEPS)
    return (many - few) / STEPS


def _instructions(opens: str, folder: Path, source: Path | None, steps: int) -> int:
    found = _COLLECTED.search(_contend(opens, folder, source, steps, *CALLGRIND))
    if found is None:
        raise RuntimeError("valgrind counted nothing")
    return int(found[1])


def _contend(opens: str, folder: Path, source: Path | None, steps: int, *under: str) -> str:
    """Let a contender make steps, under a program that watches it; return what was logged."""
    path = folder / "counted.db"
    asked = f"{WARM_UP + STEPS} 0\n0 {steps}\n"  # all make the texts of all steps
    command = [*under, sys.executable, "-m", "benchmarks._contenders", opens, str(path), "0"]
    env = {**environment(source), "PYTHONHASHSEED": "0"}  # the same order of sets in all runs
    done = subprocess.run(
        command, cwd=ROOT, env=env, input=asked, capture_output=True, text=True, check=False
    )
    remove_database(path)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, and print a line for each kind of step."""
    given = _parser().parse_args(arguments)
    if not is_installed():
        print(MISSING, file=sys.stderr)
        return 1
    with scratch_folder() as folder:
        rows = rows_of(given.kinds or list(BARS), folder, given.against)
    if given.json:
        print(json.dumps([row.as_json(is_full=True) for row in rows], indent=1))
        return 0
    for row in rows:
        values = {name: f"{row.value(name) or 0:,.0f} K" for name in row.samples}
        print(row.measure + ": " + ", ".join(f"{name} {value}" for name, value in values.items()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = ", ".join(KINDS)
    parser.add_argument(
        "kinds", nargs="*", type=_kind, metavar="KIND", help=f"{kinds} (default: write)"
    )
    parser.add_argument("--against", type=Path, metavar="PATH", help=f"{OTHER} of {ROWTRAIL}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _kind(text: str) -> str:
    if text not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(KINDS)}")
    return text


if __name__ == "__main__":
    sys.exit(main())
