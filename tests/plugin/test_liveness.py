"""The dead are told from the living in bounded time, whatever the clocks say."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtrail import Journal
from rowtrail.engine import Row, current_process
from rowtrail.engine._process import STALE_AFTER_MS, Identity, _start_by_ps
from rowtrail.engine.sqlite._liveness import Liveness
from rowtrail.errors import RunBusyError
from rowtrail.testing import FakeClock
from tests.conftest import Child

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
BEAT_S = 2
STALE_S = STALE_AFTER_MS // 1000

jumps = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([-86_400, -3_600, -20, -1, 1, 20, 3_600])),
    max_size=3,
)
"""After how many seconds, by how many, the wall clock is set."""


class Owner:
    """A process of another boot: its row, as it is at any second."""

    def __init__(self, clock: FakeClock, dies_after_s: int) -> None:
        self._clock = clock
        self._dies_after_s = dies_after_s
        self._lived_s = 0
        self.last_seen_at = clock.now_ms()

    def live_on(self) -> None:
        self._lived_s += 1
        if self._lived_s < self._dies_after_s and self._lived_s % BEAT_S == 0:
            self.last_seen_at = self._clock.now_ms()

    @property
    def silent_s(self) -> int:
        return max(self._lived_s - self._dies_after_s, 0)

    @property
    def row(self) -> Row:
        return row_of(last_seen_at=self.last_seen_at, boot_id="of another boot")


def row_of(*, last_seen_at: int, **other: object) -> Row:
    me = current_process()
    columns = {"process": 7, **vars(me), **other, "last_seen_at": last_seen_at}
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        names = ", ".join(f":{name} AS {name}" for name in columns)
        row: Row = connection.execute(f"SELECT {names}", columns).fetchone()
    return row


class LongLived:
    """One process that looks again and again."""

    def __init__(self, clock: FakeClock) -> None:
        self._liveness = Liveness(clock)

    def verdict(self, row: Row) -> float | None:
        return self._liveness.verdict_in_ms(row)


class ShortLived:
    """A new process for every look, which only has what `meta` keeps."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._meta: dict[str, str] = {}

    def verdict(self, row: Row) -> float | None:
        liveness = Liveness(self._clock)
        liveness.load(self._rows())
        verdict = liveness.verdict_in_ms(row)
        kept = liveness.silence_to_keep(row)
        if kept is not None:
            self._meta[kept[0]] = kept[1]
        return verdict

    def _rows(self) -> list[Row]:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT ? AS key, ? AS value"
            return [connection.execute(query, item).fetchone() for item in self._meta.items()]


def watch(
    observer: type[LongLived | ShortLived], set_by: list[tuple[int, int]], dies_after_s: int
) -> Generator[tuple[Owner, float | None]]:
    """Let a minute pass by the second, the clock being set now and then; yield each verdict."""
    clock = FakeClock(BEGIN)
    owner, looking = Owner(clock, dies_after_s), observer(clock)
    for second in range(100):
        for at_s, by_s in set_by:
            if at_s == second:
                clock.move_to(datetime.fromtimestamp(clock.now_ms() / 1000 + by_s, UTC))
        clock.advance(1)
        owner.live_on()
        yield owner, looking.verdict(owner.row)


@given(set_by=jumps)
def test_a_living_owner_is_never_told_dead(set_by: list[tuple[int, int]]) -> None:
    for second, (_, verdict) in enumerate(watch(LongLived, set_by, dies_after_s=1_000)):
        assert verdict != 0.0
        if second > 50:  # the clock is right again, and two heartbeats were seen
            assert verdict is None


@given(set_by=jumps, dies_after_s=st.integers(0, 30))
@pytest.mark.parametrize("observer", [LongLived, ShortLived])
def test_a_dead_owner_is_told_dead_soon(
    observer: type[LongLived | ShortLived], set_by: list[tuple[int, int]], dies_after_s: int
) -> None:
    told = [verdict == 0.0 for _, verdict in watch(observer, set_by, dies_after_s)]
    last_set = max([dies_after_s, *(at for at, _ in set_by)])
    # Whoever looks acts on it. For a process that looks once, a heartbeat less than `STALE_S` ahead
    # is first waited for until it is now.
    assert any(told[: last_set + 2 * STALE_S + BEAT_S])
    if observer is LongLived or not set_by:
        assert all(told[last_set + STALE_S + BEAT_S :])
    if not set_by:
        assert not any(told[: dies_after_s + STALE_S - BEAT_S - 1])


@given(set_by=jumps.filter(lambda found: all(by < 0 for _, by in found)))
def test_a_clock_set_back_lets_no_living_owner_pass_for_dead(set_by: list[tuple[int, int]]) -> None:
    """Not even for a process that looks once: only a clock set ahead ages what it cannot know."""
    assert all(v != 0.0 for _, v in watch(ShortLived, set_by, dies_after_s=1_000))


def test_a_verdict_counts_down(clock: FakeClock) -> None:
    liveness = Liveness(clock)
    row = row_of(last_seen_at=clock.now_ms() - 4_000, host="elsewhere")
    told = []
    for _ in range(STALE_S):
        told.append(liveness.verdict_in_ms(row))
        clock.advance(1)
    assert told == [max(11_000.0 - 1_000 * n, 0.0) for n in range(STALE_S)]


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ({"pid_start": "0"}, 0.0),
        ({"pid": 2**22 + 1}, 0.0),
        ({"host": "elsewhere"}, 15_000.0),
        ({"boot_id": "elsewhere"}, 15_000.0),
        ({"pid_space": "elsewhere"}, 15_000.0),
        ({}, 15_000.0),  # this process before an exec
    ],
)
def test_identity_tells_at_once_on_this_host(
    clock: FakeClock, other: dict[str, object], verdict: float
) -> None:
    assert Liveness(clock).verdict_in_ms(row_of(last_seen_at=clock.now_ms(), **other)) == verdict


def test_a_living_process_of_this_host_is_alive_however_silent(clock: FakeClock) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            pid_start = start_of(other.pid)
            row = row_of(last_seen_at=0, pid=other.pid, pid_start=pid_start)
            assert Liveness(clock).verdict_in_ms(row) is None
        finally:
            other.kill()


def start_of(pid: int) -> str:
    from rowtrail.engine import _process

    started = _process._start_of(pid)
    assert started is not None
    return started


@contextmanager
def zombie() -> Generator[tuple[int, str]]:
    """Give the number and the start of a process that ended, and that nobody has waited for."""
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    started = start_of(other.pid)
    other.kill()
    until = time.monotonic() + 30
    while os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT) is None:
        assert time.monotonic() < until
    try:
        yield other.pid, started
    finally:
        other.communicate()


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="Linux and others")
def test_a_zombie_is_dead(clock: FakeClock) -> None:
    from rowtrail.engine._process import ProcessIdentity

    with zombie() as (pid, pid_start):
        row = row_of(last_seen_at=clock.now_ms(), pid=pid, pid_start=pid_start)
        assert Liveness(clock).verdict_in_ms(row) == 0.0
        assert ProcessIdentity.of_row(row).known is Identity.DEAD
        if shutil.which("ps"):
            assert _start_by_ps(pid) is None
            assert _start_by_ps(os.getpid()) == _start_by_ps(os.getpid()) is not None


def test_many_owners_are_forgotten(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowtrail.engine.sqlite._liveness.MAX_OBSERVED", 3)
    liveness = Liveness(clock)
    for process in range(10):
        liveness.verdict_in_ms(row_of(last_seen_at=clock.now_ms(), host="else", process=process))
    assert len(liveness._observed) == 3


# With processes.

LEAVE = """
import os, sys, rowtrail
journal = rowtrail.Journal(sys.argv[1])
journal.run("r").__enter__()
os._exit(1)
"""
TRY = """
import sys, rowtrail
with rowtrail.Journal(sys.argv[1]) as journal:
    try:
        with journal.run("r"): print("free")
    except rowtrail.RunBusyError: print("busy")
"""


def set_owner(db: Path, ahead: timedelta) -> None:
    """Make the owner of all that is open one of another boot, whose clock was ahead."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(
            "UPDATE process SET boot_id = 'another', last_seen_at = last_seen_at + ?",
            (int(ahead.total_seconds() * 1000),),
        )


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=1), timedelta(days=400)])
def test_short_processes_get_a_run_of_the_dead_in_the_end(
    db: Path, ahead: timedelta, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWTRAIL_STALE_AFTER_MS", "600")
    child(LEAVE, db, status=1)
    set_owner(db, ahead)
    told = [""]
    until = time.monotonic() + 60
    while told[-1] != "free" and time.monotonic() < until:
        told.append(child(TRY, db).stdout.strip())
    assert set(told[1:-1]) <= {"busy"}
    assert told[-1] == "free"
    with Journal(db) as journal:
        assert journal.store.read(lambda tx: tx.all("silences")) == []  # nothing is kept of it


LOOK = """
import sys, time, rowtrail
from rowtrail.engine import _process
_process._boot_id = lambda: "another"
with rowtrail.Journal(sys.argv[1]) as journal:
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        try:
            with journal.run("held"): print("robbed")
        except rowtrail.RunBusyError: pass
        time.sleep(0.2)
"""


def test_a_living_owner_is_not_robbed_by_a_process_that_only_sees_its_heartbeat(
    db: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWTRAIL_STALE_AFTER_MS", "2000")
    monkeypatch.setattr("rowtrail.engine.sqlite._store.HEARTBEAT_S", 0.1)
    with Journal(db) as journal, journal.run("held"):
        assert child(LOOK, db).stdout == ""
        assert [run["status"] for run in journal.runs()] == ["running"]


def test_the_error_of_a_busy_run_may_say_when_to_try_again() -> None:
    assert RunBusyError("busy", run_id="r", pid=1, host="h").retry_after_s is None
    assert RunBusyError("busy", run_id="r", pid=1, host="h", retry_after_s=3.5).retry_after_s == 3.5


def test_a_store_tells_a_verdict_in_seconds(db: Path) -> None:
    with Journal(db, clock=FakeClock()) as journal:
        store = journal.store
        now = store.clock.now_ms()
        me = {"process": store.process_row}
        assert store.verdict_in_s(row_of(last_seen_at=0, **me)) is None
        assert store.verdict_in_s(row_of(last_seen_at=now - 20_000, host="elsewhere")) == 0.0
        late = row_of(last_seen_at=now - 5_000, host="elsewhere", process=9)
        assert store.verdict_in_s(late) == STALE_S - 5
        assert store.is_alive(row_of(last_seen_at=now, host="elsewhere", process=10))
