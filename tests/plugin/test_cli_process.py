"""The command line as a process: terminals, pipes, signals, hostile text, read-only folders."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rowtrail
from rowtrail import Journal
from rowtrail.cli import main
from tests.plugin.conftest import Cli

HOSTILE = "\x1b[31mred\x07\x9b2J\u202eb\r\n日本"


@rowtrail.step(kind="tool", name="add", effect="write")
def add(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b}


@rowtrail.step(kind="llm", name="model")
def ask_model(prompt: str) -> str:
    return f"answer to {prompt}"


@rowtrail.step(kind="tool", name=f"stop {HOSTILE}", effect="write")
def stop(what: str) -> None:
    raise KeyboardInterrupt


@rowtrail.step(name="fail")
def fail() -> None:
    raise ValueError("out of paper")


@pytest.fixture
def filled(journal: Journal) -> Journal:
    for number in range(4):
        with journal.run(f"run-{number}", thread_id=f"thread-{number % 2}", agent="tester"):
            add(number, 1)
    with pytest.raises(ValueError, match="paper"), journal.run("broken"):
        fail()
    return journal


@pytest.fixture
def agent_db(filled: Journal, db: Path) -> Path:
    """Return the path of a journal that nobody has open."""
    filled.close()
    return db


def test_recorded_control_characters_are_never_printed(
    cli: Cli, journal: Journal, db: Path
) -> None:
    with journal.run(f"run {HOSTILE}", thread_id=HOSTILE, agent=HOSTILE):
        ask_model(HOSTILE)
    with pytest.raises(KeyboardInterrupt), journal.run("other", agent=HOSTILE):
        stop(HOSTILE)
    (doubtful,) = (row["step_id"] for row in cli("in-doubt", "--db", db, "--json").json)
    run = cli("runs", "--db", db, "--json").json[1]["run_id"]
    step = cli("sql", "SELECT step_id FROM steps", "--db", db, "--json").json[0]["step_id"]
    for arguments in (
        ["runs"],
        ["runs", "--json"],
        ["show", "run"],
        ["show", "run", "--json"],
        ["show", "run", "--step", step],
        ["show", "run", "--view", "timeline"],
        ["threads"],
        ["spend", "--by", "agent"],
        ["spend", "--by", "thread", "--json"],
        ["tail", "run"],
        ["tail", "run", "--json"],
        ["why", step],
        ["why", step, "--json"],
        ["diff", "run", "other"],
        ["diff", "run", "other", "--json"],
        ["in-doubt"],
        ["in-doubt", "--json"],
        ["in-doubt", doubtful],
        ["in-doubt", doubtful, "--text", HOSTILE, "--yes"],
        ["resume", "run"],
        ["resume", "run", "--json"],
        ["resume", "run", "--db", db, "--", "\x1bno program"],
        ["export"],
        ["export", "--format", "csv"],
        ["sql", "SELECT runs.agent, json_extract(output, '$') FROM runs, steps"],
        ["sql", "SELECT agent AS 'a\x1bb' FROM runs", "--csv"],
        ["sql", "SELECT agent FROM runs", "--json"],
        ["sql", "SELECT 1 FROM '\x1b'"],
        ["show", "\x1b"],
    ):
        done = cli(*arguments, "--db", db)
        printed = done.out + done.err
        assert not set(printed) & set("\x1b\x07\x9b\u202e\r"), arguments
        assert "x1b" in printed or "u001b" in printed, arguments
    assert run == f"run {HOSTILE}"


def rowtrail_process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rowtrail", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_process_reads_beside_a_live_writer(filled: Journal, db: Path) -> None:
    with filled.run("going on"):
        add(1, 1)
        process = rowtrail_process("runs", "--json", env={**os.environ, "ROWTRAIL_DB": str(db)})
        out, err = process.communicate(timeout=110)

    assert (process.returncode, err) == (0, "")
    assert json.loads(out)[0]["run_id"] == "going on"
    assert filled.sql("SELECT status FROM runs WHERE run_id = 'going on'").rows == [("done",)]


def test_a_closed_pipe_is_quiet(agent_db: Path) -> None:
    query = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"
    process = rowtrail_process("sql", query, "--limit", 100_000, "--json", "--db", agent_db)
    assert process.stdout is not None and process.stderr is not None

    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(30)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk to write to")
@pytest.mark.parametrize("command", ["runs", "export", "schema", "show @last --json"])
def test_a_full_disk_is_said_in_a_line(agent_db: Path, command: str) -> None:
    arguments = command.split() if command == "schema" else [*command.split(), "--db", agent_db]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rowtrail", *map(str, arguments)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: not all of it could be written: No space left on device"
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupt_ends_a_query_with_130(agent_db: Path) -> None:
    query = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    process = rowtrail_process("sql", query, "--timeout", 60, "--db", agent_db)
    shared_memory = agent_db.with_name("agent.db-shm")
    while not shared_memory.exists():  # a reader makes it
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=110)

    assert (process.returncode, out, err) == (130, "", "")


def in_terminal(*arguments: object, columns: int = 80, **environment: str) -> str:
    """Run a command on a pseudo-terminal and return what it printed there."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "rowtrail", *map(str, arguments)]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **environment}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        printed = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 65536):
                printed += piece
    os.close(ours)
    return printed.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals")
def test_a_terminal_gets_colors_and_a_table_that_fits(agent_db: Path) -> None:
    colored = in_terminal("runs", "--db", agent_db)
    plain = in_terminal("runs", "--db", agent_db, NO_COLOR="1")
    wide = in_terminal("sql", "SELECT hex(zeroblob(500)) AS x", "--db", agent_db, NO_COLOR="1")

    assert "\x1b[31m! failed\x1b[0m" in colored
    assert "\x1b" not in plain
    assert max(map(len, wide.splitlines()[:2])) == 80
    assert "values were cut" in wide


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals")
def test_a_terminal_gets_the_steps_as_a_timeline(agent_db: Path) -> None:
    timeline = ("show", "broken", "--view", "timeline", "--db", agent_db)
    colored = in_terminal(*timeline)
    plain = in_terminal(*timeline, NO_COLOR="1")
    table = in_terminal("show", "broken", "--view", "table", "--db", agent_db, NO_COLOR="1")

    assert "✗" in colored and "\x1b[31m" in colored
    assert "✗" in plain and "\x1b" not in plain
    assert "✗" not in table
    assert max(map(len, plain.splitlines())) <= 80


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals")
def test_a_backup_tells_a_terminal_how_far_it_is(agent_db: Path, tmp_path: Path) -> None:
    told = in_terminal("backup", tmp_path / "copy.db", "--db", agent_db)

    assert "copying" in told and "100%" in told
    assert "copied and checked" in " ".join(told.split())
    assert (tmp_path / "copy.db").stat().st_size == agent_db.stat().st_size


@contextlib.contextmanager
def as_somebody_without_write_access(folder: Path) -> Generator[None]:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of folders")
def test_a_folder_that_cannot_be_written_can_be_read(cli: Cli, agent_db: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = folder / "agent.db"
        copy.write_bytes(agent_db.read_bytes())
        cli("show", "@last", "--db", agent_db)  # loads what the other user may not read
        cli("sql", "SELECT 1", "--db", agent_db)

        with as_somebody_without_write_access(folder):
            runs = cli("runs", "--db", copy, "--json")
            shown = cli("show", "run-1", "--db", copy)
            asked = cli("sql", "SELECT count(*) AS n FROM runs", "--db", copy, "--json")

        assert [row["run_id"] for row in runs.json][-1] == "run-0", runs.err
        assert (shown.code, asked.json) == (0, [{"n": 5}])
        assert [path.name for path in folder.iterdir()] == ["agent.db"]


def test_click_runner_runs_it(agent_db: Path) -> None:
    result = CliRunner().invoke(
        main, ["sql", "SELECT count(*) AS n FROM runs", "--db", str(agent_db)]
    )

    assert (result.exit_code, result.output.split()) == (0, ["n", "5"])
