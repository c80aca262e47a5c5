"""An answer belongs to the object that was asked: what tells objects and functions apart."""

from __future__ import annotations

import asyncio
import enum
import functools
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, SecretStr

import rowtrail
from rowtrail import Journal, step
from rowtrail.content import canonical
from rowtrail.errors import UsageError
from rowtrail.journal import active_scope, differing_attribute

# Ways to make a thing that answers `ask(n)` with its place and its factor.


class Plain:
    def __init__(self, place: Any, factor: int) -> None:
        self.place = place
        self.factor = factor

    def ask(self, n: int) -> str:
        return f"{self.place!r} {self.factor * n}"


class Slots:
    __slots__ = ("__seen", "factor", "place")

    def __init__(self, place: Any, factor: int) -> None:
        self.place, self.factor = place, factor
        self.__seen = object()

    ask = Plain.ask


@dataclass
class Data:
    place: Any
    factor: int
    seen: list[object] = field(default_factory=list[object], compare=False)

    ask = Plain.ask


class Extended(Data):
    """Has no declarations of its own, and an attribute."""

    def __init__(self, place: Any, factor: int) -> None:
        super().__init__("", 0)
        self.place_of_its_own, self.times = place, factor

    def ask(self, n: int) -> str:
        return f"{self.place_of_its_own!r} {self.times * n}"


@attrs.define
class Attrs:
    place: Any
    factor: int
    seen: list[object] = attrs.field(factory=list[object], eq=False)

    ask = Plain.ask


class Model(BaseModel):
    place: Any
    factor: int
    seen: float = Field(default=0.0, exclude=True)
    key: SecretStr = SecretStr("k")
    _seen: object = PrivateAttr(default_factory=object)

    def ask(self, n: int) -> str:
        return f"{self.place!r} {self.factor * n}"


class Nested:
    """Asks another object."""

    def __init__(self, place: Any, factor: int) -> None:
        self.inner = {"of": [Plain(place, factor)]}
        self.inner["of"][0].back = self  # type: ignore[attr-defined]  # and is known to it

    def ask(self, n: int) -> str:
        return str(self.inner["of"][0].ask(n))


class Keyed:
    def __init__(self, place: Any, factor: int) -> None:
        self._place, self._factor, self.made = place, factor, object()

    def __rowtrail_key__(self) -> Any:
        return self._place, self._factor

    def ask(self, n: int) -> str:
        return f"{self._place!r} {self._factor * n}"


def closure(place: Any, factor: int) -> Callable[[int], str]:
    def ask(n: int) -> str:
        return f"{place!r} {factor * n}"

    return ask


def defaults(place: Any, factor: int) -> Callable[[int], str]:
    def ask(n: int, place: Any = place, *, factor: int = factor) -> str:
        return f"{place!r} {factor * n}"

    return ask


def plain_function(place: Any, factor: int, n: int) -> str:
    return f"{place!r} {factor * n}"


WAYS: dict[str, Callable[[Any, int], Callable[[int], str]]] = {
    **{
        cls.__name__: functools.partial(lambda cls, place, factor: cls(place, factor).ask, cls)
        for cls in (Plain, Slots, Data, Extended, Attrs, Nested, Keyed)
    },
    "Model": lambda place, factor: Model(place=place, factor=factor).ask,
    "closure": closure,
    "defaults": defaults,
    "partial": lambda place, factor: functools.partial(plain_function, place, factor),
    "lambda": lambda place, factor: lambda n: f"{place!r} {factor * n}",
    "decorated": lambda place, factor: functools.wraps(closure)(closure(place, factor)),
}

places = st.recursive(
    st.sampled_from(["a", "b", 1, True, None, 1.5, (1,), b"a", Decimal(1), Path("a")]),
    lambda inner: st.lists(inner, max_size=2) | st.builds(lambda part: {"k": part}, inner),
    max_leaves=3,
)


def told(value: Any) -> str:
    found = canonical(value)
    assert found.unclear is None
    return found.text


@pytest.mark.parametrize("way", WAYS)
@given(places, st.integers(0, 2), places, st.integers(0, 2))
def test_two_things_are_the_same_where_they_would_do_the_same(
    way: str, place: Any, factor: int, other_place: Any, other_factor: int
) -> None:
    one, other = WAYS[way](place, factor), WAYS[way](other_place, other_factor)
    assert (told(one) == told(other)) == (one(1) == other(1))
    assert told(one) == told(WAYS[way](place, factor))


def called(thing: Callable[[int], str], n: int) -> str:
    return thing(n)


@pytest.mark.parametrize("as_argument", [False, True], ids=["step", "argument"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("way", WAYS)
def test_each_gets_its_own_answer_whatever_the_order(
    journal: Journal, way: str, is_async: bool, as_argument: bool
) -> None:
    def asked(thing: Callable[[int], str]) -> str:
        if as_argument:
            return step(name="call")(called)(thing, 1)
        return step(name="ask")(thing)(1)

    async def main(order: list[str]) -> dict[str, str]:
        async with journal.run("r"):
            return {each: await asyncio.to_thread(asked, WAYS[way](each, 1)) for each in order}

    def ask(order: list[str]) -> dict[str, str]:
        if is_async:
            return asyncio.run(main(order))
        with journal.run("r"):
            return {each: asked(WAYS[way](each, 1)) for each in order}

    expected = {each: f"{each!r} 1" for each in "ABC"}
    assert ask(["A", "B"]) == {each: expected[each] for each in "AB"}
    assert ask(["C", "B", "A"]) == expected
    assert sum(row["replays"] for row in journal.steps("r")) == 2


# Methods that are steps.


class Shop:
    """Its address counts; a lock, a logger, a cache, a key and what is private do not."""

    def __init__(self, url: str, **more: Any) -> None:
        self.url = url
        self.lock = threading.Lock()
        self.log = logging.getLogger("shop")
        self.cache = {"random": object()}
        self.api_key = os.urandom(4)
        self._calls = 0
        vars(self).update(more)

    @step
    def price(self, item: str) -> str:
        self._calls += 1
        return f"{item} at {self.url}"

    @step(effect="write")
    def pay(self, amount: int) -> str:
        return f"{amount} to {self.url}"

    @functools.cached_property
    def client(self) -> object:
        return object()

    @classmethod
    @step
    def kind(cls) -> str:
        return cls.__name__


class OtherShop(Shop):
    pass


def test_a_method_belongs_to_its_object(journal: Journal) -> None:
    for attempt in range(2):
        with journal.run("r"):
            for url in ("a", "b") if attempt else ("b", "a"):
                shop = Shop(url)
                assert shop.client is not None or attempt
                assert [shop.price("milk") for _ in range(2)] == [f"milk at {url}"] * 2
                assert (Shop.kind(), OtherShop.kind()) == ("Shop", "OtherShop")
    assert [row["replays"] for row in journal.steps("r")] == [1] * 8


def test_a_method_of_another_object_is_a_live_call_and_names_what_differs(
    journal: Journal,
) -> None:
    for url in ("sandbox", "prod"):
        with journal.run("r"):
            assert Shop(url).price("milk") == f"milk at {url}"
    first, second = journal.steps("r")
    assert second["replays"] == first["replays"] == 0
    said = differing_attribute(first["input"], second["input"])
    assert said == 'args[0].url is "prod", and was "sandbox"'
    assert "api_key" not in first["input"]


def test_a_write_has_a_fingerprint_that_leaves_its_object_out(journal: Journal) -> None:
    def request(shop: Shop, amount: int) -> Any:
        scope = active_scope()
        assert scope is not None
        declared: Any = next(
            cell.cell_contents
            for cell in Shop.pay.__closure__ or ()
            if hasattr(cell.cell_contents, "request")
        )
        return declared.request(scope, (shop, amount), {})

    with journal.run("r"):
        one, other, more = request(Shop("a"), 1), request(Shop("b"), 1), request(Shop("a"), 2)
    assert one.fingerprint != other.fingerprint
    assert one.object_free_fingerprint == other.object_free_fingerprint is not None
    assert more.object_free_fingerprint != one.object_free_fingerprint


# What cannot be told apart.


class Hidden:
    def __init__(self, url: str) -> None:
        self._url = url

    @step
    def price(self, item: str) -> str:
        return f"{item} at {self._url}"


def numbers() -> Iterator[int]:
    yield 1


def holding(value: Any) -> Callable[[], Any]:
    return lambda: value


class Loop:
    def __init__(self) -> None:
        self._secret = 1
        self.me = self


OPAQUE: list[Callable[[], Any]] = [
    lambda: Hidden("a"),
    numbers,
    lambda: iter([1]),
    threading.Thread,
    lambda: Loop(),  # noqa: PLW0108  (it is defined below)
    lambda: holding(Hidden("a")),
    lambda: functools.partial(print, Hidden("a")),
    lambda: [{"deep": (Hidden("a"),)}],
    lambda: {Hidden("a")},
]


@pytest.mark.parametrize("make", OPAQUE, ids=range(len(OPAQUE)))
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_what_cannot_be_told_apart_is_refused_before_the_call(
    journal: Journal, make: Callable[[], Any], is_async: bool
) -> None:
    made: list[Any] = []

    @step(effect="write")
    def take(first: int, thing: Any) -> None:
        made.append(thing)

    @step(effect="write")
    async def atake(first: int, thing: Any) -> None:
        made.append(thing)

    async def main() -> None:
        async with journal.run("r"):
            await atake(1, make())

    says = r"argument 'thing' of .*take cannot be told from others.*key=.*__rowtrail_key__\(\)"
    with pytest.raises(UsageError, match=says):
        if is_async:
            asyncio.run(main())
        with journal.run("r"):
            take(1, make())
    assert (made, journal.steps("r")) == ([], [])


def test_the_refusal_names_the_object_of_a_method_and_its_attributes(journal: Journal) -> None:
    says = r"argument 'self' of Hidden.price .*test_identity.Hidden, of whose .* counts \(_url\)"
    with pytest.raises(UsageError, match=says), journal.run("r"):
        Hidden("a").price("milk")


def test_a_key_takes_the_place_of_what_cannot_be_told_apart(journal: Journal) -> None:
    @step(key=lambda thing, n: n)
    def take(thing: Any, n: int) -> int:
        return n

    for _ in range(2):
        with journal.run("r"):
            assert take(Hidden("a"), 1) == 1
    assert [row["replays"] for row in journal.steps("r")] == [1]


@pytest.mark.parametrize(
    "make",
    [
        object,
        threading.Lock,
        lambda: logging.getLogger("x"),
        asyncio.Lock,
        lambda: Plain,
        lambda: enum.Enum("Colour", "RED").RED,  # type: ignore[attr-defined]
        lambda: ValueError("x"),
        lambda: {1: 2, 3: 4}.keys(),  # noqa: PLW0108  (a view each time)
        lambda: SecretStr("x"),
    ],
    ids=range(9),
)
def test_what_has_nothing_to_tell_is_known_by_its_class(make: Callable[[], Any]) -> None:
    assert told(make()) == told(make())


def test_graphs_of_objects_have_a_form_of_bounded_size() -> None:
    nodes = [Plain(n, n) for n in range(60)]
    for node in nodes:
        node.place = nodes  # each leads to all
    assert len(told(nodes[0])) < 1_000_000
    shared = Plain("x", 1)
    assert told([shared, shared]) == told([Plain("x", 1), Plain("x", 1)])


def test_arrays_and_frames_count_by_their_content() -> None:
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    made: list[Callable[[Any], Any]] = [
        lambda x: np.array([0, x]),
        lambda x: np.array([{"a": x}], dtype=object),
        np.float64,
        lambda x: pd.DataFrame({"a": [x, 2], "b": ["x", "y"]}),
        lambda x: pd.DataFrame({"a": [1]}, index=[x]),
        lambda x: pd.DataFrame({x: [1]}),
        lambda x: pd.Series([x], name="n"),
        lambda x: pd.Timestamp("2026-01-01") + pd.Timedelta(x, "ns"),
    ]
    for make in made:
        assert told(make(1)) == told(make(1))
        assert told(make(1)) != told(make(2))


PRINT = """
import functools, sys
from dataclasses import dataclass
sys.path.insert(0, {root!r})
from tests.plugin.test_identity import *
thing = Plain({{"b", "a", ("c",)}}, 1)
thing.more = [frozenset("xyz"), Nested({{1: {{"p", "q"}}}}, 2), Model(place={{"s", "t"}}, factor=1)]
print([told(WAYS[way](thing, 2)) for way in WAYS])
"""


def test_every_process_gives_equal_things_the_same_form() -> None:
    root = str(Path(__file__).parents[2])
    said: set[str] = set()
    for seed in "0123":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PRINT.format(root=root)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1
    assert "0x" not in said.pop()


# canonical=


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("abc", "is not a list"),
        ([1], "neither a regular expression nor a function"),
        (["("], "is not a regular expression"),
        ([re.compile(b"x")], "is not a regular expression"),
        ([r"\d*"], "matches the empty text"),
    ],
)
def test_a_canonical_without_a_meaning_is_refused(tmp_path: Path, given: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Journal(tmp_path / "a.db", canonical=given)
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize("effect", ["read", "idempotent", "write"])
def test_masks_give_a_second_fingerprint_but_never_to_a_write(
    tmp_path: Path, effect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    @step(effect=effect)
    def ask(text: str, more: Any) -> None: ...

    class Spy(Plain):
        pass

    masks: list[Any] = [r"\d{3,}", str.lower]
    with Journal(tmp_path / "a.db", canonical=masks) as journal, journal.run("r"):
        scope = active_scope()
        assert scope is not None
        number = scope.number

        def noted(request: Any) -> Any:
            seen.append(request)
            return number(request)

        monkeypatch.setattr(scope, "number", noted)
        for n in ("1234", "5678"):
            ask(f"At {n}", [Spy(f"X {n}", 1)])
    one, other = seen
    assert one.fingerprint != other.fingerprint
    if effect == "write":
        assert one.masked_fingerprint is other.masked_fingerprint is None
    else:
        assert one.masked_fingerprint == other.masked_fingerprint is not None


@pytest.mark.parametrize("function", [lambda text: None, lambda text: 1 / 0])
def test_a_mask_that_fails_is_a_clear_error(tmp_path: Path, function: Any) -> None:
    @step
    def ask(text: str) -> None: ...

    with (
        Journal(tmp_path / "a.db", canonical=[function]) as journal,
        pytest.raises(UsageError, match="of canonical="),
        journal.run("r"),
    ):
        ask("x")


def test_differing_attribute_is_silent_where_nothing_is_known() -> None:
    assert differing_attribute(None, "{}") is None
    assert differing_attribute("{}", "{}") is None
    assert differing_attribute("no JSON", "{}") is None
    assert json.loads(told({"a": 1})) == {"a": 1}
    assert rowtrail.step is step
