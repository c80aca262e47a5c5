"""Objects that are stored already: not encoded again, unless they were mutated in place."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import START, StateGraph, add_messages
from typing_extensions import TypedDict

from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.values import _memo
from rowtrail_langgraph.values._codec import GraphCodec
from tests._sample import once
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.cases import states


def sealed() -> EncryptedSerializer:
    return EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")


@pytest.fixture(params=["plain", "sealed"])
def saver(request: pytest.FixtureRequest, db: Path) -> Iterator[RowtrailSaver]:
    serde = sealed() if request.param == "sealed" else None
    with RowtrailSaver(db, serde=serde, **QUICK) as opened:
        yield opened


def call(args: Any) -> Any:
    return {"name": "f", "args": args, "id": "c", "type": "tool_call"}


def set_text(item: Any) -> None:
    item.content = "changed"


# What is stored, and how it is mutated.
MUTATIONS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "the text of a message": (lambda: HumanMessage("hi", id="1"), set_text),
    "a block of a message": (
        lambda: HumanMessage([{"type": "text", "text": "hi"}], id="1"),
        lambda m: m.content[0].update(text="changed"),
    ),
    "keyword arguments of a message": (
        lambda: AIMessage("hi", id="1"),
        lambda m: m.additional_kwargs.update(seen=True),
    ),
    "nested metadata of a message": (
        lambda: AIMessage("hi", id="1", response_metadata={"a": {"b": [1]}}),
        lambda m: m.response_metadata["a"]["b"].append(2),
    ),
    "the type of a number in a message": (
        lambda: AIMessage("hi", id="1", additional_kwargs={"n": 1, "z": 0}),
        lambda m: m.additional_kwargs.update(n=True),
    ),
    "the sign of zero in a message": (
        lambda: AIMessage("hi", id="1", response_metadata={"a": [0.0]}),
        lambda m: m.response_metadata["a"].__setitem__(0, -0.0),
    ),
    "the order of a dict in a message": (
        lambda: AIMessage("hi", id="1", additional_kwargs={"a": 1, "b": 2}),
        lambda m: m.additional_kwargs.update(a=m.additional_kwargs.pop("a")),
    ),
    "the type of a number in an extra field": (
        lambda: HumanMessage("hi", id="1", moods=[1]),
        lambda m: m.moods.__setitem__(0, True),
    ),
    "the type of an artifact": (
        lambda: ToolMessage("x", tool_call_id="c", artifact=1),
        lambda m: setattr(m, "artifact", 1.0),
    ),
    "arguments of a tool call": (
        lambda: AIMessage("", id="1", tool_calls=[call({"x": 1})]),
        lambda m: m.tool_calls[0]["args"].update(x=2),
    ),
    "usage of a message": (
        lambda: AIMessage(
            "", id="1", usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        ),
        lambda m: m.usage_metadata.update(input_tokens=7),
    ),
    "an extra field of a message": (
        lambda: HumanMessage("hi", id="1", mood="calm"),
        lambda m: setattr(m, "mood", "merry"),
    ),
    "an extra field where there was none": (
        lambda: HumanMessage("hi", id="1"),
        lambda m: setattr(m, "mood", "merry"),
    ),
    "the inside of an extra field": (
        lambda: HumanMessage("hi", id="1", moods=["calm"]),
        lambda m: m.moods.append("merry"),
    ),
    "an artifact": (
        lambda: ToolMessage("x", tool_call_id="c", artifact={"rows": [(1, [2])]}),
        lambda m: m.artifact["rows"][0][1].append(3),
    ),
    "an artifact that is an object": (
        lambda: ToolMessage("x", tool_call_id="c", artifact=states.Note("n")),
        lambda m: m.artifact.tags.append("t"),
    ),
    "the id of a message": (lambda: HumanMessage("hi"), lambda m: setattr(m, "id", "1")),
    "a dict": (lambda: {"a": 1}, lambda d: d.update(a=2)),
    "the inside of a dict": (lambda: {"a": {"b": [1]}}, lambda d: d["a"]["b"].append(2)),
    "the type of a number in a dict": (lambda: {"done": 0}, lambda d: d.update(done=False)),
    "the sign of zero in a dict": (lambda: {"x": 0.0}, lambda d: d.update(x=-0.0)),
    "the order of a dict": (lambda: {"a": 1, "b": 2}, lambda d: d.update(a=d.pop("a"))),
    "a set in a dict": (lambda: {"seen": {1}}, lambda d: d["seen"].add(2)),
    "a list": (lambda: [1, [2]], lambda x: x[1].append(3)),
    "a set": (lambda: {1}, lambda s: s.add(2)),
    "a message in a dict": (lambda: {"m": HumanMessage("hi")}, lambda d: set_text(d["m"])),
    "a dataclass": (lambda: states.Note("n"), lambda n: n.tags.append("t")),
    "a pydantic object": (lambda: states.Profile(name="x"), lambda p: setattr(p, "name", "y")),
}


def items(saver: RowtrailSaver) -> list[list[Any]]:
    """Return the items of each checkpoint, oldest first."""
    found = [each.checkpoint["channel_values"]["items"] for each in saver.list(thread())]
    return found[::-1]


def as_stored(saver: RowtrailSaver, values: list[Any]) -> str:
    """Return what is read back of objects that the saver never saw."""
    config = saver.put(thread("fresh"), checkpoint({"items": copy.deepcopy(values)}), {}, {})
    found = saver.get_tuple(config)
    assert found is not None
    return repr(found.checkpoint["channel_values"]["items"])


def put(saver: RowtrailSaver, values: list[Any]) -> None:
    saver.put(thread(), checkpoint({"items": values}), {}, {})


@pytest.mark.parametrize(
    ("mutation", "neighbour"), once(MUTATIONS, [None, HumanMessage("n", id="n"), {"n": 1}])
)
@pytest.mark.filterwarnings("ignore::UserWarning")
class TestAMutatedItem:
    def test_is_stored_anew(self, saver: RowtrailSaver, mutation: str, neighbour: Any) -> None:
        make, mutate = MUTATIONS[mutation]
        values = [neighbour, make()] if neighbour is not None else [make()]
        before = as_stored(saver, values)
        put(saver, values)
        put(saver, values)

        mutate(values[-1])
        put(saver, values)

        after = as_stored(saver, values)
        assert before != after
        assert [repr(each) for each in items(saver)] == [before, before, after]

    def test_is_stored_anew_after_it_was_read(
        self, saver: RowtrailSaver, mutation: str, neighbour: Any
    ) -> None:
        make, mutate = MUTATIONS[mutation]
        put(saver, [neighbour, make()] if neighbour is not None else [make()])
        found = saver.get_tuple(thread())
        assert found is not None
        values = found.checkpoint["channel_values"]["items"]
        if mutation == "an artifact that is an object":  # langgraph's serializer made it a dict
            values[-1].artifact = states.Note("n")
        before = as_stored(saver, values)

        mutate(values[-1])
        put(saver, values)

        after = as_stored(saver, values)
        assert before != after
        assert [repr(each) for each in items(saver)] == [before, after]


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[dict[str, Any]], operator.add]
    facts: dict[str, Any]


def graph(saver: Any) -> Any:
    def careless(state: State) -> dict[str, Any]:
        for message in state["messages"]:
            message.content = f"{message.content}!"
            message.additional_kwargs.setdefault("seen", []).append(len(state["messages"]))
        for note in state["notes"]:
            note["seen"]["times"] += 1
        state["facts"]["times"] = state["facts"].get("times", 0) + 1
        number = len(state["messages"])
        return {
            "messages": [AIMessage(f"answer {number}", id=f"a{number}")],
            "notes": [{"seen": {"times": 0}}],
        }

    def idle(state: State) -> dict[str, Any]:
        return {}

    builder = StateGraph(State)
    builder.add_node("careless", careless)
    builder.add_node("idle", idle)
    builder.add_edge(START, "careless")
    builder.add_edge("careless", "idle")
    return builder.compile(checkpointer=saver)


def test_a_graph_whose_nodes_mutate_its_state_shows_what_it_holds(saver: RowtrailSaver) -> None:
    ours, reference = graph(saver), graph(InMemorySaver())
    for number in range(4):
        given = {"messages": [HumanMessage("hi", id=f"h{number}")], "facts": {"n": number}}
        result = ours.invoke(copy.deepcopy(given), thread(), durability="sync")
        expected = reference.invoke(copy.deepcopy(given), thread(), durability="sync")

        assert result == expected
        assert ours.get_state(thread()).values == result


class Encodings:
    """Counts what a codec encodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        encode = GraphCodec.encode_value

        def counted(codec: GraphCodec, value: Any) -> Any:
            self.count += 1
            return encode(codec, value)

        monkeypatch.setattr(GraphCodec, "encode_value", counted)


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> Encodings:
    return Encodings(monkeypatch)


MANY: dict[str, Callable[[int], Any]] = {
    "messages": lambda n: HumanMessage(f"m{n}", id=f"{n}", additional_kwargs={"n": [n]}),
    "dicts": lambda n: {"n": n, "deep": [{"n": n}]},
    "texts": lambda n: f"text {n}",
    "mixed": lambda n: {"n": n} if n % 2 else AIMessage(f"m{n}", id=f"{n}"),
}


@pytest.mark.parametrize("kind", MANY)
class TestUnchangedItems:
    def test_are_encoded_once(self, saver: RowtrailSaver, encodings: Encodings, kind: str) -> None:
        values = [MANY[kind](number) for number in range(50)]
        put(saver, values)
        assert encodings.count == 50

        put(saver, values)
        put(saver, [*values, MANY[kind](50)])
        put(saver, values[::-1])
        put(saver, values[:5] + values[6:])
        put(saver, values[10:])

        assert encodings.count == 51
        assert len(items(saver)) == 6
        assert items(saver)[-1] == values[10:]

    def test_that_were_read_are_not_encoded_again(
        self, saver: RowtrailSaver, encodings: Encodings, kind: str
    ) -> None:
        put(saver, [MANY[kind](number) for number in range(50)])
        found = saver.get_tuple(thread())
        assert found is not None
        encodings.count = 0

        put(saver, [*found.checkpoint["channel_values"]["items"], MANY[kind](50)])
        saver.get_tuple(thread())  # somebody else looks
        put(saver, [*found.checkpoint["channel_values"]["items"], MANY[kind](50)])

        assert encodings.count == 2


def remembered(saver: RowtrailSaver) -> tuple[int, int]:
    """Return how many bytes a saver says that it remembers, and how many these are."""
    lists = [each for lists in saver.memo._channels.values() for each in lists]
    encoded = [each.encoded for one in lists for each in one.prepared]
    assert all(each.identity is None for each in encoded)
    return saver.memo._size, sum(len(each.text or each.data or "") for each in encoded)


def test_what_is_remembered_is_bounded_in_bytes(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memo, "MAX_BYTES", 100_000)
    with RowtrailSaver(db, **QUICK) as saver:
        for number in range(20):
            values: list[Any] = [{"n": n, "text": "x" * (1_000 * n)} for n in range(6)]
            config = thread(f"t{number}")
            for changed in (
                values,
                [*values, {"n": "x" * 500}],
                values[3:],
                values[:4],
                values[::-1],
                [values[0], {"new": True}, *values],
            ):
                saver.put(config, checkpoint({"items": changed}), {}, {})
                values[2]["text"] += "y" * 100
                assert len(set(remembered(saver))) == 1
            saver.get_tuple(config)
            saver.get_tuple(config)
            said, is_so = remembered(saver)
            assert said == is_so
            assert 15_000 < said <= 100_000

        saver.delete_thread("t19")
        assert {key[0] for key in saver.memo._channels if isinstance(key, tuple)} == {"t18", "t17"}
        assert len(set(remembered(saver))) == 1


def test_what_is_remembered_is_bounded(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memo, "MAX_ITEMS", 100)
    with RowtrailSaver(db, **QUICK) as saver:
        for number in range(20):
            values = [HumanMessage(f"{number} {n}") for n in range(30)]
            saver.put(thread(f"t{number}"), checkpoint({"items": values}), {}, {})

        assert saver.memo._count <= 100

        huge = [HumanMessage(str(n)) for n in range(300)]
        put(saver, huge)
        put(saver, huge)
        assert items(saver) == [huge, huge]
