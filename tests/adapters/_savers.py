"""What the tests of the saver share: savers in two guises, checkpoints made by hand, a driver."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    Checkpoint,
    CheckpointTuple,
)
from langgraph.checkpoint.base.id import uuid6

from rowtrail_langgraph import RowtrailSaver

Mode = Literal["sync", "async"]
MODES: tuple[Mode, ...] = ("sync", "async")

QUICK: dict[str, Any] = {"capture": False, "durability": "normal"}

both_modes = pytest.mark.parametrize("mode", MODES)


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
def driven(path: Path | str, mode: Mode, **options: Any) -> Generator[Driver]:
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
