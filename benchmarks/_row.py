"""What was measured, the bar it is held against, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

ROWTRAIL = "rowtrail"

Sense = Literal["at most", "at least", "below"]
Verdict = Literal["met", "missed", "no peer", "other size"]


@dataclass(frozen=True)
class Bar:
    """A limit that rowtrail sets itself.

    Attributes:
        sense: On which side of the limit rowtrail must stay.
        limit: In the row's unit; with `of`, as a multiple of that peer's value.
        of: The peer that the limit is relative to, None for an absolute one.
        any_size: Whether the bar also holds for runs of another size than `full`.
    """

    sense: Sense
    limit: float
    of: str | None = None
    any_size: bool = False


@dataclass(frozen=True)
class Row:
    """One measure of one workload, for rowtrail and its peers.

    Attributes:
        unit: `bytes`, `us`, `ms`, `s`, `per s`, `count` or `share`.
        samples: One value per round for each contender, rowtrail among them.
        missing: Peers that could not be measured, with what to do about it.
    """

    workload: str
    measure: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    bars: tuple[Bar, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def value(self, contender: str) -> float | None:
        """Return the median over the rounds, None where the contender was not measured."""
        found = self.samples.get(contender)
        return median(found) if found else None

    def ratio(self, peer: str) -> float | None:
        """Return rowtrail's value over the peer's: the median of the rounds that both have."""
        mine, theirs = self.samples.get(ROWTRAIL), self.samples.get(peer)
        if not mine or not theirs:
            return None
        if len(mine) == len(theirs) and all(theirs):  # one round saw one state of the machine
            return median(m / t for m, t in zip(mine, theirs, strict=True))
        return median(mine) / median(theirs) if median(theirs) else None

    def judged(self, bar: Bar, *, is_full: bool) -> Judgement:
        """Return how rowtrail stands against one of the row's bars."""
        held = self.value(ROWTRAIL) if bar.of is None else self.ratio(bar.of)
        if held is None:
            return Judgement(bar, None, "no peer")
        if not (is_full or bar.any_size):
            return Judgement(bar, held, "other size")
        return Judgement(bar, held, "met" if _holds(bar, held) else "missed")

    def as_json(self, *, is_full: bool) -> dict[str, Any]:
        """Return the row as JSON data; numbers in the row's unit."""
        return {
            "workload": self.workload,
            "measure": self.measure,
            "unit": self.unit,
            "rowtrail": self.value(ROWTRAIL),
            "peers": {
                peer: {"value": self.value(peer), "ratio": self.ratio(peer)} for peer in self.peers
            },
            "missing": dict(self.missing),
            "samples": {name: list(values) for name, values in self.samples.items()},
            "bars": [self.judged(bar, is_full=is_full).as_json() for bar in self.bars],
            "note": self.note,
        }

    @property
    def peers(self) -> list[str]:
        """Return the names of the peers, measured or missing."""
        return [name for name in (*self.samples, *self.missing) if name != ROWTRAIL]


@dataclass(frozen=True)
class Judgement:
    """A bar, the value or ratio held against it, and the verdict."""

    bar: Bar
    held: float | None
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Return the judgement as JSON data."""
        return {
            "sense": self.bar.sense,
            "limit": self.bar.limit,
            "of": self.bar.of,
            "measured": self.held,
            "verdict": self.verdict,
        }


def _holds(bar: Bar, held: float) -> bool:
    if bar.sense == "at least":
        return held >= bar.limit
    return held < bar.limit if bar.sense == "below" else held <= bar.limit
