"""The demo's model: a script that answers by the conversation alone, or a real model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from rowtrail.testing import Reply, Usage

Request = dict[str, Any]
Respond = Callable[[Request], Reply]

SURVEY_PROMPT = (
    "You survey source files. List them first, then measure each of them, calling exactly one"
    " tool in each turn. When all are measured, answer with one line for each file, in the form"
    " 'NAME: L lines, W words, B bytes'."
)
FINDING_PROMPT = (
    "You look for the longest line among the surveyed source files. First call longest_line for"
    " all files at once, in one turn. Then record one finding, which names the file, the line and"
    " its length. Then answer with one sentence."
)
QUESTION = "Which file has the longest line, and how big are the files together?"
THINKING_S = 0.05
"""Long enough for a kill to find a call in flight, and short for who watches."""


def turn(request: Request) -> tuple[str, int]:
    """Return which part of the work a request belongs to, and how many answers it follows."""
    messages = request["messages"]
    part = "survey" if messages[0]["content"] == SURVEY_PROMPT else "finding"
    return part, sum(message["role"] == "assistant" for message in messages)


def scripted(request: Request) -> Reply:
    """Return the script's answer, a pure function of the conversation."""
    results = [m["content"] for m in request["messages"] if m["role"] == "tool"]
    part, _ = turn(request)
    if part == "survey":
        return _survey(results)
    return _finding(request["messages"], results)


def _survey(results: list[str]) -> Reply:
    if not results:
        return _call("list_files")
    names, sizes = json.loads(results[0]), [json.loads(result) for result in results[1:]]
    if len(sizes) < len(names):
        return _call("measure_file", name=names[len(sizes)])
    lines = ("{file}: {lines} lines, {words} words, {bytes} bytes".format(**s) for s in sizes)
    return Reply("\n".join(lines), delay=THINKING_S)


def _finding(messages: list[dict[str, Any]], results: list[str]) -> Reply:
    survey = messages[2]["content"]  # after the system's prompt and the question
    sizes = re.findall(r"^(\S+): (\d+) lines", survey, re.MULTILINE)
    if not results:
        calls = [("longest_line", {"name": name}) for name, _ in sizes]
        return Reply(tool_calls=calls, delay=THINKING_S)
    longest = max((json.loads(result) for result in results[: len(sizes)]), key=_chars)
    found = "{file} has the longest line: line {line}, {chars} characters".format(**longest)
    if len(results) == len(sizes):
        return _call("record_finding", finding=found)
    total = sum(int(lines) for _, lines in sizes)
    return Reply(f"{found}. The {len(sizes)} files have {total} lines.", delay=THINKING_S)


def _chars(measured: dict[str, Any]) -> int:
    return int(measured["chars"])


def _call(name: str, /, **arguments: str) -> Reply:
    return Reply(tool_calls=[(name, arguments)], delay=THINKING_S)


def real(name: str) -> Respond:
    """Return a function that passes each request on to a real model, such as `openai:gpt-4o-mini`.

    The agent keeps asking the local endpoint, so calls are counted and held as in the script.

    Raises:
        ImportError: `langchain` or the provider's package is not installed.
        ValueError: the name has no known provider.
    """
    from langchain.chat_models import init_chat_model

    model = init_chat_model(name)

    def respond(request: Request) -> Reply:
        options = {key: request[key] for key in ("parallel_tool_calls",) if key in request}
        answer = model.bind_tools(request["tools"], **options).invoke(request["messages"])
        calls = [(call["name"], call["args"]) for call in answer.tool_calls]
        return Reply(str(answer.text), calls, _usage(answer.usage_metadata))

    return respond


def _usage(counted: Any) -> Usage | None:
    if counted is None:
        return None
    cached = (counted.get("input_token_details") or {}).get("cache_read") or 0
    reasoning = (counted.get("output_token_details") or {}).get("reasoning") or 0
    return Usage(counted["input_tokens"], counted["output_tokens"], cached, reasoning)
