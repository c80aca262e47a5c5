"""`rowtrail export` and `rowtrail backup`: copies that are whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.engine.files import back_up
from rowtrail.errors import StorageError
from tests.plugin.conftest import Cli

HOSTILE = 'a "quoted", \x1b[31mred\u202e line\nand another'


@rowtrail.step(kind="tool", name="add")
def add(a: int, b: int) -> int:
    return a + b


@rowtrail.step(kind="llm", name="model")
def say(text: str) -> str:
    return text


@pytest.fixture
def filled(journal: Journal, db: Path) -> Path:
    for number in range(3):
        with journal.run(f"run-{number}", thread_id=f"thread-{number % 2}"):
            for other in range(number + 1):
                add(number, other)
            say(HOSTILE)
    journal.close()
    return db


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_all_runs_are_written_as_json_lines_the_oldest_first(cli: Cli, filled: Path) -> None:
    done = cli("export", "--db", filled)

    found = lines(done.out)
    kinds = [next(iter(line)) for line in found]
    assert done.code == 0
    assert kinds == [
        *("run", "attempt", "step", "step"),
        *("run", "attempt", "step", "step", "step"),
        *("run", "attempt", "step", "step", "step", "step"),
    ]
    assert [line["run"]["run_id"] for line in found if "run" in line] == ["run-0", "run-1", "run-2"]
    assert json.loads(found[3]["step"]["output"]) == HOSTILE
    assert not set(done.out) & set("\x1b\u202e")


def test_one_run_or_those_of_a_thread_are_written(cli: Cli, filled: Path) -> None:
    one = lines(cli("export", "@last", "--db", filled).out)
    thread = lines(cli("export", "--thread", "thread-0", "--db", filled).out)

    assert [line["run"]["run_id"] for line in one if "run" in line] == ["run-2"]
    assert [line["run"]["run_id"] for line in thread if "run" in line] == ["run-0", "run-2"]


def test_csv_has_the_columns_of_the_view_and_every_step(cli: Cli, filled: Path) -> None:
    done = cli("export", "--format", "csv", "--db", filled)

    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    with closing(sqlite3.connect(filled)) as connection:
        expected = connection.execute("SELECT step_id, name FROM steps ORDER BY rowid").fetchall()
        columns = [c[0] for c in connection.execute("SELECT * FROM steps").description]
    assert list(rows[0]) == columns
    assert [(row["step_id"], row["name"]) for row in rows] == sorted(
        expected, key=lambda found: int(found[0])
    )
    assert json.loads(rows[-1]["output"].replace("\\u202e", "\u202e")) == HOSTILE


def test_a_file_appears_whole_and_private_in_place_of_an_older_one(
    cli: Cli, filled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("older")

    done = cli("export", "--out", out, "--db", filled)

    assert (done.code, done.out) == (0, "")
    assert "wrote 3 runs" in done.err
    assert out.read_text() == cli("export", "--db", filled).out
    assert out.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_an_export_that_fails_leaves_the_older_file(
    cli: Cli, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("older")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    done = cli("export", "--out", out, "--db", filled)

    assert (done.code, out.read_text()) == (1, "older")
    assert "No space left" in done.err
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("command", ["export", "backup"])
def test_the_journal_itself_is_never_overwritten(cli: Cli, filled: Path, command: str) -> None:
    before = filled.read_bytes()
    target = ["--out", filled] if command == "export" else [filled]

    assert cli(command, *target, "--db", filled).code == 1
    assert filled.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["export", "nope"], 3),
        (["export", "--since", "2999-01-01"], 3),
        (["export", "run-0", "--thread", "thread-0"], 2),
        (["export", "--json", "--format", "csv"], 2),
        (["export", "--out", "no/such/folder/file"], 1),
        (["backup", "no/such/folder/file"], 1),
    ],
)
def test_what_cannot_be_written_is_said(
    cli: Cli, filled: Path, arguments: list[str], code: int
) -> None:
    done = cli(*arguments, "--db", filled)

    assert (done.code, done.out) == (code, "")
    assert done.err


def test_a_backup_is_a_private_journal_in_one_file(cli: Cli, filled: Path, tmp_path: Path) -> None:
    target = tmp_path / "copies" / "backup.db"
    target.parent.mkdir()

    done = cli("backup", target, "--db", filled, "--json")
    again = cli("backup", target, "--db", filled)

    assert done.json == {"path": str(target), "bytes": target.stat().st_size}
    assert [path.name for path in target.parent.iterdir()] == ["backup.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert (again.code, "exists" in again.err) == (1, True)
    assert cli("export", "--db", target).out == cli("export", "--db", filled).out
    with Journal(target) as copy, copy.run("run-0"):
        assert add(0, 0) == 0
        (row,) = copy.sql("SELECT attempts, steps FROM runs WHERE run_id = 'run-0'").rows
    assert row == (2, 2), "replayed in the copy"


def test_a_backup_beside_a_busy_writer_is_one_snapshot(
    journal: Journal, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.engine.sqlite._backup.PAGES_AT_ONCE", 2)
    with journal.run("before"):
        for number in range(300):
            add(number, 0)
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with journal.run("meanwhile"):
            while not stop.is_set():
                add(len(written), 1)
                written.append(1)

    def progress(done: int, total: int) -> None:
        steps.append((done, total))
        before = len(written)
        while len(written) < before + 2:  # commits between any two parts of the copy
            threading.Event().wait(0.001)

    steps: list[tuple[int, int]] = []
    writer = threading.Thread(target=write)
    writer.start()
    try:
        back_up(str(db), str(tmp_path / "copy.db"), progress)
    finally:
        stop.set()
        writer.join()

    totals = {total for _, total in steps}
    assert len(steps) > 5 and len(totals) == 1, "it was not begun anew"
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        (count,) = copy.execute("SELECT count(*) FROM steps WHERE run_id = 'before'").fetchone()
        assert count == 300
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_failed_backup_leaves_nothing(filled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(str(filled), str(folder / "copy.db"), fail)
    (tmp_path / "text").write_text("no journal\n" * 1000)
    with pytest.raises(StorageError, match="not a rowtrail journal"):
        back_up(str(tmp_path / "text"), str(folder / "copy.db"), lambda done, total: None)

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "completes"),
    [
        ("rowtrail ru", ["runs"]),
        ("rowtrail show r", ["run-0", "run-1", "run-2"]),
        ("rowtrail show @", ["@last"]),
        ("rowtrail runs --st", ["--status"]),
        ("rowtrail runs --status cr", ["crashed"]),
    ],
)
def test_the_shell_completes_commands_options_and_ids(
    filled: Path, words: str, completes: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from rowtrail.cli import main; main(prog_name='rowtrail')"],
        env={
            **os.environ,
            "ROWTRAIL_DB": str(filled),
            "_ROWTRAIL_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == completes


def test_completion_prints_the_script_of_a_shell(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert "#compdef rowtrail" in cli("completion").out
    assert "_ROWTRAIL_COMPLETE=fish_complete" in cli("completion", "fish").out
    monkeypatch.setenv("SHELL", "/bin/odd")
    assert cli("completion").code == 2
