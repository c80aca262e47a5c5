"""Where the messages of prompts stand: ranges of positions in logs of the journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from rowtrail.history._index_file import IndexFile

if TYPE_CHECKING:
    from rowtrail.history._source import Row

Range = tuple[int, int]
"""The first position, and the first one behind it."""


class Prompts:
    """Notes the prompts of steps, which come in the order of their ids.

    A position belongs to the first step of its run that was sent it. Steps behind these may have
    been read before: what they hold of a prompt is taken from them.
    """

    def __init__(self, index: IndexFile, first: int, read: Callable[[int, int, int], None]) -> None:
        """Note the prompts of steps from `first` on; `read` takes in messages of a log."""
        self._index = index
        self._first = first
        self._read = read
        self._of_run: dict[tuple[int, int], list[Range]] = {}
        self._of_log: dict[int, list[Range]] = {}

    def note(self, row: Row) -> None:
        """Note the prompt of a step."""
        run, log = row["run"], row["log"]
        for _, lo, length in json.loads(row["pieces"]):
            hi = lo + length
            for start, end in self._unread(log, lo, hi):
                self._read(log, start, end)
            for start, end in self._unclaimed(run, log, lo, hi):
                self._claim(row, start, end)

    def _unread(self, log: int, lo: int, hi: int) -> list[Range]:
        known = self._of_log.get(log)
        if known is None:
            known = merged(self._index.all("spans_of_log", log=log))
        self._of_log[log] = merged([*known, (lo, hi)])
        return missing(known, lo, hi)

    def _unclaimed(self, run: int, log: int, lo: int, hi: int) -> list[Range]:
        known = self._of_run.get((run, log))
        if known is None:
            rows = self._index.all("spans_before", run=run, log=log, step=self._first)
            known = merged(rows)
        self._of_run[run, log] = merged([*known, (lo, hi)])
        return missing(known, lo, hi)

    def _claim(self, row: Row, lo: int, hi: int) -> None:
        index, at = self._index, {"run": row["run"], "log": row["log"]}
        for a, b, step, time in index.all("spans_under", **at, lo=lo, hi=hi):
            index.run("span_delete", **at, lo=a)
            for start, end in missing([(lo, hi)], a, b):
                index.run("span_insert", **at, lo=start, hi=end, step=step, at=time)
        index.run("span_insert", **at, lo=lo, hi=hi, step=row["id"], at=row["at"])


def missing(known: list[Range], lo: int, hi: int) -> list[Range]:
    """Return what of the positions from `lo` to `hi` is in no known range; these are in order."""
    found: list[Range] = []
    at = lo
    for start, end in known:
        if start < hi and end > at:
            if start > at:
                found.append((at, start))
            at = end
    if at < hi:
        found.append((at, hi))
    return found


def merged(ranges: list[tuple[int, ...]] | list[Range]) -> list[Range]:
    """Return the same positions in as few ranges as possible, in order."""
    found: list[Range] = []
    for lo, hi in sorted(ranges):
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], hi))
        else:
            found.append((lo, hi))
    return found
