"""The messages of a chat-model call: what was asked before is neither encoded nor hashed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import BaseMessage

from rowtrail.content import Mask, Prepared
from rowtrail.journal import fingerprint_of
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
    """What a model is asked, put together when somebody looks at it."""

    def __init__(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> None:
        self._messages = messages
        self._parameters = parameters

    def __getitem__(self, key: str) -> Any:
        if key == "messages":
            return canonical_messages(self._messages)
        return {"parameters": self._parameters}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("messages", "parameters"))

    def __len__(self) -> int:
        return 2


def prompt_of(
    messages: list[BaseMessage],
    encode: Callable[[Any], Prepared],
    *,
    memo: Memo | None,
    thread_id: str,
    owner: str,
    mask: Mask | None = None,
) -> Prompt:
    """Return the messages of a call.

    Args:
        memo: Knows the messages of the thread's checkpoints and of calls before; None outside
            graphs.
        owner: Of the log that the messages go to.
        mask: The journal's `canonical`.
    """
    if memo is None:
        prepared = list(map(encode, messages))
    else:
        prepared = memo.prepare((thread_id, None, owner), messages, encode, thread_id=thread_id)
    pairs = list(zip(prepared, messages, strict=True))
    told = [_remembered(stored, message) for stored, message in pairs]
    masked = None
    if mask is not None:
        masked = _joined([_remembered_masked(stored, message, mask) for stored, message in pairs])
    return Prompt(tuple(prepared), _joined(told), masked)


def _remembered(stored: Prepared, message: BaseMessage) -> object:
    if stored.canonical is None:
        stored.canonical = _canonical(message)
    return stored.canonical


def _remembered_masked(stored: Prepared, message: BaseMessage, mask: Mask) -> object:
    if not isinstance(stored.masked, tuple) or stored.masked[0] is not mask:
        stored.masked = (mask, _canonical(message, mask))
    return cast("tuple[object, object]", stored.masked)[1]


def _joined(told: list[object]) -> str:
    numbers: dict[str, str] = {}
    return " ".join(each if type(each) is str else _numbered(each, numbers) for each in told)


def _numbered(canonical: object, numbers: dict[str, str]) -> str:
    """Return digest and calls; their ids are made by the provider: what counts is their order."""
    digest, calls = cast("tuple[str, tuple[str, ...]]", canonical)
    return ":".join((digest, *(numbers.setdefault(call, str(len(numbers))) for call in calls)))


def _canonical(message: BaseMessage, mask: Mask | None = None) -> str | tuple[str, tuple[str, ...]]:
    """Return a digest of a message as a provider is told it, with the ids of its tool calls."""
    numbers: dict[str, str] = {}
    fields = canonical_message(message, numbers)
    digest = fingerprint_of("message", str(fields["type"]), fields, mask).hex()
    return (digest, tuple(numbers)) if numbers else digest
