"""Threads of LangGraph's SQLite savers in a journal: the same history, and the same future."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import types
from contextlib import closing
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from rowtrail.errors import ImportSourceError, ThreadsExistError, UnknownIdError
from rowtrail_langgraph import ImportProgress, RowtrailSaver, import_sqlite_saver
from rowtrail_langgraph.importing._sameness import Comparison
from tests.cases.sqlite_files import (
    MODES,
    OLD_VERSIONS,
    Mode,
    change,
    chat,
    copied,
    langgraph_saver,
    old_graph,
    said,
    unpacked,
    write_chat,
)
from tests.cases.sqlite_threads import CONFIG, SCENARIOS, Driver, Scenario, begin

KEY = b"0123456789abcdef"

same = Comparison().is_same


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.sqlite"


@pytest.fixture(params=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return SCENARIOS[request.param]


def digests(path: Path) -> list[str]:
    """Return digests of a file and of its WAL, where that is not empty."""
    files = [file for file in (path, Path(f"{path}-wal")) if file.exists()]
    contents = [file.read_bytes() for file in files]
    return [hashlib.sha256(content).hexdigest() for content in contents if content]


def listed(saver: Any, config: Any = None) -> list[Any]:
    return list(saver.list(config))


def taken_over(source: Path, db: Path, **options: Any) -> Any:
    with RowtrailSaver(db, capture=False) as saver:
        return import_sqlite_saver(source, saver, **options)


@pytest.mark.parametrize("mode", MODES)
async def test_import_gives_what_the_original_saver_gives(
    scenario: Scenario, mode: Mode, source: Path, db: Path
) -> None:
    await begin(scenario, source, mode)
    before = digests(source)

    report = taken_over(source, db)

    assert digests(source) == before
    with SqliteSaver.from_conn_string(str(source)) as old, RowtrailSaver(db) as new:
        assert report.checkpoints == len(listed(old)) > 0
        assert report.writes == sum(len(found.pending_writes) for found in listed(old))
        assert same(listed(new), listed(old))
        namespaces = {found.config["configurable"]["checkpoint_ns"] for found in listed(old)}
        for ns in namespaces:
            config: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": ns}}
            assert same(new.get_tuple(config), old.get_tuple(config))


@pytest.mark.parametrize("mode", MODES)
async def test_an_imported_thread_has_the_same_states_and_goes_on_the_same(
    scenario: Scenario, mode: Mode, source: Path, db: Path, tmp_path: Path
) -> None:
    log = await begin(scenario, source, mode)
    taken_over(source, db)
    old_path = copied(source, tmp_path / "continued.sqlite")
    old_log, new_log = list(log), list(log)

    async with langgraph_saver(old_path, mode) as old_saver, RowtrailSaver(db) as new_saver:
        old = Driver(scenario.build(old_saver, old_log), mode)
        new = Driver(scenario.build(new_saver, new_log), mode)
        assert same(await new.state(), await old.state())
        assert same(await new.history(), await old.history())
        await scenario.go_on(old)
        await scenario.go_on(new)

    assert same(new.outcomes, old.outcomes)
    assert sorted(new_log) == sorted(old_log)
    assert len(new_log) > len(log)


async def test_versions_of_channels_go_on_from_those_of_the_original(
    source: Path, db: Path
) -> None:
    await begin(SCENARIOS["chat"], source)
    taken_over(source, db)
    with RowtrailSaver(db) as saver:
        found = saver.get_tuple(CONFIG)
        assert found is not None
        greatest = max(map(str, found.checkpoint["channel_versions"].values()))

        chat(saver).invoke(said("more"), CONFIG)

        again = saver.get_tuple(CONFIG)
        assert again is not None
        versions = again.checkpoint["channel_versions"].values()
        assert {type(version) for version in versions} == {str}
        assert max(map(str, versions)) > greatest


@pytest.mark.parametrize("version", OLD_VERSIONS)
@pytest.mark.filterwarnings("ignore:Importing Send from langgraph.constants")
def test_files_of_old_releases_are_imported_and_go_on_the_same(
    version: str, source: Path, db: Path, tmp_path: Path
) -> None:
    unpacked(version, source)
    report = taken_over(source, db)
    old_path = copied(source, tmp_path / "continued.sqlite")

    assert [thread.thread_id for thread in report.threads] == ["approval", "chat", "sends"]
    with SqliteSaver.from_conn_string(str(old_path)) as old, RowtrailSaver(db) as new:
        assert same(listed(new), listed(old))
        outcomes = []
        for saver in (old, new):
            graph = old_graph(saver)
            results = []
            for thread_id, given in (("approval", None), ("sends", None), ("chat", said("more"))):
                config: Any = {"configurable": {"thread_id": thread_id}}
                results.append(graph.invoke(given, config))
                results.append(graph.get_state(config).values)
            outcomes.append(results)
    assert same(*outcomes)
    assert outcomes[0][2]["found"] == [0, 1, 2]


async def test_a_file_without_task_paths_reads_as_langgraph_reads_it(
    source: Path, db: Path
) -> None:
    await begin(SCENARIOS["fan_out"], source)
    change(source, "ALTER TABLE writes DROP COLUMN task_path")
    before = digests(source)

    taken_over(source, db)

    assert digests(source) == before
    with SqliteSaver.from_conn_string(str(source)) as old, RowtrailSaver(db) as new:
        assert same(listed(new), listed(old))


def test_a_long_thread_shrinks_to_a_tenth_at_most(source: Path, db: Path) -> None:
    def reply(state: Any) -> Any:
        return {"messages": [("ai", f"{len(state['messages']):05}" * 100)]}

    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply)
    builder.add_edge(START, "reply")
    with SqliteSaver.from_conn_string(str(source)) as old:
        graph: Any = builder.compile(checkpointer=old)
        for n in range(100):
            graph.invoke({"messages": [("user", f"{n:05}" * 100)]}, CONFIG)

    report = taken_over(source, db)

    assert report.source_bytes == source.stat().st_size
    assert db.stat().st_size <= source.stat().st_size / 10


async def test_chosen_threads_are_imported_and_others_left(source: Path, db: Path) -> None:
    write_chat(source, "a", "b", "c")

    report = taken_over(source, db, thread_ids=["c", "a"])

    assert [thread.thread_id for thread in report.threads] == ["c", "a"]
    with RowtrailSaver(db) as saver:
        found = {t.config["configurable"]["thread_id"] for t in listed(saver)}
        assert found == {"a", "c"}


def test_a_thread_that_is_not_in_the_file_is_named(source: Path, db: Path) -> None:
    write_chat(source, "a")

    with pytest.raises(UnknownIdError, match="no thread 'b'; it has 'a'") as caught:
        taken_over(source, db, thread_ids=["a", "b"])

    assert (caught.value.kind, caught.value.value) == ("thread", "b")
    assert taken_over(source, db, dry_run=True).skipped == ()


def test_threads_that_the_journal_has_are_refused_or_skipped(source: Path, db: Path) -> None:
    write_chat(source, "a", "b", "c")
    with RowtrailSaver(db) as saver:
        chat(saver).invoke(said("mine"), {"configurable": {"thread_id": "b"}})
        mine = listed(saver)

        with pytest.raises(ThreadsExistError, match="'b'") as caught:
            import_sqlite_saver(source, saver)

        assert caught.value.thread_ids == ("b",)
        assert same(listed(saver), mine)
        report = import_sqlite_saver(source, saver, skip_existing=True)
        assert report.skipped == ("b",)
        assert [thread.thread_id for thread in report.threads] == ["a", "c"]
        assert same(listed(saver, {"configurable": {"thread_id": "b"}}), mine)


def test_writes_of_checkpoints_that_never_arrived_are_counted(source: Path, db: Path) -> None:
    write_chat(source, "a")
    with SqliteSaver.from_conn_string(str(source)) as old:
        lost: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": "", "checkpoint_id": "ff"}}
        old.put_writes(lost, [("messages", [1]), ("other", 2)], "task")

    assert taken_over(source, db).orphan_writes == 2


def test_times_of_the_original_are_kept(source: Path, db: Path) -> None:
    write_chat(source, "a")
    with SqliteSaver.from_conn_string(str(source)) as old:
        stamps = [t.checkpoint["ts"][:23] + "Z" for t in listed(old)]

    taken_over(source, db)

    with closing(sqlite3.connect(db)) as connection:
        found = connection.execute(
            "SELECT created_at FROM checkpoints ORDER BY checkpoint_id DESC"
        ).fetchall()
        first, last = connection.execute("SELECT first_at, last_at FROM threads").fetchone()
    assert [at for (at,) in found] == stamps
    assert (first, last) == (stamps[-1], stamps[0])


def test_progress_tells_each_phase(source: Path, db: Path) -> None:
    write_chat(source, "a", "b")
    seen: list[ImportProgress] = []

    report = taken_over(source, db, progress=seen.append)

    total = report.checkpoints
    for phase in ("check", "import", "verify"):
        done = [p.done for p in seen if p.phase == phase]
        assert [n for n in done if n] == list(range(1, total + 1))
    assert {p.total for p in seen} == {total}
    assert json.loads(json.dumps(report.as_dict()))["checkpoints"] == total


# What cannot be rebuilt here is kept as it was stored.


@pytest.fixture
def shop() -> Any:
    """A module that is there when a test begins."""
    module = types.ModuleType("shop")
    module.__dict__["Item"] = make_dataclass("Item", ["name", "price"])
    module.__dict__["Item"].__module__ = "shop"
    sys.modules["shop"] = module
    yield module
    sys.modules.pop("shop", None)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_objects_of_classes_that_cannot_be_imported_are_kept(
    is_encrypted: bool, source: Path, db: Path, shop: Any
) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=KEY) if is_encrypted else None
    things = [shop.Item("cup", 3), {"inside": [shop.Item("pot", 4)]}, "plain"]
    with closing(sqlite3.connect(source, check_same_thread=False)) as connection:
        old = SqliteSaver(connection, serde=serde)
        saved = old.put(
            {"configurable": {"thread_id": "1", "checkpoint_ns": ""}},
            checkpoint(channel_values={"things": things, "one": shop.Item("one", 1)}),
            {},
            {},
        )
        old.put_writes(saved, [("things", shop.Item("late", 5))], "task")
        expected = listed(old)
    del sys.modules["shop"]

    with RowtrailSaver(db, serde=serde) as new:
        report = import_sqlite_saver(source, new)

    assert report.kept_types == ("shop.Item",)
    sys.modules["shop"] = shop
    with RowtrailSaver(db, serde=serde) as new:
        assert same(listed(new), expected)


def checkpoint(**parts: Any) -> Any:
    """Return a checkpoint as LangGraph 0.2 made them."""
    return {
        "v": 1,
        "id": "1ef4f797-8335-6428-8001-8a1503f9b875",
        "ts": "2024-07-31T20:14:19.804150+00:00",
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
        "pending_sends": [],
        **parts,
    }


def test_an_encrypted_file_needs_its_key(source: Path, db: Path) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=KEY)
    with closing(sqlite3.connect(source, check_same_thread=False)) as connection:
        old = SqliteSaver(connection, serde=serde)
        chat(old).invoke(said("secret"), CONFIG)
        expected = listed(old)

    with pytest.raises(ImportSourceError, match="another serializer or key"):
        taken_over(source, db)

    with RowtrailSaver(db, serde=serde) as new:
        import_sqlite_saver(source, new)
        assert same(listed(new), expected)
    assert b"secret" not in db.read_bytes()


# Files that are in use.


def test_a_file_is_imported_while_its_saver_has_it_open(source: Path, db: Path) -> None:
    with SqliteSaver.from_conn_string(str(source)) as old:
        graph = chat(old)
        graph.invoke(said("first"), CONFIG)
        assert Path(f"{source}-wal").stat().st_size > 0

        with RowtrailSaver(db) as new:
            import_sqlite_saver(source, new)
            assert same(listed(new), listed(old))
        graph.invoke(said("second"), CONFIG)
        assert len(graph.get_state(CONFIG).values["messages"]) == 4


def test_what_is_written_during_an_import_is_not_in_it(source: Path, db: Path) -> None:
    with SqliteSaver.from_conn_string(str(source)) as old, RowtrailSaver(db) as new:
        graph = chat(old)
        graph.invoke(said("first"), CONFIG)
        expected = listed(old)

        def interfere(progress: ImportProgress) -> None:
            if progress.done == 1:
                graph.invoke(said(progress.phase), CONFIG)

        report = import_sqlite_saver(source, new, progress=interfere)

        assert report.checkpoints == len(expected) < len(listed(old))
        assert same(listed(new), expected)


@dataclass
class _Kind:
    value: Any


@pytest.mark.parametrize(
    ("found", "original"),
    [
        (1, True),
        (1, 1.0),
        ([1], (1,)),
        ({"a": 1}, {"a": 1, "b": 2}),
        ("a", b"a"),
        (_Kind(1), _Kind(2)),
        (float("nan"), 0.0),
    ],
)
def test_a_difference_in_value_or_type_is_seen(found: Any, original: Any) -> None:
    assert not same({"deep": [found]}, {"deep": [original]})
    assert same({"deep": [original]}, {"deep": [original]})


def test_a_resume_of_an_imported_thread_is_a_run_of_its_own(source: Path, db: Path) -> None:
    with SqliteSaver.from_conn_string(str(source)) as old:
        SCENARIOS["functional"].build(old, []).invoke([1, 2], CONFIG)
    taken_over(source, db)

    with RowtrailSaver(db) as saver:
        SCENARIOS["functional"].build(saver, []).invoke(Command(resume="ok"), CONFIG)
        (run,) = saver.journal.runs()
    assert (run["status"], run["thread_id"]) == ("done", "1")
