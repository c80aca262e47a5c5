"""LangGraph's own conformance suite, on the async methods and on the sync ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import SyncBehindAsync

# How many tests release 0.0.2 of the suite has for each: fewer would be a suite that did not run.
TESTS = {
    Capability.PUT: 17,
    Capability.PUT_WRITES: 10,
    Capability.GET_TUPLE: 10,
    Capability.LIST: 16,
    Capability.DELETE_THREAD: 5,
    Capability.DELETE_FOR_RUNS: 7,
    Capability.COPY_THREAD: 8,
    Capability.PRUNE: 8,
}


def test_every_capability_of_the_suite_is_tested() -> None:
    assert {Capability(name) for name in Capability} >= TESTS.keys()


@pytest.mark.parametrize("capability", TESTS, ids=lambda capability: capability.value)
@pytest.mark.parametrize("kind", [RowtrailSaver, SyncBehindAsync], ids=["async", "sync"])
async def test_conforms(kind: type[RowtrailSaver], capability: Capability, tmp_path: Path) -> None:
    @checkpointer_test(name=kind.__name__)
    async def registered() -> AsyncIterator[RowtrailSaver]:
        async with kind.from_conn_string(str(tmp_path / "agent.db"), capture=False) as saver:
            yield saver

    report = await validate(registered, capabilities={capability.value})

    result = report.results[capability.value]
    assert result.failures == []
    assert result.passed
    assert result.tests_passed >= TESTS[capability]
