"""LangGraph's own conformance suite, on the async methods and on the sync ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from rowtrail_langgraph import RowtrailSaver


class SyncBehindAsync(RowtrailSaver):
    """A saver whose async methods call the sync ones, for suites that only know the async ones."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        found = self.list(config, filter=filter, before=before, limit=limit)
        for each in await asyncio.to_thread(lambda: [*found]):
            yield each

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Any:
        return await asyncio.to_thread(
            lambda: self.get_delta_channel_history(config=config, channels=channels)
        )


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
