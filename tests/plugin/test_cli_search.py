"""`rowtrail search` and `rowtrail index`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rowtrail import Journal, step
from rowtrail.cli import main
from rowtrail.usage import count_tokens
from tests.conftest import cli_runner

EMBEDDER = """
def embed(texts):
    return [[1.0 + text.count(c) for c in "abcdefgh"] for text in texts]

class Holder:
    inner = staticmethod(embed)
"""


@step(name="look", kind="tool")
def look(where: str) -> str:
    return f"saw the invoices of {where}\n\x1b[31mred"


@pytest.fixture
def recorded(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROWTRAIL_DB", raising=False)
    monkeypatch.delenv("ROWTRAIL_EMBEDDER", raising=False)
    (tmp_path / "embedder_of_the_user.py").write_text(EMBEDDER)
    with Journal(db) as journal:
        for run, thread in (("one", "north"), ("two", "south")):
            with journal.run(run, thread_id=thread):
                look(f"Berlin and {run}")
    return db


def rowtrail(*arguments: str) -> Result:
    return cli_runner().invoke(main, arguments)


def found(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def test_rows_go_to_stdout_and_what_to_know_to_stderr(recorded: Path) -> None:
    result = rowtrail("search", "invoices")

    title, first, second = result.stdout.splitlines()
    columns = ["step", "run", "thread", "agent", "name", "where", "at", "snippet"]
    assert title.split() == columns
    assert "saw the [invoices] of Berlin and one" in first
    assert "\x1b" not in result.output
    assert {line.split()[1] for line in (first, second)} == {"one", "two"}
    assert result.stderr == ""


def test_json_has_every_column(recorded: Path) -> None:
    (row,) = found(rowtrail("search", "saw two", "--json", "--limit", "1"))

    assert list(row) == [
        "step_id", "run_id", "thread_id", "agent", "node", "kind", "name", "where", "snippet",
        "score", "at",
    ]  # fmt: skip
    assert (row["run_id"], row["thread_id"], row["where"]) == ("two", "south", "result")


def test_filters(recorded: Path) -> None:
    def runs(*options: str) -> set[str]:
        return {row["run_id"] for row in found(rowtrail("search", "berlin", "--json", *options))}

    assert runs() == {"one", "two"}
    assert runs("--thread", "north") == {"one"}
    assert runs("--thread", "no") == {"one"}
    assert runs("--thread", "@last") == {"two"}
    assert runs("--run", "@last") == {"two"}
    assert runs("--run", "on") == {"one"}
    assert runs("--kind", "llm") == set()
    assert runs("--since", "1h") == {"one", "two"}
    assert runs("--since", "2999-01-01") == set()
    assert runs("--until", "2999-01-01") == {"one", "two"}
    assert runs("--until", "1h") == set()


@pytest.mark.parametrize("target", ["embed", "Holder.inner"])
def test_an_embedder_is_named_by_its_module(recorded: Path, target: str) -> None:
    name = f"embedder_of_the_user:{target}"

    result = rowtrail("search", "cabbage", "--mode", "semantic", "--embedder", name, "--json")

    assert len(found(result)) == 4
    assert result.stderr == ""


def test_an_answer_for_a_model(recorded: Path) -> None:
    result = rowtrail("search", "berlin", "--max-tokens", "120")

    assert result.exit_code == 0
    assert len(result.stdout) <= 4 * 120 + 1


def test_json_keeps_to_the_tokens_too(recorded: Path) -> None:
    steps = "select run_id, output from steps"
    for tokens, command in (
        (150, ["search", "berlin", "--json"]),
        (50, ["sql", steps, "--json"]),
        (30, ["sql", steps, "--csv"]),
    ):
        result = rowtrail(*command, "--max-tokens", str(tokens))

        assert result.exit_code == 0 and "one" in result.stdout
        assert count_tokens(result.stdout, None)[0] <= tokens


def test_what_is_said_fits_what_was_asked(recorded: Path) -> None:
    little = rowtrail("search", "berlin", "--max-tokens", "5")
    Journal("empty.db").close()
    empty = rowtrail("export", "--db", "empty.db")

    assert "raise max_tokens" in little.stderr and "name the columns" not in little.stderr
    assert (empty.exit_code, "holds no run yet" in empty.stderr) == (3, True)
    searched = rowtrail("search", "berlin", "--db", "empty.db")
    assert (searched.exit_code, "holds no step yet" in searched.stderr) == (3, True)


def test_nothing_found_says_so(recorded: Path) -> None:
    result = rowtrail("search", "zebra", "--mode", "keyword")

    assert result.exit_code == 0
    assert result.stderr.startswith("nothing was found: try fewer or other words")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--run", "zzz"], 3, "'zzz'"),
        (["--thread", "zzz"], 3, "'zzz'"),
        (["--db", "missing.db"], 3, "'missing.db'"),
        (["--mode", "semantic"], 2, "--embedder"),
        (["--since", "noon"], 2, "'noon'"),
        (["--embedder", "no_such_module:x"], 2, "no_such_module"),
        (["--embedder", "embedder_of_the_user:nothing"], 2, "nothing"),
        (["--embedder", "embedder_of_the_user"], 2, "module:attribute"),
        (["--embedder", "os:sep"], 1, "embeds nothing"),
        (["--limit", "0"], 2, "0"),
    ],
)
def test_wrong_options(recorded: Path, arguments: list[str], code: int, message: str) -> None:
    result = rowtrail("search", "berlin", *arguments)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert not Path("missing.db").exists()


def test_index_fills_and_rebuilds_and_says_what_there_is(recorded: Path) -> None:
    path = f"{recorded}-search"
    expected = {"path": path, "texts": 4, "vectors": 0}

    assert json.loads(rowtrail("index", "--json").stdout) == expected
    first = os.stat(path).st_ino
    assert rowtrail("index").stdout == f"4 texts in {path}\n"
    assert os.stat(path).st_ino == first

    again = rowtrail("index", "--rebuild", "--embedder", "embedder_of_the_user:embed", "--json")

    assert json.loads(again.stdout) == expected | {"vectors": 4}


def test_an_index_of_no_journal_is_not_made(recorded: Path) -> None:
    assert rowtrail("index", "--db", "missing.db").exit_code == 3
    assert not Path("missing.db-search").exists()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_terminal_sees_a_bar_on_stderr_and_the_answer_on_stdout(recorded: Path) -> None:
    leader, follower = os.openpty()
    code = "from rowtrail.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "index", "--json"],
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm"},
    )
    out, _ = process.communicate(timeout=60)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)

    assert process.returncode == 0
    assert json.loads(out)["texts"] == 4
    assert "steps" in shown
