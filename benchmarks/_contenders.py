"""Contenders that take turns, each in a process of its own.

A process of its own keeps the threads, caches and hooks of one contender out of the figures of the
others, and lets rowtrail run beside another checkout of itself (`--against`). Where nothing but
whether they work is of interest, those that need no other checkout share the process that asks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks._row import OTHER, ROWTRAIL
from benchmarks._scratch import remove_database
from benchmarks._size import Size

ROOT = Path(__file__).resolve().parents[1]

K = TypeVar("K", bound=Hashable)

Work = Callable[[int, int], list[float]]
"""Does `count` operations from number `first` on, and returns the seconds of each."""
Opens = Callable[[Path, int], AbstractContextManager[Work]]
"""Opens a contender on a new file; the number is of the round, and makes its texts."""


@dataclass(frozen=True)
class Contender:
    """Who takes part, and on which sources.

    Attributes:
        opens: `module:name` of an `Opens`.
        source: A checkout of rowtrail that it runs on, None for the one that is installed.
    """

    name: str
    opens: str
    source: Path | None = None


def with_other(opens: str, against: Path | None) -> list[Contender]:
    """Return rowtrail, and the other checkout of it where there is one."""
    here = Contender(ROWTRAIL, opens)
    return [here] if against is None else [here, Contender(OTHER, opens, against)]


class Worker(Protocol):
    """A contender that is open, and the file that it works on."""

    path: Path

    def wait(self) -> None:
        """Wait until the contender is open."""
        ...

    def work(self, first: int, count: int) -> list[float]:
        """Let the contender do `count` operations; return the seconds of each."""
        ...

    def close(self) -> None:
        """Close the contender and remove its file."""
        ...


class Here:
    """A contender in this process, in a context of its own: its run is not that of the others."""

    def __init__(self, contender: Contender, path: Path, number: int) -> None:
        self.path = path
        self._stack = ExitStack()
        self._context = copy_context()
        opened = _named(contender.opens)(path, number)
        self._work = self._context.run(self._stack.enter_context, opened)

    def wait(self) -> None:
        """Return at once."""

    def work(self, first: int, count: int) -> list[float]:
        """Do `count` operations."""
        return self._context.run(self._work, first, count)

    def close(self) -> None:
        """Close the contender and remove its file."""
        self._context.run(self._stack.close)
        remove_database(self.path)


class Apart:
    """A contender in a process of its own."""

    def __init__(self, contender: Contender, path: Path, number: int) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, contender.opens, str(path), str(number)],
            cwd=ROOT,
            env=environment(contender.source),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Wait until the contender is open."""
        self._answer()

    def work(self, first: int, count: int) -> list[float]:
        """Let the contender do `count` operations; return the seconds of each."""
        assert self._process.stdin is not None
        print(first, count, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process and remove its file."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        remove_database(self.path)

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended with {self._process.wait()}")
        answer: list[float] = json.loads(line)
        return answer


@contextmanager
def opened(
    contenders: Mapping[K, Contender], folder: Path, size: Size
) -> Generator[dict[K, Worker]]:
    """Open the contenders, and close them all."""
    with ExitStack() as stack:
        workers: dict[K, Worker] = {}
        for key, contender in contenders.items():
            path = folder / f"contender-{len(workers)}.db"
            place = Apart if size.is_apart or contender.source is not None else Here
            workers[key] = place(contender, path, 0)
            stack.callback(workers[key].close)
        for worker in workers.values():
            worker.wait()
        yield workers


def in_turns(
    workers: Mapping[K, Worker], total: int, chunk: int, first: int = 0
) -> dict[K, list[float]]:
    """Let each do `total` operations, `chunk` at a time: all see the same state of the machine."""
    seconds: dict[K, list[float]] = {key: [] for key in workers}
    for number in range(first, first + total, chunk):
        for key, worker in workers.items():
            seconds[key] += worker.work(number, min(chunk, first + total - number))
    return seconds


def environment(source: Path | None) -> dict[str, str]:
    """Return the environment of a process that imports rowtrail from a checkout."""
    env = dict(os.environ)
    # a user's Python keeps what it compiled; a start that compiles all modules takes twice as long
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    if source is not None:
        paths = [str(source / "plugin"), str(source / "adapters"), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return env


def _named(opens: str) -> Opens:
    module, _, name = opens.partition(":")
    named: Opens = getattr(import_module(module), name)
    return named


def _serve(opens: str, path: str, number: str) -> None:
    # what a library prints must not get between the answers
    out, sys.stdout = sys.stdout, sys.stderr
    with _named(opens)(Path(path), int(number)) as work:
        print("[]", file=out, flush=True)
        for line in sys.stdin:
            first, count = map(int, line.split())
            print(json.dumps(work(first, count)), file=out, flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
