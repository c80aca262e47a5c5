"""What was measured, the bar it is held against, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any, Literal

ROWTRAIL = "rowtrail"
OTHER = "the other checkout"
NO_OTHER = "give another checkout: --against PATH"
RESAMPLED = 2_000
"""How often the pairs are drawn again for a 95 % interval: enough for two digits."""

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
        by_interval: Whether it is met as soon as the 95 % interval of the ratio reaches the limit.
    """

    sense: Sense
    limit: float
    of: str | None = None
    any_size: bool = False
    by_interval: bool = False


@dataclass(frozen=True)
class Row:
    """One measure of one workload, for rowtrail and its peers.

    Attributes:
        unit: `bytes`, `us`, `ms`, `s`, `per s`, `count`, `K instructions` or `share`.
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
        pairs = self._pairs(peer)  # one round saw one state of the machine
        if pairs:
            return median(pairs)
        return median(mine) / median(theirs) if median(theirs) else None

    def interval(self, peer: str) -> tuple[float, float] | None:
        """Return the 95 % bootstrap interval of the median ratio over the rounds of both."""
        pairs = self._pairs(peer)
        if len(pairs) < 2:
            return None
        chance = Random(len(pairs))
        drawn = sorted(median(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLED))
        return drawn[RESAMPLED * 25 // 1000], drawn[RESAMPLED * 975 // 1000]

    def _pairs(self, peer: str) -> list[float]:
        mine, theirs = self.samples.get(ROWTRAIL, ()), self.samples.get(peer, ())
        if len(mine) != len(theirs) or not all(theirs):
            return []
        return [m / t for m, t in zip(mine, theirs, strict=True)]

    def judged(self, bar: Bar, *, is_full: bool) -> Judgement:
        """Return how rowtrail stands against one of the row's bars."""
        held = self.value(ROWTRAIL) if bar.of is None else self.ratio(bar.of)
        if held is None:
            return Judgement(bar, None, "no peer")
        if not (is_full or bar.any_size):
            return Judgement(bar, held, "other size")
        best = held
        if bar.by_interval and bar.of is not None:
            interval = self.interval(bar.of) or (held, held)
            best = interval[1] if bar.sense == "at least" else interval[0]
        return Judgement(bar, held, "met" if _holds(bar, best) else "missed")

    def as_json(self, *, is_full: bool) -> dict[str, Any]:
        """Return the row as JSON data; numbers in the row's unit."""
        return {
            "workload": self.workload,
            "measure": self.measure,
            "unit": self.unit,
            "rowtrail": self.value(ROWTRAIL),
            "peers": {
                peer: {
                    "value": self.value(peer),
                    "ratio": self.ratio(peer),
                    "interval": self.interval(peer),
                }
                for peer in self.peers
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
