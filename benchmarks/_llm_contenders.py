"""LLM steps with a prompt of 20 messages, on each of the ways in which one is recorded.

A prompt is one message of the system and the last 19 of a conversation, and the next one adds an
answer and a question: an agent that trims its history. The objects of messages that were said
before are the same ones, as frameworks hand them on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rowtrail
from benchmarks._contenders import Work
from benchmarks._step_contenders import timed
from benchmarks._text import Text
from rowtrail.adapter import ANSWERS, llm_request, record, scope_here

PROMPT_MESSAGES = 20
MESSAGE_BYTES = 500
MODEL = "scripted-1"

Shape = dict[str, Any]


class Conversation:
    """What is said: a sliding window of 20 messages."""

    def __init__(self, number: int, made: Callable[[str, str], Any]) -> None:
        self._text = Text(seed=number)
        self._made = made
        self._window: list[Any] = [self._said("system")]
        self._window += [self._said(role) for role in ("assistant", "user") * 9]
        self._window.append(self._said("user"))

    def next(self) -> list[Any]:
        """Return the next prompt."""
        system, *said = self._window
        self._window = [system, *said[2:], self._said("assistant"), self._said("user")]
        return list(self._window)

    def text(self) -> str:
        """Return what a model says."""
        return self._text.of(MESSAGE_BYTES)

    def _said(self, role: str) -> Any:
        return self._made(role, self._text.of(MESSAGE_BYTES))


def _shape(role: str, content: str) -> Shape:
    return {"role": role, "content": content}


def _completion(text: str) -> Shape:
    """Return what a provider of the chat wire format answers."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    usage = {"prompt_tokens": 2500, "completion_tokens": 125, "total_tokens": 2625}
    return {"object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}


def _asked_before(conversation: Conversation, ask: Callable[[list[Any], str], object]) -> Work:
    """Return the work that asks with prompts and answers that are made before the clock starts."""
    made: list[tuple[list[Any], str]] = []

    def work(first: int, count: int) -> list[float]:
        while len(made) < first + count:
            made.append((conversation.next(), conversation.text()))
        return timed(lambda number: ask(*made[number]))(first, count)

    return work


@contextmanager
def decorated(path: Path, number: int) -> Generator[Work]:
    """Ask a function under `@rowtrail.step(kind="llm")`."""
    answers: list[str] = []

    @rowtrail.step(name=MODEL, kind="llm")
    def call(messages: list[Shape]) -> Shape:
        return _completion(answers[-1])

    def ask(messages: list[Shape], answer: str) -> None:
        answers[:] = [answer]
        call(messages)

    with rowtrail.Journal(path) as journal, journal.run("steps"):
        yield _asked_before(Conversation(number, _shape), ask)


@contextmanager
def recorded(path: Path, number: int) -> Generator[Work]:
    """Ask through `rowtrail.adapter`, as an adapter does."""

    def ask(messages: list[Shape], answer: str) -> None:
        scope = scope_here(MODEL)
        if scope is None:
            raise RuntimeError("no run is active")
        request = llm_request(scope, MODEL, messages, {"temperature": 0})
        record(scope, request, lambda: _completion(answer), ANSWERS)

    with rowtrail.Journal(path) as journal, journal.run("steps"):
        yield _asked_before(Conversation(number, _shape), ask)


@contextmanager
def captured(path: Path, number: int) -> Generator[Work]:
    """Ask a chat model of LangChain, whose calls are captured."""
    from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

    from benchmarks._instant import InstantModel
    from rowtrail_langgraph import RowtrailSaver

    kinds: dict[str, Callable[..., AnyMessage]] = {
        "system": SystemMessage,
        "user": HumanMessage,
        "assistant": AIMessage,
    }
    model = InstantModel()

    def ask(messages: list[AnyMessage], answer: str) -> None:
        model.will_say(AIMessage(answer, response_metadata={"model_name": MODEL}))
        model.invoke(messages)

    with rowtrail.Journal(path) as journal:
        RowtrailSaver(journal)
        with journal.run("steps"):
            conversation = Conversation(number, lambda role, text: kinds[role](text))
            yield _asked_before(conversation, ask)
