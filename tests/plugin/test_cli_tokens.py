"""`--max-tokens`: every answer fits, is the beginning of the whole one, and says what was cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.usage import count_tokens
from tests.plugin.conftest import Cli

READING = (
    ("runs",),
    ("threads",),
    ("show", "@last", "--all"),
    ("spend",),
    ("why", "@last"),
    ("doctor",),
    ("resume", "@last"),
    ("sql", "select run_id, name, input from steps"),
    ("sql", "@timeline"),
)


@rowtrail.step(kind="tool", name="look")
def look(word: str) -> str:
    if word == "broken":
        raise ValueError(f"no {word} word")
    return f"{word} is a word " * 9


@pytest.fixture(scope="module")
def agent_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "agent.db"
    with Journal(path) as journal:
        for number in range(12):
            with journal.run(f"run-{number}", thread_id=f"thread-{number % 5}", agent="tester"):
                for word in range(number):
                    look(f"word {word}")
        with pytest.raises(ValueError, match="broken"), journal.run("run-last"):
            look("broken")
    return path


@pytest.mark.parametrize("max_tokens", [20, 21, 50, 120, 400, 100_000])
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_answer_takes_no_more_tokens_than_it_may(
    cli: Cli, agent_db: Path, command: tuple[str, ...], max_tokens: int
) -> None:
    whole = cli(*command, "--db", agent_db)
    cut = cli(*command, "--db", agent_db, "--max-tokens", max_tokens)

    assert cut.code == whole.code or command[0] == "sql"  # not even its columns may fit
    assert count_tokens(cut.out, None)[0] <= max_tokens
    if command[0] != "sql" and cut.out != whole.out:
        *kept, note = cut.out.splitlines()
        assert "raise --max-tokens" in note
        assert all(
            line == other or line.endswith("…")
            for line, other in zip(kept, whole.out.splitlines(), strict=False)
        )


@pytest.mark.parametrize("max_tokens", [20, 60, 150, 300, 100_000])
@pytest.mark.parametrize("command", [("runs",), ("threads",), ("runs", "--newest")], ids=" ".join)
def test_json_that_is_cut_is_the_first_rows(
    cli: Cli, agent_db: Path, command: tuple[str, ...], max_tokens: int
) -> None:
    whole = json.loads(cli(*command, "--db", agent_db, "--json").out)
    cut = cli(*command, "--db", agent_db, "--json", "--max-tokens", max_tokens)
    rows = json.loads(cut.out)

    assert count_tokens(cut.out, None)[0] <= max_tokens
    assert rows == whole[: len(rows)]
    assert len(rows) == len(whole) or f"{len(rows)} of {len(whole)} rows" in cut.err


def test_one_object_is_not_cut_in_the_middle(cli: Cli, agent_db: Path) -> None:
    cut = cli("show", "@last", "--db", agent_db, "--json", "--max-tokens", 20)

    assert cut.out == "" and cut.code == 1
    assert "raise --max-tokens, or leave out --json" in cut.err


def test_fractions_are_rounded_for_people_and_exact_for_programs(cli: Cli, agent_db: Path) -> None:
    query = "select 1234.5678 as a, 0.000123456 as b, 98765.4321 as c, 0.0 as d, 1e300 as e, 7 as f"
    shown = cli("sql", query, "--db", agent_db).out.splitlines()[1].split()
    brief = cli("sql", query, "--db", agent_db, "--max-tokens", 100).out.splitlines()[1]
    (exact,) = cli("sql", query, "--db", agent_db, "--json").json

    assert shown == ["1235", "0.0001235", "98765", "0.0", "1e+300", "7"]
    assert brief == " | ".join(shown)
    assert list(exact.values()) == [1234.5678, 0.000123456, 98765.4321, 0.0, 1e300, 7]
