"""`RowtrailSaver` as LangGraph calls it: what is put is what is got, listed and found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base.id import uuid6

from rowtrail import Journal
from rowtrail.errors import ClosedError, UsageError
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import Mode, both_modes, checkpoint, driven, ids, named, thread
from tests.conftest import Rows

pytestmark = pytest.mark.both_engines


@both_modes
class TestGetting:
    async def test_returns_what_was_put(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            values = {"messages": [HumanMessage("hi", id="1")], "n": 1, "empty": [], "none": None}
            stored = checkpoint(values)
            stored["versions_seen"] = {"node": {"n": 1, "messages": 2}}
            stored["updated_channels"] = ["n"]
            config = await driver.put(thread(), stored, source="input", step=-1, parents={})

            found = await driver.found(thread())

            assert found.checkpoint == stored
            assert found.metadata == {"source": "input", "step": -1, "parents": {}}
            assert found.config == config == thread(checkpoint_id=stored["id"])
            assert found.parent_config is None
            assert found.pending_writes == []
            assert await driver.found(config) == found

    async def test_gives_the_parent_that_the_checkpoint_was_put_on(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            parent = await driver.put(thread(), checkpoint())
            await driver.put(parent, checkpoint())

            assert (await driver.found(thread())).parent_config == parent

    async def test_keeps_namespaces_and_threads_apart(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            places = [thread("a"), thread("a", "child:1"), thread("b"), thread("b", "child:1|x:2")]
            for number, place in enumerate(places):
                await driver.put(place, checkpoint({"n": number}))

            for number, place in enumerate(places):
                found = await driver.found(place)
                assert found.checkpoint["channel_values"] == {"n": number}

    async def test_returns_none_for_what_does_not_exist(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            assert await driver.get(thread()) is None
            await driver.put(thread(), checkpoint())

            assert await driver.get(thread("other")) is None
            assert await driver.get(thread(ns="other")) is None
            assert await driver.get(thread(checkpoint_id=str(uuid6()))) is None
            assert await driver.get(thread(checkpoint_id="no uuid")) is None

    async def test_takes_any_text_for_an_id(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            for text in ("1", "x" * 300, "É", "1EF663BA-28FE-6528-8001-C3D6C4BA5E93", str(uuid6())):
                await driver.put(thread(text, text), checkpoint({"n": text}, id=text))

                found = await driver.found(thread(text, text))
                assert found.checkpoint["id"] == text
                assert found == await driver.found(thread(text, text, text))

    async def test_takes_a_number_for_a_thread_id(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            await driver.put({"configurable": {"thread_id": 7}}, checkpoint({"n": 1}))

            assert (await driver.found(thread("7"))).checkpoint["channel_values"] == {"n": 1}

    async def test_puts_in_the_root_namespace_unless_told(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            await driver.put({"configurable": {"thread_id": "t"}}, checkpoint({"n": 1}))

            assert (await driver.found(thread())).checkpoint["channel_values"] == {"n": 1}

    @pytest.mark.parametrize("config", [{}, {"configurable": {}}, {"configurable": None}], ids=str)
    async def test_says_that_a_thread_id_is_missing(
        self, mode: Mode, where: str, config: Any
    ) -> None:
        with driven(where, mode) as driver:
            with pytest.raises(UsageError, match="thread_id"):
                await driver.get(config)
            with pytest.raises(UsageError, match="thread_id"):
                await driver.put(config, checkpoint())
            with pytest.raises(UsageError, match="thread_id"):
                await driver.put_writes(config, [("ch", 1)], "task")

    async def test_puts_again_in_place_of_a_checkpoint(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            first = checkpoint({"n": 1, "gone": 2})
            config = await driver.put(thread(), first, step=1)
            await driver.put(thread(), {**checkpoint({"n": 3}), "id": first["id"]}, step=2)

            found = await driver.found(config)
            assert found.checkpoint["channel_values"] == {"n": 3}
            assert found.metadata == {"step": 2}
            assert len(await driver.list(thread())) == 1


@both_modes
class TestTheLatest:
    async def test_is_the_one_that_arrived_last_though_the_clock_went_back(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            old, new = str(uuid6()), str(uuid6())
            parent = await driver.put(thread(), checkpoint({"n": "parent"}, id=new))
            await driver.put(parent, checkpoint({"n": "child"}, id=old))

            found = await driver.found(thread())

            assert found.checkpoint["channel_values"] == {"n": "child"}
            assert ids(await driver.list(thread())) == [new, old]

    async def test_counts_a_checkpoint_from_its_arrival_not_from_that_of_its_writes(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            slow = checkpoint({"n": "slow"})
            await driver.put_writes(thread(checkpoint_id=slow["id"]), [("ch", "early")], "task")
            await driver.put(thread(), checkpoint({"n": "parent"}))
            await driver.put(thread(), slow)

            found = await driver.found(thread())

            assert found.checkpoint["channel_values"] == {"n": "slow"}
            assert found.pending_writes == [("task", "ch", "early")]


@both_modes
class TestPendingWrites:
    async def test_may_arrive_before_their_checkpoint(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            late = checkpoint({"n": 1})
            config = thread(checkpoint_id=late["id"])
            await driver.put_writes(config, [("ch", "early")], "task")
            assert await driver.get(thread()) is None
            assert await driver.list(None) == []

            await driver.put(thread(), late)

            assert (await driver.found(config)).pending_writes == [("task", "ch", "early")]

    async def test_of_a_task_stay_when_it_writes_again(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            config = await driver.put(thread(), checkpoint())
            await driver.put_writes(config, [("ch", "first"), ("ch", "second")], "task")
            await driver.put_writes(config, [("ch", "other")], "task")

            assert (await driver.found(config)).pending_writes == [
                ("task", "ch", "first"),
                ("task", "ch", "second"),
            ]

    async def test_of_langgraphs_own_channels_are_replaced(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            config = await driver.put(thread(), checkpoint())
            for value in ("first", "second"):
                for channel in ("__error__", "__interrupt__", "__resume__", "__scheduled__"):
                    await driver.put_writes(config, [(channel, value)], "task")
            await driver.put_writes(config, [("ch", "normal")], "task")

            assert (await driver.found(config)).pending_writes == [
                ("task", "__resume__", "second"),
                ("task", "__interrupt__", "second"),
                ("task", "__scheduled__", "second"),
                ("task", "__error__", "second"),
                ("task", "ch", "normal"),
            ]

    async def test_need_a_checkpoint_id(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver, pytest.raises(UsageError, match="checkpoint_id"):
            await driver.put_writes(thread(), [("ch", 1)], "task")


@both_modes
class TestMetadata:
    async def test_is_merged_from_the_config(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            config: Any = {
                "configurable": {"thread_id": "t", "user": "u", "__hidden": 1, "obj": object()},
                "metadata": {"run_id": "r", "score": 0.5, "step": 99},
            }
            await driver.put(config, checkpoint(), step=1)

            expected = {"step": 1, "user": "u", "run_id": "r", "score": 0.5}
            assert (await driver.found(thread())).metadata == expected

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (
                {
                    1,
                },
                "{1}",
            ),
            (float("inf"), "Infinity"),
            (Path("x"), "PosixPath('x')"),
            ([Path("x")], ["PosixPath('x')"]),
            ({(1, 2): 3}, "{(1, 2): 3}"),
        ],
        ids=repr,
    )
    async def test_that_json_cannot_hold_is_shown_not_lost(
        self, mode: Mode, where: str, value: Any, shown: Any
    ) -> None:
        with driven(where, mode) as driver:
            await driver.put(thread(), checkpoint(), odd=value, step=3)

            found = await driver.found(thread())
            assert found.metadata == {"odd": shown, "step": 3}
            assert ids(await driver.list(None, filter={"odd": value})) == [found.checkpoint["id"]]

    async def test_may_hold_anything_under_the_names_that_langgraph_uses(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            odd = {"step": "three", "source": 4, "run_id": ["x"], "parents": None}
            await driver.put(thread(), checkpoint(), **odd)

            assert (await driver.found(thread())).metadata == odd


@both_modes
async def test_a_closed_saver_says_so(mode: Mode, where: str) -> None:
    with driven(where, mode) as driver:
        await driver.put(thread(), checkpoint())

    with pytest.raises(ClosedError):
        await driver.get(thread())
    with pytest.raises(ClosedError):
        await driver.put(thread(), checkpoint())


def versions(saver: RowtrailSaver, first: Any) -> list[Any]:
    counted = [first]
    for _ in range(12):
        counted.append(saver.get_next_version(counted[-1], None))
    return counted[1:]


@pytest.mark.parametrize("first", [None, 3, 2.5, f"{9:032}.{0.123456789:016}", "7"], ids=str)
def test_the_next_version_is_greater_and_of_the_same_type(where: str, first: Any) -> None:
    with RowtrailSaver(where, capture=False) as saver:
        counted = versions(saver, first)

    assert counted == sorted(counted)
    assert len(set(counted)) == len(counted)
    assert {type(each) for each in counted} == {int if first is None else type(first)}
    assert first is None or first == "7" or counted[0] > first


def open_with_path(path: str) -> Any:
    return RowtrailSaver(path, capture=False)


def open_with_conn_string(path: str) -> Any:
    return RowtrailSaver.from_conn_string(str(path), capture=False)


@both_modes
@pytest.mark.parametrize("opened", [open_with_path, open_with_conn_string])
async def test_opens_and_closes_in_with_and_async_with(
    mode: Mode, where: str, opened: Callable[[str], Any]
) -> None:
    if mode == "async":
        async with opened(where) as saver:
            await saver.setup()
            await saver.aput(thread(), checkpoint(), {}, {})
    else:
        with opened(where) as saver:
            saver.setup()
            saver.put(thread(), checkpoint(), {}, {})

    with pytest.raises(ClosedError):
        await asyncio.to_thread(saver.get_tuple, thread())
    with opened(where) as again:
        assert again.get_tuple(thread()) is not None


def test_an_open_journal_stays_its_owners(journal: Journal) -> None:
    with RowtrailSaver(journal, capture=False) as saver:
        saver.put(thread(), checkpoint(), {}, {})

    assert journal.sql("SELECT count(*) FROM checkpoints").rows[0][0] == 1


def test_works_in_memory() -> None:
    with RowtrailSaver(":memory:", capture=False) as saver:
        saver.put(thread(), checkpoint({"n": 1}), {}, {})

        assert [found.checkpoint["channel_values"] for found in saver.list(None)] == [{"n": 1}]


def test_the_views_show_checkpoints_as_they_are(where: str, rows: Rows) -> None:
    with RowtrailSaver(where, capture=False) as saver:
        parent = saver.put(thread(), checkpoint(), {"source": "input", "step": -1}, {})
        config = saver.put(parent, checkpoint(), {"source": "loop", "step": 0, "run_id": "r"}, {})

    newest = rows("SELECT * FROM checkpoints ORDER BY step DESC LIMIT 1")[0]

    assert newest.pop("created_at")[-1] == "Z"
    assert json.loads(newest.pop("metadata")) == {"source": "loop", "step": 0, "run_id": "r"}
    assert newest == {
        "thread_id": "t",
        "checkpoint_ns": "",
        "checkpoint_id": named(config, "checkpoint_id"),
        "parent_checkpoint_id": named(parent, "checkpoint_id"),
        "run_id": "r",
        "step": 0,
        "source": "loop",
    }
