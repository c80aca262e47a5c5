"""Runs many combinations, several at once, and adds up what they broke."""

from __future__ import annotations

import itertools
import os
import queue
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rowtrail.testing import LLMServer
from tests.crash.effects._drive import Driver, Verdict
from tests.crash.effects._endpoint import Endpoint
from tests.crash.effects._impossible import why_impossible
from tests.crash.effects._pid_space import is_allowed
from tests.crash.effects._product import Combination, product, with_real_lease

LEASE_VARIABLE = "ROWTRAIL_STALE_AFTER_MS"
SHORT_LEASE_MS = 2_500

CANDIDATES = 30
"""How many combinations compete for a place in a sample."""

PROGRESS_EVERY_S = 15.0


def possible() -> list[Combination]:
    """Return the combinations that can be, in order; on this system, where it has pid spaces."""
    found = [c for c in product() if why_impossible(c) is None]
    return [c for c in found if is_allowed() or not c.in_new_pid_space]


def sample(chosen: list[Combination], count: int, seed: int) -> list[Combination]:
    """Return some of the combinations: each the one of a few that has the most pairs of parts
    that none before it has, so that few of them meet most pairs.
    """
    chance, left, found = random.Random(seed), list(chosen), list[Combination]()
    met: set[tuple[str, str]] = set()
    while left and len(found) < count:
        few = chance.sample(left, min(CANDIDATES, len(left)))
        best = max(few, key=lambda c: len(_pairs(c) - met))
        left.remove(best)
        found.append(best)
        met |= _pairs(best)
    return found


def _pairs(c: Combination) -> set[tuple[str, str]]:
    return set(itertools.combinations((c.fault, c.way, c.shape, c.mode, c.effect), 2))


@dataclass
class Result:
    """What exploring came to."""

    ran: int = 0
    seconds: float = 0.0
    failures: list[Verdict] = field(default_factory=list[Verdict])

    def summary(self) -> str:
        """Return the counts, by rule and by part of the product."""
        rules = Counter(v.rule for verdict in self.failures for v in verdict.violations)
        lines = [f"{self.ran} combinations in {self.seconds:.0f} s, {len(self.failures)} wrong"]
        lines += [f"{count:6} {rule}" for rule, count in rules.most_common()]
        for part in ("fault", "way", "shape", "mode", "effect"):
            counts = Counter(str(getattr(one.combination, part)) for one in self.failures)
            lines.append(f"{part}: " + ", ".join(f"{n} {name}" for name, n in counts.most_common()))
        return "\n".join(lines)


class _Exploration:
    def __init__(self, chosen: list[Combination], *, is_traced: bool, reports: Path | None) -> None:
        self.result = Result()
        self._all, self._is_traced, self._reports = len(chosen), is_traced, reports
        self.broken: Exception | None = None
        self._lock = threading.Lock()
        self._began = self._told = time.monotonic()
        self.waiting: queue.SimpleQueue[Combination] = queue.SimpleQueue()
        for one in chosen:
            self.waiting.put(one)

    def work(self, driver: Driver) -> None:
        """Run what is waiting, until nothing is."""
        try:
            while True:
                combination = self.waiting.get_nowait()
                self._note(driver.run(combination, keep_trace=self._is_traced))
        except queue.Empty:
            driver.close()
        except Exception as error:  # of the explorer itself: nothing that ran tells of the rest
            self.broken = error

    def _note(self, verdict: Verdict) -> None:
        with self._lock:
            self.result.ran += 1
            self.result.seconds = time.monotonic() - self._began
            if verdict.violations:
                self.result.failures.append(verdict)
                self._tell(verdict)
            elif self._is_traced:
                print(f"{verdict.combination.id}: right\n{verdict.report}", flush=True)
            if time.monotonic() - self._told > PROGRESS_EVERY_S:
                self._told = time.monotonic()
                wrong = len(self.result.failures)
                print(f"... {self.result.ran} of {self._all}, {wrong} wrong", file=sys.stderr)

    def _tell(self, verdict: Verdict) -> None:
        name = verdict.combination.id
        for violation in verdict.violations:
            print(f"{name}: {violation.rule}: {violation.detail[:300]}", flush=True)
        if self._is_traced:
            print(verdict.report, flush=True)
        if self._reports is not None:
            told = "\n".join(f"{one.rule}: {one.detail}" for one in verdict.violations)
            (self._reports / name).write_text(f"{name}\n{told}\n{verdict.report}\n")


def explore(
    chosen: list[Combination],
    *,
    jobs: int = 4,
    is_traced: bool = False,
    reports: str | None = None,
) -> Result:
    """Run combinations, `jobs` of them at once, and return what they came to."""
    slow = with_real_lease(possible()) & set(chosen)
    exploration = _Exploration(
        [c for c in chosen if c not in slow], is_traced=is_traced, reports=_made(reports)
    )
    _run(exploration, min(jobs, len(chosen)), lease_ms=SHORT_LEASE_MS)
    for one in sorted(slow):
        exploration.waiting.put(one)
    if slow:
        _run(exploration, min(jobs, len(slow)), lease_ms=None)
    return exploration.result


def _made(reports: str | None) -> Path | None:
    if reports is None:
        return None
    Path(reports).mkdir(parents=True, exist_ok=True)
    return Path(reports)


def _run(exploration: _Exploration, jobs: int, *, lease_ms: int | None) -> None:
    shared = Path("/dev/shm")  # in memory a sync costs nothing, and a kill loses nothing
    folder = Path(tempfile.mkdtemp(prefix="effects", dir=shared if shared.exists() else None))
    os.environ.pop(LEASE_VARIABLE, None)
    if lease_ms is not None:
        os.environ[LEASE_VARIABLE] = str(lease_ms)
    endpoint = Endpoint()
    try:
        with LLMServer(endpoint.respond) as server:
            threads = [_started(exploration, folder, endpoint, server, n) for n in range(jobs)]
            for thread in threads:
                thread.join()
        if exploration.broken is not None:
            raise exploration.broken
    finally:
        shutil.rmtree(folder)


def _started(
    exploration: _Exploration, folder: Path, endpoint: Endpoint, server: LLMServer, n: int
) -> threading.Thread:
    own = folder / f"w{n}"
    own.mkdir()
    thread = threading.Thread(
        target=exploration.work, args=(Driver(own, endpoint, server.base_url),)
    )
    thread.start()
    return thread
