"""The helpers for tests of others: a clock that stands still, a journal that leaves no file."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import rowtrail.testing
from rowtrail import step
from rowtrail._clock import Clock, iso_utc
from rowtrail.errors import ClosedError
from rowtrail.testing import FakeClock, temporary_journal


def test_the_names_are_listed_in_order() -> None:
    assert rowtrail.testing.__all__ == sorted(rowtrail.testing.__all__)
    assert all(hasattr(rowtrail.testing, name) for name in rowtrail.testing.__all__)


def test_a_clock_stands_still_until_it_is_told_to_move(clock: FakeClock) -> None:
    start = clock.now_ms()
    time.sleep(0.01)
    assert clock.now_ms() == start
    clock.advance(1.25)
    assert (clock.now_ms() - start, clock.elapsed_s()) == (1250, 1.25)


def test_setting_the_clock_back_is_no_time_that_passes(clock: FakeClock) -> None:
    clock.advance(10)
    clock.move_to(datetime(2020, 1, 1, tzinfo=UTC))
    assert iso_utc(clock.now_ms()) == "2020-01-01T00:00:00.000Z"
    assert clock.elapsed_s() == 10


def test_sleeping_moves_the_clock_and_takes_no_time(clock: FakeClock) -> None:
    clock.sleep(3600)
    assert clock.elapsed_s() == 3600


def test_ids_are_counted_also_by_threads(clock: FakeClock) -> None:
    ids: list[str] = []

    def take() -> None:
        ids.extend(clock.new_id() for _ in range(100))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == [f"id-{n:04d}" for n in range(1, 401)]


def test_durations_are_those_of_the_clock() -> None:
    clock = FakeClock(datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC))

    @step
    def wait() -> None:
        clock.advance(1.5)

    with temporary_journal(clock=clock) as journal:
        with journal.run("r"):
            wait()
        (row,) = journal.steps("r")
    assert row["duration_ms"] == 1500
    assert row["started_at"] == "2026-02-28T23:59:59.000Z"
    assert row["ended_at"] == "2026-03-01T00:00:00.500Z"


def test_a_temporary_journal_leaves_nothing() -> None:
    with temporary_journal(durability="normal") as journal, journal.run("r"):
        path = Path(journal.path)
        assert path.exists()
    assert not path.parent.exists()
    with pytest.raises(ClosedError):
        journal.runs()


def test_ids_of_the_real_clock_differ_in_their_beginnings() -> None:
    clock = Clock()
    ids = [clock.new_id() for _ in range(200)]
    assert len({found[:8] for found in ids}) == 200
    assert {len(found) for found in ids} == {16}


@pytest.mark.parametrize("ms", [0, 1, 999, 1_795_000_000_123, -1])
def test_a_moment_is_text_that_sorts_and_reads_back(ms: int) -> None:
    text = iso_utc(ms)
    assert text is not None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert datetime.fromisoformat(text) == epoch + timedelta(milliseconds=ms)
    assert iso_utc(None) is None
