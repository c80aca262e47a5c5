"""`rowtrail doctor`: the file, its place, the machine, and what may be lost right now."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.engine.files import file_system_of, has_wal_reset_fault
from tests.plugin.conftest import Cli, Done


@rowtrail.step(kind="tool", name="send", effect="write")
def send(to: str) -> None:
    raise KeyboardInterrupt


@rowtrail.step(kind="llm", name="think")
def think() -> str:
    return "thought"


def levels(done: Done) -> dict[str, str]:
    return {finding["check"]: finding["level"] for finding in done.json}


def said(done: Done, check: str) -> str:
    return next(str(f["says"]) for f in done.json if f["check"] == check)


@pytest.fixture
def sound(journal: Journal, db: Path) -> Path:
    with journal.run("run"):
        think()
    journal.close()
    return db


def test_a_sound_journal_fails_no_check(cli: Cli, sound: Path) -> None:
    before = sound.read_bytes()

    done = cli("doctor", "--full", "--db", sound, "--json")
    text = cli("doctor", "--db", sound)

    found = levels(done)
    assert done.code == 0
    assert "fail" not in found.values()
    assert {found[check] for check in ("file", "schema", "content", "wal", "may be lost")} == {"ok"}
    assert "nothing: no call is in flight" in said(done, "may be lost")
    assert next(line for line in text.lines if line[1] == "schema")[:4] == [
        "ok",
        "schema",
        "schema",
        "version",
    ]
    assert sound.read_bytes() == before, "nothing is changed"


@rowtrail.step
def think_about(text: str) -> str:
    return text


def test_what_may_be_lost_right_now_is_told(cli: Cli, journal: Journal, db: Path) -> None:
    with pytest.raises(KeyboardInterrupt), journal.run("crashed"):
        send("a@example.org")
    found: list[Done] = []

    @rowtrail.step(kind="tool", name="slow")
    def slow() -> None:
        found.append(cli("doctor", "--db", db, "--json"))

    with journal.run("alive"):
        slow()

    (done,) = found
    assert said(done, "may be lost").startswith("only the results of the calls in flight (1 tool)")
    assert levels(done)["in doubt"] == "warn"
    assert "1 cancelled, 1 running" in said(done, "runs")


def test_calls_whose_request_had_changed_are_told_with_the_remedies(
    cli: Cli, journal: Journal, db: Path
) -> None:
    for attempt in range(2):
        with pytest.raises(KeyboardInterrupt), journal.run("r"):
            think_about(f"attempt {attempt}")
            raise KeyboardInterrupt
    done = cli("doctor", "--db", db, "--json")
    assert said(done, "changed").startswith("1 of the newest calls")
    assert levels(done)["changed"] == levels(done)["cancelled"] == "note"
    [found] = [found for found in done.json if found["check"] == "changed"]
    assert "canonical" in found["remedy"] and 'durability="sync"' in found["remedy"]


def test_each_recent_step_is_told_to_be_on_disk_or_not(cli: Cli, sound: Path) -> None:
    done = cli("doctor", "--steps", "5", "--db", sound, "--json")
    assert levels(done)["on disk"] == levels(done)["step 1"] == "ok"
    assert "only the loss of the disk" in said(done, "step 1")
    assert "step 1" not in levels(cli("doctor", "--db", sound, "--json"))

    with Journal(sound, durability="normal") as journal, journal.run("unsynced"):
        think()
        done = cli("doctor", "--steps", "1", "--db", sound, "--json")
    assert levels(done)["on disk"] == levels(done)["step 2"] == "warn"
    assert "a power cut takes" in said(done, "step 2")
    assert "1 of the newest 1 steps" in said(done, "on disk")


def test_a_file_that_others_may_read_is_warned_of(cli: Cli, sound: Path) -> None:
    sound.chmod(0o644)

    assert levels(cli("doctor", "--db", sound, "--json"))["file"] == "warn"


def test_a_damaged_file_fails(cli: Cli, sound: Path) -> None:
    with closing(sqlite3.connect(sound)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'step_key'"
        ).fetchone()
    with sound.open("r+b") as file:
        file.seek((root - 1) * 8192)
        file.write(b"\xff" * 8192)

    done = cli("doctor", "--db", sound, "--json")

    assert done.code == 1
    assert levels(done)["content"] == "fail"
    assert "what failed: content" in done.err
    assert levels(done)["wal"] == "note", "the mode was changed by another program"


def test_files_that_are_no_journal_fail_and_the_machine_is_checked_still(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no database, and long enough to have a header\n" * 100)

    wrong = cli("doctor", "--db", tmp_path / "text", "--json")
    missing = cli("doctor", "--db", tmp_path / "none", "--json")

    assert (wrong.code, levels(wrong)["content"]) == (1, "fail")
    assert (missing.code, levels(missing)["file"]) == (3, "fail")
    assert "sqlite" in levels(missing) and "adapters" in levels(missing)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes of folders")
def test_a_journal_that_cannot_be_written_is_checked(cli: Cli, sound: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "agent.db"
        copy.write_bytes(sound.read_bytes())
        copy.chmod(0o444)
        Path(name).chmod(0o555)
        is_root = os.geteuid() == 0
        cli("doctor", "--db", sound)  # loads what the other user may not read
        if is_root:
            os.seteuid(65534)
        try:
            done = cli("doctor", "--db", copy, "--json")
        finally:
            if is_root:
                os.seteuid(0)
            Path(name).chmod(0o755)

    assert levels(done)["content"] == "ok", done.out
    assert levels(done)["file"] == "warn"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes of files")
def test_a_file_that_this_user_may_not_read_is_named(cli: Cli, sound: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        copy = Path(name) / "agent.db"
        copy.write_bytes(sound.read_bytes())
        copy.chmod(0)
        commands = ["runs"], ["doctor"], ["verify"]
        for command in commands:
            cli(*command, "--db", sound)  # loads what the other user may not read
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            found = [cli(*command, "--db", copy) for command in commands]
        finally:
            if is_root:
                os.seteuid(0)

    for done in found:
        assert (done.code, "cannot be" in done.out + done.err) == (1, True), done


@pytest.mark.parametrize(
    ("kind", "level"), [("nfs4", "fail"), ("tmpfs", "warn"), ("ext4", "ok"), (None, "ok")]
)
def test_file_systems_that_lose_rows_are_named(
    cli: Cli, sound: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, level: str
) -> None:
    monkeypatch.setattr("rowtrail.cli._doctor.file_system_of", lambda _: kind)

    done = cli("doctor", "--db", sound, "--json")

    assert levels(done)["file system"] == level
    assert done.code == (1 if level == "fail" else 0)


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.54.1", False),
    ],
)
def test_versions_of_sqlite_with_the_wal_reset_fault(version: str, faulty: bool) -> None:
    assert has_wal_reset_fault(version) is faulty


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="Linux")
def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    assert file_system_of("/proc/self/status") == "proc"
    assert file_system_of("/") not in (None, "proc")


def test_what_is_missing_on_the_machine_is_said(
    cli: Cli, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> Any:
        return []

    monkeypatch.setattr("rowtrail.cli._doctor.has_prices", lambda: False)
    monkeypatch.setattr("rowtrail.cli._doctor.tiktoken_encoding", lambda _: None)
    monkeypatch.setattr("pkgutil.iter_modules", nothing)

    found = levels(cli("doctor", "--db", sound, "--json"))

    assert [found[check] for check in ("adapters", "tiktoken", "prices")] == ["note"] * 3


def test_tools_that_count_as_read_are_named(cli: Cli, journal: Journal, db: Path) -> None:
    def called(name: str, effect: Any) -> None:
        rowtrail.step(kind="tool", name=name, effect=effect)(lambda: None)()

    with journal.run("run"):
        for name in ("look", "look", "query_history", 'a "tool"'):
            called(name, "read")
        called("send", "write")
        called("mixed", "read")
        called("mixed", "write")
        called("charge", "idempotent")
        think()
    journal.close()

    done = cli("doctor", "--db", db, "--json")

    assert levels(done)["effects"] == "note"
    assert said(done, "effects").endswith('after a crash: look, a "tool"')
    [remedy] = [f["remedy"] for f in done.json if f["check"] == "effects"]
    assert 'effects={"look": "write"}' in remedy
    assert '@rowtrail.step(effect="write")' in remedy
    for taker in ("RowtrailSaver", "RowtrailRunner", "RowtrailDurability", "RowtrailPlugin"):
        assert taker in remedy


def test_many_tools_that_count_as_read_are_cut(cli: Cli, journal: Journal, db: Path) -> None:
    with journal.run("run"):
        for number in range(15):
            rowtrail.step(kind="tool", name=f"tool_{number:02}")(lambda: None)()
    journal.close()

    done = cli("doctor", "--db", db, "--json")

    assert said(done, "effects").endswith("tool_11 and 3 more")


def test_without_such_tools_nothing_is_said_of_effects(cli: Cli, sound: Path) -> None:
    assert "effects" not in levels(cli("doctor", "--db", sound, "--json"))
