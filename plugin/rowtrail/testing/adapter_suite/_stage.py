"""The job, and what an adapter's author is given and gives."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from rowtrail.errors import UsageError
from rowtrail.journal import NOT_DONE, Journal, Step
from rowtrail.testing._wire import Reply, Usage, told_in
from rowtrail.vocabulary import Message

A = TypeVar("A")

QUESTION = "How long and how deep is the river? Write to Ada."
ANSWER = "The river is 12 km long and 3 m deep, and Ada knows it."
WANTED = "Let me measure that."
FOUND = {"length": "12 km", "depth": "3 m"}
LETTER = {"to": "ada@example.org", "body": "12 km, 3 m"}
SENT = f"sent to {LETTER['to']}"
USAGE = Usage(100, 20, 64, 8)
MODEL_CALLS = 3  # as `respond` has it
TOOL_CALLS = {"measure": 2, "send": 1}
PAUSE_S = 0.002
"""Between the events of a stream, so that a kill strikes inside one."""


@dataclass(frozen=True)
class Stage:
    """Where one process runs the job.

    Attributes:
        folder: Of the journal and of what the tools write.
        base_url: Of the server that speaks for the model: with `/v1`, as the openai SDK takes it.
        way: One of `Subject.ways`.
        journal: Opened for this process.
    """

    folder: Path
    base_url: str
    way: str
    journal: Journal = field(repr=False)
    run_id: str = "report-42"
    thread_id: str = "rivers"
    agent: str = "surveyor"
    model: str = "gpt-4o-mini"
    question: str = QUESTION

    def __rowtrail_key__(self) -> str:
        """Its tools are the same in every folder."""
        return "stage"

    def measure(self, what: str) -> str:
        """Measure the length or the depth of the river."""
        self._note("measure", what)
        return FOUND[what]

    def send(self, to: str, body: str) -> str:
        """Send a letter. It is a `write`, and `was_sent` decides about one in doubt."""
        self._note("send", to)
        return f"sent to {to}"

    def was_sent(self, step: Step) -> Any:
        """Return what sending returned, or `NOT_DONE`: for `on_doubt`."""
        return SENT if tools_run(self.folder).get("send") else NOT_DONE

    def _note(self, tool: str, what: str) -> None:
        line = json.dumps([tool, what]) + "\n"
        file = os.open(self.folder / "tools", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)


@dataclass(frozen=True)
class Subject(Generic[A]):
    """The adapter that is checked.

    Attributes:
        make: Makes an agent with the tools `measure` (a `read`) and `send` (a `write`).
        run: Runs it on the question, and returns the answer: as a new run, or as the same one that
            is given again. In a streaming way the pieces of the last answer are put together.
        resume: Goes on with the run, in another process, and returns the answer.
        count: Returns how often a model was asked so far, by whoever answers it.
        ways: In which the framework runs agents, such as `sync`, `async`, `stream`.
    """

    make: Callable[[Stage], A]
    run: Callable[[A, Stage], str]
    resume: Callable[[A, Stage], str]
    count: Callable[[Path], int]
    ways: tuple[str, ...] = ("sync",)

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """The ways that stream."""
        return tuple(way for way in self.ways if "stream" in way)


def requests_made(folder: Path) -> int:
    """Return how often the local server was asked."""
    return len(_lines(folder / "requests"))


def tools_run(folder: Path) -> dict[str, int]:
    """Return how often each tool ran."""
    names = [json.loads(line)[0] for line in _lines(folder / "tools")]
    return {name: names.count(name) for name in names}


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def respond(request: dict[str, Any]) -> Reply:
    """Answer as the model of the job does: by how many results of tools it is told."""
    told = cast("list[Any]", told_in(request))
    results = sum(_is_result(part) for each in told for part in _parts(each))
    if results == 0:
        calls = [("measure", {"what": what}) for what in FOUND]
        return Reply(WANTED, tool_calls=calls, usage=USAGE, pause=PAUSE_S)
    if results == len(FOUND):
        return Reply(tool_calls=[("send", LETTER)], usage=USAGE, pause=PAUSE_S)
    return Reply(ANSWER, usage=USAGE, pause=PAUSE_S)


def _parts(message: Any) -> list[Message]:
    try:
        return Message.each_of(message)
    except UsageError:
        return []


def _is_result(message: Message) -> bool:
    return message.role == "tool"
