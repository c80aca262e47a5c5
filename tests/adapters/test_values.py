"""What can be written can be read: by the same saver, and by another process."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rowtrail import Journal, step
from rowtrail.errors import UnstorableError
from rowtrail.verify import repair, verify
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._guard import default_serde
from tests._sample import IS_FULL
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.cases import kinds
from tests.conftest import Child, Rows

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydantic's, of LangGraph's dumps


def saver(path: Path, serde: str) -> RowtrailSaver:
    return RowtrailSaver(path, serde=kinds.SERDES[serde](), **QUICK)


def write(saver: RowtrailSaver, name: str, value: Any) -> bool:
    """Write a value to a thread, as channel and as pending write; return whether it was taken."""
    try:
        config = saver.put(thread(name), checkpoint({"ch": value, "list": [value]}), {}, {})
    except UnstorableError as refused:
        return "'ch'" not in str(refused)
    saver.put_writes(config, [("ch", value)], "task")
    return True


def read(saver: RowtrailSaver, name: str) -> Any:
    """Return a value as it is read in each place, which must be the same."""
    found = saver.get_tuple(thread(name))
    assert found is not None and found.pending_writes is not None
    values = found.checkpoint["channel_values"]
    again = [values["ch"], values["list"][0], found.pending_writes[0][2]]
    assert len({digest(each) for each in again}) == 1
    return again[0]


def channel(saver: RowtrailSaver, name: str) -> Any:
    found = saver.get_tuple(thread(name))
    assert found is not None
    return found.checkpoint["channel_values"]["ch"]


def digest(value: Any) -> str:
    """Return a digest of the type and of all that the serializer sees of a value."""
    try:
        payload = repr(JsonPlusSerializer().dumps_typed(value))
    except Exception:
        payload = repr(value)
    return hashlib.sha256(f"{type(value)} {payload}".encode()).hexdigest()


def every_value(serde: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf in every container; in a sample each of them for one of the serializers."""
    mine = list(kinds.SERDES).index(serde)
    for i, (leaf, value) in enumerate(kinds.LEAVES.items()):
        for j, (container, wrap) in enumerate(kinds.CONTAINERS.items()):
            if IS_FULL or (i + j) % len(kinds.SERDES) == mine:
                yield f"{leaf} in {container}", wrap(value)


READ_ALL = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.adapters.test_values import digest, read, saver
there = {{}}
for serde, names in json.loads(sys.argv[2]).items():
    with saver(Path(sys.argv[1], serde), serde) as opened:
        there[serde] = {{name: digest(read(opened, name)) for name in names}}
print(json.dumps(there))
"""


def test_what_is_taken_is_read_by_the_same_saver_and_by_another_process(
    tmp_path: Path, child: Child
) -> None:
    here: dict[str, dict[str, str]] = {}
    for serde in kinds.SERDES:
        with saver(tmp_path / serde, serde) as opened:
            values = list(every_value(serde))
            taken = [name for name, value in values if write(opened, name, value)]
            here[serde] = {name: digest(read(opened, name)) for name in taken}
        assert len(taken) > 0.9 * len(values)

    asked = json.dumps({serde: list(found) for serde, found in here.items()})
    there = json.loads(child(READ_ALL, tmp_path, asked).stdout)

    for serde, found in here.items():
        assert {name for name in found if found[name] != there[serde][name]} == set(), serde
        # A serializer that calls whatever is named reads more than others would.
        assert verify(str(tmp_path / serde)).ok or serde == "permissive"


@given(
    st.recursive(
        st.sampled_from(sorted(kinds.LEAVES)).map(lambda name: kinds.LEAVES[name]),
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(sorted(kinds.CONTAINERS)), inner).map(
                lambda made: kinds.CONTAINERS[made[0]](made[1])
            ),
            st.lists(inner, max_size=3),
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        max_leaves=4,
    ),
    st.sampled_from(sorted(kinds.SERDES)),
)
@settings(max_examples=3000 if IS_FULL else 60)
def test_any_nesting_that_is_taken_is_read(
    tmp_path_factory: pytest.TempPathFactory, value: Any, serde: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "agent.db"
    with saver(path, serde) as opened:
        taken = write(opened, "t", value)
    if taken:
        with saver(path, serde) as opened:
            first = read(opened, "t")
            assert write(opened, "again", first)  # and what is read can be written
            assert digest(read(opened, "again")) == digest(first)


EQUAL = [
    (leaf, container)
    for leaf in kinds.LEAVES
    if leaf not in kinds.UNEQUAL
    for container in ("bare", "list", "tuple", "dict", "artifact", "dataclass", "named tuple")
]


@pytest.mark.parametrize("container", sorted({container for _, container in EQUAL}))
def test_subclasses_come_back_equal(db: Path, container: str) -> None:
    wrap = kinds.CONTAINERS[container]
    with saver(db, "guarded") as opened:
        for leaf in (leaf for leaf, wanted in EQUAL if wanted == container):
            value = wrap(kinds.LEAVES[leaf])
            if write(opened, leaf, value):
                assert read(opened, leaf) == value, leaf


def test_a_class_that_becomes_another_is_named_once(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cls = kinds.subclass(datetime, "somewhere")
    with caplog.at_level(logging.WARNING, "rowtrail"), saver(db, "guarded") as opened:
        for number in range(3):
            write(opened, f"t{number}", {"at": cls(2026, 1, 1 + number)})

    said = [record.getMessage() for record in caplog.records if record.name == "rowtrail"]
    assert len(said) == 1
    assert "somewhere.Owndatetime" in said[0] and "datetime.datetime" in said[0]


def test_a_constructor_that_raises_loses_no_thread(db: Path) -> None:
    with saver(db, "guarded") as opened:
        assert write(opened, "t", kinds.Derived(3))
        assert read(opened, "t") == kinds.Derived(3)


class TestOldFiles:
    """Files in which values of such subclasses were written as they are."""

    @pytest.fixture
    def old(self, db: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        def as_it_was(self: GraphCodec, value: Any) -> Any:
            return self._serialized(value)

        monkeypatch.setattr(GraphCodec, "encode_value", as_it_was)
        moment = kinds.LEAVES["own datetime"]
        values: dict[str, Any] = {
            "at": moment,
            "days": [kinds.LEAVES["own date"]],
            "messages": [ToolMessage("x", tool_call_id="c", artifact=[moment]), "other"],
        }
        with saver(db, "guarded") as opened:
            opened.put(thread(), checkpoint(values), {}, {})
            opened.put(thread("sound"), checkpoint({"n": 1}), {}, {})
        return db

    def test_are_read(self, old: Path) -> None:
        with saver(old, "guarded") as opened:
            found = opened.get_tuple(thread())

        assert found is not None
        values = found.checkpoint["channel_values"]
        assert values["at"] == kinds.LEAVES["datetime"] and type(values["at"]) is datetime
        assert values["days"] == [kinds.LEAVES["date"]]
        assert values["messages"][0].artifact == [kinds.LEAVES["datetime"]]

    def test_are_named_by_verify(self, old: Path) -> None:
        found = verify(str(old))

        assert {fault.check for fault in found.faults} == {"value"}
        assert found.fault_count == 3
        for fault in found.faults:
            assert "tests.cases.kinds.Own" in fault.says
            assert len(fault.affects) == 1 and "thread 't'" in fault.affects[0]
        assert verify(str(old), quick=True).ok

    def test_are_repaired_all_the_same(self, old: Path, tmp_path: Path) -> None:
        built = repair(str(old), str(tmp_path / "fixed.db"))
        assert built.loss_count == 0


class TestResultsOfTools:
    """The same for results, which must be equal to be stored."""

    @pytest.mark.parametrize("serde", kinds.SERDES)
    def test_what_is_stored_is_equal(self, serde: str) -> None:
        codec = GraphCodec(kinds.SERDES[serde]() or default_serde())
        stored = 0
        values = list(every_value(serde))
        for name, value in values:
            try:
                encoded = codec.encode(value)
            except UnstorableError:
                continue
            stored += 1
            again = codec.decode(encoded)
            assert again == value or digest(again) == digest(value), name
        assert stored > 0.6 * len(values)


class TestArrays:
    def frames(self) -> dict[str, Any]:
        numpy: Any = pytest.importorskip("numpy")
        pandas: Any = pytest.importorskip("pandas")
        days = pandas.date_range("2026-01-01", periods=3, freq="D", tz="Europe/Oslo")
        frame = pandas.DataFrame(
            {"n": [1, 2, 3], "x": [1.5, None, 2], "s": ["a", None, "c"], "t": days}, index=days
        )
        return {
            "timestamp": days[0],
            "delta": pandas.Timedelta("1 days 00:00:00.000000001"),
            "frame": frame,
            "series": frame["x"],
            "index": days,
            "category": pandas.Series(["a", "b"], dtype="category"),
            "nullable": pandas.Series([1, None], dtype="Int64"),
            "names": pandas.MultiIndex.from_product([[1, 2], ["a"]], names=["x", "y"]),
            "array": numpy.arange(6).reshape(2, 3),
            "columns first": numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
            "fields": numpy.array([("a", 1)], dtype=[("n", "U3"), ("i", "i4")]),
            "objects": numpy.array([1, "a", None, [1]], dtype=object),
            "times": numpy.array(["2026-01-01"], dtype="M8[ns]"),
            "empty": numpy.zeros((0, 3)),
            "float": numpy.float64(1.5),
            "half": numpy.float16(1.5),
            "bool": numpy.bool_(True),
            "complex": numpy.complex64(1 + 2j),
        }

    @pytest.mark.parametrize("serde", kinds.SERDES)
    def test_come_back_as_they_were(self, db: Path, serde: str) -> None:
        values = self.frames()
        with saver(db, serde) as opened:
            for name, value in values.items():
                for container in ("bare", "list", "tuple", "dict", "artifact"):
                    assert write(opened, f"{name} {container}", kinds.CONTAINERS[container](value))
        with saver(db, serde) as opened:
            for name, value in values.items():
                again = channel(opened, f"{name} bare")
                assert type(again) is type(value) and repr(again) == repr(value), name
                assert getattr(again, "dtype", None) == getattr(value, "dtype", None), name
                (held,) = channel(opened, f"{name} artifact").artifact.values()
                assert type(held) is type(value) and repr(held) == repr(value), name

    def test_can_be_written_to_again(self, db: Path) -> None:
        numpy: Any = pytest.importorskip("numpy")
        with saver(db, "guarded") as opened:
            write(opened, "t", numpy.zeros(3))
            again = channel(opened, "t")
        again += 1
        assert again.sum() == 3

    def test_are_results_of_steps(self, db: Path) -> None:
        values = self.frames()
        made: list[str] = []

        @step
        def load(name: str) -> Any:
            made.append(name)
            return {"of": values[name], "in": kinds.Box(values[name])}

        for _ in range(2):
            with Journal(db) as journal, journal.run("r"):
                for name, value in values.items():
                    found = load(name)
                    assert repr(found) == repr({"of": value, "in": kinds.Box(value)}), name
        assert made == list(values)

    @pytest.mark.parametrize("kind", ["masked", "records"])
    @pytest.mark.parametrize("serde", kinds.SERDES)
    def test_what_would_lose_its_mask_or_fields_is_refused(
        self, db: Path, kind: str, serde: str
    ) -> None:
        numpy: Any = pytest.importorskip("numpy")
        value = (
            numpy.ma.array([1, 2], mask=[0, 1])
            if kind == "masked"
            else numpy.rec.array([(1, 2)], dtype=[("a", int), ("b", int)])
        )
        with saver(db, serde) as opened, pytest.raises(UnstorableError, match="numpy"):
            opened.put(thread(), checkpoint({"ch": value}), {}, {})


def test_the_views_show_what_is_stored_in_place(db: Path, rows: Rows) -> None:
    with saver(db, "guarded") as opened:
        opened.put(thread(), checkpoint({"at": kinds.LEAVES["own date"]}), {}, {})
    (row,) = rows("SELECT value, type FROM state")
    assert json.loads(row["value"])["v"] == "2026-11-28"
