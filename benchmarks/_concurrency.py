"""Many writers at once: coroutines of one process, and processes on one file."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks._checkpoint import Thread
from benchmarks._progress import tell
from benchmarks._row import ROWTRAIL, Bar, Row
from benchmarks._scratch import remove_database
from benchmarks._size import Size
from rowtrail_langgraph import RowtrailSaver

WORKLOAD = "concurrency"
ASYNC, SQLITE = "AsyncSqliteSaver", "SqliteSaver"
SHORT, LONG = 10, 100  # messages of a thread
START_TIMEOUT_S = 120.0
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PROCESS_ROUNDS = 3  # each takes as long as the processes write

Samples = dict[int, dict[str, list[float]]]
OpenAsync = Callable[[str], AbstractAsyncContextManager[BaseCheckpointSaver[Any]]]
ASYNC_SAVERS: dict[str, OpenAsync] = {
    ROWTRAIL: RowtrailSaver.from_conn_string,
    ASYNC: AsyncSqliteSaver.from_conn_string,
}
SAVERS: dict[str, Any] = {ROWTRAIL: RowtrailSaver, SQLITE: SqliteSaver}


def measure(size: Size, folder: Path, _: Path | None) -> list[Row]:
    """Return the rows of concurrent writers."""
    return [*_coroutines(size, folder), *_processes(size, folder)]


def _coroutines(size: Size, folder: Path) -> list[Row]:
    rates: Samples = {length: {name: [] for name in ASYNC_SAVERS} for length in (SHORT, LONG)}
    cpu_us: Samples = {length: {name: [] for name in ASYNC_SAVERS} for length in (SHORT, LONG)}
    for number in range(size.rounds):
        tell(f"concurrency: round {number + 1} of {size.rounds}, {size.coroutines} coroutines")
        for length, name in itertools.product(rates, ASYNC_SAVERS):
            path = folder / "coroutines.db"
            wall_s, cpu_s = asyncio.run(_puts_took(ASYNC_SAVERS[name], path, length, size))
            puts = size.coroutines * size.puts_each
            rates[length][name].append(puts / wall_s)
            cpu_us[length][name].append(cpu_s / puts * 1e6)
            remove_database(path)
    label = f"{size.coroutines} coroutines writing checkpoints"
    notes = {
        SHORT: "durable; each a thread that grows from 1 message of 500 B",
        LONG: f"durable; each a thread that grows from {LONG - size.puts_each}",
    }
    bar = Bar("at most", 0.55, of=ASYNC, any_size=True)
    return [
        *(Row(WORKLOAD, f"{label}, threads of {length} messages: CPU per put", "us",
              cpu_us[length], (bar,) if length == SHORT else (), note=note)
          for length, note in notes.items()),
        *(Row(WORKLOAD, f"{label}, threads of {length} messages", "per s", rates[length], note=note)
          for length, note in notes.items()),
    ]  # fmt: skip


async def _puts_took(
    open_saver: OpenAsync, path: Path, longest: int, size: Size
) -> tuple[float, float]:
    """Return the wall and the CPU seconds of the checkpoints that all coroutines write."""
    shortest = 1 if longest <= size.puts_each else longest - size.puts_each
    lengths = range(shortest, longest + 1)
    threads = [Thread(str(n), lengths, seed=n) for n in range(size.coroutines)]
    async with open_saver(str(path)) as saver:
        for thread in threads:  # what a thread begins with is not what is measured
            await saver.aput(*thread.next())

        async def write(thread: Thread) -> None:
            for _ in range(size.puts_each):
                await saver.aput(*thread.next())

        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(write, threads))
        return time.perf_counter() - started, time.process_time() - cpu


@dataclass(frozen=True)
class Share:
    """What one process wrote.

    Attributes:
        waits_s: The longest and the median time in one `put`, in seconds.
        errors: Messages of the exceptions, with how often each was raised.
    """

    puts: int
    waits_s: tuple[float, float]
    errors: dict[str, int]


def _processes(size: Size, folder: Path) -> list[Row]:
    found: dict[str, list[list[Share]]] = {name: [] for name in SAVERS}
    rounds = min(PROCESS_ROUNDS, size.rounds)
    for number in range(rounds):
        for name in SAVERS:
            tell(
                f"concurrency: round {number + 1} of {rounds}, "
                f"{size.processes} processes on {name} for {size.seconds:g} s"
            )
            found[name].append(_write_together(name, folder / "processes.db", size))
            remove_database(folder / "processes.db")
    errors = {error for shares in found[ROWTRAIL] for share in shares for error in share.errors}

    def row(
        measure: str, unit: str, of: Callable[[list[Share]], float], *bars: Bar, note: str = ""
    ) -> Row:
        samples = {name: [of(shares) for shares in done] for name, done in found.items()}
        label = f"{size.processes} processes, one file: {measure}"
        return Row(WORKLOAD, label, unit, samples, bars, note=note)

    none, quarter = Bar("at most", 0, any_size=True), Bar("at least", 0.25, any_size=True)
    second = Bar("below", 1.0, any_size=True)
    return [
        row("errors", "count", _errors, none, note="; ".join(sorted(errors))),
        row("smallest share over a fair one", "share", _fairness, quarter),
        row("worst wait", "s", _worst_wait_s, second, note="the longest of all puts of all"),
        row("wait p50", "ms", lambda shares: median(one.waits_s[1] for one in shares) * 1e3),
        row("checkpoints", "per s", lambda shares: _puts(shares) / size.seconds, note="of all"),
    ]


def _puts(shares: list[Share]) -> int:
    return sum(share.puts for share in shares)


def _errors(shares: list[Share]) -> float:
    return float(sum(sum(share.errors.values()) for share in shares))


def _worst_wait_s(shares: list[Share]) -> float:
    return max(share.waits_s[0] for share in shares)


def _fairness(shares: list[Share]) -> float:
    total = _puts(shares)
    return min(share.puts for share in shares) * len(shares) / total if total else 0.0


def _write_together(name: str, path: Path, size: Size) -> list[Share]:
    context: Any = multiprocessing.get_context(START_METHOD)
    context.set_forkserver_preload([__name__])  # one import, not one for each process
    barrier, queue = context.Barrier(size.processes), context.Queue()
    processes = [
        context.Process(target=_write, args=(name, str(path), n, size.seconds, barrier, queue))
        for n in range(size.processes)
    ]
    for process in processes:
        process.start()
    try:
        limit_s = START_TIMEOUT_S + size.seconds
        return [queue.get(timeout=limit_s) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=START_TIMEOUT_S)
            process.kill()


def _write(name: str, path: str, number: int, seconds: float, barrier: Any, queue: Any) -> None:
    """Write checkpoints for some seconds, in a process of its own."""
    waits: list[float] = []
    errors: Counter[str] = Counter()
    with SAVERS[name].from_conn_string(path) as saver:
        _first_put(saver, number, errors)
        barrier.wait(START_TIMEOUT_S)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            thread = Thread(f"{number}-{len(waits)}", range(1, SHORT + 1), seed=number)
            for _ in range(SHORT):
                started = time.perf_counter()
                try:
                    saver.put(*thread.next())
                except Exception as error:
                    errors[f"{type(error).__name__}: {error}"] += 1
                waits.append(time.perf_counter() - started)
    puts = len(waits) - sum(errors.values())
    queue.put(Share(puts, (max(waits), median(waits)), dict(errors)))


def _first_put(saver: BaseCheckpointSaver[Any], number: int, errors: Counter[str]) -> None:
    """Open the file for good, before the clock starts; all processes do so at once."""
    try:
        saver.put(*Thread(f"warm-up-{number}", [1], seed=number).next())
    except Exception as error:
        errors[f"{type(error).__name__}: {error}"] += 1
