"""`python -m benchmarks`: measure, print the table, write JSON and the plot."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from benchmarks import (
    _agent,
    _concurrency,
    _memory,
    _million,
    _replay,
    _search,
    _start,
    _state,
    _steps,
    _turns,
    instructions,
)
from benchmarks._machine import machine_facts, version_facts
from benchmarks._progress import elapsed_s, tell
from benchmarks._report import Report
from benchmarks._row import Row
from benchmarks._scratch import scratch_folder
from benchmarks._size import FULL, QUICK, SIZES, Size

Curves = dict[str, list[list[float]]]
Workload = Callable[[Size, Path, Path | None], tuple[list[Row], Curves]]


def _plain(measure: Callable[[Size, Path, Path | None], list[Row]]) -> Workload:
    return lambda size, folder, against: (measure(size, folder, against), {})


WORKLOADS: dict[str, Workload] = {
    "step": _plain(_steps.measure),
    "instructions": _plain(instructions.measure),
    "replay": _plain(_replay.measure),
    "agent": _plain(_agent.measure),
    "state": _plain(_state.measure),
    "turns": _turns.measure,
    "concurrency": _plain(_concurrency.measure),
    "memory": _plain(_memory.measure),
    "start": _plain(_start.measure),
    "million": _plain(_million.measure),
    "search": _plain(_search.measure),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; a missed bar is shown, and is no failure."""
    given = _parser().parse_args(arguments)
    size = SIZES[given.size]
    if given.rounds is not None:
        size = dataclasses.replace(size, rounds=given.rounds, turn_rounds=given.rounds)
    # DeltaChannel says that it is in beta; the figures are what the reader wants
    warnings.filterwarnings("ignore", module="langgraph")
    with scratch_folder(given.dir) as folder:
        report = _run(size, given.only, folder, given.against)
    path = report.save(given.json)
    print(report.table())
    if given.figures is not None:
        report.write_figures(given.figures)
    tell(f"written: {path}")
    return 0


def _run(size: Size, names: Sequence[str], folder: Path, against: Path | None) -> Report:
    started_at, machine = datetime.now().astimezone(), machine_facts(folder)
    rows: list[Row] = []
    curves: Curves = {}
    for name, measure in WORKLOADS.items():
        if name in names:
            found, drawn = measure(size, folder, against)
            rows += found
            curves |= drawn
    return Report(size, started_at, elapsed_s(), rows, curves, machine, version_facts())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure rowtrail beside its peers. A full run takes about 12 minutes.",
    )
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument(
        "--size",
        choices=SIZES,
        default=QUICK.name if quick else FULL.name,
        help="how much is measured (default: full, or quick when QUICK=1 is set)",
    )
    parser.add_argument(
        "--quick", dest="size", action="store_const", const=QUICK.name, help="same as --size quick"
    )
    parser.add_argument(
        "--only",
        type=_workloads,
        default=list(WORKLOADS),
        metavar="NAME,NAME",
        help=f"measure these workloads alone: {', '.join(WORKLOADS)}",
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of every workload")
    parser.add_argument(
        "--against",
        type=_checkout,
        metavar="PATH",
        help="another checkout of rowtrail, measured in turns with this one",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the JSON goes, and the plot beside it (default: benchmarks/results/DATE.json)",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="PAGE",
        help="write the table between the marks of a page, docs/figures.md",
    )
    parser.add_argument("--dir", type=Path, help="folder for the measured files, on a real disk")
    return parser


def _workloads(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in WORKLOADS:
            raise argparse.ArgumentTypeError(
                f"{name!r} is not a workload; choose from {', '.join(WORKLOADS)}"
            )
    return names


def _checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "plugin" / "rowtrail").is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a checkout: it has no plugin/rowtrail")
    return path


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
