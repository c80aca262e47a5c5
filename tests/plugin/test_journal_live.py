"""Rule 8: who holds a run and who makes a step, between threads and processes, living and dead."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from rowtrail import Journal, RunBusyError, step
from rowtrail.checkpoint import Checkpoints
from rowtrail.engine import Tx, current_process
from rowtrail.errors import ClosedError
from rowtrail.journal import Attempt, Beginning, _call, end_attempt, run_scope
from tests.engines.sqlite_store import sqlite_store
from tests.plugin.conftest import Agent, World

HOLDING = """
with Journal(DB) as journal, journal.run("r"):
    @step(kind="llm", name="think")
    def think(prompt):
        print("holding", flush=True)
        sys.stdin.readline()
        return f"thought about {prompt}"
    think("a")
"""


@contextmanager
def holder(world: World, code: str = HOLDING) -> Generator[subprocess.Popen[str]]:
    """Run a program in which a run is held until it is told to go on."""
    process = world.begin(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def go_on(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate("go on\n", timeout=110)
    assert process.returncode == 0, err


def update_process(journal: Journal, **values: Any) -> None:
    """Change what is written down about the processes of others."""
    settings = ", ".join(f"{name} = :{name}" for name in values)
    query = f"UPDATE process SET {settings} WHERE id <> {journal.store.process_row}"
    journal.store.write(lambda tx: sqlite_store(journal).connection.execute(query, values))


# A run is held by one.


def test_a_run_that_another_process_holds_is_busy(world: World, agent: Agent) -> None:
    with Journal(world.db) as journal, holder(world) as other:
        with pytest.raises(RunBusyError, match="'r' is held by process") as caught:
            journal.run("r").__enter__()
        assert (caught.value.run_id, caught.value.pid) == ("r", other.pid)
        assert caught.value.host == socket.gethostname()
        with journal.run("another"):
            pass
        go_on(other)
        with journal.run("r"):
            agent.think("a")
    assert agent.made == []  # the other's answer is there


def test_a_run_whose_holder_was_killed_is_free_at_once(world: World, agent: Agent) -> None:
    with Journal(world.db) as journal, holder(world) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with journal.run("r") as run:  # raises RunBusyError where a verdict is waited for
            agent.think("a")
        assert run.attempt == 2
    assert agent.made == ["a"]


def test_a_holder_that_is_a_zombie_is_dead(world: World) -> None:
    with Journal(world.db) as journal, holder(world) as other:
        os.kill(other.pid, signal.SIGKILL)  # and nobody waits for it yet
        time.sleep(0.05)
        with journal.run("r"):
            pass


def test_a_run_that_another_thread_holds_is_busy(journal: Journal) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with journal.run("r"):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    with pytest.raises(RunBusyError) as caught:
        journal.run("r").__enter__()
    assert caught.value.pid == os.getpid()
    leave.set()
    thread.join()
    with journal.run("r") as run:
        assert run.attempt == 2


def test_a_run_cannot_be_entered_inside_itself(journal: Journal) -> None:
    with journal.run("r"):
        for fresh in (False, True):
            with pytest.raises(RunBusyError):
                journal.run("r", fresh=fresh).__enter__()
    assert [run["status"] for run in journal.runs()] == ["done"]


def test_a_process_with_the_number_of_a_dead_one_is_another(world: World) -> None:
    with Journal(world.db) as journal, holder(world) as other:
        other.kill()
        other.wait()
        # what the dead one wrote down, but its number belongs to somebody who lives
        update_process(journal, pid=os.getppid())
        with journal.run("r") as run:
            assert run.attempt == 2
    assert current_process().pid_start  # this system tells when a process began


def test_a_living_process_is_recognised_by_number_and_start(world: World) -> None:
    with Journal(world.db) as journal, holder(world):
        update_process(journal, last_seen_at=0)  # silent for long: stopped, or swapped out
        with pytest.raises(RunBusyError):
            journal.run("r").__enter__()
        update_process(journal, pid_start="0")
        with journal.run("r"):
            pass


@pytest.mark.parametrize("field", ["host", "boot_id", "pid_space"])
def test_a_process_elsewhere_is_known_by_its_heartbeat(world: World, field: str) -> None:
    now = int(time.time() * 1000)
    with Journal(world.db) as journal, holder(world) as other:
        other.send_signal(signal.SIGSTOP)  # no heartbeat between what is written here
        update_process(journal, **{field: "elsewhere", "last_seen_at": now})
        with pytest.raises(RunBusyError):
            journal.run("r").__enter__()
        update_process(journal, last_seen_at=now - 20_000)
        with journal.run("r"):
            pass


def test_a_process_with_open_work_gives_signs_of_life(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.engine.sqlite._store.HEARTBEAT_S", 0.05)

    def seen() -> int:
        (attempt,) = journal.store.read(lambda tx: tx.all("open_attempts"))
        return int(attempt["last_seen_at"])

    with Journal(db) as journal, journal.run("r"):
        first = seen()
        until = time.monotonic() + 60
        while seen() == first and time.monotonic() < until:
            time.sleep(0.02)
        assert seen() > first


def test_a_run_left_open_in_a_closed_journal_is_crashed(db: Path, agent: Agent) -> None:
    def leave_open() -> None:
        journal = Journal(db)
        journal.run("r").__enter__()
        agent.think("a")
        journal.close()
        with pytest.raises(ClosedError):
            agent.think("b")

    copy_context().run(leave_open)
    with Journal(db) as again:
        assert [run["status"] for run in again.runs()] == ["crashed"]
        with again.run("r"):
            agent.think("a")
    assert agent.made == ["a"]


def test_a_process_that_became_another_program_gave_up_its_runs(world: World) -> None:
    after = f"""
import os, sqlite3, sys, rowtrail
with rowtrail.Journal({str(world.db)!r}) as journal:
    try:
        journal.run("r").__enter__()
    except rowtrail.RunBusyError as error:
        assert error.pid == os.getpid()
        print("busy for 15 s")
    journal.store.write(lambda tx: journal.store.connection.execute(
        "UPDATE process SET last_seen_at = last_seen_at - 20000"))
    with journal.run("r") as run:
        print("attempt", run.attempt)
"""
    code = f"""
run = Journal(DB).run("r")
run.__enter__()
os.execv(sys.executable, [sys.executable, "-W", "ignore", "-c", {after!r}])
"""
    assert world.run(code) == "busy for 15 s\nattempt 2"


# A step is made by one.


@contextmanager
def attempt_of(journal: Journal, run_id: str = "r") -> Generator[Attempt]:
    """Join a run beside whoever makes it, as adapters do."""
    attempt = journal.attempt(Beginning("name", run_id))
    token = run_scope.set(attempt.scope(""))
    try:
        yield attempt
        end_attempt(attempt, "done")
    except BaseException as error:
        end_attempt(attempt, "failed", repr(error))
        raise
    finally:
        run_scope.reset(token)


class Slow:
    """A step that waits until it is released, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered, self.release = threading.Event(), threading.Event()
        self.fails = False

        @step(name="slow", kind="llm")
        def slow(n: int) -> str:
            self.calls += 1
            number = self.calls
            self.entered.set()
            assert self.release.wait(60)
            if self.fails and number == 1:
                raise TimeoutError
            return f"answer {number}"

        self.call = slow


def in_threads(journal: Journal, slow: Slow, count: int) -> list[Any]:
    """Make the same step of the same run in several attempts at once."""
    results: list[Any] = []

    def work() -> None:
        with attempt_of(journal):
            try:
                results.append(slow.call(1))
            except TimeoutError as error:
                results.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    assert slow.entered.wait(60)
    time.sleep(0.15)  # the others come to wait
    slow.release.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return results


def test_attempts_that_make_the_same_step_at_once_pay_once(journal: Journal) -> None:
    slow = Slow()
    assert in_threads(journal, slow, 4) == ["answer 1"] * 4
    assert slow.calls == 1
    (row,) = journal.steps("r")
    assert row["replays"] == 3


def test_when_the_owner_of_a_step_fails_one_of_those_waiting_makes_it(journal: Journal) -> None:
    slow = Slow()
    slow.fails = True
    results = in_threads(journal, slow, 3)
    assert [r for r in results if isinstance(r, str)] == ["answer 2"] * 2
    assert slow.calls == 2


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


WAITED_FOR = HOLDING.replace('journal.run("r")', "joined(journal)").replace(
    "with Journal",
    """
from contextlib import contextmanager
from contextvars import copy_context
from rowtrail.journal import Beginning, end_attempt, run_scope
@contextmanager
def joined(journal):
    attempt = journal.attempt(Beginning("name", "r"))
    run_scope.set(attempt.scope(""))
    yield
    end_attempt(attempt, "done")

with Journal""",
    1,
)


@pytest.mark.parametrize("ending", ["answers", "is killed"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_step_that_another_process_makes_is_waited_for(
    world: World, agent: Agent, ending: str, is_async: bool
) -> None:
    ticks = 0

    async def main(journal: Journal) -> str:
        nonlocal ticks
        with attempt_of(journal):
            waiting = asyncio.ensure_future(agent.athink("a"))
            while not waiting.done():
                ticks += 1
                await asyncio.sleep(0.01)
            return await waiting

    with Journal(world.db) as journal, holder(world, WAITED_FOR) as other:
        if ending == "answers":
            timer = threading.Timer(0.3, go_on, [other])
        else:
            timer = threading.Timer(0.3, end, [other])
        timer.start()
        if is_async:
            assert asyncio.run(main(journal)) == "thought about a"
            assert ticks > 10  # the loop went on meanwhile
        else:
            with attempt_of(journal):
                assert agent.think("a") == "thought about a"
        timer.join()
    assert agent.made == ([] if ending == "answers" else ["a"])


def test_processes_that_resume_one_run_at_once_pay_once(world: World) -> None:
    code = """
import time
from rowtrail.journal import Beginning, end_attempt, run_scope

@step(kind="llm")
def ask(n):
    note(f"ask {n}")
    time.sleep(0.02)
    return n

print("ready", flush=True)
sys.stdin.readline()
with Journal(DB) as journal:
    attempt = journal.attempt(Beginning("name", "r"))
    run_scope.set(attempt.scope(""))
    print([ask(n) for n in range(10)])
    end_attempt(attempt, "done")
"""
    processes = [world.begin(code) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        out, err = process.communicate("go\n", timeout=60)
        assert out.strip() == str(list(range(10))), err
    assert sorted(world.ledger()) == sorted(f"ask {n}" for n in range(10))


def test_a_run_can_be_resumed_while_another_program_reads(world: World, agent: Agent) -> None:
    code = """
import sqlite3
connection = sqlite3.connect(DB)
connection.execute("BEGIN")
connection.execute("SELECT * FROM steps").fetchall()
print("holding", flush=True)
sys.stdin.readline()
"""
    with Journal(world.db) as journal:
        with holder(world, code) as reader:
            with journal.run("r"):
                agent.think("a")
            go_on(reader)
        assert len(journal.steps("r")) == 1


@pytest.mark.parametrize("way", ["left behind", "left by control flow"])
def test_a_run_whose_thread_is_gone_marks_no_step_of_another(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    begun, go_on = (threading.Barrier(2, timeout=60) for _ in range(2))
    begun_other, go_on_other = (threading.Barrier(2, timeout=60) for _ in range(2))
    monkeypatch.setattr(_call, "CONTROL_FLOW", [InterruptedError])

    @step
    def wait(begun: threading.Barrier, go_on: threading.Barrier) -> None:
        begun.wait()
        go_on.wait()
        if way != "left behind" and begun is not begun_other:
            raise InterruptedError

    def hold(*barriers: threading.Barrier, thread_id: str) -> None:
        with journal.run(thread_id, thread_id=thread_id):
            wait(*barriers)

    run = journal.run("gone", thread_id="gone")
    run.__enter__()
    context = copy_context()

    def call() -> None:
        with suppress(InterruptedError):
            context.run(wait, begun, go_on)

    first = threading.Thread(target=call)
    second = threading.Thread(
        target=hold, args=(begun_other, go_on_other), kwargs={"thread_id": "other"}
    )
    first.start()
    begun.wait()
    checkpoints = Checkpoints(journal.store, journal.recorder.content)
    journal.store.write(lambda tx: checkpoints.delete_thread(tx, "gone"))
    second.start()
    begun_other.wait()

    if way == "left behind":
        run.__exit__(None, None, None)
    go_on.wait()
    first.join()
    if way != "left behind":
        run.__exit__(None, None, None)

    assert [row["status"] for row in journal.steps("other")] == ["running"]
    go_on_other.wait()
    second.join()
    assert [row["status"] for row in journal.steps("other")] == ["done"]


def count_of_replays(journal: Journal) -> int:
    (row,) = journal.sql("SELECT count(*) AS n FROM replays")
    return int(row["n"])


def test_replays_of_a_thread_that_is_gone_are_not_written(journal: Journal, agent: Agent) -> None:
    with journal.run("r", thread_id="gone"):
        agent.think("a")
    with journal.run("r", thread_id="gone"):
        agent.think("a")
        checkpoints = Checkpoints(journal.store, journal.recorder.content)
        journal.store.write(lambda tx: checkpoints.delete_thread(tx, "gone"))
        with journal.run("other", thread_id="other"):
            agent.think("b")  # its row has the id of the one that is gone
            assert count_of_replays(journal) == 0
    assert agent.made == ["a", "b"]
    assert count_of_replays(journal) == 0
    assert journal.verify().faults == ()


def test_replays_survive_the_failure_of_what_was_written_with_them(
    journal: Journal, agent: Agent
) -> None:
    with journal.run("r"):
        agent.think("a")
        agent.look("b")
    begun, gate = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        begun.set()
        gate.wait(60)

    def fail(tx: Tx) -> None:
        raise ZeroDivisionError

    with journal.run("r"):
        agent.think("a")
        agent.look("b")
        journal.store.submit(hold)
        begun.wait(60)  # what comes now is committed together
        written = journal.store.submit(journal.recorder.replays.write)
        failed = journal.store.submit(fail)
        gate.set()
        written.result(10)
        assert isinstance(failed.exception(10), ZeroDivisionError)
        assert count_of_replays(journal) == 2

        assert isinstance(journal.store.submit(fail).exception(10), ZeroDivisionError)
        journal.store.write(journal.recorder.replays.write)
    assert count_of_replays(journal) == 2
