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

from benchmarks import _concurrency, _million, _replay, _search, _steps, _turns
from benchmarks._machine import machine_facts, version_facts
from benchmarks._progress import elapsed_s, tell
from benchmarks._report import Report
from benchmarks._row import Row
from benchmarks._scratch import scratch_folder
from benchmarks._size import FULL, QUICK, SIZES, Size

Curves = dict[str, list[list[float]]]
Workload = Callable[[Size, Path], tuple[list[Row], Curves]]


def _plain(measure: Callable[[Size, Path], list[Row]]) -> Workload:
    return lambda size, folder: (measure(size, folder), {})


WORKLOADS: dict[str, Workload] = {
    "turns": _turns.measure,
    "steps": _plain(_steps.measure),
    "replay": _plain(_replay.measure),
    "concurrency": _plain(_concurrency.measure),
    "million": _plain(_million.measure),
    "search": _plain(_search.measure),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; a missed bar is told, and is no failure."""
    given = _parser().parse_args(arguments)
    size = SIZES[given.size]
    if given.rounds is not None:
        size = dataclasses.replace(size, rounds=given.rounds, turn_rounds=given.rounds)
    # DeltaChannel says that it is in beta; the figures are what the reader wants
    warnings.filterwarnings("ignore", module="langgraph")
    with scratch_folder(given.dir) as folder:
        report = _run(size, given.only or list(WORKLOADS), folder)
    path = report.save(given.out)
    print(report.table())
    tell(f"written: {path}")
    return 0


def _run(size: Size, names: Sequence[str], folder: Path) -> Report:
    started_at, machine = datetime.now().astimezone(), machine_facts(folder)
    rows: list[Row] = []
    curves: Curves = {}
    for name in names:
        found, drawn = WORKLOADS[name](size, folder)
        rows += found
        curves |= drawn
    return Report(size, started_at, elapsed_s(), rows, curves, machine, version_facts())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
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
        action="append",
        choices=WORKLOADS,
        help="measure this workload alone; may be given several times",
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of every workload")
    parser.add_argument(
        "--out", type=Path, help="where the JSON goes (default: benchmarks/results/DATE.json)"
    )
    parser.add_argument("--dir", type=Path, help="folder for the measured files, on a real disk")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
