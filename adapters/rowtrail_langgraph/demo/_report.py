"""The figures of the demo, from what the endpoint, the tools, the ledger and the journal saw."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rowtrail_langgraph.demo._director import Outcome
from rowtrail_langgraph.demo._model import turn
from rowtrail_langgraph.demo._process import Event


@dataclass(frozen=True, slots=True)
class Figures:
    """One column of the table. Calls are the model's; `calls_paid` is what the endpoint saw.

    A call in flight at a kill was paid, lost with its process, and had to be made again: it is
    not counted as repeated. `effects_*` are lines of the ledger, `tools_*` runs of tools' code.
    """

    journal: str
    kills: int
    calls_needed: int
    calls_paid: int
    calls_in_flight: int
    calls_repeated: int
    tools_run: int
    tools_repeated: int
    effects_made: int
    effects_repeated: int
    replays: int
    saved_tokens: int
    saved_usd: float | None
    answer: str
    answer_equal: bool | None
    seconds: float
    db: str | None

    @property
    def repeated_nothing(self) -> bool:
        """Whether no call, no tool and no effect was made twice."""
        return not (self.calls_repeated or self.tools_repeated or self.effects_repeated)


@dataclass(frozen=True, slots=True)
class Saved:
    """What replay saved, as the journal's rows say; `usd` is None for an unknown price."""

    replays: int = 0
    tokens: int = 0
    usd: float | None = 0.0


def fetch_saved(db: Path) -> Saved:
    """Return what replay saved, over all runs of the journal at `db`."""
    import rowtrail

    with rowtrail.Journal(db) as journal:
        runs = journal.runs()
        steps = [step for run in runs for step in journal.steps(run["run_id"])]
    prices = [run["saved_usd"] for run in runs if run["saved_usd"] is not None]
    return Saved(
        replays=sum(step["replays"] for step in steps),
        tokens=sum(run["saved_tokens"] for run in runs),
        usd=sum(prices) if prices else None,
    )


def count(
    outcome: Outcome, undisturbed: Outcome | None, saved: Saved, journal: str, db: Path | None
) -> Figures:
    """Return the figures of `outcome`, compared with the `undisturbed` run where there is one."""
    needed = len({turn(request) for request in outcome.requests})
    if undisturbed is not None:
        needed = len(undisturbed.requests)
    paid = len(outcome.requests)
    findings = [entry.finding for entry in outcome.ledger.entries()]
    return Figures(
        journal=journal,
        kills=outcome.kills,
        calls_needed=needed,
        calls_paid=paid,
        calls_in_flight=outcome.in_flight,
        calls_repeated=paid - needed - outcome.in_flight,
        tools_run=sum(event["event"] == "tool_began" for event in outcome.events),
        tools_repeated=_runs_after_an_end(outcome.events),
        effects_made=len(findings),
        effects_repeated=len(findings) - len(set(findings)),
        replays=saved.replays,
        saved_tokens=saved.tokens,
        saved_usd=saved.usd,
        answer=outcome.answer,
        answer_equal=None if undisturbed is None else outcome.answer == undisturbed.answer,
        seconds=round(outcome.seconds, 1),
        db=None if db is None else str(db),
    )


def _runs_after_an_end(events: Iterable[Event]) -> int:
    """Count the runs of a tool that began after the same call had already ended."""
    ended: set[str] = set()
    repeated = 0
    for event in events:
        if event["event"] == "tool_ended":
            ended.add(event["call"])
        elif event["event"] == "tool_began":
            repeated += event["call"] in ended
    return repeated


def as_json(figures: Figures, baseline: Figures | None) -> str:
    """Return both columns as one JSON object, the baseline's under `baseline`."""
    return json.dumps(asdict(figures) | {"baseline": baseline and asdict(baseline)}, indent=2)


BASELINES = {"sqlite": "SqliteSaver", "none": "no journal, from the start"}
ROWS = (
    ("kills (SIGKILL)", "kills"),
    ("model calls needed", "calls_needed"),
    ("model calls paid", "calls_paid"),
    ("  lost in flight at a kill", "calls_in_flight"),
    ("  repeated", "calls_repeated"),
    ("tool runs", "tools_run"),
    ("  repeated", "tools_repeated"),
    ("side effects made", "effects_made"),
    ("  repeated", "effects_repeated"),
    ("steps replayed", "replays"),
    ("tokens saved by replay", "saved_tokens"),
    ("money saved by replay", "saved_usd"),
    ("answer as if undisturbed", "answer_equal"),
)


def build_table(figures: Figures, baseline: Figures | None) -> Table:
    """Return the closing table: one row for each figure, a column for each journal."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column(f"one agent, killed {figures.kills} times")
    table.add_column("rowtrail", justify="right", style="bold")
    columns = [asdict(figures)]
    if baseline is not None:
        table.add_column(BASELINES[baseline.journal], justify="right")
        columns.append(asdict(baseline))
    for label, name in ROWS:
        table.add_row(label, *(_cell(name, column[name]) for column in columns))
    return table


def _cell(name: str, value: Any) -> str:
    if name == "saved_usd":
        return "unknown price" if value is None else f"${value:.6f}"
    if name == "answer_equal":
        return {None: "not compared", True: "yes", False: "no"}[value]
    return f"{value:,}"


def queries(db: Path) -> list[str]:
    """Return command lines that show what the journal holds."""
    steps = "select seq, node, kind, name, status, replays from steps order by seq"
    attempts = "select n, pid, started_at, outcome from attempts order by n"
    return [f'rowtrail sql --db {db} "{steps}"', f'sqlite3 {db} "{attempts}"']
