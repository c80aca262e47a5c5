"""Messages of an input that have no id: stored once, with the id that the state has them under."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.graph import MessagesState
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from tests.adapters._graphs import DURABILITIES, MODES, Bench, Mode, one_node, run, thread


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


class Plain(TypedDict):
    messages: Annotated[list[AnyMessage], operator.add]


class Last(TypedDict):
    messages: list[AnyMessage]


class Other(MessagesState):
    notes: Annotated[list[AnyMessage], operator.add]


def stored(bench: Bench, text: str) -> int:
    """Return how many items of the file hold a text."""
    [row] = bench.rows("SELECT count(*) AS n FROM item WHERE instr(text, ?)", text)
    return int(row["n"])


def does_nothing(state: Any) -> Any:
    return {}


Given = Callable[[str], list[AnyMessage]]

INPUTS: dict[str, Given] = {
    "a list": lambda text: [HumanMessage(text)],
    "several": lambda text: [HumanMessage(text), AIMessage("fine"), HumanMessage("go on")],
    "blocks": lambda text: [HumanMessage([{"type": "text", "text": text}])],
    "with an id": lambda text: [HumanMessage(text, id="mine")],
}


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
async def test_a_message_of_an_input_is_stored_once(
    bench: Bench, mode: Mode, durability: Any, given: str
) -> None:
    graph = one_node(bench.saver(), does_nothing)
    for text in ("first of all", "and then"):
        message = INPUTS[given](text)
        state = await run(mode, graph, {"messages": message}, thread(), durability=durability)
        assert stored(bench, text) == 1
        # the ids are the user's own objects', as without rowtrail
        ids = {m.id for m in state["messages"]}
        assert {m.id for m in message} <= ids and None not in ids
        assert given != "with an id" or ids == {"mine"}
        assert (await graph.aget_state(thread())).values == state


@pytest.mark.parametrize("state", [Plain, Last])
@pytest.mark.parametrize("mode", MODES)
async def test_where_langgraph_gives_no_id_none_is_given(
    bench: Bench, mode: Mode, state: type
) -> None:
    message = HumanMessage("hello")
    graph = one_node(bench.saver(), does_nothing, state)
    found = await run(mode, graph, {"messages": [message]}, thread())
    assert [m.id for m in found["messages"]] == [None] and message.id is None


async def test_only_the_channel_that_gives_ids_gets_them(bench: Bench) -> None:
    asked, note = HumanMessage("hello"), HumanMessage("a note")
    graph = one_node(bench.saver(), does_nothing, Other)
    graph.invoke({"messages": [asked], "notes": [note], "unknown": [note]}, thread())
    assert uuid.UUID(str(asked.id)).version == 4 and note.id is None


@pytest.mark.parametrize(
    "given",
    [
        ("user", "hello"),
        "hello",
        [{"role": "user", "content": "hello"}],
        [("user", "hello"), HumanMessage("and")],
    ],
    ids=repr,
)
async def test_other_forms_of_messages_are_left_to_langgraph(bench: Bench, given: Any) -> None:
    recorded = one_node(bench.saver(), does_nothing).invoke({"messages": given}, thread())
    plain = one_node(None, does_nothing).invoke({"messages": given})
    assert _without_ids(recorded) == _without_ids(plain)
    assert None not in [m.id for m in recorded["messages"]]


def _without_ids(state: Any) -> list[dict[str, Any]]:
    messages: list[BaseMessage] = state["messages"]
    return [message.model_copy(update={"id": None}).model_dump() for message in messages]


async def test_a_removal_stays_what_it_is(bench: Bench) -> None:
    graph = one_node(bench.saver(), does_nothing)
    graph.invoke({"messages": [HumanMessage("first")]}, thread())
    state = graph.invoke(
        {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("anew")]}, thread()
    )
    assert [m.content for m in state["messages"]] == ["anew"]


async def test_a_graph_without_the_saver_is_left_alone(bench: Bench) -> None:
    bench.saver()  # hooks are in place
    seen: list[str | None] = []

    class Spy(MessagesState):
        pass

    def node(state: Spy) -> Any:
        seen.extend(m.id for m in state["messages"])
        return {}

    message = HumanMessage("hello")
    one_node(None, node, Spy).invoke({"messages": [message]})
    assert seen == [message.id] and message.id is not None
