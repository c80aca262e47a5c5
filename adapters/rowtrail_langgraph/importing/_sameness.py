"""Comparing what was read back with the original: equal, and of the same types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from rowtrail_langgraph._private import extra_of

MAX_REMEMBERED = 50_000
"""As many as the memo has items: more would outlive what they stand for."""

_SCALARS = frozenset({str, int, bool, bytes, type(None)})
_SERDE = JsonPlusSerializer()


class Comparison:
    """Compares checkpoints, a message that many of them share only once.

    Nothing that was compared may be mutated while the comparison lives.
    """

    def __init__(self) -> None:
        # The objects are kept alive, so that no other one gets their ids.
        self._same: dict[tuple[int, int], tuple[object, object]] = {}

    def differences(self, found: CheckpointTuple, original: CheckpointTuple) -> list[str]:
        """Return the names of the parts in which two checkpoints differ."""
        parts = self._differing(found.checkpoint, original.checkpoint)
        names = [repr(part) for part in parts if part != "channel_values"]
        if "channel_values" in parts:
            values = (t.checkpoint["channel_values"] for t in (found, original))
            names += [f"channel {name!r}" for name in self._differing(*values)]
        metadata = self._differing(found.metadata, original.metadata)
        names += [f"metadata {name!r}" for name in metadata]
        if found.parent_config != original.parent_config:
            names.append("the parent")
        return names + self._writes(found.pending_writes or [], original.pending_writes or [])

    def _differing(self, found: Mapping[str, Any], original: Mapping[str, Any]) -> list[str]:
        return [
            key
            for key in {**original, **found}
            if key not in found
            or key not in original
            or not self.is_same(found[key], original[key])
        ]

    def _writes(self, found: list[Any], original: list[Any]) -> list[str]:
        if len(found) != len(original):
            return [f"{len(found)} pending writes in place of {len(original)}"]
        return [
            f"the pending write to {expected[1]!r} of task {expected[0]}"
            for write, expected in zip(found, original, strict=True)
            if not self.is_same(write, expected)
        ]

    def is_same(self, found: Any, original: Any) -> bool:
        """Return whether two values are equal in content and type, however deep; NaN equals NaN."""
        kind = type(found)
        if kind is not type(original):
            return False
        if kind in _SCALARS:
            return bool(found == original)
        if kind is float:
            return found == original or (math.isnan(found) and math.isnan(original))
        if kind is dict:
            return found.keys() == original.keys() and all(
                self.is_same(value, original[key]) for key, value in found.items()
            )
        if isinstance(found, (list, tuple)):
            return len(found) == len(original) and all(map(self.is_same, found, original))
        if isinstance(found, BaseModel):
            return self._is_same_model(found, original)
        return _is_written_the_same(found, original)

    def _is_same_model(self, found: BaseModel, original: BaseModel) -> bool:
        pair = (id(found), id(original))
        if pair in self._same:
            return True
        if not self.is_same(found.__dict__, original.__dict__):
            return False
        if not self.is_same(extra_of(found) or {}, extra_of(original) or {}):
            return False
        if len(self._same) >= MAX_REMEMBERED:
            self._same.clear()
        self._same[pair] = (found, original)
        return True


def _is_written_the_same(found: Any, original: Any) -> bool:
    """Compare two objects by what LangGraph stores of them, else by their own notion."""
    with suppress(Exception):  # what only a serializer of the user's own can write
        if _SERDE.dumps_typed(found) == _SERDE.dumps_typed(original):
            return True
    try:
        return bool(found == original)
    except Exception:  # arrays, and whatever else has no single answer
        return False
