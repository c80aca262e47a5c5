"""Ctrl-C at any instruction of a run or a call: nothing stays held, nothing is made twice."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph

from rowtrail import InDoubtError, Journal, RunBusyError, step
from rowtrail.adapter import ListOfChunks, StreamForm, record_stream, scope_here, tool_request
from rowtrail.journal import run_scope
from rowtrail_langgraph import RowtrailSaver
from tests._sample import IS_FULL

PACKAGES = ("rowtrail", "rowtrail_langgraph")


class AtInstruction:
    """Calls a function at the n-th instruction of rowtrail's own code where a handler may run.

    CPython looks for signals as a Python function is entered, or a generator goes on, and as a C
    function returns. What comes in a finalizer is not raised but printed, so none comes there.
    """

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.where: str | None = None
        """The instruction, None where the code had fewer of them."""
        self._left = at
        self._act = act

    def __enter__(self) -> AtInstruction:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, what: Any) -> None:
        if event not in ("call", "c_return") or not _is_ours(frame):
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            name = getattr(what, "__name__", "")
            self.where = f"{frame.f_code.co_name}:{frame.f_lineno} {event} {name}"
            self._act()


def _is_ours(frame: FrameType) -> bool:
    package, _, _ = frame.f_globals.get("__name__", "").partition(".")
    around: FrameType | None = frame
    while around is not None:
        if around.f_code.co_name == "__del__":
            return False
        around = around.f_back
    return package in PACKAGES


def raise_ctrl_c() -> None:
    raise KeyboardInterrupt


Work = Callable[[Journal, str], Any]

EACH = 1 if IS_FULL else 3
EACH_OF_A_GRAPH = 1 if IS_FULL else 11
"""Each of how many instructions is tried: a block has hundreds of them, a graph thousands."""

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # Ctrl-C as a generator is dropped
)

A_FEW = 12
"""At how many instructions a call that was not made may be in doubt: between its row and itself."""

made: list[str] = []


@pytest.fixture(autouse=True)
def _none_made() -> None:
    made.clear()


def pay(name: str) -> None:
    """Change the world."""
    made.append(name)


paying = step(kind="tool", name="pay", effect="write")(pay)


async def apay(name: str) -> None:
    """Change the world, in a coroutine."""
    made.append(name)


apaying = step(kind="tool", name="pay", effect="write")(apay)


def in_block(journal: Journal, name: str) -> None:
    with journal.run(name):
        paying(name)


def in_named_block(journal: Journal, name: str) -> None:
    NAMED.append(run := journal.run(name))
    with run as entered:
        NAMED.append(entered)
        paying(name)


NAMED: list[Any] = []
"""Runs that a program has names for, and so never forgets."""


def in_coroutine(journal: Journal, name: str) -> None:
    async def main() -> None:
        async with journal.run(name):
            await apaying(name)

    asyncio.run(main())


def in_async_stack(journal: Journal, name: str) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(journal.run(name))
            await apaying(name)

    asyncio.run(main())


def twice_in_block(journal: Journal, name: str) -> None:
    """Make the call again at once, in the block: what was interrupted is in doubt, or never was."""
    with journal.run(name):
        try:
            paying(name)
        except KeyboardInterrupt as interrupted:
            try:
                paying(name)
            except InDoubtError:
                raise interrupted from None


def streamed(journal: Journal, name: str) -> None:
    def make() -> Iterator[str]:
        pay(name)
        yield from ("a", "b", "c")

    form: StreamForm[str] = StreamForm(ListOfChunks, lambda replayed: iter(replayed.result))
    with journal.run(name):
        scope = scope_here("pay", "write")
        assert scope is not None
        request = tool_request(scope, "pay", name, effect="write")
        assert "".join(record_stream(scope, request, make, form)) == "abc"


WORKS: list[Work] = [
    in_block,
    twice_in_block,
    streamed,
    in_named_block,
    in_coroutine,
    in_async_stack,
]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_a_block_is_free_after_ctrl_c_at_any_instruction(db: Path, work: Work) -> None:
    with Journal(db, durability="normal") as journal:
        assert wrong_after_ctrl_c(partial(work, journal), EACH, more_than=100) == []


@tool
def send(what: str) -> str:
    """Change the world."""
    made.append(what)
    return "sent"


def graph_of(saver: RowtrailSaver) -> Any:
    def node(state: MessagesState) -> Any:
        answer = FakeListChatModel(responses=["It is done."]).invoke("Send it.")
        send.invoke({"what": str(state["messages"][0].content)})
        return {"messages": [answer]}

    graph = StateGraph(MessagesState).add_node("node", node)
    return graph.add_edge(START, "node").add_edge("node", END).compile(checkpointer=saver)


def test_a_graph_is_free_after_ctrl_c_at_any_instruction(db: Path) -> None:
    with RowtrailSaver(db, durability="normal", effects={"send": "write"}) as saver:
        graph = graph_of(saver)

        def work(name: str) -> None:
            given: Any = {"messages": [("user", name)]}
            config: Any = {"configurable": {"thread_id": name, "rowtrail_run_id": name}}
            graph.invoke(given, config)

        assert wrong_after_ctrl_c(work, EACH_OF_A_GRAPH, more_than=500) == []


def wrong_after_ctrl_c(work: Callable[[str], None], each: int, *, more_than: int) -> list[str]:
    """Interrupt work at each n-th instruction, do it again, and return what is wrong then."""
    work("warm")
    wrong, doubted, at, name = [], [], 1, "r1"
    while (where := interrupted(at, work, name)) is not None:
        try:
            done_again(work, name)
        except RunBusyError:
            wrong.append(f"held by nobody at {where}")
        except InDoubtError:
            doubted += [] if name in made else [where]
        if run_scope.get() is not None:
            wrong.append(f"the code after it counts as inside, at {where}")
        if made.count(name) > 1:
            wrong.append(f"made twice at {where}")
        at += each
        name = f"r{at}"
    assert at > more_than
    assert len(doubted) < A_FEW, doubted
    return wrong


def interrupted(at: int, work: Callable[[str], None], name: str) -> str | None:
    """Return the instruction at which the work was interrupted, None where it has fewer."""
    with AtInstruction(at, raise_ctrl_c) as ctrl_c, suppress(KeyboardInterrupt):
        work(name)
    return ctrl_c.where


def done_again(work: Callable[[str], None], name: str) -> None:
    """Do the work again; what only the collector of garbage finds may be held until it comes."""
    try:
        work(name)
    except RunBusyError:
        gc.collect()
    else:
        return
    work(name)
