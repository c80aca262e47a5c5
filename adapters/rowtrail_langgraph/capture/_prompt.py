"""The messages of a chat-model call: what was asked before is neither encoded nor hashed again."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import BaseMessage

from rowtrail.content import Mask, Prepared, canonical_json
from rowtrail.journal import Attempt, fingerprint_of
from rowtrail_langgraph.capture._parameters import Parameters
from rowtrail_langgraph.values import Memo, canonical_message, canonical_messages


@dataclass(frozen=True)
class Prompt:
    """Messages on their way to a model.

    Attributes:
        prepared: Their stored forms.
        canonical: A text that equal conversations have in common, for a fingerprint.
        masked: The same with a mask applied to all texts, None without one.
    """

    prepared: tuple[Prepared, ...]
    canonical: str
    masked: str | None = None


class Asked(Mapping[str, Any]):
    """What a model is asked, put together when somebody looks at it.

    Attributes:
        fields: Those of the model as it was asked.
    """

    def __init__(self, messages: Sequence[BaseMessage], parameters: Parameters) -> None:
        self.fields = parameters.fields
        self._messages = messages
        self._parameters = parameters.shown

    def __getitem__(self, key: str) -> Any:
        if key == "messages":
            return canonical_messages(self._messages)
        return {"parameters": self._parameters}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("messages", "parameters"))

    def __len__(self) -> int:
        return 2

    def text(self) -> str:
        """Return what the model reads, to count its tokens."""
        messages: list[Mapping[str, Any]] = [message.__dict__ for message in self._messages]
        if not all(type(fields["content"]) is str for fields in messages):
            messages = [*canonical_messages(self._messages)]  # blocks repeat the tool calls
        text = "\n".join(map(readable, messages))
        tools = self._parameters.get("tools")
        return text + canonical_json(tools) if tools else text


def readable(message: Mapping[str, Any]) -> str:
    """Return the text of a message with the names and arguments of its tool calls."""
    content = message.get("content", "")
    text = content if isinstance(content, str) else json.dumps(content, default=repr)
    calls = message.get("tool_calls")
    return text + canonical_json([[c["name"], c["args"]] for c in calls]) if calls else text


_memos: weakref.WeakKeyDictionary[Attempt, Memo] = weakref.WeakKeyDictionary()


def memo_of(attempt: Attempt) -> Memo:
    """Return what remembers the messages of the calls that an attempt makes outside graphs."""
    return _memos.get(attempt) or _memos.setdefault(attempt, Memo())


def prompt_of(
    messages: list[BaseMessage],
    encode: Callable[[Any], Prepared],
    *,
    memo: Memo,
    thread_id: str | None,
    owner: str,
    mask: Mask | None = None,
) -> Prompt:
    """Return the messages of a call.

    Args:
        memo: Knows the messages of calls before, and of the thread's checkpoints.
        thread_id: The thread of the graph that makes the call; None outside graphs.
        owner: Of the log that the messages go to.
        mask: The journal's `canonical`.
    """
    prepared = memo.prepare((thread_id, None, owner), messages, encode, thread_id=thread_id)
    for stored, message in zip(prepared, messages, strict=True):
        if stored.canonical is None:
            stored.canonical = _canonical(message)
    masked = None
    if mask is not None:
        pairs = zip(prepared, messages, strict=True)
        masked = _joined([_remembered_masked(stored, message, mask) for stored, message in pairs])
    return Prompt(tuple(prepared), _joined([each.canonical for each in prepared]), masked)


def _remembered_masked(stored: Prepared, message: BaseMessage, mask: Mask) -> object:
    if not isinstance(stored.masked, tuple) or stored.masked[0] is not mask:
        stored.masked = (mask, _canonical(message, mask))
    return cast("tuple[object, object]", stored.masked)[1]


def _joined(forms: list[object]) -> str:
    numbers: dict[str, str] = {}
    return " ".join(each if type(each) is str else _numbered(each, numbers) for each in forms)


def _numbered(canonical: object, numbers: dict[str, str]) -> str:
    """Return digest and calls; their ids are made by the provider: what counts is their order."""
    digest, calls = cast("tuple[str, tuple[str, ...]]", canonical)
    return ":".join((digest, *(numbers.setdefault(call, str(len(numbers))) for call in calls)))


def _canonical(message: BaseMessage, mask: Mask | None = None) -> str | tuple[str, tuple[str, ...]]:
    """Return a digest of a message as a provider is sent it, with the ids of its tool calls."""
    numbers: dict[str, str] = {}
    fields = canonical_message(message, numbers)
    digest = fingerprint_of("message", str(fields["type"]), fields, mask).hex()
    return (digest, tuple(numbers)) if numbers else digest
