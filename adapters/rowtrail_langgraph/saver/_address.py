"""Which checkpoint a LangGraph config names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from rowtrail.errors import UsageError


class Address(NamedTuple):
    """A checkpoint, or with `checkpoint_id` None the newest of its thread and namespace."""

    thread_id: str
    ns: str
    checkpoint_id: str | None

    @property
    def config(self) -> RunnableConfig:
        """Return the config that names it."""
        return {
            "configurable": {
                "thread_id": self.thread_id,
                "checkpoint_ns": self.ns,
                "checkpoint_id": self.checkpoint_id,
            }
        }


def configurable_of(config: RunnableConfig | None) -> Mapping[str, Any]:
    """Return the part of a config that names things; empty for no config."""
    return (config or {}).get("configurable") or {}


def address_of(config: RunnableConfig) -> Address:
    """Return what a config names.

    Raises:
        UsageError: It names no thread.
    """
    configurable = configurable_of(config)
    thread_id = configurable.get("thread_id")
    if thread_id is None:
        raise UsageError(
            "config has no thread_id: pass config={'configurable': {'thread_id': '...'}}"
        )
    checkpoint_id = configurable.get("checkpoint_id")
    return Address(
        str(thread_id),
        configurable.get("checkpoint_ns") or "",
        None if checkpoint_id is None else str(checkpoint_id),
    )
