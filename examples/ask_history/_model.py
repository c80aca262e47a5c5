"""The model: a script that decides by the conversation, and counts the steps it causes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowtrail.testing import Reply, Usage

SYSTEM = (
    "You audit the files of a small company with the tools you have. Measure each file, look for"
    " what is wrong in it, find out who owns it, record one finding, and sum up in one sentence."
)
LIST, AUDIT, REPORT = "Which files are there?", "Audit {}.", "Report on all files."
OVERLOADED = "the model is overloaded, try again"
LEADS = {
    ".csv": ("[Rr]efund", ",open$"),
    ".log": ("ERROR", "INFO"),
    ".py": ("TODO", "^def "),
    ".md": ("Decision", "^#"),
}
WORDS = "Becker Dufour Gupta Haas Abara Ito Jansen Fontana limit archive quarter cache night late"
MAX_TRIES = 3
RESERVE = 8
"""Steps left for the report, which spends what remains."""

Messages = list[dict[str, Any]]
Calls = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class _Made:
    """A call that the agent made, and what came back."""

    tool: str
    args: dict[str, Any]
    result: str


class Script:
    """Answers the agent's requests so that its run has exactly `steps` steps.

    `input_tokens`, `output_tokens`, `calls` and `failures` are the provider's own books.
    """

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._breakdowns = [steps // 3, 2 * steps // 3]
        self._todo: list[str] = []
        self._quota = 0
        self.input_tokens = self.output_tokens = self.calls = self.failures = 0

    def respond(self, request: dict[str, Any]) -> Reply:
        """Return the answer to one request, or a failure of the endpoint, twice in a run."""
        self.calls += 1
        self._left -= 1
        if self._breakdowns and self._left < self._breakdowns[-1]:
            self._breakdowns.pop()
            self.failures += 1
            return Reply(OVERLOADED, status=503)
        text, calls = self._decide(request["messages"])
        self._left -= len(calls)
        usage = Usage(len(json.dumps(request["messages"])) // 4, 20 + 10 * len(calls))
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        return Reply(text, calls, usage)

    def _decide(self, messages: Messages) -> tuple[str, Calls]:
        task = str(messages[1]["content"])
        results = [str(message["content"]) for message in messages if message["role"] == "tool"]
        if task == LIST:
            return self._list(results)
        if task == REPORT:
            return self._report(messages)
        return self._audit(task.removeprefix("Audit ").removesuffix("."), messages, results)

    def _list(self, results: list[str]) -> tuple[str, Calls]:
        if not results:
            return "I look what there is.", [("list_files", {})]
        self._todo = results[0].splitlines()
        return results[0], []

    def _audit(self, name: str, messages: Messages, results: list[str]) -> tuple[str, Calls]:
        turns = sum(message["role"] == "assistant" for message in messages)
        if turns == 0:
            self._quota = self._left - (self._left - RESERVE) // len(self._todo)
            self._todo.remove(name)
            first: Calls = [("measure_file", {"name": name}), ("checksum", {"name": name})]
            return f"I begin with the size of {name}.", [*first, _read(name, 1)]
        if turns == 1:
            return "Now what its kind is known for, and its owner.", _second(name)
        made = _made(messages, results)
        tools = [call.tool for call in made]
        if "record_finding" in tools:
            return f"{name} is audited: {_finding(name, made)}.", []
        tries = [call.result for call in made if call.tool == "look_up_owner"]
        if "Error" in tries[-1] and len(tries) < MAX_TRIES:
            return "The registry failed, I ask again.", [("look_up_owner", {"name": name})]
        if self._left - 5 >= self._quota:
            return "I look closer.", _closer(name, len(made), made[0].result)
        record = {"file": name, "finding": _finding(name, made)}
        return "That is worth recording.", [("record_finding", record)]

    def _report(self, messages: Messages) -> tuple[str, Calls]:
        """Spend what is left of the steps on spot checks, then answer."""
        names = str(messages[2]["content"]).splitlines()
        if self._left <= 0:
            return f"The audit of {len(names)} files is complete.", []
        done = sum(message["role"] == "tool" for message in messages)
        chosen = [names[(done + k) % len(names)] for k in range(1 + self._left % 2)]
        return "A spot check.", [_grep(name, str(done)) for name in chosen]


def _made(messages: Messages, results: list[str]) -> list[_Made]:
    """Return the calls of a conversation that have a result."""
    asked = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
    return [
        _Made(call["name"], json.loads(call["arguments"]), result)
        for call, result in zip(asked, results, strict=True)
    ]


def _lead(name: str) -> tuple[str, ...]:
    return LEADS[Path(name).suffix]


def _read(name: str, start: int) -> tuple[str, dict[str, Any]]:
    return "read_lines", {"name": name, "start": start}


def _grep(name: str, pattern: str) -> tuple[str, dict[str, Any]]:
    return "grep", {"name": name, "pattern": pattern}


def _second(name: str) -> Calls:
    calls: Calls = [_grep(name, _lead(name)[0])]
    if name.endswith(".csv"):
        calls.append(("sum_orders", {"name": name, "status": "paid"}))
    return [*calls, ("look_up_owner", {"name": name})]


def _closer(name: str, made: int, measured: str) -> Calls:
    """Return the next two looks into a file: its pages, then words in it."""
    pages = [_read(name, start) for start in range(26, json.loads(measured)["lines"] + 1, 25)]
    looks = [*pages, *(_grep(name, word) for word in [_lead(name)[1], *WORDS.split()])]
    at = max(made - 6, 0)
    return [looks[place % len(looks)] for place in (at, at + 1)]


def _finding(name: str, made: list[_Made]) -> str:
    owner = [call.result for call in made if call.tool == "look_up_owner"][-1]
    owned = "unknown owner" if "Error" in owner else f"owner {owner}"
    if name.endswith(".csv"):
        paid = json.loads(next(call.result for call in made if call.tool == "sum_orders"))
        return f"{paid['orders']} paid orders of {paid['cents']} cents, {owned}"
    count, line = next(call.result for call in made if call.tool == "grep").splitlines()[:2]
    _, number, text = line.split(":", 2)
    return f"{count}, line {number}: {text.strip()}, {owned}"
