"""Hostile inputs to the journal: given back as they are, never run, never printed raw."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rowtrail
from rowtrail import Journal, schema
from rowtrail.cli import main
from rowtrail.errors import QueryError, RowtrailError
from tests._sample import IS_FULL
from tests.cases.hostile import CONSTRUCTORS, TEXTS, VALUES, assert_nothing_ran, nested
from tests.conftest import Child, Rows

CONTROLS = {chr(n) for n in (*range(32), *range(127, 160))} - {"\n"} | {"\u202e", "\u2066"}
LARGE_MB = 200 if IS_FULL else 8
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)


def is_text(text: str) -> bool:
    """Return whether UTF-8 can hold it; what it cannot is refused as the id of a run."""
    return text.encode("utf-8", "replace").decode() == text


def test_hostile_ids_are_ids_and_nothing_else(journal: Journal, tmp_path: Path) -> None:
    made: list[str] = []
    ids = [text for text in dict.fromkeys(TEXTS) if text and is_text(text)]
    for text in ids:

        @rowtrail.step(name=text, kind="tool")
        def look(said: str) -> str:
            made.append(said)
            return said

        for _ in range(2):  # the second time it is replayed
            with journal.run(text, thread_id=text, agent=text):
                assert look(text) == text
        [step] = journal.steps(text)
        assert (step["name"], step["thread_id"]) == (text, text)
        assert journal.runs(thread_id=text)[0]["agent"] == text
    assert made == ids
    assert journal.sql("SELECT count(*) FROM runs").rows[0][0] == len(ids)
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {
        "agent.db",
        "inside",
    }
    assert_nothing_ran(tmp_path)


@pytest.mark.parametrize("kind", ["llm", "tool", "function"])
def test_hostile_results_are_given_back_as_they_are(
    kind: Any, journal: Journal, tmp_path: Path
) -> None:
    made: list[int] = []

    @rowtrail.step(kind=kind)
    def give(number: int, value: Any) -> Any:
        made.append(number)
        return value

    for _ in range(2):
        with journal.run("r"):
            for number, value in enumerate([*VALUES, *TEXTS]):
                given = give(number, value)
                assert type(given) is type(value) and given == value
                assert repr(given) == repr(value)
    assert len(made) == len(VALUES) + len(TEXTS)
    assert_nothing_ran(tmp_path)


def test_hostile_errors_are_recorded(journal: Journal, rows: Rows) -> None:
    @rowtrail.step
    def fail(text: str) -> None:
        raise ValueError(text)

    for number, text in enumerate(TEXTS):
        with pytest.raises(ValueError), journal.run(f"r{number}"):  # noqa: PT011
            fail(text)
    assert rows("SELECT count(*) AS n FROM steps WHERE status = 'failed'") == [{"n": len(TEXTS)}]


SHAPES: dict[str, Callable[[], Any]] = {
    "500 deep": lambda: nested(500),
    "100,000 deep": lambda: nested(100_000),
    "not a number": lambda: float("nan"),
    "many digits": lambda: 10**100_000,
    "a string of megabytes": lambda: "x" * (LARGE_MB * 1_000_000),
    "bytes of megabytes": lambda: b"\xff" * (LARGE_MB * 100_000),
    "a class": lambda: type("Surprise", (), {}),
    "a lambda": lambda: lambda: 1,
    "a million keys": lambda: dict.fromkeys(range(100_000)),
    "a pickle bomb": lambda: __import__("tests.cases.hostile", fromlist=["Bomb"]).Bomb(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_that_break_parsers_break_nothing(
    shape: str, journal: Journal, tmp_path: Path
) -> None:
    value, made = SHAPES[shape](), 0

    @rowtrail.step
    def give(wanted: str, argument: Any) -> Any:
        nonlocal made
        made += 1
        return value

    begun = time.process_time()
    for _ in range(2):
        with journal.run("r"):
            given = give(shape, value)
            assert type(given) is type(value)
            assert made == 1 or shape not in ("a string of megabytes", "many digits")
    for view in schema.PUBLIC_VIEWS:
        with contextlib.suppress(QueryError):  # a value is too large for a query
            journal.sql(f"SELECT * FROM {view}")
    assert time.process_time() - begun < PATIENCE_S
    assert_nothing_ran(tmp_path)


def test_the_command_line_takes_any_id_and_prints_nothing_that_a_terminal_obeys(
    journal: Journal, db: Path, tmp_path: Path
) -> None:
    runner = CliRunner()

    @rowtrail.step(name="say", kind="tool")
    def say(text: str) -> str:
        return text

    with journal.run("all", agent="".join(filter(is_text, TEXTS[:-1]))):
        for value in TEXTS[:-1]:
            say(value)
    tried = 0
    for text in TEXTS[:-1]:
        if "\0" in text:
            continue  # no argument of a process can hold it
        for command in (["show", "--", text], ["sql", "--", text], ["show", "all", "--step", text]):
            done = runner.invoke(main, [*command[:1], "--db", str(db), *command[1:]])
            assert done.exit_code in (0, 1, 2, 3), (command, done.output)
            assert done.exception is None or isinstance(done.exception, SystemExit), command
            assert not set(done.output) & CONTROLS, command
            tried += 1
    for arguments in (
        ["runs"],
        ["show", "all"],
        ["sql", "SELECT * FROM steps"],
        ["runs", "--json"],
    ):
        done = runner.invoke(main, [*arguments, "--db", str(db)])
        assert done.exit_code == 0
        assert not set(done.output) & CONTROLS, arguments
    assert tried >= 200
    assert_nothing_ran(tmp_path)


def test_a_hostile_query_changes_nothing(journal: Journal, tmp_path: Path) -> None:
    with journal.run("kept"):
        pass
    for text in TEXTS:
        for query in (text, f"SELECT '{text}'", f'SELECT "{text}" FROM runs', f"SELECT 1 {text}"):
            try:
                journal.sql(query, timeout=2)
            except RowtrailError:
                continue
    assert [run["run_id"] for run in journal.runs()] == ["kept"]
    assert_nothing_ran(tmp_path)


def test_text_that_looks_like_a_stored_object_stays_text(journal: Journal) -> None:
    import json

    @rowtrail.step
    def give(text: str) -> str:
        return text

    for _ in range(2):
        with journal.run("r"):
            for value in CONSTRUCTORS:
                text = json.dumps(value, default=repr)
                assert give(text) == text


PERMISSIVE = """
import os, sys, rowtrail
os.umask(0)
with rowtrail.Journal(sys.argv[1]) as journal, journal.run("r"):
    found = {p: os.stat(sys.argv[1] + p).st_mode & 0o777 for p in ("", "-wal", "-shm")}
print(set(found.values()) == {0o600})
"""


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
def test_no_one_else_may_read_a_journal_whatever_the_umask(db: Path, child: Child) -> None:
    assert child(PERMISSIVE, db).stdout == "True\n"
