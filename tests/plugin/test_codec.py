"""Values and their stored form: equal in value and type, valid JSON, and no code run."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowtrail.content import MAX_DEPTH, TAG, Codec, Encoded, TypeCodec
from rowtrail.errors import CorruptRowError, UnstorableError

CODEC = Codec()

# surrogates too: str may hold halves of pairs, JSON text and UTF-8 may not
any_text = st.text(st.characters(codec=None, exclude_categories=()))
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
    st.builds(timezone, st.just(timedelta(hours=1)), st.text(max_size=5)),
    st.sampled_from([ZoneInfo("Europe/Vienna"), ZoneInfo("America/New_York"), ZoneInfo("UTC")]),
)
fold = st.sampled_from([0, 1])


def folded(moment: Any, value: int) -> Any:
    return moment.replace(fold=value)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**70),
    st.floats(),
    any_text,
    st.binary(),
    st.builds(folded, st.datetimes(timezones=zones), fold),
    st.dates(),
    st.builds(folded, st.times(timezones=zones), fold),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.complex_numbers(),
)
hashable = st.recursive(
    leaves.filter(lambda v: not isinstance(v, Decimal) and v == v),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
tags = st.sampled_from([TAG, "v", "dict", "int", "tuple", "bytes"])
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(any_text | tags, inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=3),
        st.fixed_dictionaries({TAG: inner | tags, "v": inner}),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
    ),
    max_leaves=20,
)


def zone_of(value: Any) -> Any:
    zone: tzinfo | None = value.tzinfo
    return (type(zone), zone if isinstance(zone, ZoneInfo) else str(zone), value.fold)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in value and type, through and through."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return f"{one}" == f"{other}"  # tells 0.0 from -0.0, and NaN is NaN
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, Decimal):
        return f"{one}" == f"{other}"
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=False)
        return len(one) == len(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, (datetime, time)):
        return bool(one == other) and zone_of(one) == zone_of(other)
    return bool(one == other)


def round_trip(value: Any, codec: Codec = CODEC) -> Any:
    stored = codec.encode(value)
    assert stored.text is not None
    shown = json.dumps(json.loads(stored.text), ensure_ascii=False)
    shown.encode()  # SQLite takes UTF-8
    assert "\\u0000" not in re.sub(r"\\\\", "", shown)  # it ends a text for its functions
    return codec.decode(Encoded(stored.type, stored.text, stored.data))


def is_json_for_sqlite(text: str) -> bool:
    """Ask the SQLite of Python, and the newest one there is."""
    with closing(sqlite3.connect(":memory:")) as old:
        by_old = old.execute("SELECT json_valid(?)", [text]).fetchone()
    by_new = next(apsw.Connection(":memory:").execute("SELECT json_valid(?)", [text]))
    return bool(by_old == by_new == (1,))


@given(values)
@example("\ud83d\ude00")  # two halves, which JSON would join
@example({"\ud83d\ude00": ["\ud83d", "\ude00\ud83d\ude00"]})
@example({TAG: "dict", "v": [["\ud83d\ude00", 1]]})
@example(datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Vienna")))
@example(time(2, 30, fold=1, tzinfo=timezone(timedelta(hours=1), "CET")))
@example({1: "a", "1": "b", 1.5: "c", None: "d", (): "e"})
@example([Decimal("NaN"), Decimal("sNaN123"), Decimal("-0E+7"), math.nan, math.inf, -0.0])
@example({"nul": "a\0b", "line": "\u2028", "quote": '"\\'})
def test_every_value_comes_back_equal_in_value_and_type(value: Any) -> None:
    assert same(round_trip(value), value)


@given(values)
def test_the_text_is_json_for_every_sqlite(value: Any) -> None:
    text = CODEC.encode(value).text
    assert text is not None and is_json_for_sqlite(text)


@given(values)
def test_equal_values_have_equal_identities(value: Any) -> None:
    assert CODEC.encode(value).identity == CODEC.encode(round_trip(value)).identity


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), ("1", 1), ([1], (1,)), ({1}, frozenset({1})), (b"a", "a"), (0.0, -0.0)],
)
def test_values_that_only_compare_equal_have_other_identities(one: Any, other: Any) -> None:
    assert CODEC.encode(one).identity != CODEC.encode(other).identity


@pytest.mark.parametrize("digits", [4_000, 4_301, 20_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_may_be_longer_than_python_prints(digits: int, sign: int) -> None:
    value = sign * (10**digits + 7)
    assert round_trip({"n": value})["n"] == value


def test_plain_json_stays_readable() -> None:
    value = {"question": "Grüße, 你好", "n": 3, "list": [1.5, None, True], "empty": {}}
    stored = CODEC.encode(value)
    assert stored.type == "dict"
    assert stored.text is not None and json.loads(stored.text) == value
    assert "Grüße, 你好" in stored.text  # not escaped: people search for it


# Nesting.

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [v],
    "dict": lambda v: {"k": v},
    "tuple": lambda v: (v,),
    "dict of int": lambda v: {1: v},
    "tagged dict": lambda v: {TAG: v},
}


def nested(wrap: Callable[[Any], Any], levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("kind", WRAPPERS)
def test_nesting_up_to_the_limit_is_json_for_every_sqlite(kind: str) -> None:
    levels = MAX_DEPTH // 2
    value = nested(WRAPPERS[kind], levels)
    text = CODEC.encode(value).text
    assert text is not None and is_json_for_sqlite(text)
    assert round_trip(value) == value


@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize("levels", [MAX_DEPTH + 2, 100_000])
def test_deeper_nesting_is_unstorable_and_breaks_nothing(kind: str, levels: int) -> None:
    with pytest.raises(UnstorableError, match="deep"):
        CODEC.encode(nested(WRAPPERS[kind], levels))


def test_a_caller_deep_in_its_stack_gets_a_value_or_a_clear_error() -> None:
    value = nested(WRAPPERS["list"], MAX_DEPTH - 10)

    def deep(levels: int) -> str:
        if levels:
            return deep(levels - 1)
        try:
            return str(CODEC.encode(value).text)
        except UnstorableError as error:
            return str(error)

    outcomes = {deep(levels)[:10] for levels in range(0, sys.getrecursionlimit() - 100, 40)}
    assert len(outcomes) == 2  # the text where there was room, else the clear error


def test_a_cycle_is_unstorable() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(UnstorableError, match="nested deeper"):
        CODEC.encode(cycle)


# What has no stored form.


class Plain:
    pass


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


class Elsewhere(tzinfo):
    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, dt: datetime | None) -> timedelta | None:
        return None

    def tzname(self, dt: datetime | None) -> str:
        return "elsewhere"


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    "value",
    [
        Plain(),
        Plain,
        Text("a"),
        OrderedDict(a=1),
        print,
        lambda: None,
        iter([]),
        bytearray(b"a"),
        memoryview(b"a"),
        range(3),
        ValueError("a"),
        datetime(2026, 1, 1, tzinfo=Elsewhere()),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    "inside", [lambda v: v, lambda v: {"deep": [(v,)]}], ids=["bare", "inside"]
)
def test_what_would_not_come_back_the_same_is_unstorable(
    value: Any, inside: Callable[[Any], Any]
) -> None:
    with pytest.raises(UnstorableError, match="stored form") as caught:
        CODEC.encode(inside(value))
    assert caught.value.type_name in str(caught.value)


@pytest.mark.parametrize("value", [Colour.RED, Level.LOW, Pair(1, 2)], ids=repr)
@pytest.mark.parametrize(
    "inside", [lambda v: v, lambda v: {"deep": [(v,)]}], ids=["bare", "inside"]
)
def test_objects_of_loaded_data_classes_come_back(value: Any, inside: Callable[[Any], Any]) -> None:
    again = CODEC.decode(CODEC.encode(inside(value)))
    assert again == inside(value) and repr(again) == repr(inside(value))


@pytest.mark.parametrize("value", [Plain(), {"a": {1, Plain}, "n": math.nan}, [math.inf, print]])
def test_what_is_only_shown_is_json_too(value: Any) -> None:
    shown = CODEC.encode_shown(value)
    assert shown.text is not None and is_json_for_sqlite(shown.text)


def test_what_is_only_shown_is_never_taken_for_the_value_of_its_text() -> None:
    shown = CODEC.encode_shown(Plain())
    assert shown.text is not None
    assert shown.identity != CODEC.encode(json.loads(shown.text)).identity


# Text that nobody here wrote.


@given(st.one_of(st.text(), st.recursive(st.text() | st.integers(), st.lists).map(json.dumps)))
def test_any_text_gives_a_value_or_a_clear_error(text: str) -> None:
    with suppress(CorruptRowError):
        CODEC.decode(Encoded("dict", text))


TAGS = [
    "tuple",
    "set",
    "frozenset",
    "bytes",
    "datetime",
    "date",
    "time",
    "timedelta",
    "decimal",
    "uuid",
    "complex",
    "dict",
    "int",
    "float",
    "str",
    "unknown",
    "__import__",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(TAGS), json_values)
def test_a_tag_with_any_content_gives_a_value_or_a_clear_error(tag: str, content: Any) -> None:
    with suppress(CorruptRowError):
        CODEC.decode(Encoded("x", json.dumps({TAG: tag, "v": content})))


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        '"cut o',
        f'{{"{TAG}": "tuple"}}',
        f'{{"{TAG}": "tuple", "v": "ab"}}',
        f'{{"{TAG}": "tuple", "v": [], "more": 1}}',
        f'{{"{TAG}": "bytes", "v": "AA=A"}}',
        f'{{"{TAG}": "bytes", "v": "A*A="}}',
        f'{{"{TAG}": "uuid", "v": [1]}}',
        f'{{"{TAG}": "dict", "v": ["ab"]}}',
        f'{{"{TAG}": "dict", "v": [[[], 1]]}}',
        f'{{"{TAG}": "int", "v": 1.5}}',
        f'{{"{TAG}": ["tuple"], "v": []}}',
        f'{{"{TAG}": "datetime", "v": {{"at": "2026-01-01", "fold": 0, "zone": "../../etc/x"}}}}',
        f'{{"{TAG}": "datetime", "v": {{"at": "2026-01-01", "fold": 0, "zone": "No/Where"}}}}',
        "[" * 100_000,
        "9" * 10_000,
    ],
    ids=lambda text: str(text)[:40],
)
def test_corrupted_text_is_a_clear_error(text: str | None) -> None:
    with pytest.raises(CorruptRowError, match="cannot be read back"):
        CODEC.decode(Encoded("x", text))


# Codecs of adapters.


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


def point_codec(*, flat: bool) -> Codec:
    read: Callable[[Any], Point] = lambda fields: Point(fields["x"])  # noqa: E731
    return Codec((TypeCodec("Point", Point, lambda p: {"x": p.x}, read, flat=flat),))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("value", [Point(1), [Point(1), {"p": (Point(2),)}]])
def test_an_adapter_adds_types_of_its_own(flat: bool, value: Any) -> None:
    assert round_trip(value, point_codec(flat=flat)) == value


def test_a_flat_type_is_shown_bare() -> None:
    assert point_codec(flat=True).encode(Point(1)) == Encoded(
        "Point", '{"x":1}', None, b'Point\0{"x":1}'
    )


def test_a_dict_never_becomes_a_type_by_what_it_holds() -> None:
    codec = point_codec(flat=True)
    for hostile in ({"x": 1}, {TAG: "Point", "v": {"x": 1}}):
        again = round_trip(hostile, codec)
        assert type(again) is dict and again == hostile


def test_a_date_does_not_become_a_moment_nor_a_moment_a_date() -> None:
    value = [date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), UUID(int=7)]
    assert same(round_trip(value), value)
