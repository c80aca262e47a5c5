"""The processes of a combination: a child that is forked for each role."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from langgraph.types import Command

import rowtrail
from tests._forks import serve
from tests.crash.effects._endpoint import APPROVED, result_of
from tests.crash.effects._expect import note_after_fault
from tests.crash.effects._invoke import Outcome, invoke, strike
from tests.crash.effects._pid_space import enter_pid_space
from tests.crash.effects._product import Combination, named
from tests.crash.effects._shapes import RUN_ID, Given, Program, model_of, program
from tests.crash.effects._stage import Stage
from tests.crash.effects._tools import amount_of, is_in_ledger
from tests.crash.effects._world import World, sleeping

ROUNDS = 10
"""How many times somebody answers, settles or goes on before the combination counts as stuck."""

TRACEBACKS_AFTER_S = 50


class Role:
    """One process of a combination, with the program on the journal."""

    def __init__(self, combination: Combination, world: World, name: str, base_url: str) -> None:
        self.combination, self.world, self.name = combination, world, name
        self.stage = Stage(combination, world, name)
        self._base_url = base_url
        self._is_begun = False
        self.program: Program = self._open()

    def _open(self) -> Program:
        return program(self.stage, self._base_url)

    @property
    def run_id(self) -> str | None:
        return RUN_ID if self.combination.way == "two_id" else None

    def first(self) -> None:
        """Make the first invocation, in which the fault strikes, and go on from there."""
        given = Given(self.world.question, self.run_id)
        outcome = strike(self.stage, self.program, given)
        if self.combination.way == "command" and outcome.kind == "interrupted":
            outcome = strike(self.stage, self.program, Given(Command(resume=APPROVED)))
        self._settle_at_once()
        note_after_fault(self.combination, self.world)
        self.world.save("first", outcome.as_json())
        if self.goes_on_here:
            self.close(outcome)
        elif self.holds_on:
            self._hold()

    @property
    def goes_on_here(self) -> bool:
        """Whether the process that the fault struck is the one that resumes."""
        return self.combination.way in ("none", "same", "words", "retry_policy", "command")

    @property
    def holds_on(self) -> bool:
        """Whether the process that the fault struck lives on while others resume."""
        return self.combination.way in ("second", "two_none", "two_id")

    def _hold(self) -> None:
        if self.combination.way == "second":
            self.world.flag("resuming")
        sleeping(self.world.awaiting("resumed"))
        if self.combination.outlives:
            sleeping(self.world.awaiting("late_ended"))

    def _settle_at_once(self) -> None:
        """Say what became of the call while it goes on, when that is the fault."""
        if self.combination.fault != "settle":
            return
        query = "SELECT step_id, status FROM steps WHERE name = 'charge' AND status <> 'done'"
        for row in self.world.rows(query):
            try:
                self.program.journal.settle(row["step_id"], result=result_of(2))
            except rowtrail.RowtrailError as error:
                self.world.trace(self.name, f"settle refused: {error}")
            else:
                self.world.flag("settled")

    def second(self) -> None:
        """Resume while the first process is in the call."""
        sleeping(self.world.awaiting("in_call"))
        self.world.flag("second_began")
        self._save(invoke(self.stage, self.program, Given(None)))
        self.world.flag("resumed")

    def resume(self) -> None:
        """Resume at the same time as another process."""
        other = {"resume_0": "resume_1", "resume_1": "resume_0"}[self.name]
        if not self.combination.is_kill:
            sleeping(self.world.awaiting("first"))
        self.world.flag(f"{self.name}_ready")
        sleeping(self.world.awaiting(f"{other}_ready"))
        self.world.flag("resuming")
        self._save(invoke(self.stage, self.program, self.given()))
        if self.world.claim("one_resumed"):
            return
        self.world.flag("resumed")

    def given(self) -> Given:
        """Return what the way of resuming gives to an invocation."""
        same = Given(self.world.question, self.run_id)
        if self.combination.way == "words":
            return Given(self.world.other_question)
        if self.combination.way == "command":
            return Given(Command(resume=APPROVED))
        return same if self.combination.way in ("same", "two_id", "pid_space_same") else Given(None)

    def close(self, last: Outcome | None = None) -> None:
        """Resume, and have a person decide whatever is asked, until the run is done."""
        if last is not None and self.combination.way == "retry_policy":
            outcome = last  # the node was run again in there
        else:
            self.world.flag("resuming")
            outcome = invoke(self.stage, self.program, self._first_given())
        ended = [outcome]
        while outcome.kind != "done" and len(ended) < ROUNDS:
            self.world.flag("resuming")
            outcome = invoke(self.stage, self.program, self._decide(outcome))
            ended.append(outcome)
        self.world.save("rounds", [one.as_json() for one in ended])

    def _first_given(self) -> Given:
        """Return what the last process begins with: after others, it only looks where it stands."""
        is_after_others = self.combination.way in ("second", "two_none")
        return Given(None) if is_after_others else self.given()

    def _decide(self, outcome: Outcome) -> Given:
        """Return how to go on after an outcome; a person says of a call what is true of it."""
        again = Given(self.world.question, self.run_id) if self.run_id else Given(None)
        if outcome.kind == "interrupted":
            answers = {one["id"]: self._answer(one["value"]) for one in outcome.questions}
            return Given(Command(resume=answers), self.run_id)
        if outcome.kind == "in_doubt":
            self._settle(outcome.step_id)
        if outcome.kind == "busy":
            time.sleep(outcome.wait_s)
        if outcome.kind == "no_input":  # LangGraph saved nothing before the kill
            return Given(self.world.question, self.run_id)
        return again

    def _answer(self, question: dict[str, Any]) -> Any:
        if question["type"] == "approval":
            return APPROVED
        amount, step = amount_of(question["args"]), question["step_id"]
        happened = is_in_ledger(self.world, amount, step, question["idempotency_key"])
        return {"result": result_of(amount)} if happened else "retry"

    def _settle(self, step: str) -> None:
        [row] = self.world.rows(
            "SELECT input, idempotency_key AS key FROM steps WHERE step_id = ?", step
        )
        amount = amount_of(json.loads(row["input"]))
        journal = self.program.journal
        if is_in_ledger(self.world, amount, step, row["key"]):
            journal.settle(step, result=result_of(amount))
        else:
            journal.settle(step, happened=False)
        self.world.trace(self.name, f"settled {step}, act({amount})")

    def _save(self, outcome: Outcome) -> None:
        self.world.save(self.name, outcome.as_json())


def run(command: dict[str, Any]) -> None:
    """Play a role to its end."""
    combination = named(command["id"])
    folder = Path(command["folder"])
    world = World(folder, command["token"], combination.way == "command")
    errors = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    if combination.in_new_pid_space:
        enter_pid_space()
    faulthandler.dump_traceback_later(TRACEBACKS_AFTER_S, exit=True)
    role = Role(combination, world, command["role"], command["base_url"])
    {"first": role.first, "second": role.second, "close": role.close}.get(
        command["role"], role.resume
    )()
    sys.stderr.flush()
    os._exit(0)  # a call that outlives its caller holds nobody up


def warm_up(command: dict[str, Any]) -> None:
    """Make once what every child would make."""
    model_of(command["base_url"])


if __name__ == "__main__":
    serve(run, before=warm_up)
