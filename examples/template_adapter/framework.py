"""A framework for agents, as small as one can be: `Agent.run` asks a model and calls tools.

It knows nothing of rowtrail. As in every framework there is one place at which a model is called,
one at which it streams, and one at which a tool is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]


class Model:
    """A language model: `send` is what goes over the wire, and returns an OpenAI chat answer."""

    def __init__(self, name: str, send: Callable[[list[Message]], Message]) -> None:
        self.name = name
        self.send = send

    def answer(self, messages: list[Message]) -> Message:
        """Return the message that the model answers."""
        return self.send(messages)

    def stream(self, messages: list[Message]) -> Iterator[str]:
        """Yield the text that the model answers, word by word."""
        for word in str(self.send(messages)["content"]).split():
            yield f"{word} "


@dataclass(frozen=True)
class Tool:
    """A function that a model may call; `writes` says that it changes the world."""

    function: Callable[..., str]
    writes: bool = False

    def call(self, call_id: str, arguments: dict[str, Any]) -> str:
        """Return what the model is told of a call."""
        return self.function(**arguments)


@dataclass(frozen=True)
class Agent:
    """Asks a model until it asks for no tool any more."""

    model: Model
    tools: tuple[Tool, ...] = ()

    def run(self, question: str) -> str:
        """Return the answer to a question."""
        by_name = {tool.function.__name__: tool for tool in self.tools}
        messages: list[Message] = [{"role": "user", "content": question}]
        while True:
            answer = self.model.answer(messages)
            messages.append(answer)
            if not answer.get("tool_calls"):
                return str(answer["content"])
            for asked in answer["tool_calls"]:
                result = by_name[asked["name"]].call(asked["id"], asked["args"])
                messages.append({"role": "tool", "tool_call_id": asked["id"], "content": result})
