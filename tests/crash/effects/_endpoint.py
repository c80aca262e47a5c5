"""The model: its answers depend only on the messages, and it counts what it is asked."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from typing import Any

from rowtrail.testing import Reply

TWIN, SINGLE = 1, 2
PLAN: tuple[tuple[int, ...], ...] = ((TWIN, TWIN, SINGLE), (TWIN,))
"""The amounts of the calls that the model asks for, answer by answer: twins, a single one, and
later once more what the twins did. The LLM call after the last gives the answer."""

EXPECTED = {TWIN: 3, SINGLE: 1}
"""How often each amount is acted in a run that nobody disturbs."""

APPROVED = "yes"


def result_of(amount: int) -> str:
    """Return what a call returns."""
    return f"acted {amount}"


class Endpoint:
    """Answers questions and counts the requests of each token."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, list[str]] = defaultdict(list)

    def asked(self, token: str) -> list[str]:
        """Return the last message of each request about a token, in order."""
        with self._lock:
            return list(self._asked[token])

    def forget(self, token: str) -> None:
        with self._lock:
            self._asked.pop(token, None)

    def respond(self, request: dict[str, Any]) -> Reply:
        """Answer one request."""
        messages = request["messages"]
        last = max(n for n, message in enumerate(messages) if message["role"] == "user")
        question, turn = _text(messages[last]), messages[last + 1 :]
        with self._lock:
            self._asked[_token(question)].append(f"{len(messages)} {_text(messages[-1])}")
        return _reply(question, turn)


def _reply(question: str, turn: list[dict[str, Any]]) -> Reply:
    asking = [message for message in turn if message.get("tool_calls")]
    results = [_text(message) for message in turn if message["role"] == "tool"]
    if "approval" in question:
        if not asking:
            return Reply(tool_calls=[("approve", {"what": "acting"})])
        asking = asking[1:]
    if len(asking) < len(PLAN):
        return Reply(tool_calls=[("act", {"amount": amount}) for amount in PLAN[len(asking)]])
    return Reply(text=answer_to(question, results))


def answer_to(question: str, results: list[str]) -> str:
    """Return the last answer to a question: it names the question and the results."""
    return f"{question} -> {', '.join(results)}"


def _text(message: dict[str, Any]) -> str:
    return str(message.get("content") or "")


def _token(question: str) -> str:
    found = re.search(r"#(\w+)", question)
    assert found is not None, question
    return found[1]
