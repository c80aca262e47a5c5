"""Checkpoints as LangGraph makes them, for measuring a saver alone."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    empty_checkpoint,
)

from benchmarks._text import Text

MESSAGE_BYTES = 500

Put = tuple[RunnableConfig, Checkpoint, CheckpointMetadata, ChannelVersions]
"""The arguments of `saver.put`."""


class Thread:
    """A thread whose list of messages grows by one a checkpoint, and starts over when it is long.

    The texts are made when the thread is: making them is not what is measured.

    Args:
        lengths: How many messages the checkpoints hold, one after the other.
        answered: Whether every other message is a model's, with the figures of its provider.
    """

    def __init__(
        self, thread_id: str, lengths: Sequence[int], *, seed: int, answered: bool = False
    ) -> None:
        self._configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
        self._lengths = lengths
        self._parent_id: str | None = None
        text = Text(seed)
        self._messages: list[AnyMessage] = [
            _answer(text, f"{thread_id}-{n}")
            if answered and n % 2
            else HumanMessage(text.of(MESSAGE_BYTES), id=f"{thread_id}-{n}")
            for n in range(max(lengths))
        ]
        self._step = -1

    def next(self) -> Put:
        """Return the arguments of the next `put`."""
        self._step += 1
        checkpoint = empty_checkpoint()
        length = self._lengths[self._step % len(self._lengths)]
        checkpoint["channel_values"] = {"messages": self._messages[:length]}
        checkpoint["channel_versions"] = {"messages": self._step + 1}
        configurable = dict(self._configurable)
        if self._parent_id is not None:
            configurable["checkpoint_id"] = self._parent_id
        self._parent_id = checkpoint["id"]
        metadata: CheckpointMetadata = {"source": "loop", "step": self._step, "parents": {}}
        return {"configurable": configurable}, checkpoint, metadata, {"messages": self._step + 1}


def _answer(text: Text, message_id: str) -> AIMessage:
    return AIMessage(
        text.of(MESSAGE_BYTES),
        id=message_id,
        usage_metadata={"input_tokens": 500, "output_tokens": 125, "total_tokens": 625},
        response_metadata={"model_name": "scripted-1", "finish_reason": "stop"},
    )
