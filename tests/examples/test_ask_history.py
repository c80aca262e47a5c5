"""`python -m examples.ask_history` on a small run: real files, a real run, 30 right answers.

`ROWTRAIL_ASK_STEPS=1000` measures the full size.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from examples.ask_history.__main__ import main
from examples.ask_history._agent import Recorded
from examples.ask_history._files import COPY, make_files
from examples.ask_history._model import Script
from examples.ask_history._questions import Query, Question, Search, questions
from examples.ask_history._report import Answered, Report
from examples.ask_history._world import Ledger, Registry

ROOT = Path(__file__).parents[2]
STEPS = int(os.environ.get("ROWTRAIL_ASK_STEPS", "120"))
TIMEOUT_S = 280


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.ask_history", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run."""
    return tmp_path_factory.mktemp("ask") / "audit"


@pytest.fixture(scope="module")
def found(kept: Path) -> dict[str, Any]:
    process = run_example("--steps", STEPS, "--dir", kept, "--json")
    assert process.returncode == 0, process.stdout + process.stderr
    loaded: dict[str, Any] = json.loads(process.stdout)
    return loaded


def fetch_all(kept: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(kept / "agent.db")) as connection:
        return connection.execute(query).fetchall()


def test_thirty_questions_are_answered_right_by_one_query_or_search_each(
    found: dict[str, Any],
) -> None:
    assert len({answer["question"] for answer in found["answers"]}) == 30
    assert found["wrong"] == []
    assert all(answer["correct"] for answer in found["answers"])
    ways = [answer["way"] for answer in found["answers"]]
    assert ways.count("search") >= 5
    assert sum("@" in answer["asked"] for answer in found["answers"]) >= 3


def test_questions_and_answers_cost_a_small_part_of_the_log(found: dict[str, Any]) -> None:
    assert found["tokens"] == sum(answer["tokens"] for answer in found["answers"])
    assert found["tokens"] < 60 * 30  # whatever the size of the run
    assert found["log_tokens"] < found["full_log_tokens"]
    if STEPS >= 1000:
        assert found["percent_of_log"] <= 2
        assert found["files"] == 30


def test_the_run_is_real(found: dict[str, Any], kept: Path) -> None:
    runs = fetch_all(kept, "SELECT status, steps FROM runs")
    assert runs == [("done", STEPS)]
    assert found["steps"] == STEPS
    files = sorted(path.name for path in (kept / "files").iterdir())
    assert len(files) == found["files"] >= 8
    recorded = [entry["file"] for entry in Ledger(kept / "ledger.jsonl").entries()]
    assert recorded == files
    statuses = fetch_all(kept, "SELECT DISTINCT kind, status FROM steps ORDER BY 1, 2")
    assert statuses == [("llm", "done"), ("llm", "failed"), ("tool", "done"), ("tool", "failed")]


def test_the_log_shows_every_call_and_says_nothing_twice(found: dict[str, Any], kept: Path) -> None:
    new, full = [(kept / f"{which}.log").read_text("utf-8") for which in ("new", "full")]
    assert new.count(" llm out: ") + new.count(" llm error: ") + new.count(" in: {") == STEPS
    answers = fetch_all(kept, "SELECT result FROM tool_calls WHERE name = 'read_lines'")
    for page in {page for (page,) in answers}:
        assert new.count(page) == answers.count((page,))
        assert full.count(page) > new.count(page)  # every later prompt holds it
    assert new.count("You audit the files") == 1


def test_without_json_there_is_a_table_with_totals() -> None:
    shown = CliRunner().invoke(main, ["--steps", "131", "--seed", "3"])
    assert shown.exit_code == 0, shown.output
    assert "30 of 30 right" in shown.output
    assert "log of 131 steps" in shown.output


def test_a_wrong_answer_or_too_many_tokens_fail() -> None:
    right = Answered("Who?", "query", "{}", "who\nAbara", 21, correct=True)
    small = Report(120, 8, "estimate", [right], 1_000, 2_000, 300)
    assert small.is_good
    assert not replace(small, steps=1_000).is_good
    assert replace(small, steps=1_000, log_tokens=1_050).is_good
    wrong = replace(small, answers=[replace(right, correct=False)])
    assert not wrong.is_good
    assert wrong.wrong == ["Who?"]


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("n\n42", True),
        ("n\n142", False),
        ("n\n421", False),
        ("n\n42.5", False),
        ("n\n0.42", False),
        ("n\nfound 42.", True),
        ("42\n7", False),
        ("n\n7\n42", False),
        ("n", False),
        ("", False),
    ],
)
def test_a_fact_is_a_whole_word_of_the_first_row(answer: str, is_right: bool) -> None:
    assert Question("How many?", Query("SELECT 1"), (42,)).is_answered_by(answer) is is_right


def test_brackets_of_a_search_do_not_hide_a_fact() -> None:
    asked = Search("kept months")
    answer = "snippet\nthe samples are [kept] 22 [months]"
    assert Question("How long?", asked, ("22 months",)).is_answered_by(answer)


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    contents: list[dict[str, bytes]] = []
    for folder, seed in (("a", 7), ("b", 7), ("c", 8)):
        names = make_files(tmp_path / folder, 30, seed)
        contents.append({name: (tmp_path / folder / name).read_bytes() for name in names})
    assert contents[0] == contents[1] != contents[2]
    assert len(contents[0]) == 30
    assert len(set(contents[0].values())) == 29
    assert contents[0][COPY] == contents[0]["notes-01.md"]


def test_answers_about_other_files_are_called_wrong(
    found: dict[str, Any], kept: Path, tmp_path: Path
) -> None:
    names = make_files(tmp_path / "other", found["files"], seed=8)
    registry = Registry(names)
    registry.failures = [registry.locked, names[1]]
    ledger = Ledger(kept / "ledger.jsonl")
    nowhere = tmp_path / "no.db"
    run = Recorded(tmp_path / "other", names, registry, ledger, Script(STEPS), {}, nowhere)
    about_files = list(zip(questions(run), found["answers"], strict=True))[:18]
    called_right = [
        question.text for question, given in about_files if question.is_answered_by(given["answer"])
    ]
    # the first notes have a copy and the ticket is in one module in every seed; a count may agree
    assert len(called_right) <= 4, called_right
    assert not nowhere.exists()  # what is true is not asked of the journal


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["--dir", str(tmp_path)])
    assert refused.exit_code == 2
    assert "exists: give a new folder" in refused.output
    assert list(tmp_path.iterdir()) == []
