"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.cli import COMMANDS
from rowtrail.cli._figures import counted, money
from rowtrail.errors import BusyError
from tests.plugin.conftest import Cli


@rowtrail.step(kind="tool", name="add", effect="write")
def add(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b}


@rowtrail.step(kind="llm", name="model")
def ask_model(prompt: str) -> str:
    return f"answer to {prompt}"


@rowtrail.step(name="outer")
def outer(number: int) -> dict[str, int]:
    return add(number, 1)


@rowtrail.step(name="fail")
def fail() -> None:
    raise ValueError("out of paper")


@rowtrail.step(kind="tool", name="stop", effect="write")
def stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def filled(journal: Journal) -> Journal:
    for number in range(4):
        with journal.run(f"run-{number}", thread_id=f"thread-{number % 2}", agent="tester"):
            add(number, 1)
            ask_model(f"question {number}")
            outer(number)
    with journal.run("run-3"):  # replays
        add(3, 1)
    with pytest.raises(ValueError, match="paper"), journal.run("broken"):
        fail()
    return journal


@pytest.fixture
def agent_db(filled: Journal, db: Path) -> Path:
    """Return the path of a journal that nobody has open."""
    filled.close()
    return db


def test_help_lists_the_commands_without_loading_them(cli: Cli) -> None:
    done = cli("--help")

    assert done.code == 0
    listed = [line[0] for line in done.lines if line]
    assert [name for name in COMMANDS if name not in listed] == []
    assert cli("-h").out == done.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "import"])
def test_every_command_shows_an_example(cli: Cli, name: str) -> None:
    done = cli(name, "--help")

    assert done.code == 0
    assert "Example:\n    rowtrail " in done.out


def test_version_is_printed(cli: Cli) -> None:
    assert cli("--version").out == f"rowtrail {rowtrail.__version__}\n"


def test_runs_lists_the_newest_first(cli: Cli, agent_db: Path) -> None:
    done = cli("runs", "--db", agent_db)

    titles, *rows = done.lines
    assert (done.code, done.err) == (0, "")
    assert " ".join(titles) == (
        "run thread agent status started duration attempts steps llm tools in doubt tokens in/out "
        "saved cost"
    )
    assert [row[0] for row in rows] == ["broken", "run-3", "run-2", "run-1", "run-0"]
    assert rows[0][:5] == ["broken", "-", "-", "!", "failed"]
    assert rows[1][:4] == ["run-3", "thread-1", "tester", "done"]
    assert rows[1][8:12] == ["2", "4", "1", "2"]


def test_runs_are_filtered_limited_and_given_as_json(cli: Cli, agent_db: Path) -> None:
    thread = cli("runs", "--db", agent_db, "--thread", "thread-0", "--json").json
    failed = cli("runs", "--db", agent_db, "--status", "failed", "--json").json
    newest = cli("runs", "--db", agent_db, "--limit", 2, "--json").json

    assert [row["run_id"] for row in thread] == ["run-2", "run-0"]
    assert [row["error"] for row in failed] == ["ValueError: out of paper"]
    assert [row["run_id"] for row in newest] == ["broken", "run-3"]
    assert (newest[1]["attempts"], newest[1]["tool_calls"]) == (2, 2)
    assert "page" not in newest[0]


def test_many_runs_are_read_in_pages(cli: Cli, journal: Journal, db: Path) -> None:
    for number in range(450):
        with journal.run(f"run-{number:03}"):
            add(number, number)

    done = cli("runs", "--db", db, "--limit", 420)

    assert [line[0] for line in done.lines[1:]] == [f"run-{n:03}" for n in range(449, 29, -1)]


def test_run_of_a_dead_process_is_shown_as_crashed(cli: Cli, journal: Journal, db: Path) -> None:
    with journal.run("alive"):
        assert cli("runs", "--db", db, "--json").json[0]["status"] == "running"
        journal.store.write(_silence)
        assert cli("runs", "--db", db, "--status", "crashed", "--json").json[0]["run_id"] == "alive"
        assert cli("runs", "--db", db).lines[1][3:5] == ["!", "crashed"]


def _silence(tx: Any) -> None:
    tx._connection.execute("UPDATE process SET last_seen_at = last_seen_at - 60000")


@pytest.mark.parametrize("name", ["run-1", "@last", "bro"])
def test_show_finds_a_run_by_id_by_prefix_and_as_the_last(
    cli: Cli, agent_db: Path, name: str
) -> None:
    wanted = "run-1" if name == "run-1" else "broken"

    done = cli("show", name, "--db", agent_db)

    assert (done.code, done.lines[0]) == (0, ["run", wanted])


def test_show_lists_attempts_and_steps_in_order(cli: Cli, agent_db: Path) -> None:
    done = cli("show", "run-3", "--view", "table", "--db", agent_db)

    table = done.lines[done.lines.index([]) :]
    attempts, steps = table[1:4], table[5:]
    assert attempts[0] == ["attempt", "pid", "host", "started", "duration", "outcome"]
    assert [row[0] for row in attempts[1:]] == ["1", "2"]
    assert [row[0] for row in steps[1:]] == ["1", "2", "3", "4"]
    assert steps[1][3:6] == ["tool", "add", "done"]
    assert steps[1][6] == "1", "one replay"
    assert steps[2][-4:] == ['"answer', "to", "question", '3"']
    assert steps[4][3:6] == ["tool", "└", "add"]


def test_show_marks_what_failed(cli: Cli, agent_db: Path) -> None:
    done = cli("show", "broken", "--db", agent_db)

    assert "! failed" in done.out
    assert "ValueError: out of paper" in done.out.splitlines()[-1]


def test_show_as_json_is_one_object_with_all_columns(cli: Cli, agent_db: Path) -> None:
    shown = cli("show", "run-3", "--db", agent_db, "--json").json

    assert shown["run"]["run_id"] == "run-3"
    assert [attempt["n"] for attempt in shown["attempts"]] == [1, 2]
    assert [step["seq"] for step in shown["steps"]] == [1, 2, 3, 4]
    assert json.loads(shown["steps"][0]["output"]) == {"sum": 4}


def test_show_gives_one_step_in_full(cli: Cli, agent_db: Path) -> None:
    step = cli("show", "run-2", "--db", agent_db, "--json").json["steps"][0]["step_id"]

    text = cli("show", "run-2", "--step", step, "--db", agent_db)
    row = cli("show", "run-2", "--step", step, "--db", agent_db, "--json").json

    assert '"sum": 3' in text.out
    assert ["step_id", step] in text.lines
    assert (row["step_id"], row["effect"], row["output"]) == (step, "write", '{"sum":3}')


def test_long_run_is_shown_in_pages(cli: Cli, journal: Journal, db: Path) -> None:
    with journal.run("long"):
        for number in range(450):
            add(number, 1)

    done = cli("show", "long", "--view", "table", "--db", db)
    shown = cli("show", "long", "--db", db, "--json").json

    assert [line[0] for line in done.lines[-450:]] == [str(n) for n in range(1, 451)]
    assert [step["seq"] for step in shown["steps"]] == list(range(1, 451))


def test_ids_that_mean_nothing_or_too_much(cli: Cli, agent_db: Path) -> None:
    unknown = cli("show", "nope", "--db", agent_db)
    several = cli("show", "run-", "--db", agent_db)
    step = cli("show", "run-1", "--step", "9999", "--db", agent_db)

    assert (unknown.code, unknown.out) == (3, "")
    assert "no run has the id 'nope'" in unknown.err
    assert several.code == 2
    assert "run-0, run-1, run-2, run-3" in several.err
    assert step.code == 3
    assert "no step '9999'" in step.err


def test_sql_prints_a_table_json_or_csv(cli: Cli, agent_db: Path) -> None:
    query = "SELECT name, seq, parent_id IS NULL AS p FROM steps WHERE run_id LIKE '%0' ORDER BY 2"

    table = cli("sql", query, "--db", agent_db)
    rows = cli("sql", query, "--db", agent_db, "--json").json
    lines = list(csv.reader(io.StringIO(cli("sql", query, "--db", agent_db, "--csv").out)))

    assert table.lines[:2] == [["name", "seq", "p"], ["add", "1", "1"]]
    assert rows[2] == {"name": "outer", "seq": 3, "p": 1}
    assert lines == [["name", "seq", "p"], *([str(v) for v in row.values()] for row in rows)]


def test_sql_says_on_stderr_what_was_left_out(cli: Cli, agent_db: Path) -> None:
    limited = cli("sql", "SELECT seq FROM steps", "--limit", 2, "--db", agent_db, "--json")
    budget = cli("sql", "SELECT * FROM runs", "--max-tokens", 150, "--db", agent_db)

    assert len(limited.json) == 2
    assert "only the first 2 rows" in limited.err
    assert (budget.code, budget.err) == (0, "")
    assert "in 150 tokens" in budget.out.splitlines()[-1]


def test_sql_sees_one_run_thread_or_agent_only(cli: Cli, agent_db: Path) -> None:
    counted = "select count(*) as n from runs"
    everything = cli("sql", "--json", "--db", agent_db, counted).json[0]["n"]

    one = cli("sql", "--json", "--db", agent_db, "--run", "@last", counted)
    nobody = cli("sql", "--db", agent_db, "--agent", "nobody", counted)

    assert (one.json, everything > 1) == ([{"n": 1}], True)
    assert (nobody.code, nobody.out) == (3, "") and "no agent 'nobody'" in nobody.err
    assert cli("sql", "--db", agent_db, "--thread", "none", counted).code == 3
    assert cli("sql", "--db", agent_db, "--run", "none", counted).code == 3


def test_named_query_is_asked_with_its_parameters(cli: Cli, agent_db: Path) -> None:
    named = cli("sql", "@tried", "--param", "tool=add", "--db", agent_db, "--json")
    other = cli("sql", "@tried", "--param", ":tool=none", "--db", agent_db, "--json")
    free = cli("sql", "select :a || :b as x", "--param", "a=1=2", "--param", "b=", "--db", agent_db)

    assert {row["name"] for row in named.json} == {"add"}
    assert other.json == []
    assert free.out.split() == ["x", "1=2"]
    assert cli("sql", "@tried", "--param", "tool", "--db", agent_db).code == 2
    assert "did you mean '@tried'" in cli("sql", "@tries", "--db", agent_db).err


def test_named_queries_and_the_schema_are_listed_without_a_journal(cli: Cli) -> None:
    names = [row["name"] for row in cli("sql", "--list", "--json").json]

    assert len(names) >= 10 and "@failures" in names
    assert [line[0] for line in cli("sql", "--list").lines[1:]] == names
    assert [name for name in names if name not in cli("schema").out] == []
    assert [row["name"] for row in cli("schema", "--json").json["named_queries"]] == names
    assert cli("sql").code == 2


def test_sql_reads_a_query_from_standard_input(
    cli: Cli, agent_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM runs"))

    assert cli("sql", "-", "--db", agent_db, "--json").json == [{"n": 5}]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["sql", "SELECT tokens FROM steps"], 1, "did you mean 'input_tokens'?"),
        (["sql", "DELETE FROM steps"], 1, "only reading is allowed"),
        (["sql", "SELECT 1", "--timeout", "0"], 2, "--timeout"),
        (["sql", "SELECT 1", "--json", "--csv"], 2, "exclude each other"),
        (["sql"], 2, "QUERY"),
        (["runs", "--limit", "0"], 2, "--limit"),
        (["runs", "--status", "odd"], 2, "crashed"),
        (["rnus"], 2, "Did you mean 'runs'?"),
        (["runs", "--thread", "none"], 3, "no thread has the id 'none'"),
        (["show", "@lst"], 3, "rowtrail runs"),
    ],
)
def test_errors_go_to_stderr_with_an_exit_code(
    cli: Cli,
    agent_db: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv("ROWTRAIL_DB", str(agent_db))

    done = cli(*arguments)

    assert (done.code, done.out) == (code, "")
    assert says in done.err


READERS = [
    ["runs"],
    ["threads"],
    ["in-doubt"],
    ["spend"],
    ["export"],
    ["doctor"],
    ["tail"],
    ["why", "1"],
    ["show", "@last"],
    ["resume", "@last"],
    ["resume", "@last", "--", "true"],
    ["diff", "@last", "@last"],
    ["in-doubt", "1", "--not-done", "--yes"],
    ["backup", "copy.db"],
]


@pytest.mark.parametrize("arguments", [*READERS, ["sql", "SELECT 1"]])
def test_a_journal_that_is_missing_is_not_created(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    done = cli(*arguments)

    assert done.code == 3
    assert done.out == "" or arguments == ["doctor"]
    assert "no journal './agent.db'" in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_journal_gets_a_helpful_answer(cli: Cli, journal: Journal, db: Path) -> None:
    assert cli("runs", "--db", db).code == 3
    assert "holds no run yet" in cli("show", "@last", "--db", db).err
    listed = cli("runs", "--db", db, "--json")
    assert (listed.json, listed.code) == ([], 3)
    for arguments in READERS:
        if arguments[0] not in ("doctor", "tail", "backup"):
            done = cli(*arguments, "--db", db)
            assert (done.code, done.out) == (3, ""), arguments
            assert done.err.startswith("Error: "), arguments


def test_files_that_are_no_journal_are_named(cli: Cli, tmp_path: Path, agent_db: Path) -> None:
    (tmp_path / "text").write_text("no database, and long enough to have a header\n" * 100)
    (tmp_path / "empty").touch()
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with sqlite3.connect(agent_db) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()

    for name in ("text", "empty", "other"):
        done = cli("runs", "--db", tmp_path / name)
        assert (done.code, "not a rowtrail journal" in done.err) == (1, True), done
    assert "schema version 99" in cli("runs", "--db", agent_db).err
    for command in ("runs", "doctor", "verify"):
        done = cli(command, "--db", tmp_path)
        assert (done.code, "is a folder" in done.err, "chmod" in done.out) == (1, True, False)
    assert cli("runs", "--db", ":memory:").code == 2


def test_an_option_before_the_command_is_told_its_place(cli: Cli) -> None:
    for wrong in (["--limit", "3", "runs"], ["--json", "show", "@last"]):
        done = cli(*wrong)
        assert (done.code, "Options go after the command" in done.err) == (2, True), done


def test_the_journal_is_named_before_or_behind_the_command(
    cli: Cli, agent_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWTRAIL_DB", "elsewhere.db")
    behind = cli("runs", "--db", agent_db)
    before = cli("--db", agent_db, "runs")
    both = cli("--db", agent_db, "runs", "--db", agent_db)
    two = cli("--db", agent_db, "runs", "--db", "other.db")

    assert (before.code, before.out) == (0, behind.out) == (both.code, both.out)
    assert (two.code, two.out) == (2, "")
    assert "names two journals" in two.err


def test_a_file_that_cannot_be_repaired_is_not_said_to_be(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, and long enough to have a header\n" * 100)

    done = cli("verify", "--db", tmp_path / "text")

    assert (done.code, "rowtrail repair" in done.err) == (4, False)
    assert "restore a backup" in done.out


def test_pruning_makes_no_journal_of_an_empty_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    for more in (["--dry-run"], ["--yes"]):
        assert cli("prune", "--older-than", "1d", *more, "--db", tmp_path / "empty").code == 1

    assert (tmp_path / "empty").stat().st_size == 0


@pytest.mark.parametrize(
    ("usd", "text"), [(None, "-"), (0.0, "$0.0000"), (1e-6, "<$0.0001"), (0.00012, "$0.0001")]
)
def test_what_was_paid_is_not_shown_as_nothing(usd: float | None, text: str) -> None:
    assert money(usd).text == text


def test_null_is_not_an_empty_text(cli: Cli, agent_db: Path) -> None:
    done = cli("sql", "SELECT NULL AS a, '' AS b, 'x' AS c", "--db", agent_db)

    assert done.lines[1] == ["NULL", "x"]


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "run", "0 runs"),
        (1, "run", "1 run"),
        (2, "process", "2 processes"),
        (1, "process", "1 process"),
        (1_000, "list_piece", "1,000 list pieces"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


def test_a_busy_journal_has_its_own_exit_code(
    cli: Cli, agent_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise BusyError("held", path=str(agent_db))

    monkeypatch.setattr("rowtrail.engine.sqlite._reader.Reader.read", busy)

    assert cli("runs", "--db", agent_db).code == 5


def test_runs_that_need_somebody_come_first(cli: Cli, filled: Journal, db: Path) -> None:
    with pytest.raises(KeyboardInterrupt), filled.run("run-1"):
        stop()
    with filled.run("last"):
        add(9, 9)

    listed = cli("runs", "--db", db, "--json").json
    by_time = cli("runs", "--db", db, "--newest", "--json").json
    limited = cli("runs", "--db", db, "--limit", 2)

    assert [row["run_id"] for row in listed][:3] == ["run-1", "last", "broken"]
    assert (listed[0]["status"], listed[0]["in_doubt"]) == ("done", 1)
    assert [row["run_id"] for row in by_time][:2] == ["last", "broken"]
    assert [line[0] for line in limited.lines[1:]] == ["run-1", "last"]
    assert "only the first 2 runs" in limited.err


def test_runs_are_filtered_by_agent_and_by_time(cli: Cli, agent_db: Path) -> None:
    agent = cli("runs", "--db", agent_db, "--agent", "tester", "--json").json
    lately = cli("runs", "--db", agent_db, "--since", "1h", "--json").json
    later = cli("runs", "--db", agent_db, "--since", "2999-01-01")
    wrong = cli("runs", "--db", agent_db, "--since", "yesterday")

    assert [row["run_id"] for row in agent] == ["run-3", "run-2", "run-1", "run-0"]
    assert len(lately) == 5
    assert (later.code, "begun since 2999-01-01" in later.err) == (3, True)
    assert (wrong.code, "'yesterday' is not a time" in wrong.err) == (2, True)


def test_a_thread_is_named_by_its_beginning_or_as_the_last(cli: Cli, agent_db: Path) -> None:
    several = cli("runs", "--db", agent_db, "--thread", "thread")
    last = cli("runs", "--db", agent_db, "--thread", "@last", "--json").json

    assert (several.code, "thread-0, thread-1" in several.err) == (2, True)
    assert {row["thread_id"] for row in last} == {"thread-1"}


@pytest.mark.parametrize(
    "when", ["999999w", "999999d", "0001-01-01T00:00+10:00", "9999-12-31T23:59-10:00"]
)
def test_times_before_and_after_all_others_are_times(cli: Cli, agent_db: Path, when: str) -> None:
    for command in (["runs"], ["spend"], ["export"], ["search", "answer"]):
        done = cli(*command, "--since", when, "--db", agent_db)

        assert done.code in ({0, 3} if when.startswith("9999-") else {0}), done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--limit", 10**30],
        ["sql", "select 1", "--timeout", "nan"],
        ["sql", "select 1", "--timeout", "inf"],
        ["search", "answer", "--limit", 10**30],
        ["tail", "--interval", "nan"],
        ["prune", "--keep", 10**30],
    ],
)
def test_numbers_beyond_all_use_are_refused(
    cli: Cli, agent_db: Path, arguments: list[object]
) -> None:
    done = cli(*arguments, "--db", agent_db)

    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err and f"'{arguments[-2]}'" in done.err
