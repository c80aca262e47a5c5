"""Many processes, threads and coroutines on one file; work that is interrupted at every point."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash.conftest import Figures
from tests.programs.crowd import STEPS, TASKS, THREADS

CROWDS = (2, 4, 8, 16) if IS_FULL else (2, 8)
TURNS = 3 if IS_FULL else 67
"""Of the event loop, from one point to the next."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote("tests.programs.crowd")
    yield started
    started.close()


def query(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()[0]


@pytest.mark.parametrize("writers", CROWDS)
def test_a_crowd_writes_while_others_read_and_prune_and_loses_nothing(
    writers: int, in_memory: Path, zygote: Zygote, figures: Figures
) -> None:
    path = in_memory / "agent.db"
    commands: list[dict[str, Any]] = [
        {"part": "write", "path": str(path), "name": f"p{n}"} for n in range(writers)
    ]
    commands.append({"part": "look", "path": str(path), "writers": writers})
    assert zygote.run(*commands) == [0] * len(commands)
    assert query(path, "SELECT count(*) FROM steps WHERE status = 'done'") == writers * STEPS * (
        THREADS + TASKS
    )
    assert query(path, "SELECT count(*) FROM runs WHERE status = 'done'") == writers * (
        THREADS + TASKS
    )
    assert query(path, "PRAGMA integrity_check") == "ok"
    figures.add("processes at once on one file", writers)


class Work:
    """Steps one after the other and at once; what was made, and what its caller was told."""

    def __init__(self) -> None:
        made, self.told = Counter[str](), Counter[str]()
        self.made = made

        @rowtrail.step(name="ask", kind="llm")
        async def ask(text: str) -> str:
            made[text] += 1
            await asyncio.sleep(0)
            return f"re: {text}"

        self._ask = ask

    async def main(self, journal: Journal) -> list[str]:
        async with journal.run("r"):
            first = await self._one("first")
            rest = await asyncio.gather(*(self._one(f"part {n}") for n in range(3)))
            return [first, *rest, await self._one("last")]

    async def _one(self, text: str) -> str:
        answer: str = await self._ask(text)
        self.told[text] += 1
        return answer


@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
def test_work_that_is_stopped_at_any_await_goes_on_and_repeats_nothing_told(
    how: str, tmp_path: Path, figures: Figures
) -> None:
    expected = [f"re: {text}" for text in ("first", "part 0", "part 1", "part 2", "last")]
    stopped = 0
    for point in itertools.count(1, TURNS):
        with Journal(tmp_path / f"{point}.db") as journal:
            work = Work()
            is_done = _stopped_at(work, journal, point, how)
            told, made = Counter(work.told), Counter(work.made)
            assert asyncio.run(work.main(journal)) == expected
            again = work.made - made
            assert not again & told, (point, again, told)
            assert max(work.made.values()) <= 2
            [run] = journal.runs()
            assert run["status"] == "done"
        stopped += not is_done
        if is_done:
            break
    assert stopped > 5
    figures.add(f"tasks {how} at every await", stopped)


def _stopped_at(work: Work, journal: Journal, point: int, how: str) -> bool:
    """Run the work until the event loop has turned `point` times; tell whether it was done."""

    async def main() -> bool:
        task = asyncio.ensure_future(work.main(journal))
        for _ in range(point):
            if task.done():
                return True
            await asyncio.sleep(0)
        if how == "interrupted":
            raise KeyboardInterrupt  # asyncio.run cancels what is left
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
            return True
        return False

    with suppress(KeyboardInterrupt):
        return asyncio.run(main())
    return False
