"""Fingerprints: equal requests have one, in every process; other requests have another."""

from __future__ import annotations

import array
import functools
import json
import math
import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from rowtrail.content import canonical_json
from rowtrail.journal import fingerprint_of


class Plain:
    pass


class Elided:
    """Shows its ends only, as arrays and frames do."""

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"[{self.values[0]} ... {self.values[-1]}]"


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Model(BaseModel):
    name: str
    n: int = 0


class Other(BaseModel):
    name: str
    n: int = 0


@dataclass
class Fields:
    name: str

    def __call__(self) -> None: ...


class Pair(NamedTuple):
    a: int
    b: int


def fingerprint(value: Any) -> str:
    return fingerprint_of("function", "f", value).hex()


APART = [
    [1, True, 1.0, "1", Decimal(1), [1], (1,), {1}, frozenset({1}), b"1", bytearray(b"1"), None],
    [{"a": 1}, {"a": "1"}, {"a": 1, "b": None}, OrderedDict(a=1), [["a", 1]], [("a", 1)]],
    [{1: "a"}, {"1": "a"}, {1.0: "a"}, {True: "a"}, {None: "a"}, {"None": "a"}],
    [b"\x01", "01", "\x01", ["01"]],
    [{"$rowtrail": "bytes", "v": "01"}, {"$rowtrail": "tuple", "v": [1]}, (1,)],
    [math.nan, math.inf, -math.inf, "nan", 0.0, -0.0],
    [10**5000, 10**5000 + 1],
    [array.array("l", [1, 2]), array.array("l", [1, 3]), array.array("d", [1, 2])],
    [Elided([1, 2, 3]), Elided([1, 7, 3])],
    [Model(name="a"), Model(name="b"), Other(name="a"), {"name": "a", "n": 0}],
    [Fields("a"), Fields("b"), {"name": "a"}],
    [Pair(1, 2), Pair(1, 3), (1, 2)],
    [len, print, "len", functools.partial(max, 1), functools.partial(max, 2)],
    [Plain, Plain(), Model],
    [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)],
    ["\ud83d", "\ude00", "?"],
]


@pytest.mark.parametrize("requests", APART, ids=range(len(APART)))
def test_other_requests_have_other_fingerprints(requests: list[Any]) -> None:
    assert len({fingerprint(request) for request in requests}) == len(requests)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ({1: "x", "a": "y"}, {"a": "y", 1: "x"}),
        ({3, 1, 2}, {2, 3, 1}),
        (Plain(), Plain()),
        ([Plain()], [Plain()]),
        (Broken(), Broken()),
        (Model(name="a"), Model(name="a")),
        (Elided([1, 2, 3]), Elided([1, 2, 3])),
        (memoryview(b"ab"), memoryview(b"ab")),
    ],
    ids=range(9),
)
def test_equal_requests_have_one_fingerprint(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)


def test_the_kind_and_the_name_are_part_of_the_request() -> None:
    found = {fingerprint_of(kind, name, 1) for kind in ("llm", "tool") for name in ("a", "b\ud83d")}
    assert len(found) == 4


PRINT = """
from rowtrail.journal import fingerprint_of
class Plain: pass
asked = {"set": {"a", "b", "c", ("d",)}, "keys": {"x": 1, 2: {"y", "z"}}, "object": Plain(),
         "nested": [frozenset({frozenset("pq"), "r"})], "function": Plain, "bytes": b"ab"}
print(fingerprint_of("tool", "f", asked).hex())
"""


def test_every_process_makes_the_same_fingerprint() -> None:
    said: set[str] = set()
    for seed in "012345":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PRINT]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_plain_json_is_shown_as_it_is(value: Any) -> None:
    if "$rowtrail" not in repr(value):
        assert json.loads(canonical_json(value)) == value


def nested(levels: int, core: Any) -> Any:
    value = core
    for level in range(levels):
        value = [value] if level % 2 else {"k": (value,)}
    return value


@pytest.mark.parametrize("levels", [150, 1_000, 50_000])
def test_deep_requests_are_told_apart(levels: int) -> None:
    one, same, other = (fingerprint(nested(levels, core)) for core in ("a", "a", "b"))
    assert one == same
    assert one != other


def test_a_request_may_hold_itself() -> None:
    one: dict[str, Any] = {"n": 1}
    one["self"] = one
    other: dict[str, Any] = {"n": 2}
    other["self"] = other
    assert fingerprint(one) != fingerprint(other)


def test_a_value_shared_by_two_places_is_no_cycle() -> None:
    shared = [1]
    assert fingerprint([shared, shared]) == fingerprint([[1], [1]])
