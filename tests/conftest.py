"""Fixtures for every test: journals in files of their own, and a look at the rows from outside."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, settings

from rowtrail.testing import FakeClock
from tests._sample import IS_FULL
from tests.engines.both import engine, journal, pytest_generate_tests, where

__all__ = ["engine", "journal", "pytest_generate_tests", "where"]  # of tests.engines.both

SQLITE_SHELL = "/usr/bin/sqlite3"

# a shell that runs this in the background has it ignored, here and in every child process
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples every time, however slow the machine: a failure in CI is one here
settings.register_profile(
    "rowtrail",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("full", deadline=None, max_examples=3000)
settings.load_profile("full" if IS_FULL else "rowtrail")

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "agent.db"


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def rows(db: Path) -> Rows:
    """Return a function that asks the journal with the `sqlite3` shell, from another process."""

    def ask(query: str, path: Path = db) -> list[dict[str, Any]]:
        command = [SQLITE_SHELL, "-readonly", "-json", str(path), query]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else []
        return found

    return ask


Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Return a function that runs Python code in a process of its own."""

    def run(
        code: str, *args: object, options: tuple[str, ...] = (), status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *options, "-c", code, *map(str, args)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
        )
        if status is not None:
            assert done.returncode == status, done.stderr
        return done

    return run


def cli_runner() -> CliRunner:
    """Return a runner that keeps stderr apart from stdout: click 8.1 does so only when asked."""
    is_asked = "mix_stderr" in inspect.signature(CliRunner).parameters
    options: dict[str, Any] = {"mix_stderr": False} if is_asked else {}
    return CliRunner(**options)
