"""Finding checkpoints: what `list` gives, in which order, and by which metadata."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from rowtrail.errors import CorruptRowError
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import Mode, both_modes, checkpoint, driven, ids, named, thread

JSON_VALUES = [
    None,
    True,
    False,
    0,
    1,
    -7,
    2**53,
    0.5,
    -1e-9,
    "",
    "text",
    'it\'s "quoted"',
    "é 🎈 \n",
    [],
    [1, [2, {"three": None}]],
    {},
    {"b": 1, "a": {"d": [True], "c": "x"}},
]
KEYS = [
    "plain",
    "with.dot",
    "with space",
    "'single'",
    '"double"',
    "$",
    "$.a[0]",
    "a'] OR 1=1 --",
    "'); DROP TABLE checkpoint; --",
    "%",
    "_",
    "é🎈",
    "",
    "new\nline",
]


@both_modes
class TestListing:
    async def test_gives_the_newest_first_of_a_namespace_a_thread_or_all(
        self, mode: Mode, db: Path
    ) -> None:
        with driven(db, mode) as driver:
            places = [thread("a"), thread("a", "x"), thread("b")] * 2
            puts = [await driver.put(place, checkpoint()) for place in places]
            names = [put["configurable"]["checkpoint_id"] for put in puts]

            assert ids(await driver.list(None)) == names[::-1]
            assert ids(await driver.list({})) == names[::-1]
            of_thread: Any = {"configurable": {"thread_id": "a"}}
            assert ids(await driver.list(of_thread)) == [names[i] for i in (4, 3, 1, 0)]
            assert ids(await driver.list(thread("a"))) == [names[3], names[0]]
            assert ids(await driver.list(thread("a", "x"))) == [names[4], names[1]]
            assert await driver.list(thread("nobody")) == []

    async def test_gives_what_get_gives(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            config: Any = thread()
            for number in range(70):  # several pages
                values = {"messages": [HumanMessage(f"m{i}", id=f"{i}") for i in range(number)]}
                config = await driver.put(config, checkpoint(values), step=number)
                await driver.put_writes(config, [("messages", [AIMessage("x")])], "task")

            of_thread: Any = {"configurable": {"thread_id": "t"}}
            for place in (thread(), of_thread):
                found = await driver.list(place)
                assert len(found) == 70
                assert found == [await driver.found(each.config) for each in found]

    async def test_ends_before_a_checkpoint_and_at_a_limit(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            puts = [await driver.put(thread(), checkpoint()) for _ in range(40)]
            names = [put["configurable"]["checkpoint_id"] for put in puts][::-1]

            assert ids(await driver.list(thread(), before=puts[35])) == names[5:]
            assert ids(await driver.list(thread(), limit=37)) == names[:37]
            assert ids(await driver.list(thread(), before=puts[35], limit=3)) == names[5:8]
            assert ids(await driver.list(None, before=puts[35], limit=3)) == names[5:8]
            assert ids(await driver.list(puts[7])) == [names[32]]
            assert await driver.list(thread(), limit=0) == []
            assert await driver.list(thread(), before=puts[0]) == []
            assert ids(await driver.list(thread(), before=thread())) == names

    @pytest.mark.parametrize("number", range(len(JSON_VALUES)))
    async def test_finds_metadata_of_every_json_type(
        self, mode: Mode, db: Path, number: int
    ) -> None:
        value = JSON_VALUES[number]
        with driven(db, mode) as driver:
            for at, each in enumerate(JSON_VALUES):
                await driver.put(thread(), checkpoint(), key=each, number=at)

            found = await driver.list(thread(), filter={"key": value})

            assert [each.metadata for each in found] == [{"key": value, "number": number}]
            assert type(found[0].metadata.get("key")) is type(value)

    @pytest.mark.parametrize("key", KEYS)
    async def test_takes_any_text_for_a_key_and_never_for_sql(
        self, mode: Mode, db: Path, key: str
    ) -> None:
        with driven(db, mode) as driver:
            for each in KEYS:
                await driver.put(thread(), checkpoint(), **{each: each})

            found = await driver.list(None, filter={key: key})

            assert [each.metadata for each in found] == [{key: key}]
            assert await driver.list(None, filter={key: "' OR '1'='1"}) == []
            assert len(await driver.list(None)) == len(KEYS)

    async def test_wants_all_keys_of_a_filter(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            for source in ("input", "loop"):
                for step in (1, 2):
                    await driver.put(thread(), checkpoint(), source=source, step=step)

            found = await driver.list(None, filter={"source": "loop", "step": 2})

            assert [each.metadata for each in found] == [{"source": "loop", "step": 2}]
            assert await driver.list(None, filter={"source": "loop", "nothing": 2}) == []
            assert len(await driver.list(None, filter={"nothing": None})) == 4
            assert len(await driver.list(None, filter={})) == 4

    @pytest.mark.parametrize("key", ["run_id", "source", "step"])
    async def test_tells_types_apart_where_a_column_has_the_key_too(
        self, mode: Mode, db: Path, key: str
    ) -> None:
        values = [None, True, 0, 1, 2.5, "1", "loop", "' OR 1", 2**70, -(2**63), [1], {"a": 1}]
        with driven(db, mode) as driver:
            for at, value in enumerate(values):
                await driver.put(thread(f"t{at % 2}"), checkpoint(), **{key: value, "at": at})
            for at, value in enumerate(values):
                for where in (None, thread(f"t{at % 2}")):
                    found = await driver.list(where, filter={key: value})
                    assert [each.metadata.get("at") for each in found] == [at], value
                assert await driver.list(thread(f"t{1 - at % 2}"), filter={key: value}) == []

    @pytest.mark.parametrize("where", [None, thread()], ids=["everywhere", "in a thread"])
    async def test_finds_the_checkpoints_of_a_run_page_by_page(
        self, mode: Mode, db: Path, where: Any
    ) -> None:
        with driven(db, mode) as driver:
            for number in range(90):
                await driver.put(thread(), checkpoint(), run_id=f"r{number % 2}", step=number)

            found = await driver.list(where, filter={"run_id": "r1"})

            assert [each.metadata.get("step") for each in found] == [*range(89, 0, -2)]
            assert len(await driver.list(where, filter={"run_id": "r1", "step": 5})) == 1
            assert len(await driver.list(where, filter={"run_id": "r1"}, limit=7)) == 7

    async def test_finds_nested_values_whatever_the_order_of_their_keys(
        self, mode: Mode, db: Path
    ) -> None:
        with driven(db, mode) as driver:
            await driver.put(thread(), checkpoint(), nested={"a": 1, "b": [{"c": 2, "d": 3}]})

            assert await driver.list(None, filter={"nested": {"b": [{"d": 3, "c": 2}], "a": 1}})

    async def test_lets_anything_be_called_inside_the_loop(self, mode: Mode, db: Path) -> None:
        with driven(db, mode) as driver:
            for number in range(50):
                await driver.put(thread(f"t{number % 5}"), checkpoint({"n": number}))
            seen: list[int] = []

            async def visit(found: Any) -> None:
                seen.append(found.checkpoint["channel_values"]["n"])
                if len(seen) <= 20:
                    assert await driver.found(found.config) == found
                await driver.put(thread("new"), checkpoint({"n": -1}))
                await driver.put_writes(found.config, [("ch", 1)], "task")
                assert len(await driver.list(None, limit=3)) == 3
                if len(seen) == 20:
                    await driver.delete_thread("t0")

            if mode == "async":
                async for found in driver.saver.alist(None):
                    await visit(found)
            else:
                for found in driver.saver.list(None):
                    await visit(found)

            assert seen[:20] == [*range(49, 29, -1)]
            assert seen == sorted(seen, reverse=True)


def test_an_unfinished_loop_holds_nothing_up(db: Path) -> None:
    with RowtrailSaver(db, capture=False) as saver:
        for number in range(50):
            saver.put(thread(), checkpoint({"n": number}), {}, {})
        loop = saver.list(None)
        next(loop)
        saver.delete_thread("t")

        with RowtrailSaver(db, capture=False) as other:
            other.put(thread(), checkpoint({"n": "after"}), {}, {})
        left = [found.checkpoint["channel_values"]["n"] for found in loop]

    assert left[-1:] in ([48], ["after"])


TORN = "DELETE FROM channel_value WHERE checkpoint IN (:rows)"
FLIPPED = """UPDATE item SET text = text || ' ' WHERE id IN (
    SELECT item FROM channel_value WHERE checkpoint IN (:rows))"""
NO_LIST = (
    "DELETE FROM list WHERE id IN (SELECT list FROM channel_value WHERE checkpoint IN (:rows))"
)


@pytest.mark.parametrize("damage", [TORN, FLIPPED, NO_LIST])
@both_modes
async def test_damaged_checkpoints_are_named_and_hide_no_others(
    damage: str, mode: Mode, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with driven(db, mode) as driver:
        made = [
            await driver.put(thread(f"t{n}"), checkpoint({"n": f"number {n}", "l": [n, [n]]}))
            for n in range(50)
        ]
    doomed = [0, 9, 17, 18, 48, 49]  # the last of a page, and the whole first page
    with sqlite3.connect(db) as connection:
        connection.execute(damage.replace(":rows", ",".join(str(n + 1) for n in doomed)))
    connection.close()

    with driven(db, mode) as driver:
        found = await driver.list(None)
        assert [named(each.config, "thread_id") for each in found] == [
            f"t{n}" for n in range(49, -1, -1) if n not in doomed
        ]
        for n in doomed:
            assert named(made[n], "checkpoint_id") in caplog.text
        assert await driver.list(thread("t9")) == []
        assert await driver.list(None, limit=3) == found[:3]
        with pytest.raises(CorruptRowError):
            await driver.list(made[9])
        with pytest.raises(CorruptRowError):
            await driver.found(thread("t9"))
