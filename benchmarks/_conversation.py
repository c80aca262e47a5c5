"""A conversation of many turns on one checkpointer, timed turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import _messages_delta_reducer

from benchmarks._scratch import committed_bytes, file_bytes
from benchmarks._text import Text
from rowtrail_langgraph import RowtrailSaver

MESSAGE_BYTES = 500
REPLACE_EVERY = 10
MARKS = 20
THREAD: RunnableConfig = {"configurable": {"thread_id": "conversation"}}

Shape = Literal["append", "trim", "replace", "fork"]
Saver = BaseCheckpointSaver[Any]


class DeltaState(TypedDict):
    """`MessagesState` on LangGraph's opt-in channel of differences."""

    messages: Annotated[
        list[AnyMessage],
        DeltaChannel(_messages_delta_reducer),  # pyright: ignore[reportArgumentType]
    ]


@dataclass(frozen=True)
class Contender:
    """A checkpointer and a graph to measure it with.

    Attributes:
        calls_model: Whether each turn calls a model with the whole history, or answers itself.
    """

    name: str
    open_saver: Callable[[str], AbstractContextManager[Saver]]
    state: type[Any] = MessagesState
    calls_model: bool = False


ROWTRAIL_SAVER = Contender("rowtrail", RowtrailSaver.from_conn_string)
ROWTRAIL_CALLS = Contender("rowtrail", RowtrailSaver.from_conn_string, calls_model=True)
SQLITE_SAVER = Contender("SqliteSaver", SqliteSaver.from_conn_string)
DELTA_CHANNEL = Contender(
    "SqliteSaver + DeltaChannel", SqliteSaver.from_conn_string, state=DeltaState
)


@dataclass
class Conversation:
    """What a conversation took.

    Attributes:
        put_s: Seconds in `saver.put`, one list for each turn.
        turn_s: Seconds in `graph.invoke`, one for each turn.
        bytes: Size of the file with its WAL truncated.
        curve: (turn, bytes, median seconds of a turn since the last mark).
        digest: Hash of the messages at the end, to see that contenders did the same work.
    """

    put_s: list[list[float]] = field(default_factory=list)
    turn_s: list[float] = field(default_factory=list)
    bytes: int = 0
    curve: list[tuple[int, int, float]] = field(default_factory=list)
    digest: str = ""

    def put_p50_us(self, turns: slice) -> float:
        """Return the median time in `saver.put` over some turns, in microseconds."""
        return median(put for puts in self.put_s[turns] for put in puts) * 1e6

    def turn_p50_ms(self, turns: slice) -> float:
        """Return the median time of whole turns, in milliseconds."""
        return median(self.turn_s[turns]) * 1e3


class Script:
    """What is said in each turn, and how the history is edited: the same for all contenders."""

    def __init__(self, shape: Shape, turns: int) -> None:
        self.turn = 0
        self.keep = max(4, turns // 5)
        self.fork_every = max(3, turns // 20)
        self.fork_back = max(1, turns // 100)
        self._shape = shape
        self._text = Text(seed=1)

    def question(self) -> HumanMessage:
        """Return what the person says next."""
        return HumanMessage(self._text.of(MESSAGE_BYTES))

    def answer(self) -> AIMessage:
        """Return what the agent says next."""
        return AIMessage(self._text.of(MESSAGE_BYTES))

    def edits(self, messages: list[AnyMessage]) -> list[BaseMessage]:
        """Return what a node gives back beside its answer."""
        if self._shape == "trim":  # with the answer, `keep` messages are left
            surplus = max(0, len(messages) + 1 - self.keep)
            return [RemoveMessage(id=str(message.id)) for message in messages[:surplus]]
        if self._shape == "replace" and self.turn % REPLACE_EVERY == REPLACE_EVERY - 1:
            old = messages[self.turn * 7919 % len(messages)]
            return [old.model_copy(update={"content": self._text.of(MESSAGE_BYTES)})]
        return []

    @property
    def forks(self) -> bool:
        """Return whether this turn starts from an older checkpoint."""
        return self._shape == "fork" and self.turn > 0 and self.turn % self.fork_every == 0


class ScriptedModel(BaseChatModel):
    """A chat model that says what the script says, with the figures that a provider sends."""

    script: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self.script.answer()
        asked = sum(len(message.text) for message in messages) // 4
        answer.usage_metadata = {
            "input_tokens": asked,
            "output_tokens": MESSAGE_BYTES // 4,
            "total_tokens": asked + MESSAGE_BYTES // 4,
        }
        answer.response_metadata = {"model_name": "scripted-1", "finish_reason": "stop"}
        return ChatResult(generations=[ChatGeneration(message=answer)])


def converse(contender: Contender, shape: Shape, turns: int, path: Path) -> Conversation:
    """Hold a conversation on a new file and return what it took."""
    took = Conversation()
    script = Script(shape, turns)
    marks = {max(1, turns * mark // MARKS) for mark in range(1, MARKS + 1)}
    with contender.open_saver(str(path)) as saver:
        saved = _time_puts(saver, took)
        graph = _graph(contender, script).compile(checkpointer=saver)
        ends: list[RunnableConfig] = []
        for script.turn in range(turns):
            config = ends[-script.fork_back - 1] if script.forks else THREAD
            took.put_s.append([])
            question: Any = {"messages": [script.question()]}
            started = time.perf_counter()
            graph.invoke(question, config, durability="sync")
            took.turn_s.append(time.perf_counter() - started)
            ends.append(saved[-1])
            if script.turn + 1 in marks:
                _mark(took, committed_bytes(path))
        texts = [str(message.content) for message in graph.get_state(THREAD).values["messages"]]
    took.bytes = file_bytes(path)
    took.digest = sha256("\n".join(texts).encode()).hexdigest()
    return took


def _graph(contender: Contender, script: Script) -> StateGraph[Any, Any, Any, Any]:
    model = ScriptedModel(script=script)

    def agent(state: Any) -> dict[str, list[BaseMessage]]:
        messages: list[AnyMessage] = state["messages"]
        answer = model.invoke(messages) if contender.calls_model else script.answer()
        return {"messages": [*script.edits(messages), answer]}

    builder = StateGraph(contender.state)
    builder.add_node("agent", agent)
    builder.add_edge(START, "agent")
    builder.add_edge("agent", END)
    return builder


def _time_puts(saver: Saver, took: Conversation) -> list[RunnableConfig]:
    """Time each `put` of a saver; return a list to which the saved configs are added."""
    put = saver.put
    saved: list[RunnableConfig] = []

    def timed(*args: Any, **kwargs: Any) -> RunnableConfig:
        started = time.perf_counter()
        config = put(*args, **kwargs)
        took.put_s[-1].append(time.perf_counter() - started)
        saved.append(config)
        return config

    vars(saver)["put"] = timed
    return saved


def _mark(took: Conversation, size: int) -> None:
    done = len(took.turn_s)
    before = took.curve[-1][0] if took.curve else 0
    took.curve.append((done, size, median(took.turn_s[before:])))
