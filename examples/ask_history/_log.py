"""The plain log of the run, written by LangChain callbacks while it happens.

A line for what goes into each call and one for what comes out, as tracing to a file prints them:
time, call, content, and no ids, figures or metadata. Two files, of which the second is what most
loggers write:

- `new.log`: of each prompt what no line showed before. A tool's result, logged by the tool, is not
  logged again when the model is sent it, nor is the model's own answer.
- `full.log`: of each prompt every message.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult


class PlainLog(BaseCallbackHandler):
    """Logs every call of a graph to `new.log` and `full.log` in a folder; a context manager."""

    raise_error = True

    def __init__(self, folder: Path) -> None:
        self.paths = {which: folder / f"{which}.log" for which in ("new", "full")}
        self._handlers = {which: logging.FileHandler(path) for which, path in self.paths.items()}
        for handler in self._handlers.values():
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._shown: set[str] = set()

    def __enter__(self) -> PlainLog:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for handler in self._handlers.values():
            handler.close()

    def texts(self) -> dict[str, str]:
        """Return the text of each file by its name, `new` and `full`."""
        return {which: path.read_text("utf-8") for which, path in self.paths.items()}

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **kwargs: Any
    ) -> None:
        lines = [_line(message) for message in messages[0]]
        self._write("llm in", "\n".join(lines), only="full")
        # a message is new unless a line showed it: an answer, a result, or an earlier prompt
        new = [
            line
            for message, line in zip(messages[0], lines, strict=True)
            if message.type in ("human", "system") and line not in self._shown
        ]
        self._shown.update(new)
        if new:
            self._write("llm in", "\n".join(new), only="new")

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        generation = response.generations[0][0]
        if isinstance(generation, ChatGeneration):
            self._write("llm out", _line(generation.message))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self._write("llm error", str(error))

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        self._write(f"tool {serialized['name']} in", json.dumps(kwargs.get("inputs")))

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self._write("tool out", str(getattr(output, "content", output)))

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self._write("tool error", str(error))

    def _write(self, what: str, content: str, *, only: str | None = None) -> None:
        entry = logging.makeLogRecord({"msg": f"{what}: {content}"})
        for which, handler in self._handlers.items():
            if only in (None, which):
                handler.handle(entry)


def _line(message: BaseMessage) -> str:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    asked = "".join(f" {call['name']}({json.dumps(call['args'])})" for call in calls)
    return f"[{message.type}] {message.text}{asked}"
