"""Writes of tasks that wait for their checkpoint, to be committed with it.

LangGraph saves a checkpoint in the background and executes its tasks meanwhile, so that with quick
tasks their writes come before it. Alone they are of no use: nothing goes on from a checkpoint that
is not there. With it they need no commit of their own, and no row in place of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import WRITES_IDX_MAP

from rowtrail.checkpoint import NewWrites
from rowtrail.engine import Tx
from rowtrail_langgraph._private import RUNTIME_KEY

MAX_NAMESPACES = 1_000
"""Bounds the memory of a server; writes of others are committed at once."""
MAX_HELD = 64
"""Of one namespace: a superstep with more tasks than that commits the others at once."""
_REMEMBERED = 8
"""Checkpoints saved last, of each namespace: LangGraph executes tasks of the last one or two."""

Key = tuple[str, str]
"""Thread and namespace."""


@dataclass(frozen=True, slots=True)
class TaskWrites:
    """The writes of one task, and what is written with them."""

    thread_id: str
    ns: str
    checkpoint_id: str
    new: NewWrites
    also: Callable[[Tx], None] | None = None


@dataclass(slots=True)
class _Namespace:
    saved: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    held: list[TaskWrites] = field(default_factory=list[TaskWrites])


class Held:
    """The writes that wait, by thread and namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._namespaces: OrderedDict[Key, _Namespace] = OrderedDict()

    def note(self, key: Key, checkpoint_id: str | None) -> None:
        """Note what is the newest checkpoint that is saved, None where there is none."""
        with self._lock:
            found = self._of(key)
            if checkpoint_id is not None:
                found.saved.append(checkpoint_id)

    def hold(self, config: Mapping[str, Any], writes: TaskWrites) -> bool:
        """Return whether writes are kept until their checkpoint is saved, which is on its way.

        That is known of those of a graph alone. What tells how a task ended without a result is
        not kept: somebody may wait for it.
        """
        if RUNTIME_KEY not in config["configurable"] or not WRITES_IDX_MAP.keys().isdisjoint(
            write.channel for write in writes.new.writes
        ):
            return False
        with self._lock:
            found = self._namespaces.get((writes.thread_id, writes.ns))
            if found is None or writes.checkpoint_id in found.saved or len(found.held) >= MAX_HELD:
                return False
            found.held.append(writes)
            return True

    def taken(self, key: Key, checkpoint_id: str) -> list[TaskWrites]:
        """Return the writes that waited for a checkpoint or an earlier one, which is saved now."""
        with self._lock:
            found = self._of(key)
            found.saved.append(checkpoint_id)
            if not found.held:
                return []
            taken = [each for each in found.held if each.checkpoint_id <= checkpoint_id]
            found.held = [each for each in found.held if each.checkpoint_id > checkpoint_id]
            return taken

    def forget(self, thread_id: str) -> None:
        """Drop the writes of a thread: it is deleted."""
        with self._lock:
            for key in [key for key in self._namespaces if key[0] == thread_id]:
                del self._namespaces[key]

    def _of(self, key: Key) -> _Namespace:
        found = self._namespaces.setdefault(key, _Namespace())
        self._namespaces.move_to_end(key)
        while len(self._namespaces) > MAX_NAMESPACES:
            oldest = next(iter(self._namespaces))
            if self._namespaces[oldest].held:
                break
            del self._namespaces[oldest]
        return found
