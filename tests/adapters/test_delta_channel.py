"""Channels that store what is new: rebuilt from the writes of ancestors, and pruned with care."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.graph import START, StateGraph
from langgraph.types import Overwrite
from typing_extensions import TypedDict

from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import (
    Driver,
    Mode,
    both_modes,
    checkpoint,
    driven,
    ids,
    metadata_of,
    thread,
)
from tests.conftest import Rows

pytestmark = pytest.mark.both_engines

TASKS = [f"{digit * 8}-0000-0000-0000-000000000000" for digit in "0123"]


async def chain(
    driver: Driver, states: Sequence[dict[str, Any]], channels: Sequence[str] = ("ch",)
) -> list[Any]:
    """Store a checkpoint for each state, one on the other, each with a write of its number."""
    configs: list[Any] = [thread()]
    for number, values in enumerate(states):
        configs.append(await driver.put(configs[-1], checkpoint(values), step=number))
        writes = [(channel, number) for channel in channels]
        await driver.put_writes(configs[-1], writes, f"task {number}")
    return configs[1:]


def written(history: Any, channel: str = "ch") -> list[Any]:
    return [value for _, _, value in history[channel]["writes"]]


@both_modes
class TestHistory:
    async def test_gives_the_writes_before_a_checkpoint_oldest_first(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            *_, head = await chain(driver, [{}, {}, {}, {}])

            history = await driver.history(head, ["ch"])

            assert written(history) == [0, 1, 2]
            assert "seed" not in history["ch"]

    async def test_starts_at_the_nearest_snapshot_and_its_own_writes(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            states = [{"ch": _DeltaSnapshot("old")}, {}, {"ch": _DeltaSnapshot("new")}, {}, {}]
            *_, head = await chain(driver, states)

            history = await driver.history(head, ["ch"])

            assert history["ch"]["seed"] == _DeltaSnapshot("new")
            assert type(history["ch"]["seed"]) is _DeltaSnapshot
            assert written(history) == [2, 3]

    async def test_takes_a_plain_value_of_an_older_graph_for_the_seed(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            *_, head = await chain(driver, [{"ch": [1]}, {"ch": [1, 2]}, {}, {}])

            history = await driver.history(head, ["ch"])

            assert history["ch"]["seed"] == [1, 2]
            assert written(history) == [1, 2]

    async def test_leaves_out_the_writes_on_the_checkpoint_itself(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            first, second = await chain(driver, [{}, {}])

            assert written(await driver.history(second, ["ch"])) == [0]
            assert written(await driver.history(first, ["ch"])) == []

    async def test_orders_the_writes_of_a_superstep_by_task_path_then_task_then_number(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            parent = await driver.put(thread(), checkpoint())
            for path, task, values in [
                ("~pull, b", TASKS[0], ["last"]),
                ("~pull, a", TASKS[2], ["third", "fourth"]),
                ("~pull, a", TASKS[1], ["second"]),
                ("", TASKS[3], ["first"]),
            ]:
                writes = [("ch", value) for value in values]
                await driver.put_writes(parent, writes, task, path)
            head = await driver.put(parent, checkpoint())

            expected = ["first", "second", "third", "fourth", "last"]
            assert written(await driver.history(head, ["ch"])) == expected
            found = await driver.found(parent)
            assert [value for _, _, value in found.pending_writes or []] == expected

    async def test_follows_the_parents_of_a_fork(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            first, second = await chain(driver, [{}, {}])
            fork = await driver.put(first, checkpoint())
            await driver.put_writes(fork, [("ch", "forked")], "task fork")
            left = await driver.put(second, checkpoint())
            right = await driver.put(fork, checkpoint())

            assert written(await driver.history(left, ["ch"])) == [0, 1]
            assert written(await driver.history(right, ["ch"])) == [0, "forked"]

    async def test_ends_for_each_channel_at_its_own_seed(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            states = [{}, {"a": _DeltaSnapshot("A")}, {}, {"b": _DeltaSnapshot("B")}, {}]
            *_, head = await chain(driver, states, channels=("a", "b", "c"))

            history = await driver.history(head, ["a", "b", "c"])

            assert written(history, "a") == [1, 2, 3]
            assert written(history, "b") == [3]
            assert written(history, "c") == [0, 1, 2, 3]

    async def test_of_channels_nobody_wrote_or_named_is_empty(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            *_, head = await chain(driver, [{}, {}])

            assert await driver.history(head, ["never"]) == {"never": {"writes": []}}
            assert await driver.history(head, []) == {}
            assert await driver.history(thread("nobody"), ["ch"]) == {"ch": {"writes": []}}

    async def test_of_a_thread_is_that_of_its_newest_checkpoint(
        self, mode: Mode, where: str
    ) -> None:
        with driven(where, mode) as driver:
            await chain(driver, [{}, {}, {}])

            assert written(await driver.history(thread(), ["ch"])) == [0, 1]

    async def test_is_what_walking_the_parents_gives(self, mode: Mode, where: str) -> None:
        with driven(where, mode) as driver:
            states = [{}, {"a": _DeltaSnapshot([1])}, {}, {"b": _DeltaSnapshot([2])}, {}, {}]
            for config in await chain(driver, states, channels=("a", "b", "c")):
                walked = super(RowtrailSaver, driver.saver).get_delta_channel_history(
                    config=config, channels=["a", "b", "c"]
                )

                assert await driver.history(config, ["a", "b", "c"]) == walked


def add(state: list[Any], writes: Sequence[Any]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


class State(TypedDict):
    items: Annotated[list[Any], DeltaChannel(add, snapshot_frequency=4)]
    messages: Annotated[list[AnyMessage], DeltaChannel(add, snapshot_frequency=1000)]
    plain: Annotated[list[int], operator.add]


def agent(saver: Any) -> Any:
    def node(state: State) -> dict[str, Any]:
        number = len(state["items"])
        return {
            "items": [number],
            "messages": [AIMessage(f"answer {number}", id=f"a{number}")],
            "plain": [number],
        }

    def other(state: State) -> dict[str, Any]:
        return {"items": ["other"]}

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_node("other", other)
    builder.add_edge(START, "node")
    builder.add_edge(START, "other")
    return builder.compile(checkpointer=saver)


def turn(number: int) -> dict[str, Any]:
    return {"items": [f"in {number}"], "messages": [HumanMessage("hi", id=f"h{number}")]}


@pytest.fixture
def saver(where: str) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(where, capture=False) as opened:
        yield opened


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
class TestInGraphs:
    def test_state_is_that_of_the_memory_saver(self, saver: RowtrailSaver, durability: str) -> None:
        graph, reference = agent(saver), agent(InMemorySaver())
        for number in range(7):
            for each in (graph, reference):
                each.invoke(turn(number), thread(), durability=durability)
        for each in (graph, reference):
            each.update_state(thread(), {"items": ["by hand"]}, as_node="other")
            each.invoke({"items": Overwrite(["fresh"])}, thread(), durability=durability)

        ours, theirs = graph.get_state(thread()), reference.get_state(thread())
        assert ours.values == theirs.values
        history = [each.values for each in graph.get_state_history(thread())]
        assert history == [each.values for each in reference.get_state_history(thread())]

    def test_pruned_to_the_latest_the_state_stays_and_turns_go_on(
        self, saver: RowtrailSaver, durability: str
    ) -> None:
        graph, reference = agent(saver), agent(InMemorySaver())
        for number in range(6):
            graph.invoke(turn(number), thread(), durability=durability)
            reference.invoke(turn(number), thread(), durability=durability)

            saver.prune(["t"])

            assert graph.get_state(thread()).values == reference.get_state(thread()).values
            assert len([*saver.list(thread())]) == 1

    def test_pruned_away_the_thread_begins_anew(
        self, saver: RowtrailSaver, durability: str
    ) -> None:
        graph = agent(saver)
        graph.invoke(turn(0), thread(), durability=durability)

        saver.prune(["t"], strategy="delete")

        assert graph.get_state(thread()).values == agent(InMemorySaver()).get_state(thread()).values
        graph.invoke(turn(1), thread(), durability=durability)
        assert graph.get_state(thread()).values["items"][0] == "in 1"

    def test_a_copy_has_the_state_and_goes_its_own_way(
        self, saver: RowtrailSaver, durability: str
    ) -> None:
        graph = agent(saver)
        for number in range(5):
            graph.invoke(turn(number), thread(), durability=durability)
        before = graph.get_state(thread()).values

        saver.copy_thread("t", "copy")
        graph.invoke(turn(5), thread("copy"), durability=durability)

        assert graph.get_state(thread()).values == before
        copied = graph.get_state(thread("copy")).values
        assert copied["items"][: len(before["items"])] == before["items"]
        assert len(copied["items"]) == len(before["items"]) + 3

    def test_a_fork_is_rebuilt_from_its_own_ancestors(
        self, saver: RowtrailSaver, durability: str
    ) -> None:
        graph, reference = agent(saver), agent(InMemorySaver())
        values = []
        for each in (graph, reference):
            for number in range(4):
                each.invoke(turn(number), thread(), durability=durability)
            past = [*each.get_state_history(thread())][-1 if durability == "exit" else 5]
            each.invoke(turn(9), past.config, durability=durability)
            values.append([state.values for state in each.get_state_history(thread())])

        assert values[0] == values[1]


def test_deleting_a_run_keeps_what_later_runs_are_rebuilt_from(saver: RowtrailSaver) -> None:
    graph = agent(saver)
    runs = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"]
    for number, run in enumerate(runs):
        graph.invoke(turn(number), {**thread(), "metadata": {"run_id": run}}, durability="sync")
    before = graph.get_state(thread()).values

    saver.delete_for_runs(runs[:1])

    assert graph.get_state(thread()).values == before
    assert {metadata_of(each)["run_id"] for each in saver.list(thread())} == {runs[1]}
    saver.delete_for_runs(runs[1:])
    assert [*saver.list(thread())] == []


@both_modes
async def test_pruning_keeps_the_ancestors_back_to_the_snapshot_hidden(
    mode: Mode, where: str, rows: Rows
) -> None:
    with driven(where, mode) as driver:
        states = [{}, {"ch": _DeltaSnapshot([1])}, {}, {}, {}]
        configs = await chain(driver, states)
        before = await driver.history(configs[-1], ["ch"])

        await driver.prune(["t"])

        assert ids(await driver.list(thread())) == [configs[-1]["configurable"]["checkpoint_id"]]
        assert await driver.history(configs[-1], ["ch"]) == before
        assert await driver.get(configs[0]) is None
        assert rows("SELECT count(*) AS n FROM checkpoints") == [{"n": 1}]
        assert {row["position"] for row in rows("SELECT * FROM state")} <= {None}


@both_modes
async def test_hidden_ancestors_go_once_nothing_is_rebuilt_from_them(
    mode: Mode, where: str
) -> None:
    with driven(where, mode) as driver:
        configs = await chain(driver, [{"ch": _DeltaSnapshot([1])}, {}, {}])
        await driver.prune(["t"])
        head = await driver.put(configs[-1], checkpoint({"ch": _DeltaSnapshot([1, 2])}))

        await driver.prune(["t"])

        assert await driver.get(configs[0]) is None
        assert ids(await driver.list(None)) == [head["configurable"]["checkpoint_id"]]
