"""Clocks that jump: order, leases, "latest" and replay do not depend on what the clock says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.errors import RunBusyError
from rowtrail.testing import FakeClock

HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
BEGIN = datetime(2026, 10, 25, 0, 59, 59, 900_000, tzinfo=UTC)  # Europe's clocks go back at 01:00
SUMMER, WINTER = timezone(2 * HOUR), timezone(HOUR)

JUMPS: dict[str, Callable[[datetime], datetime]] = {
    "an hour back": lambda now: now - HOUR,
    "a year ahead": lambda now: now + YEAR,
    "a year back": lambda now: now - YEAR,
    "to 1970": lambda now: datetime(1970, 1, 1, tzinfo=UTC),
    "to 9999": lambda now: datetime(9999, 12, 31, tzinfo=UTC),
    "summer time ends": lambda now: now.astimezone(SUMMER).replace(tzinfo=WINTER),
    "summer time begins": lambda now: now.astimezone(WINTER).replace(tzinfo=SUMMER),
}
both = pytest.mark.parametrize("jump", JUMPS)


@pytest.fixture
def jumping() -> FakeClock:
    return FakeClock(BEGIN)


@both
def test_steps_keep_their_order_and_are_replayed(db: Path, jumping: FakeClock, jump: str) -> None:
    made: list[int] = []

    @rowtrail.step
    def give(n: int) -> int:
        made.append(n)
        if n == 2:
            jumping.move_to(JUMPS[jump](BEGIN))
        return n

    for _ in range(2):
        with Journal(db, clock=jumping) as journal, journal.run("r", thread_id="t"):
            assert [give(n) for n in range(5)] == [*range(5)]
    assert made == [*range(5)]
    with Journal(db) as journal:
        steps = journal.steps("r")
        assert [step["output"] for step in steps] == [*"01234"]
        assert [step["seq"] for step in steps] == [1, 2, 3, 4, 5]
        assert all(step["duration_ms"] >= 0 for step in steps)
        [run] = journal.runs()
        assert (run["status"], run["attempts"]) == ("done", 2)


@both
def test_the_latest_run_is_the_one_that_began_last(db: Path, jumping: FakeClock, jump: str) -> None:
    with Journal(db, clock=jumping) as journal:
        with journal.run("first", thread_id="t"):
            pass
        jumping.move_to(JUMPS[jump](BEGIN))
        with journal.run("second", thread_id="t"):
            pass
        assert [run["run_id"] for run in journal.runs()] == ["second", "first"]


@both
def test_a_living_holder_is_not_taken_for_dead(db: Path, jumping: FakeClock, jump: str) -> None:
    with Journal(db, clock=jumping) as journal, journal.run("held"):
        jumping.move_to(JUMPS[jump](BEGIN))
        assert journal.recover() == 0
        with pytest.raises(RunBusyError), journal.run("held"):
            pass


@both
def test_usage_and_queries_survive_the_jump(db: Path, jumping: FakeClock, jump: str) -> None:
    @rowtrail.step(kind="llm")
    def ask(text: str) -> str:
        return text

    with Journal(db, clock=jumping) as journal:
        with journal.run("r"):
            ask("before")
            jumping.move_to(JUMPS[jump](BEGIN))
            ask("after")
        assert journal.sql("SELECT sum(calls) FROM spend").rows == [(2,)]
        assert journal.sql("SELECT count(*) FROM steps WHERE started_at IS NULL").rows == [(0,)]
