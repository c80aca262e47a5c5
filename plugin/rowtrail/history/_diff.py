"""`diff`: two runs, aligned step by step."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rowtrail.history._compare import Difference, differences, essence, parsed
from rowtrail.history._newly import Newly
from rowtrail.history._runs import require_run
from rowtrail.history._source import Row, Source, Tx, reader_of
from rowtrail.history._text import json_text

Mark = Literal["same", "answer", "changed", "missing"]

PAIRS_AT_ONCE = 20
"""How many pairs that differ are read together: each reading looks through both runs."""

MAX_DIFFERENCES = 5
"""After a few the two steps are simply others."""


class Place(NamedTuple):
    """A step, without what went in and came out."""

    step_id: str
    seq: int
    node: str | None
    kind: str
    name: str
    status: str
    fingerprint: str
    answer: bytes


@dataclass(frozen=True)
class Pair:
    """What two runs have at one place.

    Attributes:
        mark: `same`; `answer`: the same request was answered otherwise; `changed`: another request
            at the same place; `missing`: one of the runs has no such step.
        a: The step of the first run, None where it is missing.
        b: The step of the second run.
        differences: The first places where request, answer or status differ, the path beginning
            with `input`, `output`, `error` or `status`.
    """

    mark: Mark
    a: Place | None
    b: Place | None
    differences: tuple[Difference, ...] = ()


def diff(source: Source, run_a: str, run_b: str) -> Iterator[Pair]:
    """Yield the steps of two runs side by side, in the order of the first run.

    A step is recognised by its request wherever it stands, so that the order of parallel calls does
    not matter; what is left over is paired by node, kind, name and order. Steps that were set aside
    are left out. Of two runs of one thread only what was asked newly counts, not the messages that
    the thread held before the run. What is kept in memory is about 300 bytes a step, not what was
    said.

    Raises:
        UnknownIdError: One of the runs is not there.
        StorageError: The journal cannot be read.
    """
    some: list[Pair] = []
    differing = 0
    for run_id in (run_a, run_b):
        require_run(source, run_id)
    a, b = reader_of(source).read(lambda tx: _sides(tx, run_a, run_b))
    for pair in _aligned(_places(source, a), _places(source, b)):
        some.append(pair)
        differing += _differs(pair)
        if differing == PAIRS_AT_ONCE:
            yield from _detailed(source, a, b, some)
            some, differing = [], 0
    yield from _detailed(source, a, b, some)


@dataclass(frozen=True)
class _Side:
    """One of the two runs; with `newly`, only that part of its prompts counts."""

    run_id: str
    newly: Newly | None


def _sides(tx: Tx, run_a: str, run_b: str) -> tuple[_Side, _Side]:
    threads = {
        row["run_id"]: row["thread"]
        for row in tx.all("threads_of_runs", runs=tx.array([run_a, run_b]))
    }
    thread = threads.get(run_a)
    if thread is None or thread != threads.get(run_b) or run_a == run_b:
        return _Side(run_a, None), _Side(run_b, None)
    return _Side(run_a, Newly.of(tx, run_a)), _Side(run_b, Newly.of(tx, run_b))


def _differs(pair: Pair) -> bool:
    return pair.mark in ("answer", "changed")


def _places(source: Source, side: _Side) -> list[Place]:
    def work(tx: Tx) -> list[Place]:
        new = {} if side.newly is None else side.newly.fingerprints(tx)
        places = [_place(row) for row in tx.iter("step_places", run_id=side.run_id)]
        return [
            place._replace(fingerprint=new.get(place.seq, place.fingerprint)) for place in places
        ]

    return reader_of(source).read(work)


def _place(row: Row) -> Place:
    from hashlib import blake2b  # it loads OpenSSL: not for other commands

    answer = blake2b(digest_size=16)
    if row["output"] is not None:
        answer.update(json_text(essence(parsed(row["output"]))).encode("utf-8", "replace"))
    elif row["error"] is not None:
        answer.update(b"\0" + row["error"].encode("utf-8", "replace"))
    return Place(
        row["step_id"],
        row["seq"],
        row["node"],
        row["kind"],
        row["name"],
        row["status"],
        row["fingerprint"],
        answer.digest(),
    )


def _aligned(a: list[Place], b: list[Place]) -> list[Pair]:
    other = _matched(a, b, _request)
    rest_a = [place for place in a if place.seq not in other]
    taken = {place.seq for place in other.values()}
    rest_b = [place for place in b if place.seq not in taken]
    other |= _matched(rest_a, rest_b, _kind)
    pairs = [(float(place.seq), _pair(place, other.get(place.seq))) for place in a]
    partner = {place.seq: seq for seq, place in other.items()}
    at = 0.0
    for place in b:
        if place.seq in partner:
            at = float(partner[place.seq])
        else:
            pairs.append((at + 0.5, Pair("missing", None, place)))
    return [pair for _, pair in sorted(pairs, key=lambda found: found[0])]


def _request(place: Place) -> tuple[object, ...]:
    return (*_kind(place), place.fingerprint)


def _kind(place: Place) -> tuple[object, ...]:
    return (place.node, place.kind, place.name)


def _matched(
    a: list[Place], b: list[Place], key: Callable[[Place], tuple[object, ...]]
) -> dict[int, Place]:
    """Return the step of `b` for each `seq` of `a`: the n-th with a key to the n-th with it."""
    waiting: dict[tuple[object, ...], deque[Place]] = defaultdict(deque)
    for place in b:
        waiting[key(place)].append(place)
    return {
        place.seq: found.popleft() for place in a if (found := waiting.get(key(place), deque()))
    }


def _pair(a: Place, b: Place | None) -> Pair:
    if b is None:
        return Pair("missing", a, None)
    if a.fingerprint != b.fingerprint:
        return Pair("changed", a, b)
    is_same = (a.answer, a.status) == (b.answer, b.status)
    return Pair("same" if is_same else "answer", a, b)


def _detailed(source: Source, a: _Side, b: _Side, pairs: list[Pair]) -> Iterator[Pair]:
    """Add to each pair that differs where it does."""
    differing = [pair for pair in pairs if _differs(pair)]
    rows_a = _rows(source, a, [pair.a for pair in differing])
    rows_b = _rows(source, b, [pair.b for pair in differing])
    for pair in pairs:
        found: tuple[Difference, ...] = ()
        if pair.a is not None and pair.b is not None and pair.mark != "same":
            left, right = rows_a.get(pair.a.seq), rows_b.get(pair.b.seq)
            if left is not None and right is not None:  # else deleted meanwhile
                found = tuple(_row_differences(left, right, is_changed=pair.mark == "changed"))
        yield Pair(pair.mark, pair.a, pair.b, found)


def _rows(source: Source, side: _Side, places: list[Place | None]) -> dict[int, dict[str, Any]]:
    seqs = [place.seq for place in places if place is not None]
    if not seqs:
        return {}

    def work(tx: Tx) -> dict[int, dict[str, Any]]:
        new = {} if side.newly is None else side.newly.inputs(tx, seqs)
        found: dict[int, dict[str, Any]] = {}
        for row in tx.all("steps_by_seq", run_id=side.run_id, seqs=tx.array(seqs)):
            asked = new[row["seq"]] if row["seq"] in new else parsed(row["input"])
            found[row["seq"]] = {**dict(row), "input": asked, "output": parsed(row["output"])}
        return found

    return reader_of(source).read(work)


def _row_differences(
    a: dict[str, Any], b: dict[str, Any], *, is_changed: bool
) -> Iterator[Difference]:
    if a["status"] != b["status"]:
        yield Difference("status", a["status"], b["status"])
    for column in ("input", "output") if is_changed else ("output",):
        for found in differences(a[column], b[column], MAX_DIFFERENCES):
            joint = "" if not found.path or found.path.startswith("[") else "."
            yield Difference(f"{column}{joint}{found.path}", found.a, found.b)
    if a["error"] != b["error"]:
        yield Difference("error", a["error"], b["error"])
