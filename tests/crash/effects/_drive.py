"""Runs a combination: starts its processes, in order or at once, and judges what they left."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests._forks import Zygote
from tests.crash.effects._check import NOT_STRUCK, Evidence, Violation, judge
from tests.crash.effects._endpoint import Endpoint
from tests.crash.effects._expect import note_after_fault
from tests.crash.effects._product import Combination
from tests.crash.effects._world import World

TRIES_MORE = 2
"""On a busy machine a node may time out before its call begins."""

QUERIES = (
    "SELECT run_id, status, attempts, error FROM runs",
    "SELECT attempt_id, run_id, n, pid, outcome FROM attempts",
    """SELECT step_id, run_id, attempt_id, kind, name, status, effect, input, output, error,
    tool_call_id, idempotency_key, replays, reason, scope FROM steps ORDER BY seq""",
)


@dataclass(frozen=True)
class Verdict:
    """A combination, and the promises that it broke."""

    combination: Combination
    violations: list[Violation]
    report: str
    """What happened, for people; empty where nothing is wrong."""

    @property
    def is_not_struck(self) -> bool:
        return [one.rule for one in self.violations] == [NOT_STRUCK]


class Driver:
    """Runs one combination after the other, with a zygote of its own."""

    def __init__(self, folder: Path, endpoint: Endpoint, base_url: str) -> None:
        self._folder, self._endpoint, self._base_url = folder, endpoint, base_url
        self._zygote = Zygote("tests.crash.effects._roles")
        self._n = 0

    def run(self, combination: Combination, *, keep_trace: bool = False) -> Verdict:
        """Run a combination, and return what is wrong with what came of it."""
        verdict = self._run(combination, keep_trace=keep_trace)
        for _ in range(TRIES_MORE):
            if verdict.is_not_struck:
                verdict = self._run(combination, keep_trace=keep_trace)
        return verdict

    def _run(self, combination: Combination, *, keep_trace: bool) -> Verdict:
        self._n += 1
        token = f"{self._folder.name}x{self._n}"
        folder = self._folder / token
        folder.mkdir()
        world = World(folder, token, combination.way == "command")
        exits: dict[str, int] = {}
        for batch in batches(combination):
            if batch == ("copy",):
                _copy(world)
            else:
                exits |= self._start(combination, world, batch)
            if batch == ("first",) and combination.is_kill:
                note_after_fault(combination, world)
        asked = self._endpoint.asked(token)
        self._endpoint.forget(token)
        violations = judge(Evidence(combination, world, exits, asked))
        report = describe(world, asked) if violations or keep_trace else ""
        shutil.rmtree(folder)
        return Verdict(combination, violations, report)

    def _start(
        self, combination: Combination, world: World, batch: tuple[str, ...]
    ) -> dict[str, int]:
        given = {
            "id": combination.id,
            "folder": str(world.folder),
            "token": world.token,
            "base_url": self._base_url,
        }
        codes = self._zygote.run(*[{**given, "role": role} for role in batch])
        return dict(zip(batch, codes, strict=True))

    def close(self) -> None:
        self._zygote.close()


def batches(c: Combination) -> Iterator[tuple[str, ...]]:
    """Yield the roles of a combination, those together that run at once."""
    if c.way == "second":
        yield from (("first", "second"), ("close",))
    elif c.way in ("two_none", "two_id"):
        resuming = ("resume_0", "resume_1")
        yield from (("first",), resuming) if c.is_kill else (("first", *resuming),)
        yield ("close",)
    elif c.way == "copy":
        yield from (("first",), ("copy",), ("close",))
    elif c.is_kill or c.in_new_pid_space:
        yield from (("first",), ("close",))
    else:
        yield ("first",)


def _copy(world: World) -> None:
    """Copy the journal as backups do, and take the original away."""
    original, copy = world.folder / "agent.db", world.folder / "copy.part"
    with closing(sqlite3.connect(original)) as one, closing(sqlite3.connect(copy)) as other:
        one.backup(other)
    for path in world.folder.glob("agent.db*"):
        path.unlink()
    os.rename(copy, world.folder / "copy.db")


def describe(world: World, asked: list[str]) -> str:
    """Return the ledger, the rows, the requests and the trace of a combination."""
    parts = ["ledger:", *(f"  {line}" for line in world.ledger())]
    for query in QUERIES:
        table = query.partition("FROM ")[2].split()[0]
        rows = world.rows(query)
        parts += [f"{table}:", *(f"  {json.dumps(_clipped(row))}" for row in rows)]
    parts += ["requests:", *(f"  {one!r}" for one in asked)]
    for name in ("trace", "stderr"):
        path = world.folder / name
        text = path.read_text() if path.exists() else ""
        parts += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    return "\n".join(parts)


def _clipped(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value[:90] if isinstance(value, str) else value for name, value in row.items()}
