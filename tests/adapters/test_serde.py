"""Serializers of the user's own: encrypting ones, strict ones, and any other."""

from __future__ import annotations

import pickle
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from rowtrail.errors import CorruptRowError, UnstorableError
from rowtrail_langgraph import RowtrailSaver
from tests._sample import spread
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.cases import states
from tests.conftest import Child, Rows

KEY, OTHER_KEY = b"0123456789abcdef", b"fedcba9876543210"
SECRETS = {
    "prompt": "sekret-prompt",
    "question": "sekret-question",
    "answer": "sekret-answer",
    "argument": "sekret-argument",
    "result": "sekret-result",
    "failure": "sekret-failure",
    "interrupt": "sekret-interrupt",
    "resume": "sekret-resume",
    "state": "sekret-state",
}


REFUSED = {"integers", "complex"}
"""What langgraph's own serializer cannot write: integers of 65 bits, complex numbers."""


def sealed(key: bytes = KEY) -> EncryptedSerializer:
    return EncryptedSerializer.from_pycryptodome_aes(key=key)


class Pickling:
    """A serializer of a user's own."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "pickle", pickle.dumps(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        assert data[0] == "pickle"
        return pickle.loads(data[1])  # noqa: S301 - what a user may do


class OldStyle:
    """A serializer of the first kind that langgraph had: without types."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - what a user may do


class Failing(JsonPlusSerializer):
    """A serializer that cannot write some values, or read anything."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if obj == "unlucky":
            raise LookupError("no luck")
        return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        raise LookupError("no luck")


class Everything(MessagesState):
    fact: str
    asked: Any


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    assert word == SECRETS["argument"]
    return SECRETS["result"]


@tool
def fail(word: str) -> str:
    """Fail."""
    raise ValueError(SECRETS["failure"] + word)


def agent(saver: RowtrailSaver) -> Any:
    """Return a graph that has a secret everywhere."""
    model = FakeListChatModel(responses=[SECRETS["answer"]])

    def node(state: Everything) -> dict[str, Any]:
        answer = model.invoke([SystemMessage(SECRETS["prompt"]), *state["messages"]])
        result = look_up.invoke({"word": SECRETS["argument"]})
        with pytest.raises(ValueError, match="sekret"):
            fail.invoke({"word": SECRETS["argument"]})
        said = ToolMessage(result, tool_call_id="c")
        return {"messages": [answer, said], "fact": SECRETS["state"]}

    def ask(state: Everything) -> dict[str, Any]:
        return {"asked": interrupt(SECRETS["interrupt"])}

    builder = StateGraph(Everything)
    builder.add_node("node", node)
    builder.add_node("ask", ask)
    builder.add_edge(START, "node")
    builder.add_edge("node", "ask")
    return builder.compile(checkpointer=saver)


def bytes_of(db: Path) -> bytes:
    return b"".join(path.read_bytes() for path in db.parent.glob(f"{db.name}*"))


@pytest.fixture
def saver(db: Path) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(db, serde=sealed(), durability="normal") as opened:
        yield opened


class TestEncrypted:
    def test_leaves_no_word_of_the_conversation_in_the_file(
        self, saver: RowtrailSaver, db: Path
    ) -> None:
        graph = agent(saver)
        question = {"messages": [HumanMessage(SECRETS["question"])]}
        graph.invoke(question, thread())
        graph.invoke(Command(resume=SECRETS["resume"]), thread())
        during = bytes_of(db)
        saver.close()

        for found in (during, bytes_of(db)):
            assert [name for name, word in SECRETS.items() if word.encode() in found] == []
            assert b"sekret" not in found

    def test_shows_no_content_in_any_view(self, saver: RowtrailSaver, rows: Rows) -> None:
        graph = agent(saver)
        graph.invoke({"messages": [HumanMessage(SECRETS["question"])]}, thread())

        state = rows("SELECT channel, value, type FROM state")
        assert {row["value"] for row in state} == {None}
        assert {"AIMessage", "HumanMessage", "str"} <= {row["type"] for row in state}
        (call,) = rows("SELECT * FROM llm_calls")
        assert call["answer"] is None
        assert call["prompt_messages"] in (None, "[null,null]")
        calls = rows("SELECT name, status, args, result FROM tool_calls ORDER BY name")
        assert calls == [
            {"name": "fail", "status": "failed", "args": None, "result": None},
            {"name": "look_up", "status": "done", "args": None, "result": None},
        ]
        messages = rows("SELECT role, content FROM messages")
        assert {row["content"] for row in messages} == {None}

    def test_resumes_in_another_process(self, db: Path, child: Child) -> None:
        code = """
            import sys
            from rowtrail_langgraph import RowtrailSaver
            from tests.adapters.test_serde import *
            with RowtrailSaver(sys.argv[1], serde=sealed(), durability="normal") as saver:
                graph = agent(saver)
                graph.invoke({"messages": [HumanMessage(SECRETS["question"])]}, thread())
        """
        root = str(Path(__file__).parents[2])
        child(f"import sys; sys.path.insert(0, {root!r})\n" + textwrap.dedent(code), db)

        with RowtrailSaver(db, serde=sealed(), durability="normal") as saver:
            graph = agent(saver)
            result = graph.invoke(Command(resume="yes"), thread())

        texts = [message.content for message in result["messages"]]
        assert texts == [SECRETS["question"], SECRETS["answer"], SECRETS["result"]]
        assert result["asked"] == "yes"

    def test_says_that_the_key_is_another(self, db: Path) -> None:
        with RowtrailSaver(db, serde=sealed(), **QUICK) as saver:
            saver.put(thread(), checkpoint({"items": ["a"], "n": 1}), {"step": 1}, {})

        with RowtrailSaver(db, serde=sealed(OTHER_KEY), **QUICK) as saver:
            with pytest.raises(CorruptRowError, match="another serializer or key"):
                saver.get_tuple(thread())
            with pytest.raises(CorruptRowError):
                list(saver.list(None))

        with RowtrailSaver(db, serde=sealed(), **QUICK) as saver:
            assert saver.get_tuple(thread()) is not None

    def test_reads_what_was_written_before_it_encrypted(self, db: Path) -> None:
        values = {"messages": [HumanMessage("hi", id="1")], "note": states.Note("n")}
        with RowtrailSaver(db, **QUICK) as saver:
            saver.put(thread(), checkpoint(values), {}, {})

        with RowtrailSaver(db, serde=sealed(), **QUICK) as saver:
            found = saver.get_tuple(thread())

        assert found is not None
        assert found.checkpoint["channel_values"] == values

    @pytest.mark.parametrize("name", [*sorted(states.EXACT.keys() - REFUSED), *states.SERIALIZED])
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_gives_back_what_its_inner_serializer_gives(self, db: Path, name: str) -> None:
        value = {**states.EXACT, **states.SERIALIZED}[name]
        inner = JsonPlusSerializer()
        expected = inner.loads_typed(inner.dumps_typed(value))
        with RowtrailSaver(db, serde=sealed(), **QUICK) as saver:
            saver.put(thread(), checkpoint({"ch": value}), {}, {})
            found = saver.get_tuple(thread())

        assert found is not None
        assert found.checkpoint["channel_values"]["ch"] == expected


def stored_bytes(rows: Rows, db: Path) -> int:
    (row,) = rows("SELECT sum(length(data)) AS n, count(*) AS items FROM item", db)
    return int(row["n"])


def talk(db: Path, turns: int, *, serde: Any, capture: bool, each_in_its_own: bool) -> None:
    """Have a conversation; somebody looks at the state in every turn."""
    model = FakeListChatModel(responses=["answer " * 20])

    def node(state: MessagesState) -> dict[str, list[AnyMessage]]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    left = turns
    while left:
        with RowtrailSaver(db, serde=serde, capture=capture, durability="normal") as saver:
            graph = builder.compile(checkpointer=saver)
            for _ in range(1 if each_in_its_own else left):
                graph.invoke({"messages": [HumanMessage(f"question {left} " * 10)]}, thread())
                graph.get_state(thread())
                left -= 1


@pytest.mark.parametrize(
    ("serde", "each_in_its_own", "capture"),
    spread([sealed, Pickling], [False, True], [False, True]),
)
def test_storage_does_not_grow_with_the_square_of_the_conversation(
    tmp_path: Path, rows: Rows, serde: Any, each_in_its_own: bool, capture: bool
) -> None:
    sizes = []
    for turns in (10, 40):
        db = tmp_path / f"{turns}.db"
        talk(db, turns, serde=serde(), capture=capture, each_in_its_own=each_in_its_own)
        sizes.append(stored_bytes(rows, db))

    assert sizes[1] < 4.6 * sizes[0]


@pytest.mark.parametrize("serde", [Pickling(), OldStyle()], ids=["typed", "old style"])
@pytest.mark.parametrize("name", states.EXACT)
def test_a_serializer_of_ones_own_is_asked_for_everything(
    db: Path, rows: Rows, serde: Any, name: str
) -> None:
    value = states.EXACT[name]
    with RowtrailSaver(db, serde=serde, **QUICK) as saver:
        config = saver.put(thread(), checkpoint({"ch": value, "items": [value, 1]}), {}, {})
        saver.put_writes(config, [("ch", value)], "task")
        found = saver.get_tuple(thread())

    assert found is not None
    assert found.checkpoint["channel_values"] == {"ch": value, "items": [value, 1]}
    assert found.pending_writes == [("task", "ch", value)]
    assert {row["value"] for row in rows("SELECT * FROM state")} == {None}


def test_equal_values_of_other_types_stay_apart(db: Path) -> None:
    """A serializer may tell apart what another makes one: what is stored once must be the same."""
    values = [1, True, 1.0, (1,), [1], {1: "a"}, {"1": "a"}, "1", b"1", -0.0, 0.0, 0, False]
    with RowtrailSaver(db, serde=Pickling(), **QUICK) as saver:
        for _ in range(2):
            saver.put(thread(), checkpoint({"items": [*values], "more": [*values[::-1]]}), {}, {})
        found = saver.get_tuple(thread())

    assert found is not None
    again = found.checkpoint["channel_values"]
    assert [repr(item) for item in again["items"]] == [repr(item) for item in values]
    assert [repr(item) for item in again["more"]] == [repr(item) for item in values[::-1]]


def test_a_subclass_that_changes_nothing_hides_nothing(db: Path, rows: Rows) -> None:
    class Named(JsonPlusSerializer):
        """What a server may put in place of the serializer."""

    with RowtrailSaver(db, **QUICK) as saver:
        saver.serde = Named()
        saver.put(thread(), checkpoint({"ch": "shown"}), {}, {})

    assert rows("SELECT value FROM state") == [{"value": '"shown"'}]


def test_a_serializer_that_fails_loses_nothing(db: Path) -> None:
    with RowtrailSaver(db, serde=Failing(), **QUICK) as saver:
        config = saver.put(thread(), checkpoint({"ch": "good"}), {}, {})
        for value in ("unlucky", ["good", "unlucky"]):
            with pytest.raises(UnstorableError, match="no luck"):
                saver.put(config, checkpoint({"ok": 1, "ch": value}), {}, {})
            with pytest.raises(UnstorableError, match="no luck"):
                saver.put_writes(config, [("ok", 1), ("ch", value)], "task")
        with pytest.raises(CorruptRowError, match="no luck"):
            saver.get_tuple(thread())

    with RowtrailSaver(db, serde=JsonPlusSerializer(), **QUICK) as saver:
        (left,) = saver.list(None)
        assert left.checkpoint["channel_values"] == {"ch": "good"}
        assert left.pending_writes == []


class TestStrictMsgpack:
    def test_an_allowlist_makes_a_saver_that_shares_the_journal(self, db: Path) -> None:
        strict = JsonPlusSerializer(allowed_msgpack_modules=None)
        note = states.Note("text")
        with RowtrailSaver(db, serde=strict, **QUICK) as saver:
            allowed = saver.with_allowlist([("tests.cases.states", "Note")])
            assert isinstance(allowed, RowtrailSaver)
            assert allowed.journal is saver.journal
            saver.put(thread(), checkpoint({"note": note, "notes": [note]}), {}, {})

            narrow, wide = saver.get_tuple(thread()), allowed.get_tuple(thread())

        assert narrow is not None and wide is not None
        assert wide.checkpoint["channel_values"] == {"note": note, "notes": [note]}
        assert type(narrow.checkpoint["channel_values"]["note"]) is dict

    def test_an_allowlist_works_with_an_encrypting_serializer(self, db: Path) -> None:
        inner = JsonPlusSerializer(allowed_msgpack_modules=None)
        serde = EncryptedSerializer.from_pycryptodome_aes(inner, key=KEY)
        note = states.Note("text")
        with RowtrailSaver(db, serde=serde, **QUICK) as saver:
            allowed = saver.with_allowlist([("tests.cases.states", "Note")])
            allowed.put(thread(), checkpoint({"notes": [note]}), {}, {})

            found = allowed.get_tuple(thread())

        assert found is not None
        assert found.checkpoint["channel_values"] == {"notes": [note]}

    def test_state_of_pydantic_and_dataclasses_comes_back_typed(
        self, db: Path, child: Child, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "true")
        code = """
            import logging, sys, warnings
            warnings.simplefilter("error")
            logged = []
            handler = logging.Handler()
            handler.emit = lambda record: logged.append(record.getMessage())
            logging.getLogger().addHandler(handler)

            from langgraph.graph import START, StateGraph
            from rowtrail_langgraph import RowtrailSaver
            from tests.cases import states
            from typing_extensions import TypedDict

            class State(TypedDict, total=False):
                profile: states.Profile
                note: states.Note
                notes: list[states.Note]
                hidden: object

            def node(state):
                return {"note": states.Note("n"), "notes": [states.Note("a"), states.Note("b")],
                        "hidden": states.Frozen(states.Note("x"), states.NOON)}

            with RowtrailSaver(sys.argv[1]) as saver:
                builder = StateGraph(State)
                builder.add_node("node", node)
                builder.add_edge(START, "node")
                graph = builder.compile(checkpointer=saver)
                config = {"configurable": {"thread_id": "t"}}
                graph.invoke({"profile": states.Profile(name="x")}, config)
                values = graph.get_state(config).values
                assert values["profile"] == states.Profile(name="x"), values
                assert values["note"] == states.Note("n"), values
                assert values["notes"] == [states.Note("a"), states.Note("b")], values
                assert type(values["hidden"]) is dict, values
                assert any("Frozen" in line for line in logged), logged
        """
        root = str(Path(__file__).parents[2])
        child(f"import sys; sys.path.insert(0, {root!r})\n" + textwrap.dedent(code), db)


def test_a_plain_saver_reads_no_sealed_file_as_if_it_were_plain(db: Path) -> None:
    with RowtrailSaver(db, serde=sealed(), **QUICK) as saver:
        saver.put(thread(), checkpoint({"items": [AIMessage("hi")]}), {}, {})

    with RowtrailSaver(db, **QUICK) as saver, pytest.raises(CorruptRowError):
        saver.get_tuple(thread())
