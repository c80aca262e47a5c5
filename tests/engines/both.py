"""Fixtures of tests that run on SQLite and, where their module is marked, on the strict engine."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from rowtrail import Journal
from rowtrail.engine._engines import ENGINES, LOADED
from tests.engines.strict import SCHEME, StrictEngine

OF_A_FILE = {"child", "clock", "db", "rows", "tmp_path", "world"}
"""Fixtures of tests that need a journal in a file."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that is marked `both_engines` on a second, strict engine too.

    Those that look at the file, or at its rows from outside, have no other.
    """
    asked = set(inspect.signature(metafunc.function).parameters)
    if (
        metafunc.definition.get_closest_marker("both_engines") is not None
        and "where" in metafunc.fixturenames
        and not asked & OF_A_FILE
    ):
        metafunc.parametrize("engine", ["sqlite", "strict"], indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of the engine that the journal is on."""
    return getattr(request, "param", "sqlite")


@pytest.fixture
def where(engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return where a journal of its own can be opened: the path of a file, or a URL."""
    if engine == "sqlite":
        return str(request.getfixturevalue("db"))
    strict = StrictEngine()
    monkeypatch.setitem(ENGINES, SCHEME, lambda: strict)
    monkeypatch.setitem(LOADED, SCHEME, strict)
    return f"{SCHEME}://journal"


@pytest.fixture
def journal(where: str) -> Iterator[Journal]:
    """Return an open journal of its own, in a file or on the strict engine."""
    with Journal(where) as opened:
        yield opened
