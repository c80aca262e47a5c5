"""Every adapter does what `rowtrail.testing.adapter_suite` checks, and the checks see who does not.

`make test` takes a sample of the kills and of the ways, `make test-adapters` all of them, those of
one adapter (`ROWTRAIL_TEST_ADAPTERS=pydantic-ai`) in each environment.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from rowtrail.testing.adapter_suite import Check, Processes, checks
from tests.programs import adapter_wrong

IS_WHOLE = "ROWTRAIL_TEST_ADAPTERS" in os.environ
WHOSE = os.environ.get("ROWTRAIL_TEST_ADAPTERS", "").replace("-", "_")


def is_installed(module: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a framework says of itself as it is imported
        try:
            import_module(module)
        except ModuleNotFoundError:
            return False
    return True


SUBJECTS = {
    # what only an environment of this adapter has, subject, the ways of the sample
    "langgraph": ("langchain", "tests.programs.adapter_langgraph:SUBJECT", ("sync",)),
    "chat": ("anthropic", "tests.programs.adapter_clients:CHAT", ("sync", "astream")),
    "responses": ("anthropic", "tests.programs.adapter_clients:RESPONSES", ("stream",)),
    "messages": ("anthropic", "tests.programs.adapter_clients:MESSAGES", ("async",)),
    "openai_agents": ("agents", "tests.programs.adapter_openai_agents:RESPONSES", ("async",)),
    "openai_agents_chat": ("agents", "tests.programs.adapter_openai_agents:CHAT", ("stream",)),
    "pydantic_ai": ("pydantic_ai", "tests.programs.adapter_pydantic_ai:CHAT", ("async",)),
    "pydantic_ai_responses": (
        *("pydantic_ai", "tests.programs.adapter_pydantic_ai:RESPONSES"),
        ("stream_events",),
    ),
    "adk": ("google.adk", "tests.programs.adapter_adk:MEMORY", ("stream",)),
    "adk_stored": ("google.adk", "tests.programs.adapter_adk:STORED", ("async",)),
    "adk_resumable": ("google.adk", "tests.programs.adapter_adk:RESUMABLE", ()),
}
CHECKS = [
    pytest.param(check, id=f"{name}-{check}")
    for name, (framework, subject, ways) in SUBJECTS.items()
    if f".adapter_{WHOSE}" in subject
    and is_installed(framework)  # each framework has environments without the others
    for check in (checks(subject) if IS_WHOLE else checks(subject, random_kills=2, every=11))
    if IS_WHOLE or check.way in ways
]

Start = Callable[[str], Processes]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Return a function that starts the processes of a subject once."""
    started: dict[str, Processes] = {}

    def begin(subject: str) -> Processes:
        if subject not in started:
            started[subject] = Processes(subject)
        return started[subject]

    yield begin
    for each in started.values():
        each.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", CHECKS)
def test_an_adapter(check: Check, tmp_path: Path, start: Start) -> None:
    check(tmp_path, start(check.subject))


@pytest.mark.parametrize(("subject", "name", "says"), adapter_wrong.EXPECTED)
def test_an_adapter_that_does_it_wrong_is_found_out(
    subject: str, name: str, says: str, tmp_path: Path, start: Start
) -> None:
    subject = f"tests.programs.adapter_wrong:{subject}"
    [check] = [each for each in checks(subject, random_kills=2) if str(each) == f"{name}-sync"]

    with pytest.raises(AssertionError, match=says):
        check(tmp_path, start(subject))
