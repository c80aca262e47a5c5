"""What an exception says of the call that raised it, for every kind of call and effect."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from itertools import product
from typing import Any, get_args

import httpx2 as httpx
import pytest

from rowtrail import InDoubtError, Journal, NotDoneError, step
from rowtrail.replay import Effect, Kind, leaves_in_doubt


class Own(Exception):  # noqa: N818 - what a program calls its errors
    pass


class OwnTimeoutError(TimeoutError):
    pass


class Stop(BaseException):
    pass


UNKNOWN: list[BaseException] = [
    TimeoutError(),
    OwnTimeoutError(),
    TimeoutError(),
    TimeoutError(),
    ConnectionError(),
    ConnectionResetError(),
    BrokenPipeError(),
    OSError(5, "I/O error"),
    FileNotFoundError(),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("late"),
    httpx.RemoteProtocolError("closed"),
    ExceptionGroup("tasks", [ValueError(), TimeoutError()]),
]
"""Raised where no answer came: a `write` may have happened."""

SAID: list[BaseException] = [
    ValueError("no"),
    RuntimeError("no"),
    Own("no"),
    KeyError("no"),
    NotDoneError("no"),
    httpx.InvalidURL("no"),
    ExceptionGroup("tasks", [ValueError(), Own()]),
]
"""A call's own word that it did not happen."""

STOPPED: list[BaseException] = [
    Stop(),
    KeyboardInterrupt(),
    SystemExit(),
    asyncio.CancelledError(),
    GeneratorExit(),
    BaseExceptionGroup("all", [Stop()]),
]


@pytest.mark.parametrize(
    ("kind", "effect"), list(product(get_args(Kind), get_args(Effect))), ids="-".join
)
def test_an_exception_says_what_became_of_its_call(kind: Kind, effect: Effect) -> None:
    is_call = kind != "llm"
    for errors, expected in (
        (UNKNOWN, is_call and effect == "write"),
        (SAID, False),
        (STOPPED, is_call),
    ):
        for error in errors:
            assert leaves_in_doubt(error, kind=kind, effect=effect) == expected, repr(error)


def test_a_step_may_say_which_errors_mean_that_it_did_not_happen() -> None:
    for error in UNKNOWN[:4]:
        given: Any = (type(error),)
        assert not leaves_in_doubt(error, kind="tool", effect="write", not_done_on=given)
    refused = ConnectionRefusedError()
    assert not leaves_in_doubt(refused, kind="tool", effect="write", not_done_on=(ConnectionError,))
    assert leaves_in_doubt(
        refused, kind="tool", effect="write", not_done_on=(ConnectionResetError,)
    )


@pytest.mark.parametrize("package", ["httpx", "requests", "urllib3", "aiohttp", "httpcore"])
def test_errors_of_transports_are_known_by_name(package: str) -> None:
    names = {
        "httpx": "httpx:ConnectTimeout",
        "requests": "requests.exceptions:ConnectTimeout",
        "urllib3": "urllib3.exceptions:ProtocolError",
        "aiohttp": "aiohttp.client_exceptions:ServerDisconnectedError",
        "httpcore": "httpcore:ReadError",
    }
    pytest.importorskip(package)
    module, name = names[package].split(":")
    error = getattr(__import__(module, fromlist=[name]), name)("lost")
    assert leaves_in_doubt(error, kind="tool", effect="write")
    assert not leaves_in_doubt(error, kind="tool", effect="idempotent")


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda e: type(e).__name__)
def test_a_write_in_doubt_is_not_made_again_by_a_loop_around_it(
    journal: Journal, error: BaseException
) -> None:
    made: list[int] = []

    @step(effect="write", name="pay")
    def pay(amount: int) -> None:
        made.append(amount)
        raise error

    with pytest.raises(InDoubtError), journal.run("r"):
        for _ in range(3):  # as tenacity does
            try:
                pay(10)
            except type(error):
                continue
    assert made == [10]
    [row] = journal.steps("r")
    assert row["status"] == "in_doubt" and type(error).__name__ in row["error"]


@pytest.mark.parametrize("error", [ValueError("no"), NotDoneError("no")], ids=str)
def test_a_write_that_says_that_it_did_not_happen_is_made_again(
    journal: Journal, error: Exception
) -> None:
    made: list[int] = []

    @step(effect="write", name="pay")
    def pay(amount: int) -> str:
        made.append(amount)
        if len(made) == 1:
            raise error
        return "paid"

    with journal.run("r"):
        with pytest.raises(type(error)):
            pay(10)
        assert pay(10) == "paid"
    keys = [row["idempotency_key"] for row in journal.steps("r")]
    assert made == [10, 10] and len(set(keys)) == 1


def test_the_rules_need_none_of_the_packages_that_they_know() -> None:
    code = (
        "import sys; from rowtrail.replay import leaves_in_doubt;"
        "leaves_in_doubt(ValueError(), kind='tool', effect='write');"
        "sys.exit(bool({'httpx', 'requests', 'aiohttp', 'urllib3'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
