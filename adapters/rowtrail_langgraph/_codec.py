"""Values of LangGraph and LangChain in their stored form.

Messages, commands and plain data are JSON text, which the views show. What JSON cannot hold goes
through the saver's serializer, as LangGraph's own savers do. With a serializer of the user's own
(an encrypting one, say) everything goes through it, and the views show no content.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from langchain_core.documents import Document
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
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Interrupt, Send
from pydantic_core import PydanticUndefined
from rowtrail.content import Codec, Encoded, TypeCodec, dump_json
from rowtrail.errors import CorruptRowError, UnstorableError

logger = logging.getLogger("rowtrail")

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


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """Return the fields of a message that are set, `type` among them."""
    fields = {
        name: value
        for name, value in message.__dict__.items()
        if name == "content" or not _is_default(value)
    }
    return {**fields, **(message.__pydantic_extra__ or {})}


def _is_default(value: Any) -> bool:
    return value is None or (type(value) in (dict, list) and not value)


def _message_codec(message_type: type[BaseMessage]) -> TypeCodec:
    return TypeCodec(
        tag=message_type.__name__,
        type=message_type,
        encode=message_fields,
        decode=_builder(message_type),
        flat=True,
    )


def _builder(message_type: type[BaseMessage]) -> Callable[[dict[str, Any]], BaseMessage]:
    """Return what makes a message of its fields, without validating them again.

    Validation may rewrite what was recorded. `model_construct` would do, and takes 200 us a message:
    it inspects the signature of each default factory.
    """
    defaults = {
        name: field.default_factory if field.default is PydanticUndefined else field.default
        for name, field in message_type.model_fields.items()
    }
    made = frozenset(name for name, default in defaults.items() if default in (dict, list))

    def build(fields: dict[str, Any]) -> BaseMessage:
        if not defaults.keys() >= fields.keys():
            return message_type.model_construct(**fields)  # fields of the user's own
        values = {
            name: fields[name] if name in fields else default() if name in made else default
            for name, default in defaults.items()
        }
        message = message_type.__new__(message_type)
        object.__setattr__(message, "__dict__", values)
        object.__setattr__(message, "__pydantic_fields_set__", set(fields))
        object.__setattr__(message, "__pydantic_extra__", {})
        object.__setattr__(message, "__pydantic_private__", None)
        return message

    return build


def _command_from(fields: dict[str, Any]) -> Command[Any]:
    return Command(**fields)


def _command_fields(command: Command[Any]) -> dict[str, Any]:
    return {
        "graph": command.graph,
        "update": command.update,
        "resume": command.resume,
        "goto": command.goto,
    }


def _send_fields(send: Send) -> dict[str, Any]:
    if getattr(send, "timeout", None) is not None:
        raise UnstorableError("a Send with a timeout has no JSON form", type_name="Send")
    return {"node": send.node, "arg": send.arg}


def _interrupt_fields(interrupt: Interrupt) -> dict[str, Any]:
    if getattr(interrupt, "response_schema", None) is not None:
        raise UnstorableError("an Interrupt with a schema has no JSON form", type_name="Interrupt")
    return {"value": interrupt.value, "id": interrupt.id}


def _document_fields(document: Document) -> dict[str, Any]:
    return {"id": document.id, "page_content": document.page_content, "metadata": document.metadata}


_FRAMEWORK_TYPES = (
    *(_message_codec(message_type) for message_type in MESSAGE_TYPES),
    TypeCodec("Command", Command, _command_fields, _command_from, flat=True),
    TypeCodec("Send", Send, _send_fields, lambda f: Send(f["node"], f["arg"]), flat=True),
    TypeCodec("Interrupt", Interrupt, _interrupt_fields, lambda f: Interrupt(**f), flat=True),
    TypeCodec("Document", Document, _document_fields, lambda f: Document(**f), flat=True),
)


class GraphCodec(Codec):
    """Encodes the values of a graph that runs on one saver.

    Args:
        serde: The saver's serializer.
    """

    def __init__(self, serde: SerializerProtocol) -> None:
        super().__init__(_FRAMEWORK_TYPES)
        self._serde = serde
        self.is_opaque = type(serde) is not JsonPlusSerializer
        """Whether values go through the serializer only, and no text of them is stored."""

    def encode(self, value: Any) -> Encoded:
        """Return the stored form of a result, from which an equal value is read back.

        Raises:
            UnstorableError: Neither JSON nor the serializer gives an equal value back.
        """
        if not self.is_opaque:
            try:
                return super().encode(value)
            except UnstorableError:
                pass
        stored = self._serialized(value)
        if not self._survives(value, stored):
            raise UnstorableError(
                f"a {type(value).__qualname__} that {type(self._serde).__name__} does not give "
                "back equal",
                type_name=type(value).__qualname__,
            )
        return stored

    def encode_value(self, value: Any) -> Encoded:
        """Return the stored form of a channel value: whatever LangGraph's own savers can store.

        Raises:
            UnstorableError: The serializer refuses the value.
        """
        if not self.is_opaque:
            try:
                return super().encode(value)
            except UnstorableError:
                pass
        return self._serialized(value)

    def encode_shown(self, value: Any) -> Encoded:
        """Return a form of `value` for people to read; nothing readable when opaque."""
        if not self.is_opaque:
            return super().encode_shown(value)
        try:
            return self._serialized(value)
        except UnstorableError:
            return Encoded(type(value).__name__, None, b"", None)

    def decode(self, stored: Encoded) -> Any:
        """Return the value of a stored form.

        Raises:
            CorruptRowError: It is not what `encode` writes.
        """
        if stored.data is None:
            return super().decode(stored)
        kind, _, payload = stored.data.partition(b"\0")
        try:
            return self._serde.loads_typed((kind.decode(), payload))
        except Exception as error:  # whatever a serializer raises on bytes it did not write
            raise CorruptRowError(
                f"stored {stored.type} cannot be read back by {type(self._serde).__name__} "
                f"({type(error).__name__}: {error}): was it written with another serializer or key?",
                row=stored.type,
            ) from error

    def _serialized(self, value: Any) -> Encoded:
        name = type(value).__qualname__
        try:
            kind, payload = self._serde.dumps_typed(value)
        except Exception as error:  # each serializer has errors of its own
            raise UnstorableError(
                f"a {type(value).__module__}.{name} cannot be stored: "
                f"{type(self._serde).__name__} says {error}; store plain data, messages, "
                "dataclasses or pydantic models in the state, or give the saver a serde",
                type_name=name,
            ) from error
        data = kind.encode() + b"\0" + payload
        if self.is_opaque:
            return Encoded(name, None, data, None)
        return Encoded(name, _projection(value), data, name.encode() + b"\0" + data)

    def _survives(self, value: Any, stored: Encoded) -> bool:
        try:
            again = self.decode(stored)
            return type(again) is type(value) and bool(again == value)
        except Exception:  # comparing objects of others may raise anything
            return False


def _projection(value: Any) -> str | None:
    """Return JSON for people to read, of a value that JSON cannot hold; None where there is none."""
    try:
        if isinstance(value, BaseMessage):
            shown = message_fields(value)
        elif hasattr(value, "model_dump"):
            shown = value.model_dump(mode="json")
        elif isinstance(value, (dict, list, tuple)):
            shown = value
        else:
            return None
        return dump_json(json.loads(json.dumps(shown, default=repr), parse_constant=repr))
    except Exception:  # only the view loses: the value itself is stored
        logger.debug("no JSON to show for a %s", type(value).__name__, exc_info=True)
        return None
