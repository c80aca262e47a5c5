"""What an attempt notes of who stands for which recorded call, against the plain rule."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtrail.engine import Row
from rowtrail.journal._claims import Claimant, Claims, Generation

ROWS = (1, 2, 7, 8, 9, 15, 16, 2**31, 2**62)
NAMES = ("root", "root>a", "root>ab", "root|agent", "root|agent>a", "other")
GENERATIONS: tuple[Generation, ...] = ((0,), (1,), (0, 0), (0, 1), (1, 0))

claimants = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(GENERATIONS),
    st.tuples(
        st.sampled_from((b"f" * 16, b"g" * 16)),
        st.sampled_from((None, "", "call")),
        st.integers(1, 3),
    ),
)
acts = st.tuples(st.sampled_from(("take", "decide", "begin_try")), st.sampled_from(ROWS), claimants)


def a_row(row: int, status: str = "done", effect: str = "write") -> Row:
    return cast(Row, {"id": row, "status": status, "effect": effect})


def claimant_of(n: int, name: str = "root") -> Claimant:
    return name, (0,), (n.to_bytes(16, "big"), None, 1)


def is_given_up(execution: tuple[str, Generation], newest: dict[str, Generation]) -> bool:
    name, generation = execution
    return any(
        generation[: len(newest[around])] < newest[around]
        for around in newest
        if name == around or name.startswith((f"{around}|", f"{around}>"))
    )


@given(st.lists(acts, max_size=12), claimants)
def test_a_row_is_free_for_who_took_it_and_for_all_once_its_try_is_given_up(
    done: list[Any], asking: Claimant
) -> None:
    claims = Claims()
    taken: dict[int, Claimant] = {}
    newest: dict[str, Generation] = {}
    decided: set[int] = set()
    for act, row, claimant in done:
        if act == "begin_try":
            claims.begin_try(claimant)
        else:
            getattr(claims, act)(row, claimant)
            taken[row] = claimant
        if act == "decide":
            decided.add(row)
        newest[claimant[0]] = max(newest.get(claimant[0], ()), claimant[1])
    assert claims.is_empty == (not taken)
    newest[asking[0]] = max(newest.get(asking[0], ()), asking[1])
    rows = [a_row(row, status) for row in ROWS for status in ("done", "in_doubt")]
    expected = [
        row
        for row in rows
        if row["id"] not in taken
        or (row["status"] == "in_doubt" and row["id"] not in decided)
        or taken[row["id"]] == asking
        or is_given_up(taken[row["id"]][:2], newest)
    ]
    assert claims.free(rows, asking) == expected


def test_a_call_that_only_reads_is_free_whoever_took_it() -> None:
    claims = Claims()
    claims.take(1, claimant_of(1))
    assert claims.free([a_row(1), a_row(1, effect="read")], claimant_of(2)) == [
        a_row(1, effect="read")
    ]


def test_threads_that_take_at_once_all_have_what_they_took() -> None:
    claims, together = Claims(), threading.Barrier(4)

    def take(first: int) -> None:
        together.wait()
        for row in range(first, 4_000, 4):
            claims.take(row, claimant_of(row, f"root>{row // 16}"))

    threads = [threading.Thread(target=take, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in range(4_000):
        name = f"root>{row // 16}"
        assert claims.free([a_row(row)], claimant_of(row, name)) == [a_row(row)]
        assert claims.free([a_row(row)], claimant_of(row + 1, name)) == []


@pytest.mark.parametrize(("apart", "at_most"), [(1, 80), (2, 150), (1_000, 300)])
def test_claims_take_few_bytes(apart: int, at_most: int) -> None:
    claims = Claims()
    tracemalloc.start()
    try:
        for n in range(20_000):
            claims.take(1 + n * apart, claimant_of(n))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 20_000 < at_most
