"""Resident memory of a process whose run makes more and more steps."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import rowtrail
from benchmarks._contenders import Work, in_turns, opened, with_other
from benchmarks._progress import tell
from benchmarks._row import NO_OTHER, OTHER, Bar, Row
from benchmarks._size import Size

BAR_BYTES = 300.0


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the row of memory for each step of a run."""
    tell(f"memory: a run of {size.memory_steps:,} steps, after {size.memory_start:,}")
    contenders = {each.name: each for each in with_other(f"{__name__}:long_run", against)}
    samples: dict[str, list[float]] = {}
    with opened(contenders, folder, size) as workers:
        before = in_turns(workers, size.memory_start, size.memory_start)
        after = in_turns(workers, size.memory_steps, size.memory_steps)
        for name in workers:
            samples[name] = [(after[name][0] - before[name][0]) / size.memory_steps]
    return [
        Row("memory", "resident memory per step of a long run", "bytes", samples,
            (Bar("at most", BAR_BYTES),), {} if OTHER in samples else {OTHER: NO_OTHER},
            note=f"over {size.memory_steps:,} steps, after {size.memory_start:,} of the same run"),
    ]  # fmt: skip


@contextmanager
def long_run(path: Path, _: int) -> Generator[Work]:
    """Make steps; what each turn answers are the bytes that the process then has resident."""

    @rowtrail.step
    def look_up(number: int) -> str:
        return f"found {number}"

    made = iter(range(sys.maxsize))

    def work(_: int, count: int) -> list[float]:
        for _ in range(count):
            look_up(next(made))
        gc.collect()
        return [float(_resident_bytes())]

    with rowtrail.Journal(path, durability="normal") as journal, journal.run("steps"):
        yield work


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux: the most that there ever was, which a growing process has now
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
