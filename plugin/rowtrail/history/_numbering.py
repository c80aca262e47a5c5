"""Numbers of texts in the search index: higher for newer steps, in whatever order they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLOCK = 2048
"""Numbers that are set aside at once for a page of older steps: 300 of them say some 700 texts."""
PER_STEP = 8
"""Numbers that are left below the first text for each step that is still to be read."""

SPARE = 8
"""Blocks that are left besides, for steps that say more."""


@dataclass
class Numbering:
    """Gives numbers to texts: `next` to those of new steps, others to those of older ones.

    Older steps that are read from their newest end get blocks from `low` downwards, those that are
    read from their oldest end numbers from `old` upwards.
    """

    next: int
    low: int
    old: int
    _block: range = range(0)
    _is_oldest: bool = False

    @classmethod
    def of(cls, state: dict[str, Any]) -> Numbering:
        """Return the one that the facts about an index describe."""
        return cls(state["next_doc"], state["low_doc"], state["old_doc"])

    @staticmethod
    def first(steps: int) -> dict[str, int]:
        """Return what an empty index begins with, for a journal of so many steps."""
        first = (steps * PER_STEP // BLOCK + SPARE) * BLOCK
        return {"next_doc": first, "low_doc": first, "old_doc": 1}

    def facts(self) -> dict[str, int]:
        """Return it as facts about the index."""
        return {"next_doc": self.next, "low_doc": self.low, "old_doc": self.old}

    def begin(self, *, is_older: bool = False, is_oldest: bool = False) -> None:
        """Begin a page of new steps, of the newest of older ones, or of the oldest of these."""
        self._block = range(0)
        self._is_oldest = is_older and is_oldest
        if is_older and not is_oldest:
            self._set_aside()

    def new(self) -> int:
        """Return a number that no text has."""
        if self._is_oldest and self.old < self.low:
            self.old += 1
            return self.old - 1
        if len(self._block):
            number, self._block = self._block[0], self._block[1:]
            if not len(self._block):
                self._set_aside()
            return number
        self.next += 1
        return self.next - 1

    def _set_aside(self) -> None:
        if self.low - BLOCK > self.old:  # else long texts took what there was
            self.low -= BLOCK
            self._block = range(self.low, self.low + BLOCK)
