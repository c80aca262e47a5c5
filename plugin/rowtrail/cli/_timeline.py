"""The steps of a run over time: a bar for each, as wide as the terminal allows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rowtrail.history.rows import StepLine

MIN_CELLS = 12
"""Fewer show no order of the bars."""
MAX_CELLS = 80
"""More tell no more, on the widest terminal."""


@dataclass(frozen=True)
class Glyphs:
    """The characters of the bars."""

    made: str
    replayed: str
    replay: str
    failed: str
    doubt: str
    running: str
    gap: str

    def legend(self) -> str:
        """Return what the characters mean."""
        return (
            f"{self.made} made  {self.replayed} replayed since (at {self.replay})  "
            f"{self.failed} failed  {self.doubt} in doubt  {self.running} running  {self.gap} pause"
        )


LINES = Glyphs("█", "▯", "◦", "✗", "?", "▸", "┊")
ASCII = Glyphs("#", "=", "o", "x", "?", ">", ":")


def glyphs() -> Glyphs:
    """Return characters that the encoding of standard output has."""
    try:
        "".join(vars(LINES).values()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return LINES


@dataclass(frozen=True)
class _Segment:
    """A stretch of time without a pause between attempts, and its cells."""

    begin: float
    end: float
    first: int
    cells: int

    def cell(self, ms: float) -> int:
        share = (ms - self.begin) / (self.end - self.begin) if self.end > self.begin else 0.0
        return self.first + min(max(int(share * self.cells), 0), self.cells - 1)


class Axis:
    """The time of a run in a number of cells: attempts side by side, the pauses left out."""

    def __init__(self, spans: Iterable[tuple[float, float]], cells: int) -> None:
        merged = _merged(spans)
        if 2 * len(merged) > cells:  # no room to tell them apart
            merged = [(merged[0][0], merged[-1][1])]
        self.cells = cells
        self.glyphs = glyphs()
        self._segments = _laid_out(merged, cells)

    def bar(self, step: StepLine, now_ms: float) -> str:
        """Return the bar of a step: hollow where it was replayed, its end says how it ended."""
        begin = millis(step["started_at"])
        end = millis(step["ended_at"]) if step["ended_at"] else begin
        status = step["status"]
        if status == "running":
            end = now_ms
        first, last = self._cell(begin), self._cell(end)
        row = [" "] * self.cells
        for segment in self._segments[1:]:
            row[segment.first - 1] = self.glyphs.gap
        fill = self.glyphs.replayed if step["replays"] else self.glyphs.made
        row[first : last + 1] = [fill] * (last + 1 - first)
        mark = {"failed": "failed", "in_doubt": "doubt", "running": "running"}.get(status)
        if mark is not None:
            row[last] = getattr(self.glyphs, mark)
        for at in step["replayed_at"]:
            cell = self._cell(millis(at))
            if row[cell] == " ":
                row[cell] = self.glyphs.replay
        return "".join(row)

    def _cell(self, ms: float) -> int:
        begun = [segment for segment in self._segments if segment.begin <= ms]
        return (begun[-1] if begun else self._segments[0]).cell(ms)


def millis(iso: str) -> float:
    """Return the milliseconds since 1970 of a time of the views."""
    return datetime.fromisoformat(iso).timestamp() * 1000


def tree_order(page: Sequence[StepLine]) -> list[tuple[int, StepLine]]:
    """Return the steps of a page with their depth, each after the step that it was made inside.

    A step whose parent is on an earlier page stays where it is.
    """
    here = {step["step_id"] for step in page}
    inside: dict[str | None, list[StepLine]] = {}
    for step in page:
        parent = step["parent_id"] if step["parent_id"] in here else None
        inside.setdefault(parent, []).append(step)
    ordered: list[tuple[int, StepLine]] = []
    waiting = [(int(step["parent_id"] is not None), step) for step in reversed(inside[None])]
    while waiting:
        depth, step = waiting.pop()
        ordered.append((depth, step))
        waiting += [(depth + 1, child) for child in reversed(inside.get(step["step_id"], []))]
    return ordered


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, max(begin, end)))
    return merged or [(0.0, 0.0)]


def _laid_out(spans: list[tuple[float, float]], cells: int) -> list[_Segment]:
    room = cells - len(spans) + 1  # one between two
    total = sum(end - begin for begin, end in spans) or 1.0
    spare = room - len(spans)
    segments: list[_Segment] = []
    first, used = 0, 0.0
    for n, (begin, end) in enumerate(spans):
        before = round(spare * used / total)
        used += end - begin
        width = 1 + round(spare * used / total) - before
        if n == len(spans) - 1:
            width = cells - first
        segments.append(_Segment(begin, end, first, width))
        first += width + 1
    return segments
