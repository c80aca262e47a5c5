"""`@rowtrail.step`: what it takes, what it leaves as it was, and the results it gives back."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, Field, PrivateAttr

import rowtrail
from rowtrail import Journal, step
from rowtrail.adapter import DECLARED
from rowtrail.errors import CorruptRowError, UsageError

pytestmark = pytest.mark.both_engines


@dataclass
class Place:
    name: str
    at: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Trip:
    start: Place
    stops: list[Place] = field(default_factory=list)
    when: datetime | None = None


@dataclass
class Picky:
    """A class with a field that its constructor does not take."""

    n: int
    doubled: int = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = 2 * self.n


@dataclass(eq=False)
class Alone:
    n: int


class Stranger:
    """A class that is no data type."""

    def __init__(self, n: int) -> None:
        self.n = n


class Answer(BaseModel):
    text: str
    score: float = 0.0
    made_at: datetime | None = None
    price: Decimal | None = None


class Renamed(BaseModel):
    full_name: str = Field(alias="fullName")


class Secretive(BaseModel):
    n: int
    _secret: int = PrivateAttr(default=0)


class Pair(NamedTuple):
    a: int
    b: int


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RESULTS: list[tuple[Any, Any]] = [
    (Place, Place("Oslo", (59.9, 10.7))),
    (Trip, Trip(Place("Oslo"), [Place("Bergen"), Place("Røros")], NOON)),
    (list[Place], [Place("Oslo"), Place("Bergen")]),
    (dict[str, Place], {"start": Place("Oslo")}),
    (Place | None, Place("Oslo")),
    (Place | None, None),
    (tuple[Place, Answer], (Place("Oslo"), Answer(text="a"))),
    (Answer, Answer(text="yes", score=0.5, made_at=NOON, price=Decimal("1.10"))),
    (list[Answer], [Answer(text="a"), Answer(text="b")]),
    (Renamed, Renamed(fullName="Ada")),
    (Place, {"name": "a dict, whatever the annotation says", "at": [1, 2]}),
    (Answer, "not what was promised"),
    (list[Place], [{"name": "Oslo"}, Place("Oslo")]),
    (Any, {"plain": [1, (2,), {3}]}),
    (Any, Place("not named by the annotation")),
    (Answer, Place("of another class than promised")),
    (Pair, Pair(1, 2)),
    (Picky, Picky(2)),
    ("NotThere", {"a": "name that only checkers see"}),
    ("not an annotation!", 1),
]


def recorded(journal: Journal, returns: Any, result: Any, *, is_async: bool) -> list[Any]:
    """Return what a step gives when it is made, and when it is replayed."""
    made: list[Any] = []

    def plain() -> Any:
        made.append(result)
        return result

    async def coroutine() -> Any:
        return plain()

    function: Callable[[], Any] = coroutine if is_async else plain
    function.__annotations__["return"] = returns
    decorated = step(name="f")(function)

    async def main() -> Any:
        async with journal.run("r"):
            return await decorated()

    given: list[Any] = []
    for _ in range(2):
        if is_async:
            given.append(asyncio.run(main()))
        else:
            with journal.run("r"):
                given.append(decorated())
    return [*given, len(made)]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("returns", "result"), RESULTS, ids=range(len(RESULTS)))
def test_a_replayed_result_has_the_value_and_the_types_of_the_first(
    journal: Journal, returns: Any, result: Any, is_async: bool
) -> None:
    first, replayed, times = recorded(journal, returns, result, is_async=is_async)
    assert times == 1
    assert first is result
    assert replayed == result and repr(replayed) == repr(result)
    assert type(replayed) is type(result)


@pytest.mark.parametrize(
    ("returns", "result"),
    [
        (Alone, Alone(1)),
        (Any, Stranger(1)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_class_that_would_not_come_back_equal_is_not_stored(
    journal: Journal, returns: Any, result: Any
) -> None:
    first, second, times = recorded(journal, returns, result, is_async=False)
    assert first is second is result
    assert times == 2
    assert "not stored" in journal.steps("r")[1]["reason"]


def test_private_attributes_are_not_lost_in_silence(journal: Journal) -> None:
    secretive = Secretive(n=1)
    secretive._secret = 7
    first, second, _ = recorded(journal, Secretive, secretive, is_async=False)
    assert first._secret == second._secret == 7


def test_the_views_show_the_fields_of_a_class(journal: Journal) -> None:
    recorded(journal, Place, Place("Oslo", (1.0, 2.0)), is_async=False)
    shown = json.loads(journal.steps("r")[0]["output"])
    assert shown["name"] == "Oslo"


def test_a_class_that_has_changed_since_is_a_clear_error(journal: Journal) -> None:
    def version(*names: str) -> Callable[[], Any]:
        cls = dataclasses.make_dataclass("Draft", names)
        cls.__module__ = "app"

        def draft() -> Any:
            return cls(*names)

        draft.__annotations__["return"] = cls
        return step(name="draft")(draft)

    with journal.run("r"):
        version("text")()
    message = r"app\.Draft cannot be read back"
    with pytest.raises(CorruptRowError, match=message), journal.run("r"):
        version("body")()


# Arguments.


def test_the_arguments_are_recorded_as_they_were_given(journal: Journal) -> None:
    @step(name="extend")
    def extend(items: list[int], *more: int, **named: int) -> list[int]:
        items.extend(more)
        named.clear()
        return items

    with journal.run("r"):
        extend([1], 2, 3, x=4)
    with journal.run("r"):
        assert extend([1], 2, 3, x=4) == [1, 2, 3]
    (row,) = journal.steps("r")
    assert json.loads(row["input"]) == {"args": [[1], 2, 3], "kwargs": {"x": 4}}
    assert (row["output"], row["replays"]) == ("[1,2,3]", 1)


def test_a_replayed_result_is_the_callers_own(journal: Journal) -> None:
    @step
    def load() -> dict[str, list[int]]:
        return {"n": [1]}

    with journal.run("r"):
        load()["n"].append(2)
    for _ in range(2):
        with journal.run("r"):
            found = load()
            assert found == {"n": [1]}
            found["n"].append(3)


def test_a_key_says_what_a_call_asks_for(journal: Journal) -> None:
    made: list[str] = []

    @step(key=lambda connection, query, **options: {"query": query})
    def fetch(connection: object, query: str, *, at: float = 0) -> str:
        made.append(query)
        return query

    for attempt in range(2):
        with journal.run("r"):
            fetch(object(), "select 1", at=attempt)
            fetch(object(), "select 2", at=attempt)
    assert made == ["select 1", "select 2"]
    assert [json.loads(row["input"]) for row in journal.steps("r")] == [
        {"query": "select 1"},
        {"query": "select 2"},
    ]


class Client:
    """An object whose address changes from process to process, and its methods."""

    def __init__(self) -> None:
        self.made: list[int] = []

    @step
    def fetch(self, n: int) -> int:
        self.made.append(n)
        return n

    @classmethod
    @step
    def of_class(cls, n: int) -> int:
        return n

    @staticmethod
    @step
    def static(n: int) -> int:
        return n


def test_methods_may_be_steps(journal: Journal) -> None:
    clients = [Client(), Client()]
    for client in clients:
        with journal.run("r"):
            assert [client.fetch(1), client.of_class(2), client.static(3)] == [1, 2, 3]
    assert [client.made for client in clients] == [[1], []]
    names = [row["name"] for row in journal.steps("r")]
    assert names == ["Client.fetch", "Client.of_class", "Client.static"]


@pytest.mark.parametrize(
    "argument",
    [object(), "half \ud83d", float("nan"), {1: {2: (3,)}}, b"\0\xff", Place("Oslo"), print],
    ids=lambda value: type(value).__name__,
)
def test_any_argument_can_be_recorded(journal: Journal, argument: Any) -> None:
    @step
    def take(argument: Any) -> str:
        return "taken"

    for _ in range(2):
        with journal.run("r"):
            assert take(argument) == "taken"
    (row,) = journal.steps("r")
    assert row["replays"] == 1
    json.loads(row["input"])


@pytest.mark.parametrize("levels", [100, 1_000, 20_000])
def test_an_argument_may_be_nested_deep(journal: Journal, levels: int) -> None:
    deep: list[Any] = []
    for _ in range(levels):
        deep = [deep]

    @step
    def take(argument: Any) -> str:
        return "taken"

    for _ in range(2):
        with journal.run("r"):
            assert take(deep) == "taken"
    assert len(journal.steps("r")) == 1


# What it takes, and what it leaves.


def test_a_decorated_function_is_still_itself() -> None:
    @step(effect="write", on_doubt="ask")
    def send(to: str, *, body: str = "") -> str:
        """Send it."""
        return to

    assert (send.__name__, send.__doc__) == ("send", "Send it.")
    assert list(inspect.signature(send).parameters) == ["to", "body"]
    assert getattr(send, DECLARED) == ("write", "ask", ())
    assert send("a") == "a"


def test_a_coroutine_function_stays_one() -> None:
    @step
    async def send() -> None: ...

    assert inspect.iscoroutinefunction(send)


def test_a_coroutine_that_hides_behind_another_decorator_is_refused(journal: Journal) -> None:
    async def send() -> str:
        return "sent"

    @step
    @functools.wraps(send)
    def retried() -> Any:
        return send()

    with pytest.raises(UsageError, match="right above the `async def`"), journal.run("r"):
        retried()
    assert [row["status"] for row in journal.steps("r")] == ["failed"]


def test_a_partial_may_be_a_step(journal: Journal) -> None:
    add = step(functools.partial(max, 3))
    with journal.run("r"):
        assert (add(1), add(5)) == (3, 5)
    assert {row["name"] for row in journal.steps("r")} == {"partial"}


@pytest.mark.parametrize("given", [{"name": "called"}, {}])
def test_a_step_has_the_name_that_it_is_given(journal: Journal, given: dict[str, Any]) -> None:
    @step(**given)
    def named() -> None: ...

    with journal.run("r"):
        named()
    expected = given.get("name", named.__qualname__)
    assert [row["name"] for row in journal.steps("r")] == [expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "model"}, "kind='model' is unknown: use one of llm, tool, function"),
        ({"effect": "delete"}, "effect='delete' is unknown: use one of read, idempotent, write"),
        ({"effect": None}, "effect=None is unknown"),
        ({"on_doubt": "shrug"}, "on_doubt='shrug' is unknown: use one of fail, ask, retry, or"),
        ({"on_doubt": 7}, "on_doubt=7 is unknown"),
    ],
)
def test_a_word_without_a_meaning_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        step(**options)


def test_a_generator_is_refused() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def aitems() -> Any:
        yield 1

    for function in (items, aitems):
        with pytest.raises(UsageError, match="is a generator"):
            step(function)


def test_a_step_outside_a_run_is_a_plain_call(tmp_path: Path) -> None:
    @step(kind="llm", effect="write")
    def ask(what: object) -> object:
        return what

    thing = object()
    assert ask(thing) is thing


def test_the_same_function_may_be_a_step_of_several_journals(tmp_path: Path) -> None:
    made: list[int] = []

    @step
    def note(n: int) -> int:
        made.append(n)
        return n

    for name in ("one", "two", "one"):
        with rowtrail.Journal(tmp_path / name) as journal, journal.run("r"):
            assert note(1) == 1
    assert made == [1, 1]
