"""Values of LangGraph and LangChain in their stored form.

Messages, commands and plain data are JSON text, which the views show. What JSON cannot hold goes
through the saver's serializer, as LangGraph's own savers do. With a serializer of the user's own
(an encrypting one, say) everything goes through it, and the views show no content.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import (
    _DeltaSnapshot,  # pyright: ignore[reportPrivateUsage]
)
from langgraph.types import Command, Interrupt, Overwrite, Send

from rowtrail.content import TAG, Codec, Encoded, TypeCodec, dump_json
from rowtrail.errors import CorruptRowError, UnstorableError
from rowtrail_langgraph._messages import message_codecs, message_fields
from rowtrail_langgraph._seals import Seals

logger = logging.getLogger("rowtrail")


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
    *message_codecs(),
    TypeCodec("Command", Command, _command_fields, _command_from, flat=True),
    TypeCodec("Send", Send, _send_fields, lambda f: Send(f["node"], f["arg"]), flat=True),
    TypeCodec("Interrupt", Interrupt, _interrupt_fields, lambda f: Interrupt(**f), flat=True),
    TypeCodec("Overwrite", Overwrite, lambda o: {"value": o.value}, lambda f: Overwrite(**f)),
    TypeCodec("_DeltaSnapshot", _DeltaSnapshot, lambda s: s.value, _DeltaSnapshot, flat=True),
    TypeCodec("Document", Document, _document_fields, lambda f: Document(**f), flat=True),
)


SERIALIZED = "serialized"
"""Tag of a part of a result that went through the saver's serializer."""


class _Serialized:
    """No value has this type: such parts are only read by their tag."""


def _not_encoded(value: Any) -> Any:
    raise TypeError(f"a {type(value).__name__} is no value")


class GraphCodec(Codec):
    """Encodes the values of a graph that runs on one saver.

    Args:
        serde: The saver's serializer.
        seals: What was sealed already, shared by the codecs of one saver.
    """

    def __init__(self, serde: SerializerProtocol, seals: Seals | None = None) -> None:
        nested = TypeCodec(SERIALIZED, _Serialized, _not_encoded, self._nested_from)
        super().__init__((*_FRAMEWORK_TYPES, nested))
        self.serde = serde
        self._nests = False
        self.is_opaque = not _is_langgraphs_own(serde)
        self._seals = seals if seals is not None else Seals()

    def encode(self, value: Any) -> Encoded:
        """Return the stored form of a result, from which an equal value is read back.

        Raises:
            UnstorableError: Neither JSON nor the serializer gives an equal value back.
        """
        if not self.is_opaque:
            # The next way is tried: what no JSON holds is often a part, and rarely all of it.
            with suppress(UnstorableError):
                return super().encode(value)
            with suppress(UnstorableError):
                return self._encode_nesting(value)
        stored = self._serialized(value)
        if not self._survives(value, stored):
            raise UnstorableError(
                f"a {type(value).__qualname__} that {type(self.serde).__name__} does not give "
                "back equal",
                type_name=type(value).__qualname__,
            )
        return stored

    def _encode_nesting(self, value: Any) -> Encoded:
        """Return JSON in which only parts without a form, such as an artifact, are serialized."""
        codec = copy.copy(self)
        codec._nests = True
        return super(GraphCodec, codec).encode(value)

    def unknown_to_json(self, value: Any) -> Any:
        """Return a serialized part of a result, where that is wanted and gives it back equal."""
        stored = self._serialized(value) if self._nests else None
        if stored is None or stored.data is None or not self._survives(value, stored):
            return super().unknown_to_json(value)
        kind, _, payload = stored.data.partition(b"\0")
        return {TAG: SERIALIZED, "v": [kind.decode(), base64.b64encode(payload).decode()]}

    def _nested_from(self, stored: Any) -> Any:
        kind, payload = stored
        return self.serde.loads_typed((kind, base64.b64decode(payload)))

    def encode_value(self, value: Any) -> Encoded:
        """Return the stored form of a channel value: whatever LangGraph's own savers can store.

        Raises:
            UnstorableError: The serializer refuses the value.
        """
        if not self.is_opaque:
            with suppress(UnstorableError):  # the serializer stores what JSON cannot hold
                return super().encode(value)
        return self._serialized(value)

    def encode_shown(self, value: Any) -> Encoded:
        """Return a form of `value` for people to read; nothing readable when opaque."""
        if not self.is_opaque:
            return super().encode_shown(value)
        try:
            return self._serialized(value)
        except UnstorableError:
            return Encoded(type(value).__name__, None, b"", None)

    def encode_told(self, value: Any, text: str) -> Encoded:
        """Return a form of `value` that shows its canonical text; nothing readable when opaque."""
        return self.encode_shown(value) if self.is_opaque else super().encode_told(value, text)

    def decode(self, stored: Encoded) -> Any:
        """Return the value of a stored form.

        Raises:
            CorruptRowError: It is not what `encode` writes.
        """
        if stored.data is None:
            return super().decode(stored)
        kind, _, payload = stored.data.partition(b"\0")
        try:
            value = self.serde.loads_typed((kind.decode(), payload))
        except Exception as error:  # whatever a serializer raises on bytes it did not write
            raise CorruptRowError(
                f"stored {stored.type} cannot be read back by {type(self.serde).__name__} "
                f"({type(error).__name__}: {error}): was another serializer or key used?",
                row=stored.type,
            ) from error
        if self.is_opaque:
            self._seals.keep(self._opened(value), _sealed(stored.type, stored.data))
        return value

    def decode_items(self, stored: Sequence[Encoded]) -> list[Any]:
        """Return the values of a list's items: JSON of thousands is parsed in one go."""
        texts = [item.text for item in stored if item.data is None and item.text is not None]
        if len(texts) == len(stored):
            try:
                joined = f"[{','.join(texts)}]"
                values = json.loads(joined)
                if len(values) == len(stored):
                    if TAG in joined:
                        values = [self.from_json(value) for value in values]
                    return list(map(self._revive, stored, values))
            except Exception:  # one of them is broken: its own decoding says what is wrong
                logger.debug("a list is read item by item", exc_info=True)
        return [self.decode(item) for item in stored]

    def _revive(self, stored: Encoded, value: Any) -> Any:
        codec = self._by_tag.get(stored.type)
        return codec.decode(value) if codec is not None and codec.flat else value

    def _serialized(self, value: Any) -> Encoded:
        opened = self._opened(value) if self.is_opaque else None
        sealed = self._seals.find(opened)
        if sealed is not None:
            return sealed
        name = type(value).__qualname__
        try:
            kind, payload = self.serde.dumps_typed(value)
        except Exception as error:  # each serializer has errors of its own
            raise UnstorableError(
                f"a {type(value).__module__}.{name} cannot be stored: "
                f"{type(self.serde).__name__} says {error}; store plain data, messages, "
                "dataclasses or pydantic models in the state, or give the saver a serde",
                type_name=name,
            ) from error
        data = kind.encode() + b"\0" + payload
        if not self.is_opaque:
            return Encoded(name, _projection(value), data, name.encode() + b"\0" + data)
        stored = _sealed(name, data)
        self._seals.keep(opened, stored)
        return stored

    def _opened(self, value: Any) -> bytes | None:
        """Return bytes that only values with the same sealed content have, None if unknown."""
        name = type(value).__qualname__.encode()
        try:
            if isinstance(self.serde, EncryptedSerializer):
                kind, payload = self.serde.serde.dumps_typed(value)
                return b"\0".join((name, kind.encode(), payload))
            return super().encode(value).identity
        except Exception:  # then it is sealed anew each time
            return None

    def _survives(self, value: Any, stored: Encoded) -> bool:
        try:
            again = self.decode(stored)
            return type(again) is type(value) and bool(again == value)
        except Exception:  # comparing objects of others may raise anything
            return False


def _is_langgraphs_own(serde: SerializerProtocol) -> bool:
    """Tell whether a serializer writes and reads as LangGraph's does: JSON may stand in for it."""
    cls = type(serde)
    return issubclass(cls, JsonPlusSerializer) and (
        cls.dumps_typed is JsonPlusSerializer.dumps_typed
        and cls.loads_typed is JsonPlusSerializer.loads_typed
    )


def _sealed(name: str, data: bytes) -> Encoded:
    """Return a form without readable text; its content hash is that of the sealed bytes."""
    return Encoded(name, None, data, name.encode() + b"\0" + data)


def _projection(value: Any) -> str | None:
    """Return JSON that shows a value which JSON cannot hold; None where there is none."""
    try:
        shown = _shown(value)
        if shown is value and not isinstance(value, (dict, list, tuple)):
            return None
        return dump_json(json.loads(json.dumps(shown, default=_shown_inside), parse_constant=str))
    except Exception:  # only the view loses: the value itself is stored
        logger.debug("no JSON to show for a %s", type(value).__name__, exc_info=True)
        return None


def _shown(value: Any) -> Any:
    """Return something nearer to JSON, the value itself where nothing is."""
    if isinstance(value, BaseMessage):
        return message_fields(value)
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value


def _shown_inside(value: Any) -> Any:
    shown = _shown(value)
    return repr(value) if shown is value else shown
