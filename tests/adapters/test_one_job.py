"""The same job on every adapter: whoever can read the rows of one framework can read those of all.

Three questions, two tools, one of them a write, asked of one HTTP endpoint. What differs is listed
below with its reason, and nothing else does. A further adapter is a line in `SUBJECTS`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from click.testing import CliRunner

from rowtrail.cli import main
from rowtrail.journal import Journal
from rowtrail.testing import LLMServer, Reply, Usage
from rowtrail.testing.adapter_suite import Stage

pytest.importorskip("langchain", reason="an environment of one framework has nothing to compare")
for each in ("openai", "anthropic", "agents", "pydantic_ai"):
    pytest.importorskip(each)

LANGGRAPH = "langgraph"
SUBJECTS = {  # and a way that leaves no event loop or client to the next run
    LANGGRAPH: ("tests.programs.adapter_langgraph:SUBJECT", "sync"),
    "clients": ("tests.programs.adapter_clients:CHAT", "sync"),
    "openai_agents": ("tests.programs.adapter_openai_agents:CHAT", "async"),
    "pydantic_ai": ("tests.programs.adapter_pydantic_ai:CHAT", "async"),
}
OTHERS = [name for name in SUBJECTS if name != LANGGRAPH]

LETTER = {"to": "ada@example.org", "body": "12 km, 3 m"}
QUESTIONS = {
    "How long is the river?": ("measure", {"what": "length"}, "It is 12 km long."),
    "How deep is the river?": ("measure", {"what": "depth"}, "It is 3 m deep."),
    "Write that to Ada.": ("send", LETTER, "Ada knows it."),
}

OF_THIS_RUN = {
    *("attempt_id", "idempotency_key", "tool_call_id"),
    *("started_at", "ended_at", "asked_at", "duration_ms"),
}
"""Columns that differ between two runs of one framework too: ids, and times."""

OF_THE_FRAMEWORK = {
    "scope": "where a graph is when it calls; the others have one scope",
    "node": "only graphs have nodes",
    "fingerprint": "each framework sends settings of its own",
    "input": "settings, and how a schema of a tool is written; what is asked is compared apart",
    "output": "what the framework needs to make its own objects again",
    "cache_write_tokens": "0 where a framework says so, NULL where nobody does",
    "finish_reason": "OpenAI Agents turns answers into those of the Responses API: completed",
}
"""Columns that differ between frameworks, and why."""

BY_DECORATOR = {
    "args": "a recorded function is known by itself and its arguments, a tool by its arguments",
    "tool_call_id": "a function is called by the program, not by a model",
}
"""Columns of tool calls that differ without a framework: its tools are recorded functions."""


class Work:
    """What one adapter left in a journal."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.path = folder / "agent.db"
        subject, way = SUBJECTS[name]
        adapter = resolve_name(subject)
        with LLMServer(_respond) as server, Journal(self.path) as journal:
            for n, (question, (_, _, answer)) in enumerate(QUESTIONS.items(), 1):
                stage = Stage(
                    folder,
                    server.base_url,
                    way,
                    journal,
                    run_id=f"report-{n}",
                    thread_id=f"river-{n}",
                    question=question,
                )
                assert adapter.run(adapter.make(stage), stage) == answer
            self.requests = server.calls
        self.tools = (folder / "tools").read_text().splitlines()

    def rows(self, view: str) -> list[dict[str, Any]]:
        with Journal(self.path) as journal:
            return journal.sql(f"SELECT * FROM {view} ORDER BY 1").to_dicts()

    def alike(self, view: str) -> list[dict[str, Any]]:
        """Return the rows without what differs for a reason."""
        apart = OF_THIS_RUN | set(OF_THE_FRAMEWORK)
        return [
            {column: _seen(value) for column, value in row.items() if column not in apart}
            for row in self.rows(view)
        ]

    def says(self, *command: str) -> str:
        """Return what a command prints, without times and spaces."""
        result = CliRunner().invoke(main, [*command, "--db", str(self.path)])
        assert result.exit_code == 0, result.output
        times = r"(<= *)?\b[\d.]+ m?s\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|-{2,}"
        return re.sub(r"\s+", " ", re.sub(times, "", result.output))


def _respond(request: dict[str, Any]) -> Reply:
    """Answer a question by a tool, and its result by a sentence."""
    said = json.dumps(request["messages"])
    [asked] = [question for question in QUESTIONS if question in said]
    tool, args, answer = QUESTIONS[asked]
    usage = Usage(100, 20, 64, 8)
    if any(message["role"] == "tool" for message in request["messages"]):
        return Reply(answer, usage=usage)
    return Reply(tool_calls=[(tool, args)], usage=usage)


def _seen(value: Any) -> Any:
    """Return a value without ids."""
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    return _without_ids(json.loads(value))


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key != "id"}
    return value


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    return {name: Work(name, tmp_path_factory.mktemp(name)) for name in SUBJECTS}


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_job_is_paid_for_once(works: dict[str, Work], name: str) -> None:
    work = works[name]
    assert (work.requests, len(work.tools)) == (6, 3)
    [spent] = work.rows("spend")
    assert (spent["calls"], spent["input_tokens"], spent["output_tokens"]) == (6, 600, 120)


@pytest.mark.parametrize("view", ["steps", "llm_calls", "tool_calls", "questions", "spend"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_rows_are_those_of_langgraph(works: dict[str, Work], name: str, view: str) -> None:
    ours, theirs = works[name].alike(view), works[LANGGRAPH].alike(view)
    if view == "llm_calls":
        ours, theirs = ([_asked(row) for row in rows] for rows in (ours, theirs))
    if name == "clients" and view == "tool_calls":
        ours, theirs = (
            [{key: row[key] for key in row if key not in BY_DECORATOR} for row in rows]
            for rows in (ours, theirs)
        )
    assert ours == theirs
    assert bool(ours) == (view != "questions"), "nothing waits for a person here"


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    """Return an LLM call with the words of its messages alone: the rest is the framework's."""
    said = [(each["role"], each.get("content") or "") for each in row["prompt_messages"]]
    return {**row, "prompt_messages": said}


@pytest.mark.parametrize("name", OTHERS)
def test_the_commands_print_the_same(works: dict[str, Work], name: str) -> None:
    ours, theirs = works[name], works[LANGGRAPH]
    for run_id in ("report-1", "report-2", "report-3"):
        shown, expected = (each.says("show", run_id) for each in (ours, theirs))
        if name == "clients":  # `args` of a recorded function
            shown, expected = (re.sub(r"(measure|send) .* ->", r"\1", e) for e in (shown, expected))
        assert shown == expected
    assert ours.says("sql", "@spend") == theirs.says("sql", "@spend").replace("model 6", "NULL 6")
