"""`rowtrail resume`: what a resume would do, and programs that continue a run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.adapter import record_question, scope_here
from tests.plugin.conftest import Cli, World

PROGRAM = """
import os, signal, sys
import rowtrail

def note(what):
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(what + "\\n")

@rowtrail.step(kind="llm")
def think(what):
    note(what)
    return what

with rowtrail.Journal() as journal:
    with journal.run(thread_id=os.environ.get("ROWTRAIL_THREAD", "thread")) as run:
        think("one")
        if run.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        think("two")
        note(f"{run.run_id} {os.environ.get('ROWTRAIL_THREAD')} {os.environ.get('ROWTRAIL_RUN')}")
    with journal.run() as other:
        note("another" if other.run_id != run.run_id else "the same")
sys.exit(7)
"""


@rowtrail.step(kind="llm", name="think")
def think(prompt: str) -> str:
    return prompt


@rowtrail.step(kind="tool", name="send", effect="write")
def send(to: str) -> None:
    raise KeyboardInterrupt


@rowtrail.step(kind="tool", name="fail")
def fail() -> None:
    raise ValueError("no")


@pytest.fixture
def crashed(journal: Journal, db: Path) -> Path:
    with pytest.raises(KeyboardInterrupt), journal.run("run", thread_id="thread"):
        think("a")
        think("b")
        with pytest.raises(ValueError, match="no"):
            fail()
        send("a@example.org")
    journal.close()
    return db


def resume(db: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `rowtrail resume` as a process: it becomes the program."""
    return subprocess.run(
        [sys.executable, "-m", "rowtrail", "resume", *arguments],
        env={**os.environ, "ROWTRAIL_DB": str(db), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_program_it_says_what_would_become_of_each_call(cli: Cli, crashed: Path) -> None:
    done = cli("resume", "@last", "--db", crashed)
    plan = cli("resume", "run", "--db", crashed, "--json").json

    assert done.code == 0
    assert [
        "replayed",
        "2",
        "llm",
        "calls,",
        "where",
        "they",
        "are",
        "asked",
        "for",
        "again",
    ] in done.lines
    assert "rowtrail in-doubt" in done.out
    assert plan["run"]["run_id"] == "run"
    assert (plan["replayed"], plan["again"]) == ({"llm": 2}, {"tool": 1})
    assert plan["in_doubt"] == {"write": 1}


def test_without_a_program_it_names_the_calls_and_prints_what_to_type(
    cli: Cli, crashed: Path
) -> None:
    done = cli("resume", "run", "--db", crashed)
    plan = cli("resume", "run", "--db", crashed, "--json").json
    typed = f"rowtrail resume run --db {crashed} -- python agent.py"

    shown = [" ".join(line) for line in done.lines]
    assert "made again 1 tool call (fail)" in shown
    assert any(line.startswith("in doubt 1 write (send): ") for line in shown)
    assert f"to settle rowtrail in-doubt 4 --db {crashed} --text RESULT (or --not-done)" in shown
    assert f"to resume {typed}" in shown
    assert "stands for the program" in done.err
    assert (plan["command"], plan["again_names"]) == (typed, ["fail"])
    assert plan["in_doubt_names"] == {"write": ["send"]}
    assert [question["step_id"] for question in plan["questions"]] == ["4"]


def test_what_it_prints_is_what_a_shell_takes(
    cli: Cli, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["it's $HOME", "a b; c", "x"]
    for name in names:
        with journal.run(name):
            think("a")
    path = journal.path
    journal.close()

    for name in names:
        for is_found in (False, True):
            if is_found:
                monkeypatch.setenv("ROWTRAIL_DB", str(path))
            command = cli("resume", name, "--db", path, "--json").json["command"]
            monkeypatch.delenv("ROWTRAIL_DB", raising=False)

            words = shlex.split(command)
            place = [] if is_found else ["--db", str(path)]
            assert words == ["rowtrail", "resume", name, *place, "--", "python", "agent.py"]


def test_questions_that_wait_are_shown_beforehand(cli: Cli, journal: Journal, db: Path) -> None:
    with journal.run("asks"):
        think("a")
        scope = scope_here("ask")
        assert scope is not None
        for n in range(7):
            record_question(scope, f"Refund order {n}?", kind="approval", position=n)
    journal.close()
    done = cli("resume", "asks", "--db", db)
    plan = cli("resume", "asks", "--db", db, "--json").json
    started = resume(db, "asks", "--", sys.executable, "-c", "pass")

    shown = [" ".join(line) for line in done.lines]
    asked = [line for line in shown if line.startswith("asks ")]
    assert "asks approval: Refund order 6?" in asked
    assert asked[-1] == "asks 2 more"
    assert len(plan["questions"]) == 7
    assert "7 questions to answer" in started.stderr


def test_a_failure_that_was_made_good_is_not_made_again(
    cli: Cli, journal: Journal, db: Path
) -> None:
    outcomes = iter([OSError("busy"), None])

    @rowtrail.step(kind="tool", name="flaky")
    def flaky() -> str:
        if error := next(outcomes):
            raise error
        return "got it"

    with pytest.raises(KeyboardInterrupt), journal.run("run"):
        with pytest.raises(OSError, match="busy"):
            flaky()
        assert flaky() == "got it"
        send("a@example.org")
    plan = cli("resume", "run", "--db", db, "--json").json

    assert (plan["replayed"], plan["again"]) == ({"tool": 1}, {})


def test_threads_and_steps_are_named_alike_everywhere(cli: Cli, crashed: Path) -> None:
    counted = "select count(*) as n from steps"
    step = cli("in-doubt", "@last", "--db", crashed, "--json").json

    assert cli("sql", "--thread", "thr", counted, "--db", crashed, "--json").json == [{"n": 4}]
    assert cli("sql", "--thread", "@last", counted, "--db", crashed, "--json").json == [{"n": 4}]
    assert (step["name"], step["status"]) == ("send", "in_doubt")
    assert cli("show", "run", "--step", "@last", "--db", crashed, "--json").json == step
    served = cli("mcp", "--thread", "nosuch", "--db", crashed)
    assert (served.code, "'nosuch'" in served.err) == (3, True)


def test_an_empty_id_is_not_the_only_run(cli: Cli, crashed: Path) -> None:
    for arguments in (["resume", ""], ["show", ""], ["runs", "--thread", ""]):
        done = cli(*arguments, "--db", crashed)

        assert (done.code, done.out) == (2, "")
        assert "is empty: give one, or @last" in done.err


def test_a_killed_program_is_started_again_and_pays_nothing_twice(world: World) -> None:
    script = world.folder / "agent.py"
    script.write_text(PROGRAM)
    environment = {"LEDGER": str(world.folder / "ledger")}
    killed = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "ROWTRAIL_DB": str(world.db), **environment},
        check=False,
        timeout=60,
    )
    assert killed.returncode < 0

    done = resume(world.db, "@last", "--", sys.executable, str(script), **environment)

    with Journal(world.db) as journal:
        (run,) = [row for row in journal.runs() if row["attempts"] == 2]
    assert done.returncode == 7, "the program's own exit code"
    assert "1 result at hand" in done.stderr
    assert world.ledger() == ["one", "two", f"{run['run_id']} thread None", "another"]
    assert run["status"] == "done"


def test_a_program_elsewhere_finds_the_journal(crashed: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    code = (
        "import os; os.chdir('elsewhere'); print(os.environ['ROWTRAIL_DB']);"
        "print(os.environ['ROWTRAIL_RUN'], os.environ['ROWTRAIL_THREAD'])"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rowtrail", "resume", "run", "--db", crashed.name),
            *("--", sys.executable, "-c", code),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.splitlines() == [str(crashed), "run thread"]


def test_a_run_that_a_live_process_holds_is_left_alone(
    cli: Cli, journal: Journal, db: Path
) -> None:
    with journal.run("held"):
        think("a")
        busy = cli("resume", "held", "--db", db, "--", "true")
        shown = cli("resume", "held", "--db", db)

    assert (busy.code, busy.out) == (5, "")
    assert f"process {os.getpid()}" in busy.err
    assert shown.code == 0, "looking is allowed"
    assert "to resume" not in shown.out
    assert "wait for it, or stop it" in shown.err


def test_what_cannot_be_started_is_named(crashed: Path) -> None:
    done = resume(crashed, "run", "--", "no-such-program")

    assert done.returncode == 1
    assert "'no-such-program' cannot be started" in done.stderr
    assert resume(crashed, "nope", "--", "true").returncode == 3


def test_a_journal_without_a_path_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROWTRAIL_DB", str(tmp_path / "named.db"))
    Journal().close()
    monkeypatch.setenv("ROWTRAIL_DB", "")
    Journal().close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.db", "named.db"]


def test_a_run_without_an_id_takes_the_named_one_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWTRAIL_RUN", "named")
    ids: list[str] = []
    for _ in range(2):
        with journal.run() as run:
            ids.append(run.run_id)

    assert ids[0] == "named" and ids[1] != "named"
    assert "ROWTRAIL_RUN" not in os.environ
