"""What the tests of the saver share: savers in two guises, checkpoints made by hand, a driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.base.id import uuid6

from rowtrail_langgraph import RowtrailSaver

Mode = Literal["sync", "async"]
MODES: tuple[Mode, ...] = ("sync", "async")

QUICK: dict[str, Any] = {"capture": False, "durability": "normal"}

both_modes = pytest.mark.parametrize("mode", MODES)


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


class Driver:
    """Calls the sync or the async methods of a saver, so that one test body covers both."""

    def __init__(self, saver: RowtrailSaver, mode: Mode) -> None:
        self.saver = saver
        self.mode = mode

    async def get(self, config: RunnableConfig) -> CheckpointTuple | None:
        if self.mode == "async":
            return await self.saver.aget_tuple(config)
        return self.saver.get_tuple(config)

    async def found(self, config: RunnableConfig) -> CheckpointTuple:
        """Return a checkpoint that must be there."""
        found = await self.get(config)
        assert found is not None
        return found

    async def list(self, config: RunnableConfig | None, **how: Any) -> list[CheckpointTuple]:
        if self.mode == "async":
            return [each async for each in self.saver.alist(config, **how)]
        return [*self.saver.list(config, **how)]

    async def put(self, config: RunnableConfig, checkpoint: Checkpoint, **metadata: Any) -> Any:
        """Store a checkpoint whose metadata is what is given by name."""
        stored: Any = metadata
        if self.mode == "async":
            return await self.saver.aput(config, checkpoint, stored, {})
        return self.saver.put(config, checkpoint, stored, {})

    async def put_writes(self, *args: Any, **kwargs: Any) -> None:
        await self._call("put_writes", *args, **kwargs)

    async def delete_thread(self, thread_id: str) -> None:
        await self._call("delete_thread", thread_id)

    async def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._call("delete_for_runs", run_ids)

    async def copy_thread(self, source: str, target: str) -> None:
        await self._call("copy_thread", source, target)

    async def prune(self, thread_ids: Sequence[str], **how: Any) -> None:
        await self._call("prune", thread_ids, **how)

    async def history(self, config: RunnableConfig, channels: Sequence[str]) -> Any:
        if self.mode == "async":
            return await self.saver.aget_delta_channel_history(config=config, channels=channels)
        return self.saver.get_delta_channel_history(config=config, channels=channels)

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        if self.mode == "async":
            await getattr(self.saver, f"a{method}")(*args, **kwargs)
        else:
            getattr(self.saver, method)(*args, **kwargs)


@contextlib.contextmanager
def driven(path: Path, mode: Mode, **options: Any) -> Generator[Driver]:
    """Open a saver that records no calls and does not wait for the disk, and drive it."""
    with RowtrailSaver(path, **{**QUICK, **options}) as saver:
        yield Driver(saver, mode)


def thread(thread_id: str = "t", ns: str = "", checkpoint_id: str | None = None) -> RunnableConfig:
    """Return the config of a thread."""
    configurable = {"thread_id": thread_id, "checkpoint_ns": ns}
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}


def checkpoint(values: dict[str, Any] | None = None, id: str | None = None) -> Checkpoint:
    """Return a checkpoint with these channel values."""
    held = values or {}
    return Checkpoint(
        v=4,
        id=id or str(uuid6()),
        ts=datetime.now(UTC).isoformat(),
        channel_values=held,
        channel_versions=dict.fromkeys(held, 1),
        versions_seen={},
        updated_channels=None,
    )


def ids(found: Sequence[CheckpointTuple]) -> list[str]:
    """Return the ids of checkpoints."""
    return [each.checkpoint["id"] for each in found]


def named(config: RunnableConfig, key: str) -> Any:
    """Return what a config says under this key."""
    return config.get("configurable", {}).get(key)


def metadata_of(found: CheckpointTuple) -> dict[str, Any]:
    """Return metadata as the plain dict that it is."""
    return {**found.metadata}
