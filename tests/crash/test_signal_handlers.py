"""A signal's handler that uses the journal, at any instruction of a call that is being recorded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from rowtrail import InDoubtError, Journal, RowtrailError, step
from tests._sample import IS_FULL
from tests.crash.test_ctrl_c import AtInstruction

EACH = 1 if IS_FULL else 11
WAIT_S = 60

made: list[str] = []


@step(kind="tool", effect="write")
def pay(name: str) -> str:
    made.append(name)
    return name


@step(kind="tool", effect="read")
def look(name: str) -> str:
    made.append(name)
    return name


Call = Callable[[str], str]
Handler = Callable[[Journal], object]
CALLS: list[Call] = [pay, look]


def write(journal: Journal) -> None:
    """Wait for a transaction, which another thread carries out."""
    journal.store.write(lambda tx: tx.run("meta_set", key="handled", value="yes"))
    assert journal.store.read(lambda tx: tx.value("meta_value", key="handled")) == "yes"


def write_in_thread(journal: Journal) -> None:
    thread = threading.Thread(target=write, args=(journal,))
    thread.start()
    thread.join(WAIT_S)
    # It waits for what this thread has not ended, or has the transaction done.
    journal.store.submit(lambda tx: None).result(WAIT_S)
    thread.join(WAIT_S)
    assert not thread.is_alive()


def run(journal: Journal) -> None:
    """Begin and end a run of its own, with a step."""
    with journal.run(f"handler {len(journal.runs())}"):
        assert look("in the handler") == "in the handler"


def give_back_space(journal: Journal) -> None:
    journal.store.shrink()


def each_instruction(call: Call, handler: Handler, folder: Path) -> list[str]:
    """Handle a signal at each n-th instruction of a call, and return what is wrong then."""
    wrong: list[str] = []
    at = 1
    while True:
        made.clear()
        db = folder / f"{at}.db"
        handled: list[Exception | None] = []

        def act(journal: Journal, handled: list[Exception | None] = handled) -> None:
            try:
                handler(journal)
            except Exception as error:
                handled.append(error)
            else:
                handled.append(None)

        with Journal(db, durability="normal") as journal:
            where, outcome = one_call(call, journal, at, act)
        if where is None:
            return wrong
        wrong += [f"{problem} at {where}" for problem in problems(db, outcome, handled)]
        wrong += [f"{problem} at {where}" for problem in done_again(call, db)]
        at += EACH


def one_call(
    call: Call, journal: Journal, at: int, act: Handler
) -> tuple[str | None, str | Exception]:
    handling = AtInstruction(at, lambda: act(journal))
    outcome: str | Exception = "not called"
    with suppress(RowtrailError), journal.run("r"):
        call("before")  # the scope has its row: what follows is one statement
        with handling:
            try:
                outcome = call("x")
            except Exception as error:
                outcome = error
    return handling.where, outcome


def problems(db: Path, outcome: str | Exception, handled: list[Exception | None]) -> list[str]:
    with closing(sqlite3.connect(db)) as connection:
        rows = dict(connection.execute("SELECT input, status FROM steps WHERE run_id = 'r'"))
    found = [f"the handler failed: {error!r}" for error in handled if error is not None]
    status = rows.get('{"args":["x"],"kwargs":{}}')
    if outcome == "x" and status != "done":
        found.append(f"told and not done but {status}")
    if not isinstance(outcome, (str, RowtrailError)):
        found.append(f"another error: {outcome!r}")
    if "x" in made and status is None:
        found.append("made without a row")
    if status == "running":
        found.append("left running")
    return found


def done_again(call: Call, db: Path) -> list[str]:
    """Make the call again, in a run that goes on."""
    with Journal(db, durability="normal") as journal, suppress(InDoubtError), journal.run("r"):
        call("before")
        call("x")
    twice = call is pay and made.count("x") > 1
    return ["made twice"] if twice or made.count("before") > 1 else []


@pytest.mark.parametrize("handler", [write, write_in_thread, give_back_space, run])
@pytest.mark.parametrize("call", CALLS, ids=["write", "read"])
def test_a_handler_may_use_the_journal_at_any_instruction(
    tmp_path: Path, call: Call, handler: Handler
) -> None:
    assert each_instruction(call, handler, tmp_path) == []


@pytest.mark.parametrize("call", CALLS, ids=["write", "read"])
def test_a_handler_may_close_the_journal_at_any_instruction(tmp_path: Path, call: Call) -> None:
    assert each_instruction(call, Journal.close, tmp_path) == []
