"""Lists that this process has just written or read: copies of them, without SQL and JSON."""

from __future__ import annotations

import copy
import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph, add_messages
from typing_extensions import TypedDict

from rowtrail.engine import Tx
from rowtrail.engine.sqlite import SqliteTx
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, checkpoint, thread
from tests.adapters.test_memo import MANY, MUTATIONS


@pytest.fixture
def saver(db: Path) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(db, **QUICK) as opened:
        yield opened


def put(saver: RowtrailSaver, values: list[Any], at: Any = None) -> Any:
    return saver.put(at or thread(), checkpoint({"items": values}), {}, {})


def got(saver: RowtrailSaver, at: Any = None) -> list[Any]:
    found = saver.get_tuple(at or thread())
    assert found is not None
    items: list[Any] = found.checkpoint["channel_values"]["items"]
    return items


class Queries:
    """Counts the spans of logs that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spans = 0
        every = SqliteTx.all

        def counted(tx: SqliteTx, name: str, /, **params: Any) -> Any:
            self.spans += name == "log_span"
            return every(tx, name, **params)

        monkeypatch.setattr(SqliteTx, "all", counted)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> Queries:
    return Queries(monkeypatch)


@pytest.mark.parametrize("kind", MANY)
def test_what_was_just_written_is_not_read_from_the_file(
    saver: RowtrailSaver, queries: Queries, kind: str
) -> None:
    values = [MANY[kind](number) for number in range(50)]
    put(saver, values[:49])
    for _ in range(3):
        assert got(saver) == values[:49]
    put(saver, values)
    assert got(saver) == values
    assert queries.spans == 0

    first = next(iter(saver.list(thread())))

    assert first.checkpoint["channel_values"]["items"] == values
    assert queries.spans == 1


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mutated_copy_changes_no_other_and_not_what_is_stored(
    saver: RowtrailSaver, mutation: str
) -> None:
    make, mutate = MUTATIONS[mutation]
    written = [make(), make(), HumanMessage("last", id="last")]
    put(saver, written)
    first, stored = got(saver), repr(got(saver))
    copies = [got(saver) for _ in range(2)]

    if mutation != "an artifact that is an object":  # langgraph's serializer made it a dict
        for each in copies:
            mutate(each[0])
            mutate(each[1])
            assert repr(each) != stored
    mutate(written[1])

    assert repr(first) == repr(got(saver)) == stored
    with RowtrailSaver(saver.journal, **QUICK) as other:
        assert repr(got(other)) == stored


def test_a_copy_is_a_message_like_any_other(saver: RowtrailSaver) -> None:
    written = [HumanMessage("hi", id="1"), AIMessage("ho", id="2", response_metadata={"a": [1]})]
    put(saver, written)
    decoded, cast = got(saver), got(saver)

    for one, other, original in zip(decoded, cast, written, strict=True):
        assert type(one) is type(other) is type(original)
        assert one == other == original
        assert one.model_dump() == other.model_dump() == original.model_dump()
        assert one.model_fields_set == other.model_fields_set
        other.mood = "merry"  # type: ignore[attr-defined]
        assert "mood" not in one.model_dump()
        assert other.model_copy(deep=True).model_dump() == other.model_dump()
    assert [message.model_dump() for message in got(saver)] == [m.model_dump() for m in written]


@pytest.mark.parametrize("seed", range(20))
def test_copies_share_nothing_that_can_be_mutated(saver: RowtrailSaver, seed: int) -> None:
    written = [made_up_message(random.Random(f"{seed} {n}"), n) for n in range(30)]
    others_among_them: list[Any] = [{"in a": ["dict"]}] * (seed % 2)
    put(saver, [*written, *others_among_them])
    got(saver)
    one, other = got(saver), got(saver)

    assert repr(one) == repr(other) == repr(got(saver))
    assert [repr(message) for message in one[:30]] == [repr(message) for message in written]
    parts, others = containers(one), containers(other)
    assert len(parts) == len(others) > 90
    assert len(parts | others) == 2 * len(parts)


def made_up_message(rng: random.Random, number: int) -> AnyMessage:
    """Return a message with parts of every nesting, also of equal values of other types."""
    if number % 5 == 0:
        return HumanMessage("hi", id=str(number), additional_kwargs=made_up_dict(rng, 2))
    calls = [
        {"name": "look", "args": made_up_dict(rng, 3), "id": str(n)} for n in range(number % 3)
    ]
    return AIMessage(
        [{"type": "text", "text": "a"}] if number % 4 == 0 else "ho",
        id=str(number),
        response_metadata=made_up_dict(rng, number % 4),
        tool_calls=calls,
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    )


def made_up_dict(rng: random.Random, depth: int) -> dict[str, Any]:
    return {f"key {n}": made_up_part(rng, depth) for n in range(rng.randrange(4))}


def made_up_part(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind == 6:
        return made_up_dict(rng, depth - 1)
    if kind == 7:
        return [made_up_part(rng, depth - 1) for _ in range(rng.randrange(3))]
    return [1, True, 1.0, -0.0, None, "text"][kind]


def containers(part: Any) -> set[int]:
    """Return the ids of all that can be mutated in a value."""
    if isinstance(part, BaseMessage):
        inner: list[Any] = [part.__dict__, part.model_extra, part.model_fields_set]
    elif isinstance(part, dict):
        inner = list(part.values())
    elif isinstance(part, list):
        inner = part
    else:
        return {id(part)} if isinstance(part, set) else set()
    return {id(part)}.union(*map(containers, inner))


def test_a_mutated_copy_is_stored_when_it_is_put(saver: RowtrailSaver) -> None:
    put(saver, [HumanMessage("one", id="1"), AIMessage("two", id="2")])
    got(saver)
    values = got(saver)
    values[1].content = "changed"
    values[0].additional_kwargs["seen"] = True
    expected = copy.deepcopy(values)

    config = put(saver, values)
    values[1].content = "changed again"

    assert got(saver, config) == got(saver) == expected


def test_every_checkpoint_of_a_forked_thread_keeps_its_own_list(saver: RowtrailSaver) -> None:
    values = [HumanMessage(str(number), id=str(number)) for number in range(20)]
    written: list[tuple[Any, list[Any]]] = []
    for number in range(1, 10):
        at, base = written[number // 2] if number > 4 else (thread(), [])
        branch = [*(got(saver, at) if base else []), *values[number : number + 3]]
        written.append((put(saver, branch, at), branch))

    assert [got(saver, at) for at, _ in written] == [branch for _, branch in written]
    assert got(saver) == written[-1][1]


CHILD = """
import json, sys
from datetime import timedelta
from langchain_core.messages import HumanMessage
from rowtrail_langgraph import RowtrailSaver

from tests.adapters._savers import QUICK, checkpoint, thread

with RowtrailSaver(sys.argv[1], **QUICK) as saver:
    for line in sys.stdin:
        order, *texts = json.loads(line)
        if order == "delete":
            saver.delete_thread("t")
            saver.journal.prune(older_than=timedelta(0))
        found = saver.get_tuple(thread("t"))
        values = found.checkpoint["channel_values"]["items"] if found else []
        values = [*values, *(HumanMessage(text, id=text) for text in texts)]
        if texts:
            saver.put(thread("t"), checkpoint({"items": values}), {}, {})
        print(json.dumps([message.content for message in values]), flush=True)
"""


class Other:
    """Another process on the same file."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *order: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer: list[str] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def other(db: Path) -> Iterator[Other]:
    opened = Other(db)
    yield opened
    opened.close()


def list_rows(db: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT list FROM channel_value").fetchall()


def texts(saver: RowtrailSaver) -> list[str]:
    return [message.content for message in got(saver, thread("t"))]


def append(saver: RowtrailSaver, *new: str) -> list[str]:
    values = got(saver, thread("t")) if saver.get_tuple(thread("t")) else []
    values = [*values, *(HumanMessage(text, id=text) for text in new)]
    put(saver, values, thread("t"))
    return texts(saver)


def test_two_processes_take_turns_on_one_thread(
    db: Path, saver: RowtrailSaver, other: Other
) -> None:
    expected: list[str] = []
    for turn in range(6):
        expected += [f"a{turn}", f"b{turn}"]
        assert append(saver, *expected[-2:]) == expected
        assert other.ask("append") == expected
        expected += [f"c{turn}"]
        assert other.ask("append", expected[-1]) == expected
        assert texts(saver) == texts(saver) == expected


def test_rows_that_another_process_deleted_and_used_again_are_read_anew(
    db: Path, saver: RowtrailSaver, other: Other
) -> None:
    append(saver, "old 1", "old 2")
    assert texts(saver) == ["old 1", "old 2"]
    before = list_rows(db)

    assert other.ask("delete", "new 1", "new 2") == ["new 1", "new 2"]

    assert list_rows(db) == before
    assert texts(saver) == ["new 1", "new 2"]
    assert append(saver, "new 3") == ["new 1", "new 2", "new 3"]
    assert other.ask("append") == ["new 1", "new 2", "new 3"]


def test_work_that_is_rolled_back_makes_nothing_up(saver: RowtrailSaver) -> None:
    def fail(tx: Tx) -> None:
        raise LookupError

    put(saver, [HumanMessage("1", id="1"), HumanMessage("2", id="2")])
    lists = [got(saver)]
    for _ in range(3):
        with pytest.raises(LookupError):
            saver.journal.store.write(fail)
        lists.append(got(saver))
        put(saver, lists[-1])
        lists.append(got(saver))

    assert all(each == lists[0] for each in lists)


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    notes: list[dict[str, Any]]


def edits(chance: random.Random, messages: list[AnyMessage]) -> list[BaseMessage]:
    """Return what an agent does to its history: append, trim, remove, replace, mutate in place."""
    new: list[BaseMessage] = [AIMessage(f"answer {chance.random()}", id=f"{chance.random()}")]
    match chance.choice(["append", "trim", "remove", "replace", "mutate", "mutate all", "clear"]):
        case "trim":
            new += [RemoveMessage(id=str(m.id)) for m in messages[: len(messages) // 2]]
        case "remove":
            new += [RemoveMessage(id=str(chance.choice(messages).id))]
        case "replace":
            new += [HumanMessage(f"replaced {chance.random()}", id=chance.choice(messages).id)]
        case "mutate":
            chance.choice(messages).additional_kwargs["n"] = [chance.random()]
        case "mutate all":
            for message in messages:
                message.content = f"{message.content}!"
        case "clear":
            new += [RemoveMessage(id=str(m.id)) for m in messages[1:]]
        case _:
            pass
    return new


def graph(saver: Any, seed: int) -> Any:
    chance = random.Random(seed)

    def agent(state: State) -> dict[str, Any]:
        notes = state.get("notes") or []
        for note in notes[::2]:
            note["times"].append(len(notes))
        return {
            "messages": edits(chance, state["messages"]),
            "notes": [*notes[-9:], {"times": []}],
        }

    builder = StateGraph(State)
    builder.add_node("one", agent)
    builder.add_node("two", agent)
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("seed", range(8))
def test_an_edited_history_is_that_of_the_reference(saver: RowtrailSaver, seed: int) -> None:
    ours, reference = graph(saver, seed), graph(InMemorySaver(), seed)
    for number in range(10):
        given = {"messages": [HumanMessage(f"hi {number}", id=f"h{number}")]}
        result = ours.invoke(copy.deepcopy(given), thread(), durability="sync")
        expected = reference.invoke(copy.deepcopy(given), thread(), durability="sync")

        assert result == expected
        assert ours.get_state(thread()).values == reference.get_state(thread()).values == result
        ours.get_state(thread()).values["messages"][0].content = "somebody else's copy"

    histories = [[s.values for s in g.get_state_history(thread())] for g in (ours, reference)]
    assert histories[0] == histories[1]


def test_threads_at_once_see_only_what_was_stored(saver: RowtrailSaver) -> None:
    values = [AIMessage(f"{n}", id=f"{n}", additional_kwargs={"n": [n]}) for n in range(200)]
    put(saver, copy.deepcopy(values[:100]))
    wrong: list[list[Any]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = got(saver)
            if found != values[: len(found)]:
                wrong.append(found)
            for message in found:
                message.additional_kwargs["n"].append("mine")
                message.content = "mine"

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for length in range(101, 131):
        put(saver, [*got(saver), copy.deepcopy(values[length - 1])])
    stop.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    assert got(saver) == values[:130]
