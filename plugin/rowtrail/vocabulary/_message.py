"""A message as the journal stores it and its views read it, whatever framework or SDK made it.

The stored form is one JSON object:

- `role`: `system`, `user`, `assistant` or `tool`; a role of another name is kept as it is;
- `content`: text, or a list of blocks, of which those of text are what people read;
- `tool_calls`: a list of objects with `id`, `name` and `args`;
- `tool_call_id`, `name`, `finish_reason`: text;
- `meta`: an object that only the writer of the message reads, to rebuild its own;
- any further field is part of what is said, and compared where two messages are.

What is not set is left out, except `role` and `content`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

from rowtrail.errors import UsageError
from rowtrail.vocabulary import _shapes
from rowtrail.vocabulary._original import ORIGINAL, cut, is_kept, restored

ROLES = ("system", "user", "assistant", "tool")
META = "meta"

TEXT_BLOCKS = ("text", "input_text", "output_text")
"""Types of the blocks that are text; a block without a type is text where it has a `text`.
Source: Anthropic and LangChain say `text`, OpenAI Responses the other two, Bedrock and Gemini none.
"""

_NO_FIELDS: Mapping[str, Any] = {}
_KNOWN = frozenset(("role", "content", "tool_calls", "tool_call_id", "name", "finish_reason", META))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model asks for.

    Attributes:
        id: The provider's, None where it gives none.
        args: An object of arguments; text where the model wrote no JSON object.
        more: Further fields of the call.
    """

    id: str | None
    name: str
    args: Any
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_stored(self) -> dict[str, Any]:
        """Return the JSON object of the call."""
        return {"id": self.id, "name": self.name, "args": self.args, **self.more}

    @classmethod
    def from_stored(cls, fields: Mapping[str, Any]) -> Self:
        """Return the call of a JSON object."""
        more = {key: each for key, each in fields.items() if key not in ("id", "name", "args")}
        return cls(fields.get("id"), fields["name"], fields.get("args"), more)


@dataclass(frozen=True, slots=True)
class Message:
    """What was said, by whom.

    Attributes:
        role: One of `ROLES`, or a word of the framework's own.
        content: Text, or blocks as the provider has them.
        tool_calls: The calls that a model asks for.
        tool_call_id: Of a tool's result, the call that it answers.
        name: Of who speaks, or of the tool.
        finish_reason: The provider's word for why the model stopped.
        more: Further fields that are part of what is said.
        meta: What only the writer of the message reads; `of` keeps the untranslated shape in it.
    """

    role: str
    content: str | Sequence[Any] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    finish_reason: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, shape: Mapping[str, Any]) -> Self:
        """Return the message that a provider's plain JSON object says.

        Messages and responses of OpenAI chat, items and responses of OpenAI Responses, messages
        and responses of Anthropic, contents and responses of Gemini, messages and responses of
        Bedrock's Converse, responses of Ollama, and the stored form itself. Of a response with
        several choices, the first. Where the object says more than the message does, it is kept
        (`original`).

        Raises:
            UsageError: It is none of these.
        """
        try:
            if is_message(shape) and is_kept(shape.get(META)):
                return cls.from_stored(shape)
            said = _shapes.said(shape)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UsageError(f"this is the form of no provider's message: {error!r}") from error
        calls = tuple(ToolCall(*call) for call in said.tool_calls)
        message = cls(
            said.role, said.content, calls, said.tool_call_id, said.name, said.finish_reason
        )
        if message.to_stored() == shape:
            return message
        meta = {ORIGINAL: cut(shape, said.content, said.place)}
        return cls(
            said.role, said.content, calls, said.tool_call_id, said.name, said.finish_reason,
            meta=meta,
        )  # fmt: skip

    @classmethod
    def each_of(cls, shape: Mapping[str, Any]) -> list[Self]:
        """Return the messages that a provider's JSON object says: each tool result is one.

        Anthropic, Gemini and Bedrock tell the results of parallel calls in one message.

        Raises:
            UsageError: It is no message.
        """
        try:
            parts = _shapes.split(shape)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UsageError(f"this is the form of no provider's message: {error!r}") from error
        return [cls.of(part) for part in parts]

    @property
    def text(self) -> str:
        """Return the text for people; blocks of thinking, images and the like are left out."""
        return text_of(self.content)

    @property
    def original(self) -> dict[str, Any] | None:
        """Return the object that the message was translated from.

        None where it came from no such object.
        """
        kept = self.meta.get(ORIGINAL)
        if kept is not None:
            return restored(kept, self.content)
        return None if self.meta or self.more else self.to_stored()

    def to_stored(self) -> dict[str, Any]:
        """Return the JSON object that is stored."""
        fields: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            fields["tool_calls"] = [call.to_stored() for call in self.tool_calls]
        for key in ("tool_call_id", "name", "finish_reason"):
            value = getattr(self, key)
            if value is not None:
                fields[key] = value
        fields |= self.more
        if self.meta:
            fields[META] = dict(self.meta)
        return fields

    @classmethod
    def from_stored(cls, fields: Mapping[str, Any]) -> Self:
        """Return the message of a JSON object that was stored.

        Raises:
            KeyError: It has no role or no content.
        """
        return cls(
            fields["role"],
            fields["content"],
            tuple(ToolCall.from_stored(call) for call in fields.get("tool_calls") or ()),
            fields.get("tool_call_id"),
            fields.get("name"),
            fields.get("finish_reason"),
            {key: value for key, value in fields.items() if key not in _KNOWN},
            fields.get(META, _NO_FIELDS),
        )


@dataclass(frozen=True, slots=True)
class Answer(Message):
    """What a model answered: an assistant's message, with why it ended."""

    role: str = "assistant"


@dataclass(frozen=True, slots=True)
class TranslatedAnswer(Answer):
    """An answer that a provider's JSON says: stored as an answer, and read back as that JSON."""

    @staticmethod
    def given(fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON object that an answer, in its stored form, was translated from.

        Raises:
            KeyError: It was translated from none.
        """
        return restored(fields[META][ORIGINAL], fields["content"])


def is_message(value: Any) -> bool:
    """Return whether a JSON value is a message in its stored form."""
    if not isinstance(value, dict):
        return False
    fields = cast("dict[str, Any]", value)
    return isinstance(fields.get("role"), str) and "content" in fields


def text_of(content: Any) -> str:
    """Return the text of a message's content, as the views show it.

    Source: `@text` in schema/views.sql, which is the same in SQL.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    return "".join(map(_block_text, cast("Sequence[Any]", content)))


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping):
        return ""
    fields = cast("Mapping[str, Any]", block)
    text = fields.get("text")
    is_text = fields.get("type") is None or fields["type"] in TEXT_BLOCKS
    return text if is_text and isinstance(text, str) else ""
