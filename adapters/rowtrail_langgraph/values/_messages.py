"""LangChain's messages as JSON objects of the fields that are set, and back."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)

from rowtrail.content import TypeCodec

MESSAGE_TYPES: tuple[type[BaseMessage], ...] = (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)

_ALWAYS_WRITTEN = ("content", "type")
_EMPTY = (dict, list)


class _Form:
    """How one class of messages is written: its fields, and what each is when not set."""

    def __init__(self, message_type: type[BaseMessage]) -> None:
        self._type = message_type
        self._unset = {
            name: field.get_default(call_default_factory=True)
            for name, field in message_type.model_fields.items()
        }
        self._required = {
            name for name, field in message_type.model_fields.items() if field.is_required()
        }
        self._containers = [
            (name, type(value)) for name, value in self._unset.items() if type(value) in _EMPTY
        ]

    def write(self, message: BaseMessage) -> dict[str, Any]:
        """Return the fields that are set, and those that the class does not know."""
        unset = self._unset
        fields = {
            name: value
            for name, value in message.__dict__.items()
            if name in _ALWAYS_WRITTEN or not _is_unset(value, unset.get(name, message))
        }
        extra = message.__pydantic_extra__
        return {**fields, **extra} if extra else fields

    def read(self, fields: dict[str, Any]) -> BaseMessage:
        """Return the message; not validated again, which may rewrite what was recorded.

        Source: what pydantic's `model_construct` does, which takes 20 times as long.
        """
        if not self._required <= fields.keys():
            raise KeyError(f"one of {sorted(self._required)}")
        values = {**self._unset, **fields}
        for name, empty in self._containers:
            if name not in fields:
                values[name] = empty()
        extra = {}
        if len(values) != len(self._unset):
            extra = {name: values.pop(name) for name in fields if name not in self._unset}
        message = self._type.__new__(self._type)
        object.__setattr__(message, "__dict__", values)
        object.__setattr__(message, "__pydantic_fields_set__", set(fields))
        object.__setattr__(message, "__pydantic_extra__", extra)
        object.__setattr__(message, "__pydantic_private__", None)
        return message


def _is_unset(value: Any, unset: Any) -> bool:
    """Tell whether a value is the None, {} or [] that the field is when nobody sets it."""
    if value is None:
        return unset is None
    return type(value) in _EMPTY and not value and type(unset) is type(value)


_FORMS: dict[type[BaseMessage], _Form] = {each: _Form(each) for each in MESSAGE_TYPES}


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """Return the fields of a message that are set, `content` and `type` among them."""
    form = _FORMS.get(type(message))
    return (form or _Form(type(message))).write(message)


def message_codecs() -> tuple[TypeCodec, ...]:
    """Return how each class of messages is written and read."""
    return tuple(
        TypeCodec(message_type.__name__, message_type, form.write, form.read, flat=True)
        for message_type, form in _FORMS.items()
    )
