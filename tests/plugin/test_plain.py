"""Plain values take a short way: what is stored and hashed is what the long way gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rowtrail.content import TAG, Codec, Encoded, canonical_json
from rowtrail.content import _codec as codec_module
from rowtrail.content import _plain as plain
from rowtrail.content._plain import LEAST_PLAIN_FLOAT, LONGEST_PLAIN_FLOAT, is_plain

CODEC = Codec()

texts = st.text(st.characters(blacklist_categories=()), max_size=8)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    leaves,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(texts | st.just(TAG), inside, max_size=4)
        | st.tuples(inside)
    ),
    max_leaves=12,
)

fresh_patches = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def stored_without_orjson(monkeypatch: pytest.MonkeyPatch, value: Any) -> Encoded:
    with monkeypatch.context() as patch:
        patch.setattr(plain, "_orjson", lambda: None)
        return CODEC.encode(value)


def stored_by_the_long_way(monkeypatch: pytest.MonkeyPatch, value: Any) -> Encoded:
    with monkeypatch.context() as patch:
        patch.setattr(codec_module, "is_plain", lambda value: False)
        return CODEC.encode(value)


@given(values)
@example(2**63 - 1)
@example([-(2**63) + 1, 2**64, 1e-4, 9.9e-5, 1e16, 9999999999999998.0, -0.0])
@example({"z": 1, "a": {"y": "\ud83d\ude00", "b": "\ud83d"}, "é": "\x7f\x1f\u2028/<"})
@example({TAG: "dict", "v": []})
@example(nested(60))
@fresh_patches
def test_the_short_way_stores_and_hashes_the_same(
    monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    stored = CODEC.encode(value)
    assert stored == stored_by_the_long_way(monkeypatch, value)
    assert stored == stored_without_orjson(monkeypatch, value)
    assert canonical_json(value) == canonical_json(value, lambda text: text)  # masks walk


@given(st.floats())
@example(LEAST_PLAIN_FLOAT)
@example(math.nextafter(LEAST_PLAIN_FLOAT, 0))
@example(math.nextafter(LONGEST_PLAIN_FLOAT, 0))
@example(LONGEST_PLAIN_FLOAT)
@example(-0.0)
def test_floats_are_spelled_as_python_spells_them(value: float) -> None:
    if is_plain(value):
        assert CODEC.encode(value).text == repr(value)
    else:
        assert not LEAST_PLAIN_FLOAT <= abs(value) < LONGEST_PLAIN_FLOAT


@pytest.mark.parametrize("value", ["a", True, None, 7, 1.5, [], {}, ["a", {"b": [1, None]}]])
def test_values_of_jsons_own_types_are_plain(value: Any) -> None:
    assert is_plain(value)


@pytest.mark.parametrize(
    "value",
    [(), b"a", 2**63, math.nan, math.inf, {1: 2}, {TAG: 1}, [set()], {"a": object()}, nested(99)],
)
def test_whatever_json_or_sqlite_cannot_hold_is_not_plain(value: Any) -> None:
    assert not is_plain(value)


def test_a_value_in_itself_is_not_plain() -> None:
    value: list[Any] = []
    value.append(value)
    assert not is_plain(value)
