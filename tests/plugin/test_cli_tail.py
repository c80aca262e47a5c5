"""`rowtrail tail`: what agents do, as they do it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.history import Follower
from rowtrail.history.rows import Event
from tests.plugin.conftest import Cli, World


@rowtrail.step(kind="tool", name="add")
def add(a: int, b: int) -> int:
    return a + b


@rowtrail.step(name="die")
def die() -> None:
    raise KeyboardInterrupt


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event["event"], event["run_id"], event["status"]) for event in events]


def test_steps_are_told_as_they_begin_end_and_are_replayed(journal: Journal) -> None:
    follower = Follower(journal.store)
    seen: list[list[Event]] = []

    @rowtrail.step(name="look")
    def look() -> None:
        seen.append(follower.news())
        seen.append(follower.news())

    with pytest.raises(KeyboardInterrupt), journal.run("a"):
        add(1, 2)
        look()
        die()
    after = follower.news()
    with journal.run("a"):
        add(1, 2)
    journal.store.write(lambda tx: None)  # the row of the replay is queued before this
    replays = follower.news()

    begun, nothing = seen
    assert sorted(told(begun)) == [("begun", "a", "running"), ("ended", "a", "done")]
    assert nothing == []
    assert sorted(told(after)) == [("ended", "a", "done"), ("ended", "a", "in_doubt")]
    assert ("replayed", "a", "replayed") in told(replays)
    assert follower.news() == []


def test_only_the_run_or_thread_that_is_followed_is_told(journal: Journal) -> None:
    by_run = Follower(journal.store, run_id="b")
    by_thread = Follower(journal.store, thread_id="one")
    for run in ("a", "b"):
        with journal.run(run, thread_id="one" if run == "a" else "two"):
            add(1, 2)

    assert told(by_run.news()) == [("ended", "b", "done")]
    assert told(by_thread.news()) == [("ended", "a", "done")]


def test_the_last_steps_of_a_thread_are_told_behind_those_of_others(journal: Journal) -> None:
    for run, thread in (("a", "one"), ("b", "two")):
        with journal.run(run, thread_id=thread):
            for number in range(5):
                add(number, 0)

    news = Follower(journal.store, thread_id="one", recent=2).news()

    assert [(event["run_id"], event["seq"]) for event in news] == [("a", 4), ("a", 5)]


def test_nothing_is_missed_behind_many_steps_of_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.history._follow.PAGE_ROWS", 3)
    follower = Follower(journal.store, run_id="b")
    with journal.run("a"):
        for number in range(20):
            add(number, 0)
    with journal.run("b"):
        for number in range(7):
            add(number, 0)

    events: list[Event] = []
    while news := follower.news():
        events += news

    assert [event["seq"] for event in events] == list(range(1, 8))


def test_a_run_that_ended_is_printed_to_its_end(cli: Cli, journal: Journal, db: Path) -> None:
    with journal.run("run"):
        for number in range(5):
            add(number, 0)

    done = cli("tail", "run", "--lines", 3, "--db", db)
    objects = cli("tail", "@last", "--json", "--db", db)
    none = cli("tail", "run", "--lines", 0, "--db", db)

    assert done.code == 0
    assert [line[2] for line in done.lines] == ["#3", "#4", "#5"]
    assert "run run is done" in done.err
    assert [json.loads(line)["seq"] for line in objects.out.splitlines()] == [1, 2, 3, 4, 5]
    assert (none.code, none.out) == (0, "")


def test_ids_that_are_none_end_with_3(cli: Cli, journal: Journal, db: Path) -> None:
    assert cli("tail", "nope", "--db", db).code == 3
    assert cli("tail", "--thread", "nope", "--db", db).code == 3


def test_a_live_run_is_followed_from_another_process_until_it_ends(world: World) -> None:
    program = """
@step(kind="tool", name="wait")
def wait(number):
    sys.stdin.readline()

with Journal(DB) as journal, journal.run("run"):
    print("ready", flush=True)
    wait(1)
    wait(2)
"""
    agent = world.begin(program)
    assert agent.stdin is not None and agent.stdout is not None
    assert agent.stdout.readline() == "ready\n"
    command = [sys.executable, "-m", "rowtrail", "tail", "run", "--json", "--interval", "0.05"]
    env = {**os.environ, "ROWTRAIL_DB": str(world.db)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as tail:
        assert tail.stdout is not None
        for number in (1, 2):
            begun = json.loads(tail.stdout.readline())
            assert (begun["event"], begun["seq"]) == ("begun", number)
            agent.stdin.write("\n")
            agent.stdin.flush()
            ended = json.loads(tail.stdout.readline())
            assert (ended["event"], ended["status"], ended["seq"]) == ("ended", "done", number)
        agent.communicate(timeout=110)
        assert tail.wait(timeout=110) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupt_ends_it_quietly(journal: Journal, db: Path) -> None:
    with journal.run("run"):
        add(1, 2)
    command = [sys.executable, "-m", "rowtrail", "tail", "--db", str(db)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None and tail.stderr is not None
        assert "tool add" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        assert (tail.wait(timeout=110), tail.stderr.read()) == (130, "")
