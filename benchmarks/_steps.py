"""Journaled steps: what each costs beside two durable commits, and beside DBOS."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks import _dbos
from benchmarks._contenders import Contender, in_turns, opened, with_other
from benchmarks._dbos import DBOS
from benchmarks._progress import tell
from benchmarks._row import NO_OTHER, OTHER, Bar, Row
from benchmarks._scratch import committed_bytes
from benchmarks._size import Size

BARE = "two bare commits"
CHUNK = 25
LLM_STEPS = {
    "LLM step, prompt of 20 messages, through the adapter door": "recorded",
    "LLM step, prompt of 20 messages, captured from LangChain": "captured",
    "LLM step, prompt of 20 messages, under @step": "decorated",
}
WRITE, READ = "write step, 2 KB of output", "read function step, 2 KB of output"

_STEPS = "benchmarks._step_contenders"
_LLM = "benchmarks._llm_contenders"

Samples = dict[str, list[float]]


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the rows of journaled steps."""
    p50: dict[str, Samples] = {}
    grown: Samples = {}
    with opened(_contenders(against), folder, size) as workers:
        # what a file begins with is not what a step costs
        before = {key: committed_bytes(worker.path) for key, worker in workers.items()}
        for number in range(size.rounds):
            tell(f"step: round {number + 1} of {size.rounds}, {size.steps} steps each")
            seconds = in_turns(workers, size.steps, CHUNK, number * size.steps)
            for (measure, name), each in seconds.items():
                p50.setdefault(measure, {}).setdefault(name, []).append(median(each) * 1e6)
        for (measure, name), worker in workers.items():
            if measure in (WRITE, BARE, DBOS):
                growth = committed_bytes(worker.path) - before[measure, name]
                grown[name] = [growth / size.steps / size.rounds]
    bare = p50.pop(BARE)
    peers = {BARE: bare[BARE], **p50.pop(DBOS, {})}
    missing = {} if DBOS in peers else {DBOS: _dbos.MISSING}
    return [
        Row("step", WRITE, "us", {**p50.pop(WRITE), **peers},
            (Bar("at most", 1.75, of=BARE, any_size=True),
             Bar("at most", 0.28, of=DBOS, any_size=True)),
            missing, note="p50; intent and result both durable"),
        Row("step", READ, "us", {**p50.pop(READ), BARE: bare[BARE]},
            (Bar("at most", 1.5, of=BARE, any_size=True),), note="p50"),
        *(Row("step", measure, "us", {**found, BARE: bare[BARE]},
              (Bar("at most", 0.5, of=OTHER, any_size=True),),
              {} if OTHER in found else {OTHER: NO_OTHER}, note="p50")
          for measure, found in p50.items()),
        Row("step", "bytes per write step, 2,048 random ASCII characters", "bytes", grown,
            (Bar("at most", 2600, any_size=True),), missing,
            note="growth of the file over the steps, divided by their number"),
    ]  # fmt: skip


def _contenders(against: Path | None) -> dict[tuple[str, str], Contender]:
    """Return who takes part, by what is measured and by name."""
    rowtrail = {
        WRITE: f"{_STEPS}:write_steps",
        READ: f"{_STEPS}:read_steps",
        **{measure: f"{_LLM}:{name}" for measure, name in LLM_STEPS.items()},
    }
    found = {
        (measure, contender.name): contender
        for measure, opens in rowtrail.items()
        for contender in with_other(opens, against)
    }
    found[BARE, BARE] = Contender(BARE, f"{_STEPS}:bare_commits")
    if _dbos.is_installed():
        found[DBOS, DBOS] = Contender(DBOS, f"{_STEPS}:dbos_steps")
    return found
