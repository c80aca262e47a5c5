"""`rowtrail demo`: real processes, real kills, real files, and the figures they leave."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

import rowtrail
from rowtrail.testing import LLMServer, Reply
from rowtrail_langgraph.demo import _report, command
from rowtrail_langgraph.demo._corpus import copy_corpus
from rowtrail_langgraph.demo._director import Director, Kill, Outcome, plan_kills
from rowtrail_langgraph.demo._ledger import Entry, Ledger
from rowtrail_langgraph.demo._model import SURVEY_PROMPT, scripted, turn
from rowtrail_langgraph.demo._probe import Probe
from rowtrail_langgraph.demo._process import DemoError
from rowtrail_langgraph.demo._report import Figures, Saved
from rowtrail_langgraph.demo._tools import build_tools
from tests._sample import IS_FULL

DEMO = [sys.executable, "-c", "from rowtrail_langgraph.demo import command; command()"]
TIMEOUT_S = 280
COUNTED = {
    "kills",
    "calls_needed",
    "calls_paid",
    "calls_repeated",
    "calls_in_flight",
    "tools_run",
    "tools_repeated",
    "effects_made",
    "effects_repeated",
    "replays",
    "saved_tokens",
    "saved_usd",
    "db",
}


def run_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The whole demo, run once."""
    return run_demo("--json", "--dir", str(tmp_path_factory.mktemp("demo") / "new"))


@pytest.fixture(scope="module")
def figures(demo: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert demo.returncode == 0, demo.stderr
    loaded: dict[str, Any] = json.loads(demo.stdout)
    return loaded


def test_demo_repeats_nothing_with_rowtrail(figures: dict[str, Any]) -> None:
    assert figures.keys() >= COUNTED
    assert figures["kills"] == 3
    assert figures["calls_in_flight"] == 1
    assert figures["calls_paid"] == figures["calls_needed"] + 1
    assert figures["calls_repeated"] == 0
    assert figures["tools_repeated"] == 0
    assert figures["effects_made"] == 1
    assert figures["effects_repeated"] == 0
    assert figures["replays"] > 0
    assert figures["saved_tokens"] > 0
    assert figures["answer_equal"] is True


def test_demo_repeats_calls_tools_and_effects_without_rowtrail(figures: dict[str, Any]) -> None:
    baseline = figures["baseline"]

    assert baseline.keys() >= COUNTED
    assert baseline["journal"] == "sqlite"
    assert baseline["kills"] == 3
    assert baseline["calls_needed"] == figures["calls_needed"]
    assert baseline["calls_repeated"] == 4
    assert baseline["tools_repeated"] == 7
    assert baseline["effects_made"] == 2
    assert baseline["effects_repeated"] == 1
    assert baseline["saved_tokens"] == 0
    assert baseline["answer"] == figures["answer"]


def test_demo_leaves_a_journal_that_sqlite_reads(figures: dict[str, Any]) -> None:
    with closing(sqlite3.connect(f"file:{figures['db']}?mode=ro", uri=True)) as db:
        runs = db.execute("select status, attempts, llm_calls from runs").fetchall()
        outcomes = db.execute("select outcome from attempts order by n").fetchall()
        write = db.execute("select status from steps where effect = 'write'").fetchall()

    assert runs == [("done", 4, figures["calls_paid"])]  # the one in flight is a row too
    assert len(outcomes) == 4
    assert ("done",) in write


def test_demo_leaves_no_process_behind(demo: subprocess.CompletedProcess[str]) -> None:
    pids = [int(pid) for pid in re.findall(r"(?:starts|resumes), pid (\d+)", demo.stderr)]

    assert len(pids) == 9
    assert not [pid for pid in pids if is_alive(pid)]


def test_demo_tells_each_kill_while_it_happens(demo: subprocess.CompletedProcess[str]) -> None:
    lines = [line for line in demo.stderr.splitlines() if line.startswith("rowtrail")]

    assert sum("SIGKILL to" in line for line in lines) == 3
    assert any("in doubt: record_finding: its effect is in the ledger" in line for line in lines)
    assert not [line for line in lines if line.endswith("(again)")]


def test_model_option_asks_the_real_model(tmp_path: Path) -> None:
    with LLMServer(scripted) as provider:
        demo = run_demo(
            *("--json", "--no-baseline", "--dir", str(tmp_path / "new")),
            *("--model", "openai:gpt-4o-mini"),
            OPENAI_API_KEY="a-key",
            OPENAI_BASE_URL=provider.base_url,
        )
        asked = provider.calls

    assert demo.returncode == 0, demo.stderr
    figures = json.loads(demo.stdout)
    assert figures["calls_paid"] == asked == 11
    assert figures["calls_repeated"] == 0
    assert figures["baseline"] is None
    assert figures["answer_equal"] is None
    assert "a-key" not in demo.stdout + demo.stderr


def test_killed_demo_takes_its_agent_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*DEMO, "--dir", str(tmp_path / "new")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stderr is not None
        pid = int(demo.stderr.readline().rpartition(" ")[2])
        alive_before = is_alive(pid)
        os.kill(demo.pid, signal.SIGKILL)

    assert alive_before
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "openai:gpt-4o-mini"], "set OPENAI_API_KEY"),
        (["--model", "nowhere:model"], "cannot be used"),
        (["--dir", "."], "is not empty"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "agent.db").write_text("a journal")

    result = CliRunner().invoke(command, arguments)

    assert result.exit_code == 2
    assert message in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["agent.db"]


def direct(journal: str, tmp_path: Path, *kills: Kill, respond: Any = scripted) -> Outcome:
    """Run one scenario of the demo in `tmp_path`."""
    director = Director(
        journal,
        db=tmp_path / "checkpoints.db",
        folder=tmp_path / "scenario",
        files=tmp_path / "files",
        model="gpt-4o-mini",
        respond=respond,
        say=lambda _text: None,
    )
    return director.run(kills)


def measure_by_hand(files: Path) -> str:
    """Return the right answer to the demo's question."""
    lines = {path.name: path.read_text().splitlines() for path in sorted(files.iterdir())}
    longest = max(len(line) for text in lines.values() for line in text)
    name, number = next(
        (name, number)
        for name, text in lines.items()
        for number, line in enumerate(text, 1)
        if len(line) == longest
    )
    total = sum(map(len, lines.values()))
    return (
        f"{name} has the longest line: line {number}, {longest} characters."
        f" The {len(lines)} files have {total} lines."
    )


def test_agent_without_a_journal_starts_over_after_each_kill(tmp_path: Path) -> None:
    kills = plan_kills(copy_corpus(tmp_path / "files"))

    outcome = direct("none", tmp_path, *(kills if IS_FULL else kills[-1:]))

    figures = _report.count(outcome, None, Saved(), "none", None)
    assert figures.kills == (3 if IS_FULL else 1)
    assert figures.calls_in_flight == (1 if IS_FULL else 0)
    assert figures.calls_paid == (5 + 8 + 9 + 10 if IS_FULL else 9 + 10)
    assert figures.effects_repeated == 1
    assert outcome.answer == measure_by_hand(tmp_path / "files")


def test_kill_point_that_is_not_reached_is_an_error(tmp_path: Path) -> None:
    names = copy_corpus(tmp_path / "files")

    with pytest.raises(DemoError, match="ended before it was in the middle of a node"):
        direct("none", tmp_path, plan_kills(names)[0], respond=lambda _request: Reply("no tools"))


def test_agent_that_fails_shows_its_traceback(tmp_path: Path) -> None:
    copy_corpus(tmp_path / "files")

    with pytest.raises(DemoError, match="no more money"):
        direct("none", tmp_path, respond=lambda _request: Reply("no more money", status=402))


def test_script_is_a_function_of_the_conversation() -> None:
    def conversation() -> dict[str, Any]:
        return {
            "messages": [
                {"role": "system", "content": SURVEY_PROMPT},
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": "", "tool_calls": [{"id": os.urandom(4).hex()}]},
                {"role": "tool", "content": '["a.py", "b.py"]'},
            ]
        }

    assert turn(conversation()) == ("survey", 1)
    assert scripted(conversation()) == scripted(conversation())
    assert scripted(conversation()).tool_calls == [("measure_file", {"name": "a.py"})]


def test_write_tool_in_doubt_is_decided_by_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    tool = build_tools(tmp_path, ledger, Probe(), journaled=False)[-1]
    assert tool.metadata is not None
    decide = tool.metadata["rowtrail"]["on_doubt"]
    step = rowtrail.Step("1", "key-1", 1, "record_finding", {"finding": "a"})

    assert decide(step) is rowtrail.NOT_DONE
    ledger.append(Entry("a", "key-2"))
    assert decide(step) is rowtrail.NOT_DONE
    ledger.append(Entry("a", "key-1"))
    assert decide(step) == tool.invoke({"finding": "a"}) == "recorded: a"


def test_write_tool_leaves_its_idempotency_key_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    tool = build_tools(tmp_path, ledger, Probe(), journaled=True)[-1]

    @rowtrail.step
    def record(finding: str) -> str:
        return str(tool.invoke({"finding": finding}))

    with rowtrail.Journal(tmp_path / "agent.db") as journal, journal.run("a run"):
        record("first")
        record("second")

    keys = [entry.key for entry in ledger.entries()]
    assert len(set(keys)) == 2
    assert None not in keys


def test_figures_count_what_the_endpoint_the_tools_and_the_ledger_saw(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text('{"finding": "a", "key": "1"}\n{"finding": "a", "key": "2"}\n')
    request = {"messages": [{"role": "system", "content": "?"}]}
    events = [
        {"event": "tool_began", "call": "read x"},
        {"event": "tool_began", "call": "read y"},
        {"event": "tool_ended", "call": "read x"},
        {"event": "tool_began", "call": "read x"},
        {"event": "tool_began", "call": "read y"},
    ]
    undisturbed = Outcome(Ledger(tmp_path / "none"), requests=[request] * 3, answer="yes")
    outcome = Outcome(
        Ledger(ledger), requests=[request] * 6, in_flight=1, events=events, kills=2, answer="no"
    )

    figures = _report.count(outcome, undisturbed, Saved(5, 70, None), "rowtrail", tmp_path)

    assert (figures.calls_needed, figures.calls_paid, figures.calls_repeated) == (3, 6, 2)
    assert (figures.tools_run, figures.tools_repeated) == (4, 1)
    assert (figures.effects_made, figures.effects_repeated) == (2, 1)
    assert figures.answer_equal is False
    assert not figures.repeated_nothing
    assert json.loads(_report.as_json(figures, None))["baseline"] is None


def test_table_has_a_column_for_each_journal() -> None:
    clean = Figures("rowtrail", 3, 10, 11, 1, 0, 14, 0, 1, 0, 9, 4321, None, "a", True, 1.0, "x")
    other = Figures("sqlite", 3, 10, 15, 1, 4, 22, 7, 2, 1, 0, 0, 0.0, "a", None, 1.0, "y")
    out = io.StringIO()

    Console(file=out, width=100).print(_report.build_table(clean, other))

    rows = [re.split(r"\s{2,}", line.strip()) for line in out.getvalue().splitlines()]
    assert ["one agent, killed 3 times", "rowtrail", "SqliteSaver"] in rows
    assert ["model calls paid", "11", "15"] in rows
    assert ["tokens saved by replay", "4,321", "0"] in rows
    assert ["money saved by replay", "unknown price", "$0.000000"] in rows
    assert ["answer as if undisturbed", "yes", "not compared"] in rows


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
