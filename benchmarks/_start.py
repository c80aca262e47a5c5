"""Starting: what imports cost, and how soon a killed agent goes on in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks._contenders import ROOT, environment
from benchmarks._progress import tell
from benchmarks._resume_program import MESSAGES, REPLAYS, SAVERS, SQLITE
from benchmarks._row import OTHER, ROWTRAIL, Bar, Row
from benchmarks._scratch import copy_database, remove_database
from benchmarks._size import Size

BARE = "bare Python"
GRAPH = "import langgraph.graph and its SqliteSaver"
IMPORTS = {
    "import rowtrail": (BARE, "pass"),
    "from rowtrail import Journal, step": (BARE, "pass"),
    "import rowtrail_langgraph": (
        GRAPH,
        "import langgraph.graph, langgraph.checkpoint.sqlite",
    ),
}
"""What is imported, and what stands beside it."""


@dataclass(frozen=True)
class Command:
    """A process to measure, and what makes its files ready before each time."""

    arguments: Sequence[str]
    source: Path | None = None
    prepare: Callable[[], object] = lambda: None


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the rows of imports and of the resume."""
    return [*_resume(size, folder, against), *_imports(size, against)]


def _imports(size: Size, against: Path | None) -> list[Row]:
    rows: list[Row] = []
    for line, (peer, beside) in IMPORTS.items():
        tell(f"start: {line}, {size.pairs} times")
        commands = {ROWTRAIL: Command(["-c", line]), peer: Command(["-c", beside])}
        if against is not None:
            commands[OTHER] = Command(["-c", line], against)
        cpu_s, _ = _in_turns(commands, size.pairs)
        bars = (Bar("at most", 2.3, of=BARE, any_size=True),) if line == "import rowtrail" else ()
        samples = {name: [one * 1e3 for one in each] for name, each in cpu_s.items()}
        rows.append(Row("start", f"{line}, CPU", "ms", samples, bars, note="whole processes"))
    return rows


def _resume(size: Size, folder: Path, against: Path | None) -> list[Row]:
    tell(f"start: resuming {MESSAGES:,} messages in a new process, {size.pairs} times")
    sources = {ROWTRAIL: None, SQLITE: None} | ({OTHER: against} if against else {})
    commands: dict[str, Command] = {}
    for name, source in sources.items():
        saver = name if name in SAVERS else ROWTRAIL
        killed = folder / f"killed-{len(commands)}.db"
        resumed = folder / f"resumed-{len(commands)}.db"
        program = ["-m", "benchmarks._resume_program", saver]
        _run([*program, str(killed), "die"], source)
        commands[name] = Command(
            [*program, str(resumed), "resume"],
            source,
            partial(copy_database, killed, resumed),  # each time as the kill left it
        )
    cpu_s, wall_s = _in_turns(commands, size.pairs)
    for path in folder.glob("*.db"):
        remove_database(path)
    label = f"resume of {MESSAGES:,} messages and {REPLAYS} replays to the first live call"
    note = "SqliteSaver replays nothing; from the start of the process to its end in that call"
    return [
        Row("start", label, "s", wall_s,
            (Bar("at most", 1.05, of=SQLITE, any_size=True, by_interval=True),), note=note),
        Row("start", f"{label}, CPU", "s", cpu_s, note=note),
    ]  # fmt: skip


def _in_turns(
    commands: Mapping[str, Command], times: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the CPU and the wall seconds of each process; of several, the first is not counted."""
    cpu_s: dict[str, list[float]] = {name: [] for name in commands}
    wall_s: dict[str, list[float]] = {name: [] for name in commands}
    uncounted = int(times > 1)
    for number in range(times + uncounted):
        for name, command in commands.items():
            command.prepare()
            cpu, wall = _run(command.arguments, command.source)
            if number >= uncounted:
                cpu_s[name].append(cpu)
                wall_s[name].append(wall)
    return cpu_s, wall_s


def _run(arguments: Sequence[str], source: Path | None) -> tuple[float, float]:
    """Run Python; return the CPU and the wall seconds that the process took."""
    env = environment(source)
    before, started = _children_cpu_s(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, check=True)
    return _children_cpu_s() - before, time.perf_counter() - started


def _children_cpu_s() -> float:
    """Return the CPU seconds of the processes that ended; to 10 ms where there is no getrusage."""
    try:
        import resource
    except ImportError:
        times = os.times()
        return times.children_user + times.children_system
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
