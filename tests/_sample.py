"""How much of a matrix a test runs: a sample of it in `make test`, all of it in `make crash`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Any

IS_FULL = os.environ.get("ROWTRAIL_KILLS") == "full"
"""Whether whole matrices run, every kill is made and every fault injected."""


def spread(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return combinations such that each pair of values is in one of them; in full, all of them."""
    return covering(list(itertools.product(*axes)))


def covering(cases: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return those of the cases that show every pair of values that is in any; in full, all."""
    if IS_FULL:
        return list(cases)
    pairs = {case: set(itertools.combinations(enumerate(case), 2)) for case in cases}
    missing = set[Any]().union(*pairs.values())
    chosen: set[tuple[Any, ...]] = set()
    while missing:
        best = max(cases, key=lambda case: len(pairs[case] & missing))
        chosen.add(best)
        missing -= pairs[best]
    return [case for case in cases if case in chosen]


def once(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return combinations such that each value is in one of them; in full, all of them."""
    given = [list(axis) for axis in axes]
    if IS_FULL:
        return list(itertools.product(*given))
    return [tuple(axis[n % len(axis)] for axis in given) for n in range(max(map(len, given)))]
