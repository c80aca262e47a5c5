"""Runs the demo's agent, kills its process at chosen points, and resumes it."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rowtrail.testing import LLMServer
from rowtrail_langgraph.demo._ledger import Ledger
from rowtrail_langgraph.demo._model import Request, Respond, turn
from rowtrail_langgraph.demo._process import STEP_TIMEOUT_S, AgentProcess, DemoError, Event

# A result needs a moment to be saved after the tool's own code has ended; a kill before that
# finds a call in flight, which no journal can know the result of.
SETTLE_S = 0.4

AGAIN = "(again)"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kill:
    """A point of the work at which the agent's process is killed.

    `at_turn` is the model call that is held in flight; `holds` are the tool calls that the agent
    holds, and `ended` those that must have ended by then.
    """

    where: str
    at_turn: tuple[str, int] | None = None
    holds: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What really happened in one scenario, as the endpoint, the tools and the ledger saw it."""

    ledger: Ledger
    requests: list[Request] = field(default_factory=list)
    in_flight: int = 0
    events: list[Event] = field(default_factory=list)
    kills: int = 0
    answer: str = ""
    seconds: float = 0.0


def plan_kills(names: Sequence[str]) -> tuple[Kill, ...]:
    """Return the three kills of the demo, over the files `names`."""
    batch = tuple(f"longest_line {name}" for name in names)
    ended, running = batch[:-2], batch[-2:]
    return (
        Kill("in the middle of a node: its fifth model call is in flight", at_turn=("survey", 4)),
        Kill(
            f"in the middle of parallel tools: {len(ended)} done, {len(running)} running",
            holds=running,
            ended=ended,
        ),
        Kill("inside the write tool: written, not yet returned", holds=("record_finding",)),
    )


def has_sqlite_saver() -> bool:
    """Return whether LangGraph's `SqliteSaver` is installed."""
    return importlib.util.find_spec("langgraph.checkpoint.sqlite") is not None


class Director:
    """Runs one scenario: an endpoint, a ledger, a checkpointer, and as many processes as it takes.

    `journal` is `rowtrail`, `sqlite` or `none`.
    """

    def __init__(
        self,
        journal: str,
        *,
        db: Path,
        folder: Path,
        files: Path,
        model: str,
        respond: Respond,
        say: Say,
    ) -> None:
        self._journal, self._db, self._folder, self._files = journal, db, folder, files
        self._model, self._respond, self._say = model, respond, say
        self._outcome = Outcome(Ledger(folder / "ledger.jsonl"))
        self._done: set[str] = set()
        self._kill: Kill | None = None
        self._held = threading.Event()
        self._released = threading.Event()
        folder.mkdir(parents=True)

    def run(self, kills: Sequence[Kill] = ()) -> Outcome:
        """Run the agent to its end, killed at each of `kills`, and return what happened.

        Raises:
            DemoError: the agent failed, or did not come to one of the points.
        """
        began = time.monotonic()
        with LLMServer(self._respond, gate=self._on_request) as server:
            for kill in kills:
                self._run_until(kill, server.base_url)
            with self._start(server.base_url) as agent:
                self._outcome.answer = agent.finish()
            self._outcome.events += agent.events
            self._outcome.requests = server.requests
            self._outcome.in_flight = len(server.abandoned)
        self._outcome.seconds = time.monotonic() - began
        self._say(f"finished: {self._outcome.answer}")
        return self._outcome

    def _run_until(self, kill: Kill, base_url: str) -> None:
        self._kill = kill
        self._held.clear()
        self._released.clear()
        try:
            with self._start(base_url, kill.holds) as agent:
                agent.wait_until(lambda: self._reached(kill, agent), kill.where)
                time.sleep(SETTLE_S)
                agent.kill()
                self._say(f"SIGKILL to {agent.pid}, {kill.where}")
        finally:
            self._kill = None
            self._released.set()
        self._outcome.kills += 1
        self._outcome.events += agent.events

    def _reached(self, kill: Kill, agent: AgentProcess) -> bool:
        if kill.at_turn is not None:
            return self._held.is_set()
        happened = {(event["event"], event.get("call")) for event in list(agent.events)}
        awaited = {("held", call) for call in kill.holds}
        return awaited | {("tool_ended", call) for call in kill.ended} <= happened

    def _start(self, base_url: str, holds: Sequence[str] = ()) -> AgentProcess:
        attempt = self._outcome.kills + 1
        arguments = {
            "--journal": self._journal,
            "--db": str(self._db),
            "--files": str(self._files),
            "--ledger": str(self._outcome.ledger.path),
            "--base-url": base_url,
            "--model": self._model,
        }
        flat = [word for pair in arguments.items() for word in pair]
        flat += [word for hold in holds for word in ("--hold", hold)]
        agent = AgentProcess(flat, self._folder / f"agent-{attempt}.log", self._on_event)
        self._say(f"process {attempt} {'resumes' if attempt > 1 else 'starts'}, pid {agent.pid}")
        return agent

    def _on_request(self, request: Request) -> None:
        part, answers = turn(request)
        call = f"model call: {part} {answers + 1}"
        self._say(call + self._again(call))
        kill = self._kill
        if kill is None or kill.at_turn != (part, answers):
            self._done.add(call)
            return
        self._held.set()
        if not self._released.wait(STEP_TIMEOUT_S):
            raise DemoError("a model call was held and its process was not killed")

    def _on_event(self, event: Event) -> None:
        match event["event"]:
            case "tool_began":
                self._say(f"tool runs: {event['call']}{self._again(event['call'])}")
            case "tool_ended":
                self._done.add(event["call"])
            case "effect":
                line = f"effect: {event['finding']!r} goes to the ledger"
                self._say(line + self._again(line))
                self._done.add(line)
            case "reconciled":
                found = "its effect is in the ledger" if event["found"] else "no effect found"
                self._say(f"in doubt: {event['tool']}: {found}")
            case _:
                pass

    def _again(self, what: str) -> str:
        return f" {AGAIN}" if what in self._done else ""
