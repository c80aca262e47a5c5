"""Results of steps that are more than JSON: stored where that is safe, else said loudly."""

from __future__ import annotations

import enum
import json
import logging
import sqlite3
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import rowtrail
from rowtrail import Journal
from rowtrail.checkpoint._packing import MAX_RATIO, body_fault, pack_body, unpack_body
from rowtrail.content import Codec, Encoded, UnknownClassError
from rowtrail.errors import CorruptRowError, UnstorableError
from rowtrail.journal._unstored import warn_not_stored
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.plugin.conftest import Cli, World


class Colour(enum.Enum):
    RED = "red"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    of: Any = None


@dataclass
class Derived:
    n: int
    doubled: int = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = 2 * self.n


class Pair(NamedTuple):
    first: Any
    second: int = 0


class User(BaseModel):
    id: int
    colour: Colour = Colour.RED


class Outer:
    @dataclass
    class Point:
        y: int


RESULTS: list[Any] = [
    Point(1),
    Derived(2),
    Outer.Point(1),
    User(id=1),
    Colour.RED,
    Access.READ | Access.WRITE,
    Pair(1),
    Path("/a/b"),
    PurePosixPath("a"),
    PureWindowsPath("C:/a"),
]

CODEC = Codec()


@pytest.mark.parametrize("result", RESULTS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("inside", [False, True], ids=["bare", "inside"])
@pytest.mark.parametrize("effect", ["read", "write"])
def test_results_without_annotation_are_replayed(
    db: Path, result: Any, inside: bool, effect: Any
) -> None:
    value = {"of": [(Point(2, result),), result]} if inside else result
    made: list[Any] = []

    @rowtrail.step(name="make", effect=effect)
    def make():  # type: ignore[no-untyped-def]
        made.append(value)
        return value

    for _ in range(2):
        with Journal(db) as journal, journal.run("r"):
            again: Any = make()
            assert again == value and repr(again) == repr(value)
            assert type(again) is type(value)
    assert len(made) == 1


PROGRAM = """
import enum, pathlib
from dataclasses import dataclass
@dataclass
class Point:
    x: int
class Colour(enum.Enum):
    RED = "red"
@step(name="make", effect="write")
def make():
    note("made")
    return [Point(1), Colour.RED, pathlib.PurePosixPath("/a")]
with Journal(DB) as journal, journal.run("r"):
    assert make() == [Point(1), Colour.RED, pathlib.PurePosixPath("/a")]
    die_at("end")
"""


def test_results_are_replayed_in_another_process(world: World) -> None:
    world.kill(PROGRAM, "end")
    world.run(PROGRAM)
    assert world.ledger() == ["made"]


def stored_as(tag: str, fields: Any) -> Encoded:
    return Encoded("dict", json.dumps({"a": {"$rowtrail": tag, "v": fields}}))


@pytest.mark.parametrize(
    "tag",
    [
        "os.system",
        "builtins.eval",
        "builtins.dict",
        "subprocess.Popen",
        "pathlib.Path",
        "tests.plugin.test_values.CODEC",
        "tests.plugin.test_values.Outer",
        "tests.plugin.test_values.User.model_validate",
        "antigravity.fly",
        "..",
        ".",
        "a.",
        ".a",
    ],
)
def test_what_a_row_names_is_not_called(tag: str) -> None:
    for stored in (stored_as(tag, ["touch rowtrail-canary"]), Encoded(tag, '"touch"')):
        with pytest.raises(CorruptRowError):
            CODEC.decode(stored)


def test_a_module_that_only_a_row_names_is_not_imported() -> None:
    assert "this" not in sys.modules
    with pytest.raises(UnknownClassError, match=r"this\.Thing"):
        CODEC.decode(Encoded("this.Thing", "{}"))
    assert "this" not in sys.modules


class Opaque:
    """A class that is no data type."""


def local_point() -> Any:
    @dataclass
    class Local:
        x: int

    return Local(1)


@pytest.mark.parametrize(
    "value",
    [Opaque(), local_point(), {"a": [Opaque()]}, range(2)],
    ids=["object", "local class", "inside a dict", "range"],
)
def test_other_objects_are_not_stored(value: Any) -> None:
    with pytest.raises(UnstorableError):
        CODEC.encode(value)


def test_arguments_are_shown_and_not_built_again() -> None:
    built: list[int] = []

    @dataclass
    class Client:
        n: int

        def __post_init__(self) -> None:
            built.append(self.n)

    CODEC.encode_shown({"args": [Client(1), Derived(1)]})
    assert built == [1]


class TestTheWarning:
    def test_is_said_once_for_each_step_and_names_the_remedy(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = UnstorableError("a Thing has no stored form", type_name="Thing")
        with caplog.at_level(logging.WARNING, "rowtrail"):
            for _ in range(3):
                warn_not_stored("function", "make a thing", "read", error)
                warn_not_stored("tool", "send a thing", "write", error)

        read, write = (record.getMessage() for record in caplog.records)
        assert "'make a thing'" in read and "made again" in read and "dataclass" in read
        assert "'send a thing'" in write and "rowtrail in-doubt" in write


class TestInDoubt:
    @pytest.fixture
    def step_id(self, journal: Journal) -> str:
        @rowtrail.step(kind="tool", name="charge", effect="write")
        def charge() -> Any:
            return Opaque()

        @rowtrail.step(kind="tool", name="look", effect="read")
        def look() -> Any:
            return Opaque()

        @rowtrail.step(kind="tool", name="nothing", effect="write")
        def nothing() -> None:
            return None

        with journal.run("r"):
            charge()
            look()
            nothing()
        (row,) = (row for row in journal.steps("r") if row["name"] == "charge")
        journal.close()
        return str(row["step_id"])

    def test_lists_a_write_whose_result_is_not_stored(
        self, cli: Cli, db: Path, step_id: str
    ) -> None:
        listed = cli("in-doubt", "--db", db, "--json").json
        assert [row["step_id"] for row in listed] == [step_id]
        assert "on_doubt" in cli("in-doubt", step_id, "--db", db).out
        (named,) = cli("sql", "@in_doubt", "--db", db, "--json").json
        assert named["step_id"] == step_id

    @pytest.mark.parametrize("answer", [["--text", "paid"], ["--not-done"]], ids=str)
    def test_settles_it(self, cli: Cli, db: Path, step_id: str, answer: list[str]) -> None:
        assert cli("in-doubt", step_id, *answer, "--yes", "--db", db).code == 0
        assert cli("in-doubt", "--db", db).code == 3


class TestPackedBodies:
    @given(
        st.text(alphabet="abc", max_size=5),
        st.integers(0, 300_000),
        st.text(max_size=200),
        st.integers(0, 300),
    )
    def test_any_body_is_unpacked(self, unit: str, times: int, text: str, values: int) -> None:
        body = Encoded("dict", json.dumps({"x": unit * times, "y": text}))
        assert unpack_body(pack_body(body, values)) == body

    @pytest.mark.parametrize("megabytes", [3, 30])
    def test_a_large_body_that_shrinks_much_is_unpacked(self, megabytes: int) -> None:
        body = Encoded("dict", json.dumps({"x": "a" * megabytes * 2**20}))
        packed = pack_body(body, 1)
        assert unpack_body(packed) == body
        assert body_fault(packed, None) is None

    def test_a_bomb_is_refused_before_it_is_unpacked(self) -> None:
        packer = zlib.compressobj(9, wbits=-15)
        bomb = b"z\0" + packer.compress(b'{"x":"' + b"a" * 100_000_000 + b'"}') + packer.flush()
        with pytest.raises(CorruptRowError, match="unpack to more"):
            unpack_body(bomb)
        assert "unpack to more" in str(body_fault(bomb, None))
        assert len(bomb) * MAX_RATIO < 100_000_000

    @given(st.binary(max_size=200))
    def test_any_bytes_give_a_body_or_a_clear_error(self, stored: bytes) -> None:
        try:
            unpack_body(stored)
        except CorruptRowError:
            return
        assert stored[:1] in (b"z", b"d", b"p")


HOSTILE = [
    "[" * 100_000,
    '{"a":' * 100_000,
    json.dumps({"$rowtrail": "int", "v": "9" * 100_000}),
    json.dumps({"$rowtrail": "decimal", "v": "1e" + "9" * 5_000}),
    json.dumps({"$rowtrail": "timedelta", "v": [10**12, 0, 0]}),
    json.dumps({"$rowtrail": "bytes", "v": "=" * 1000}),
    json.dumps({"$rowtrail": "ndarray", "v": {"dtype": "<f8", "shape": [10**12], "data": "x"}}),
    json.dumps({"$rowtrail": "ndarray", "v": {"dtype": "O", "shape": [10**12], "items": []}}),
    json.dumps({"$rowtrail": "DataFrame", "v": {}}),
    json.dumps({"$rowtrail": "complex", "v": []}),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: str(text)[:30])
def test_hostile_text_is_a_clear_error(text: str) -> None:
    with pytest.raises(CorruptRowError):
        CODEC.decode(Encoded("dict", text))


@pytest.mark.parametrize(
    "change",
    [
        f"update list set pieces = '[{','.join(4096 * ['[0,0,2]'])}]'",
        f"update list set pieces = '{50_000 * '['}'",
        "update log_item set pos = pos + 1000000000000",
    ],
    ids=["pieces", "nesting", "positions"],
)
def test_a_hostile_list_is_a_clear_error(db: Path, change: str) -> None:
    with RowtrailSaver(db, **QUICK) as saver:
        saver.put(thread(), checkpoint({"items": ["a", "b", "c"]}), {}, {})
    with sqlite3.connect(db) as connection:
        connection.execute(change)
    connection.close()

    with RowtrailSaver(db, **QUICK) as saver, pytest.raises(CorruptRowError):
        saver.get_tuple(thread())
    with RowtrailSaver(db, **QUICK) as saver:
        try:
            saver.put(thread(), checkpoint({"items": ["a", "b", "c", "d"]}), {}, {})
        except CorruptRowError:
            return
        found = saver.get_tuple(thread())
    assert found is not None  # the thread goes on
    assert found.checkpoint["channel_values"]["items"] == ["a", "b", "c", "d"]
