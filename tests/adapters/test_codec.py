"""Values in rows and back: equal, of the same type, and readable where they can be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rowtrail.content import Encoded
from rowtrail.errors import CorruptRowError, UnstorableError
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.values._codec import GraphCodec
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.cases import states
from tests.conftest import Rows

CODEC = GraphCodec(JsonPlusSerializer())


def types(value: Any) -> Any:
    """Return the types of a value and of all that is in it."""
    if isinstance(value, dict):
        return type(value), [(types(k), types(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [types(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(repr, map(types, value)))
    if isinstance(value, float) and not value:
        return type(value), math.copysign(1, value)
    if isinstance(value, BaseMessage):
        return type(value), types(dict(value.__dict__)), types(value.__pydantic_extra__)
    return type(value)


def dicts(value: Any) -> list[dict[Any, Any]]:
    """Return the dicts in a value."""
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in dicts(each))]
    if isinstance(value, (list, tuple)):
        return [found for each in value for found in dicts(each)]
    return []


def stored(db: Path, value: Any) -> Any:
    """Return a value after a round through a file, as channel value and as pending write."""
    with RowtrailSaver(db, **QUICK) as saver:
        config = saver.put(thread(), checkpoint({"ch": value}), {}, {})
        saver.put_writes(config, [("ch", value)], "task")
    with RowtrailSaver(db, **QUICK) as saver:
        found = saver.get_tuple(thread())
    assert found is not None and found.pending_writes is not None
    again = found.checkpoint["channel_values"]["ch"]
    written = found.pending_writes[0][2]
    assert types(written) == types(again)
    assert written == again
    return again


@pytest.mark.parametrize("name", states.EXACT)
def test_plain_values_and_langgraphs_own_are_exact(db: Path, name: str, rows: Rows) -> None:
    value = states.EXACT[name]

    again = stored(db, value)

    assert again == value
    assert types(again) == types(value)
    assert [list(each) for each in dicts(again)] == [list(each) for each in dicts(value)]
    shown = rows("SELECT value FROM state")
    assert shown and all(json.loads(row["value"]) is not Ellipsis for row in shown)


@pytest.mark.parametrize("name", states.MESSAGES)
def test_messages_are_exact(db: Path, name: str) -> None:
    message = states.MESSAGES[name]

    (again,) = stored(db, [message])

    assert again == message
    assert types(again) == types(message)
    assert repr(again) == repr(message)
    assert again.model_dump() == message.model_dump()
    assert again.model_copy(update={"content": "x"}).content == "x"
    assert again.pretty_repr() == message.pretty_repr()


@pytest.mark.parametrize("name", states.MESSAGES)
def test_messages_deep_in_other_values_are_exact(db: Path, name: str) -> None:
    message = states.MESSAGES[name]
    value = {"deep": [({"message": message},)], (1, 2): message}

    again = stored(db, value)

    assert again == value
    assert types(again) == types(value)


@pytest.mark.parametrize("name", states.SERIALIZED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_objects_come_back_equal_and_of_their_class(db: Path, name: str) -> None:
    value = states.SERIALIZED[name]

    again = stored(db, value)

    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("name", [*states.SERIALIZED, *states.MADE_PLAIN])
def test_objects_come_back_as_from_the_memory_saver(db: Path, name: str) -> None:
    value = {**states.SERIALIZED, **states.MADE_PLAIN}[name]
    memory = InMemorySaver()
    memory.put(thread(), checkpoint({"ch": value}), {}, {"ch": 1})
    found = memory.get_tuple(thread())
    assert found is not None

    again = stored(db, value)

    expected = found.checkpoint["channel_values"]["ch"]
    assert again == expected
    assert types(again) == types(expected)


@pytest.mark.parametrize("name", states.UNSTORABLE)
def test_what_cannot_be_stored_is_named_and_nothing_is_lost(db: Path, name: str) -> None:
    value = states.UNSTORABLE[name]
    with RowtrailSaver(db, **QUICK) as saver:
        config = saver.put(thread(), checkpoint({"ch": 1}), {"step": 1}, {})

        for broken in (value, [1, value], {"deep": [value]}):
            with pytest.raises(UnstorableError, match=type(value).__qualname__) as caught:
                saver.put(config, checkpoint({"ok": 2, "ch": broken}), {"step": 2}, {})
            assert caught.value.type_name
            with pytest.raises(UnstorableError):
                saver.put_writes(config, [("ok", 3), ("ch", broken)], "task")

        (left,) = saver.list(None)
        assert left.checkpoint["channel_values"] == {"ch": 1}
        assert left.pending_writes == []


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


def test_a_value_may_be_nested_deep_but_not_without_end(db: Path) -> None:
    assert stored(db, {"deep": nested(190)}) == {"deep": nested(190)}

    with RowtrailSaver(db, **QUICK) as saver, pytest.raises(UnstorableError):
        saver.put(thread(), checkpoint({"ch": {"deep": nested(5000)}}), {}, {})


def test_a_cycle_is_refused(db: Path) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with RowtrailSaver(db, **QUICK) as saver:
        for value in (cycle, {"a": cycle}):
            with pytest.raises(UnstorableError):
                saver.put(thread(), checkpoint({"ch": value}), {}, {})

        assert [*saver.list(None)] == []


class TestTheStateView:
    def test_has_one_row_for_each_item_of_a_list(self, db: Path, rows: Rows) -> None:
        values: dict[str, Any] = {
            "messages": [HumanMessage("hi", id="1"), AIMessage("hello", id="2")],
            "scores": [1, 2.5, None, True, "x", [1, 2], {"a": 1}],
            "name": "Ann",
            "nothing": None,
            "empty": [],
        }
        with RowtrailSaver(db, **QUICK) as saver:
            saver.put(thread(), checkpoint(values), {}, {})

        found = rows("SELECT channel, position, value, type FROM state ORDER BY channel, position")

        shown = [(row["channel"], row["position"], json.loads(row["value"])) for row in found]
        assert shown == [
            ("empty", None, []),
            ("messages", 0, {"role": "user", "content": "hi", "id": "1"}),
            ("messages", 1, {"role": "assistant", "content": "hello", "id": "2"}),
            ("name", None, "Ann"),
            ("nothing", None, None),
            *[("scores", at, score) for at, score in enumerate(values["scores"])],
        ]
        kinds = {(row["channel"], row["position"]): row["type"] for row in found}
        assert kinds["messages", 0] == "HumanMessage"
        assert kinds["name", None] == "str"

    def test_shows_the_json_of_objects(self, db: Path, rows: Rows) -> None:
        values = {
            "dataclass": states.Frozen(states.Note("t", ["a"]), states.NOON),
            "nested": {"profile": states.Profile(name="y"), "message": HumanMessage("hi")},
            "pydantic": states.Profile(name="x"),
            "tuple": states.Point(1, [2]),
        }
        with RowtrailSaver(db, **QUICK) as saver:
            saver.put(thread(), checkpoint(values), {}, {})

        found = {row["channel"]: row for row in rows("SELECT * FROM state")}

        shown = {channel: json.loads(row["value"]) for channel, row in found.items()}
        profile = {"name": "x", "inner": {"n": 0, "when": None}, "extra": {}}
        assert shown["pydantic"] == profile
        assert shown["dataclass"]["note"] == {"text": "t", "tags": ["a"]}
        assert shown["nested"]["profile"] == {**profile, "name": "y"}
        assert shown["nested"]["message"] == {"role": "user", "content": "hi"}
        assert shown["tuple"] == [1, [2]]
        assert found["pydantic"]["type"] == "Profile"

    @pytest.mark.parametrize(
        ("value", "type_name"),
        [(states.Color.RED, "Color"), (bytearray(b"x"), "bytearray")],
        ids=str,
    )
    def test_names_the_type_of_what_has_no_json(
        self, db: Path, rows: Rows, value: Any, type_name: str
    ) -> None:
        with RowtrailSaver(db, **QUICK) as saver:
            saver.put(thread(), checkpoint({"ch": value, "list": [value]}), {}, {})

        found = rows("SELECT channel, position, value, type FROM state ORDER BY channel")
        assert found == [
            {"channel": "ch", "position": None, "value": None, "type": type_name},
            {"channel": "list", "position": 0, "value": None, "type": type_name},
        ]


class TestBrokenRows:
    @pytest.mark.parametrize(
        "broken",
        [
            Encoded("AIMessage", '{"role":"assistant"}'),
            Encoded("AIMessage", '{"role":"assistant","content":"x","meta":[1]}'),
            Encoded("AIMessage", '{"role":"assistant","content":"x","extra":1}'),
            Encoded("AIMessage", "[]"),
            Encoded("AIMessage", "null"),
            Encoded("ToolMessage", '{"role":"tool","content":"x"}'),
            Encoded("Send", '{"node":"x"}'),
            Encoded("dict", "{"),
            Encoded("dict", ""),
            Encoded("dict", None),
            Encoded("dict", '{"$rowtrail":"AIMessage","v":{}}'),
            Encoded("dict", '{"$rowtrail":"nothing","v":1}'),
            Encoded("Profile", None, b"no kind"),
            Encoded("Profile", None, b"msgpack\0\xc1"),
            Encoded("Profile", None, b"pickle\0cos\nsystem\n(S'true'\ntR."),
        ],
        ids=repr,
    )
    def test_say_that_they_are(self, broken: Encoded) -> None:
        with pytest.raises(CorruptRowError):
            CODEC.decode(broken)
        with pytest.raises(CorruptRowError):
            CODEC.decode_items([CODEC.encode(1), broken, CODEC.encode(2)])

    def test_cannot_smuggle_items_into_a_list(self) -> None:
        with pytest.raises(CorruptRowError):
            CODEC.decode_items([Encoded("int", "1],[2"), Encoded("int", "3")])
        with pytest.raises(CorruptRowError):
            CODEC.decode_items([Encoded("int", "1,2"), Encoded("int", "")])


def test_a_message_read_back_shares_nothing_with_the_next_one(db: Path) -> None:
    with RowtrailSaver(db, **QUICK) as saver:
        message = ToolMessage([{"a": 1}], tool_call_id="c", artifact=[[1]])
        saver.put(thread(), checkpoint({"messages": [message, message]}), {}, {})
        first, second = saver.get_tuple(thread()), saver.get_tuple(thread())
    assert first is not None and second is not None

    one, two = first.checkpoint["channel_values"]["messages"]
    one.content[0]["a"] = 2
    one.artifact[0].append(2)
    one.additional_kwargs["new"] = 1

    assert two == message
    assert second.checkpoint["channel_values"]["messages"] == [message, message]
