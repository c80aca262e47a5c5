"""`rowtrail in-doubt`: what may have happened, and saying what became of it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

import rowtrail
from rowtrail import InDoubtError, Journal
from tests.plugin.conftest import Cli, World

SENT: list[str] = []


@rowtrail.step(kind="tool", name="send", effect="write")
def send(to: str) -> str:
    SENT.append(to)
    raise KeyboardInterrupt


@pytest.fixture
def doubtful(journal: Journal, db: Path) -> Path:
    """Return a closed journal in which three runs died while they sent."""
    SENT.clear()
    for number in range(3):
        with pytest.raises(KeyboardInterrupt), journal.run(f"run-{number}"):
            send(f"{number}@example.org")
    journal.close()
    return db


def the_step(cli: Cli, db: Path, run: str) -> str:
    (row,) = cli("in-doubt", "--run", run, "--db", db, "--json").json
    return str(row["step_id"])


def test_steps_in_doubt_are_listed_the_newest_first(cli: Cli, doubtful: Path) -> None:
    done = cli("in-doubt", "--db", doubtful)
    limited = cli("in-doubt", "--limit", 2, "--db", doubtful, "--json")

    assert [line[1] for line in done.lines[1:]] == ["run-2", "run-1", "run-0"]
    assert "2@example.org" in done.out and "write" in done.out
    assert "--not-done" in done.err
    assert [row["run_id"] for row in limited.json] == ["run-2", "run-1"]
    assert "only the newest 2" in limited.err


def test_without_a_step_in_doubt_the_exit_code_is_3(cli: Cli, journal: Journal, db: Path) -> None:
    done = cli("in-doubt", "--db", db)
    listed = cli("in-doubt", "--db", db, "--json")

    assert (done.code, done.out) == (3, "")
    assert "nothing has to be settled" in done.err
    assert (listed.code, listed.json) == (3, [])


def test_a_result_that_is_written_down_is_handed_back(cli: Cli, doubtful: Path) -> None:
    step = the_step(cli, doubtful, "run-0")

    done = cli("in-doubt", step, "--result", '{"id": 4711}', "--yes", "--db", doubtful)

    assert (done.code, ["status", "done"] in done.lines) == (0, True)
    assert 'happened and returned {"id": 4711}' in done.err
    with Journal(doubtful) as journal, journal.run("run-0"):
        result: object = send("0@example.org")
    assert result == {"id": 4711}
    assert SENT.count("0@example.org") == 1


def test_a_result_is_read_from_standard_input(
    cli: Cli, doubtful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = the_step(cli, doubtful, "run-0")
    monkeypatch.setattr(sys, "stdin", io.StringIO("[4711]"))

    assert cli("in-doubt", step, "--result", "-", "--yes", "--db", doubtful).code == 0
    assert cli("in-doubt", step, "--db", doubtful, "--json").json["output"] == "[4711]"


def test_what_did_not_happen_is_made_again(cli: Cli, doubtful: Path) -> None:
    step = the_step(cli, doubtful, "run-1")

    assert cli("in-doubt", step, "--not-done", "--yes", "--db", doubtful).code == 0

    with Journal(doubtful) as journal:
        with pytest.raises(KeyboardInterrupt), journal.run("run-1"):
            send("1@example.org")
        with pytest.raises(InDoubtError, match="rowtrail in-doubt"), journal.run("run-2"):
            send("2@example.org")
    assert SENT.count("1@example.org") == 2


@pytest.mark.parametrize(
    ("answer", "code", "settled"), [("y\n", 0, True), ("n\n", 1, False), ("", 2, False)]
)
def test_a_person_is_asked_before_it_is_written_down(
    cli: Cli,
    doubtful: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    settled: bool,
) -> None:
    step = the_step(cli, doubtful, "run-0")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))

    done = cli("in-doubt", step, "--text", "sent", "--db", doubtful)

    assert done.code == code
    assert "0@example.org" in done.err and 'returned "sent"' in done.err
    assert ("--yes" in done.err) == (answer == ""), "nobody is there to answer"
    left = cli("in-doubt", "--db", doubtful, "--json").json
    assert (step not in [row["step_id"] for row in left]) == settled


def test_a_step_alone_is_shown_with_what_a_resume_does(cli: Cli, doubtful: Path) -> None:
    step = the_step(cli, doubtful, "run-0")

    done = cli("in-doubt", step, "--db", doubtful)

    assert done.code == 0
    assert "on_doubt" in done.out
    assert cli("in-doubt", step, "--db", doubtful, "--json").json["status"] == "in_doubt"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--not-done"], 2, "name the STEP"),
        (["1", "--text", "a", "--not-done"], 2, "exclude each other"),
        (["1", "--result", "{no json", "--yes"], 2, "is not valid JSON"),
        (["1", "--result", "NaN", "--yes"], 2, "is not valid JSON"),
        (["1", "--result", "[1e999]", "--yes"], 2, "is not valid JSON"),
        (["1", "--result", "-"], 2, "add --yes"),
        (["999", "--not-done", "--yes"], 3, "no step has the id"),
        (["--run", "nope"], 3, "no run has the id"),
    ],
)
def test_wrong_answers_settle_nothing(
    cli: Cli, doubtful: Path, arguments: list[str], code: int, says: str
) -> None:
    done = cli("in-doubt", *arguments, "--db", doubtful)

    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert len(cli("in-doubt", "--db", doubtful, "--json").json) == 3


def test_a_step_that_is_not_in_doubt_is_left_alone(cli: Cli, doubtful: Path) -> None:
    step = the_step(cli, doubtful, "run-0")
    cli("in-doubt", step, "--text", "first", "--yes", "--db", doubtful)

    again = cli("in-doubt", step, "--text", "second", "--yes", "--db", doubtful)

    assert (again.code, "not in doubt" in again.err) == (1, True)
    assert '"first"' in cli("in-doubt", step, "--db", doubtful).out


def test_a_step_of_a_process_that_was_just_killed_is_in_doubt_at_once(
    cli: Cli, world: World
) -> None:
    program = """
@step(kind="tool", name="send", effect="write")
def send(to):
    die_at("send")

with Journal(DB) as journal, journal.run("run"):
    send("a@example.org")
"""
    world.kill(program, "send")

    runs = cli("runs", "--db", world.db, "--json").json
    done = cli("in-doubt", "--db", world.db)

    assert [(row["status"], row["in_doubt"]) for row in runs] == [("crashed", 1)]
    assert (done.code, done.lines[1][1]) == (0, "run")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes of files")
def test_a_journal_that_cannot_be_written_is_listed(cli: Cli, doubtful: Path) -> None:
    doubtful.chmod(0o400)

    assert len(cli("in-doubt", "--db", doubtful, "--json").json) == 3
