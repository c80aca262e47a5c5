"""Values of LangGraph and LangChain in their stored form.

Messages, commands and plain data are JSON text, which the views show. What JSON cannot hold goes
through the saver's serializer, as LangGraph's own savers do. With a serializer of the user's own
(an encrypting one, say) everything goes through it, and the views show no content.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rowtrail.content import TAG, Codec, Encoded, TypeCodec, UnknownClassError
from rowtrail.errors import CorruptRowError, UnstorableError
from rowtrail_langgraph._private import is_strict
from rowtrail_langgraph.values._ciphertexts import Ciphertexts
from rowtrail_langgraph.values._reading import (
    AS_IT_IS,
    Reader,
    Reading,
    difference,
    is_equal,
    warn_once,
)
from rowtrail_langgraph.values._serialized import logger, opaque, readable, stored_name
from rowtrail_langgraph.values._types import FRAMEWORK_TYPES

_JSON_INSIDE = b"rowtrail+"
"""Before the kind of an encrypted value: it is not the value, but JSON of it."""

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
        ciphertexts: What was encrypted already, shared by the codecs of one saver.
    """

    def __init__(self, serde: SerializerProtocol, ciphertexts: Ciphertexts | None = None) -> None:
        nested = TypeCodec(SERIALIZED, _Serialized, _not_encoded, self._nested_from)
        super().__init__((*FRAMEWORK_TYPES, nested))
        self.serde = serde
        self._nests = False
        self.is_opaque = not _is_langgraphs_own(serde)
        self._inner = _langgraphs_own(serde)
        self._reader = None if self._inner is None else Reader(self._inner)
        self._ciphertexts = ciphertexts if ciphertexts is not None else Ciphertexts()

    def encode(self, value: Any) -> Encoded:
        """Return the stored form of a result, from which an equal value is read back.

        Raises:
            UnstorableError: Neither JSON nor the serializer gives an equal value back.
        """
        if not self.is_opaque:
            # The next way is tried: what no JSON holds is often a part, and rarely all of it.
            with suppress(UnstorableError):
                return super().encode(value)
            return self._encode_nesting(value)
        with suppress(UnstorableError):
            stored = self._serialized(value)
            if self._survives(value, stored):
                return stored
        if self._inner is not None:
            return self._encrypted_json(value)
        raise UnstorableError(
            f"a {type(value).__qualname__} that {type(self.serde).__name__} does not give back "
            "equal",
            type_name=type(value).__qualname__,
        )

    def _encode_nesting(self, value: Any) -> Encoded:
        """Return JSON in which only parts without a form, such as an artifact, are serialized."""
        codec = copy.copy(self)
        codec._nests = True
        return super(GraphCodec, codec).encode(value)

    def _encrypted_json(self, value: Any) -> Encoded:
        """Return the encrypted text of the JSON of what the serializer itself cannot write."""
        shown = self._encode_nesting(value)
        plain = _JSON_INSIDE + (shown.identity or b"")
        form = self._ciphertexts.find(plain)
        if form is None:
            kind, payload = self.serde.dumps_typed([shown.type, shown.json])
            data = _JSON_INSIDE + kind.encode() + b"\0" + payload
            form = opaque(stored_name(value), data)
            self._ciphertexts.keep(plain, form)
        return form

    def unknown_to_json(self, value: Any) -> Any:
        """Return a part of a value as the serializer has it, where that is wanted.

        Of what it does not give back, the nearest that it does, where that is equal.

        Raises:
            UnstorableError: There is none.
        """
        if not self._nests or self._inner is None or self._reader is None:
            return super().unknown_to_json(value)
        try:
            kind, payload = self._inner.dumps_typed(value)
            found = self._reader.read(value, kind, payload)
        except Exception:  # each serializer has errors of its own
            return self._class_to_json(value)
        if found.is_same:
            return {TAG: SERIALIZED, "v": [kind, base64.b64encode(payload).decode()]}
        with suppress(UnstorableError):
            return self._class_to_json(value)
        if found.nearest is AS_IT_IS or not is_equal(found.nearest, value):
            return super().unknown_to_json(value)
        warn_once(found)
        return self.to_json(found.nearest)

    def _class_to_json(self, value: Any) -> Any:
        codec = None if self._is_strict else super().class_codec(type(value))
        if codec is None:
            return super().unknown_to_json(value)
        return {TAG: codec.tag, "v": self.to_json(codec.encode(value))}

    def class_codec(self, kind: type) -> TypeCodec | None:
        """Return None: the serializer is asked first."""
        return None

    def class_of_tag(self, tag: str) -> TypeCodec:
        """Return how a class is read that a row names; none is with a strict serializer.

        Raises:
            UnknownClassError: It is not loaded, or no data type.
        """
        if self._is_strict:
            raise UnknownClassError(
                f"a stored {tag} is not read back: the serializer is strict", row=tag
            )
        return super().class_of_tag(tag)

    @property
    def _is_strict(self) -> bool:
        return is_strict(self._inner)

    def _nested_from(self, stored: Any) -> Any:
        serde = self._inner or self.serde
        return serde.loads_typed(self.payload_of(stored))

    @staticmethod
    def payload_of(stored: Any) -> tuple[str, bytes]:
        """Return the kind and the bytes of a serialized part."""
        kind, payload = stored
        return kind, base64.b64decode(payload)

    def encode_value(self, value: Any) -> Encoded:
        """Return the stored form of a channel value: whatever LangGraph's own savers can store.

        What could not be read back is stored as the nearest that can, with a warning once.

        Raises:
            UnstorableError: The serializer refuses the value, or would lose it.
        """
        if not self.is_opaque:
            with suppress(UnstorableError):  # the serializer stores what JSON cannot hold
                return super().encode(value)
        if self._inner is None or self._reader is None or isinstance(value, BaseException):
            return self._serialized(value)
        try:
            kind, payload = self._inner.dumps_typed(value)
            found = self._reader.read(value, kind, payload, exact=False)
        except Exception:  # each serializer has errors of its own; they are named below
            kind, payload, found = "", b"", None
        if found is not None and (found.is_same or self._is_as_good(found)):
            return self._serialized(value) if self.is_opaque else readable(value, kind, payload)
        with suppress(UnstorableError):
            return self._encrypted_json(value) if self.is_opaque else self._encode_nesting(value)
        return self._serialized(value) if found is None else self._nearest(value, found)

    def _is_as_good(self, found: Reading) -> bool:
        """Return whether an encrypting serializer's own form will do, where JSON has none.

        It makes lists of tuples and the like, as it does without rowtrail.
        """
        is_builtin = found.part.__module__ == "builtins"
        return self.is_opaque and is_builtin and found.nearest is AS_IT_IS and not found.is_lost

    def _nearest(self, value: Any, found: Reading) -> Encoded:
        if found.is_lost:
            name = f"{found.part.__module__}.{found.part.__qualname__}"
            raise UnstorableError(
                f"a {name} cannot be stored: {type(self.serde).__name__} writes it and cannot read "
                f"it back ({found.becomes}); store plain data, messages, dataclasses or pydantic "
                "models in the state",
                type_name=found.part.__qualname__,
            )
        warn_once(found)
        return (
            self._serialized(value)
            if found.nearest is AS_IT_IS
            else self.encode_value(found.nearest)
        )

    def encode_shown(self, value: Any, *, is_known_plain: bool = False) -> Encoded:
        """Return a form of `value` for people to read; nothing readable when opaque."""
        if not self.is_opaque:
            return super().encode_shown(value, is_known_plain=is_known_plain)
        try:
            return self._serialized(value)
        except UnstorableError:
            return Encoded(type(value).__name__, None, b"", None)

    def encode_canonical(self, value: Any, text: str) -> Encoded:
        """Return a form of `value` that shows its canonical text; nothing readable when opaque."""
        return self.encode_shown(value) if self.is_opaque else super().encode_canonical(value, text)

    def decode(self, stored: Encoded) -> Any:
        """Return the value of a stored form.

        Raises:
            CorruptRowError: It is not what `encode` writes.
        """
        if stored.data is None or stored.json is not None:
            return super().decode(stored)
        is_json = stored.data.startswith(_JSON_INSIDE)
        data = stored.data.removeprefix(_JSON_INSIDE)
        kind, _, payload = data.partition(b"\0")
        try:
            value = self.serde.loads_typed((kind.decode(), payload))
            if is_json:
                return super().decode(Encoded(*value))
        except CorruptRowError:
            raise
        except Exception as error:  # whatever a serializer raises on bytes it did not write
            raise CorruptRowError(
                f"stored {stored.type} cannot be read back by {type(self.serde).__name__} "
                f"({type(error).__name__}: {error}): was another serializer or key used?",
                row=stored.type,
            ) from error
        if self.is_opaque:
            self._ciphertexts.keep(self._plain_bytes(value), opaque(stored.type, stored.data))
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
        return self.revive(stored.type, value)

    def _serialized(self, value: Any) -> Encoded:
        plain = self._plain_bytes(value) if self.is_opaque else None
        form = self._ciphertexts.find(plain)
        if form is not None:
            return form
        name = stored_name(value)
        try:
            kind, payload = self.serde.dumps_typed(value)
        except Exception as error:  # each serializer has errors of its own
            raise UnstorableError(
                f"a {type(value).__module__}.{name} cannot be stored: "
                f"{type(self.serde).__name__} says {error}; store plain data, messages, "
                "dataclasses or pydantic models in the state, or give the saver a serde",
                type_name=name,
            ) from error
        if not self.is_opaque:
            return readable(value, kind, payload)
        stored = opaque(name, kind.encode() + b"\0" + payload)
        self._ciphertexts.keep(plain, stored)
        return stored

    def _plain_bytes(self, value: Any) -> bytes | None:
        """Return bytes that only equal values have, None if unknown."""
        name = type(value).__qualname__.encode()
        try:
            if isinstance(self.serde, EncryptedSerializer):
                kind, payload = self.serde.serde.dumps_typed(value)
                return b"\0".join((name, kind.encode(), payload))
            return super().encode(value).identity
        except Exception:  # then it is encrypted anew each time
            return None

    def _survives(self, value: Any, stored: Encoded) -> bool:
        try:
            again = self.decode(stored)
            if self._inner is not None:
                return difference(value, again) is None
            return type(again) is type(value) and bool(again == value)
        except Exception:  # comparing objects of others may raise anything
            return False


def _is_langgraphs_own(serde: SerializerProtocol) -> bool:
    """Return whether a serializer is as LangGraph's: JSON may stand in for it."""
    cls = type(serde)
    return issubclass(cls, JsonPlusSerializer) and (
        cls.dumps_typed is JsonPlusSerializer.dumps_typed
        and cls.loads_typed is JsonPlusSerializer.loads_typed
    )


def _langgraphs_own(serde: SerializerProtocol) -> JsonPlusSerializer | None:
    """Return LangGraph's serializer in this one; None in one that nothing is known of."""
    inner = serde.serde if isinstance(serde, EncryptedSerializer) else serde
    return inner if isinstance(inner, JsonPlusSerializer) and _is_langgraphs_own(inner) else None
