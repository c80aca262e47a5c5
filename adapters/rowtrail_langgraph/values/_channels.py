"""Values of checkpoints between LangGraph and the journal: channels, versions, metadata."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langgraph.checkpoint.base import PendingWrite

from rowtrail.checkpoint import StoredWrite, Value
from rowtrail.content import TAG, Content, Encoded, Prepared, PreparedList, dump_json
from rowtrail.errors import UnstorableError
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._memo import Memo
from rowtrail_langgraph.values._templates import read_items

MIN_VECTOR_LENGTH = 64
"""Shorter lists of floats are for people to read, and seldom embeddings."""

INPUT_CHANNEL = "__start__"
PARTS = "{parts}"
"""Stored type of the first item of an input whose lists are stored by item; no class has it."""

_SCALARS = frozenset({str, int, float, bool, type(None)})
_VERSIONS = {
    "v",
    "id",
    "ts",
    "channel_versions",
    "versions_seen",
    "updated_channels",
    "pending_sends",
}
"""Keys of a checkpoint that hold no content of the user's; the last of them only while empty."""


class Values:
    """Writes values as the journal stores them, and reads them back."""

    __slots__ = ("codec", "content", "memo")

    def __init__(self, content: Content, codec: GraphCodec, memo: Memo) -> None:
        self.content = content
        self.codec = codec
        self.memo = memo

    def written(self, channel: str, value: Any, key: object = None) -> Value:
        """Return the form in which a value of a channel, or a write to one, is stored.

        Args:
            channel: Named in errors.
            value: The value.
            key: Of the channel in the memo: what its newest list has already is not encoded again.
                None for a write.

        Raises:
            UnstorableError: The serializer refuses it.
        """
        try:
            if type(value) is dict and key is not None and channel == INPUT_CHANNEL:
                return self._parts(value)
            if type(value) is not list or not value:
                return self.prepared(value)
            if type(value[0]) is float and _is_vector(value):
                return self.prepared(value)
            if key is None:
                return PreparedList(map(self.prepared, value))
            return self.memo.prepare(key, value, self.prepared)
        except UnstorableError as error:
            raise UnstorableError(
                f"channel {channel!r}: {error}", type_name=error.type_name
            ) from error

    def read(self, stored: Value, key: object = None) -> Any:
        """Return a stored value; `key` as for `written`."""
        self.check(stored)
        if isinstance(stored, Prepared):
            return self.codec.decode(stored.encoded)
        if stored and stored[0].encoded.type == PARTS:
            return self._whole(stored)
        if key is None:
            return self.codec.decode_items([prepared.encoded for prepared in stored])
        items, snapshots = read_items(self.codec, stored)
        self.memo.loaded(key, items, snapshots, stored)
        return items

    def check(self, stored: Value) -> None:
        """Compare what was read with its digests; raises as `Content.check` does."""
        self.content.check([stored] if isinstance(stored, Prepared) else stored)

    def _parts(self, value: dict[str, Any]) -> Value:
        """Return an input in parts: the writes that it makes hold the same items."""
        if not any(type(part) is list and part for part in value.values()):
            return self.prepared(value)
        outline: list[Any] = []
        items: list[Prepared] = []
        for name, part in value.items():
            if type(part) is list:
                outline.append([name, len(part)])
                items.extend(map(self.prepared, part))
            else:
                outline.append([name, None, part])
        encoded = replace(self.codec.encode_value(outline), type=PARTS)
        if encoded.identity is not None:
            stored = (encoded.text or "").encode() if encoded.data is None else encoded.data
            encoded = replace(encoded, identity=PARTS.encode() + b"\0" + stored)
        return PreparedList([self.content.prepare(encoded), *items])

    def _whole(self, stored: PreparedList) -> dict[str, Any]:
        """Undo `_parts`."""
        outline = self.codec.decode(replace(stored[0].encoded, type="list"))
        items = iter(self.codec.decode_items([prepared.encoded for prepared in stored[1:]]))
        return {
            name: plain[0] if plain else [next(items) for _ in range(length)]
            for name, length, *plain in outline
        }

    def pending(self, write: StoredWrite) -> PendingWrite:
        """Return a stored write as LangGraph has it."""
        return (write.task_id, write.channel, self.read(write.value))

    def body(self, checkpoint: Mapping[str, Any]) -> Encoded:
        """Return the stored form of a checkpoint without its channels' values."""
        body = {key: value for key, value in checkpoint.items() if key != "channel_values"}
        if body.keys() <= _VERSIONS and not body.get("pending_sends"):
            with contextlib.suppress(TypeError, ValueError):
                text = dump_json(body)
                if TAG not in text and json.loads(text) == body:  # JSON gives them back
                    return Encoded("dict", text)
        return self.codec.encode_value(body)

    def checkpoint(self, body: Encoded) -> dict[str, Any]:
        """Undo `body`."""
        if body.data is None and TAG not in (body.text or TAG):
            with contextlib.suppress(
                ValueError, RecursionError
            ):  # its own decoding says what is wrong
                plain: dict[str, Any] = json.loads(body.text or "")
                return plain
        found: dict[str, Any] = self.codec.decode(body)
        return found

    def prepared(self, value: Any) -> Prepared:
        """Return the form in which one value, or one item of a list, is stored."""
        return self.content.prepare(self.codec.encode_value(value))


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON; what JSON cannot hold is shown by repr, not lost."""
    try:
        return dump_json(
            {
                key: value if type(value) in _SCALARS else _ordered(value)
                for key, value in metadata.items()
            }
        )
    except (TypeError, ValueError, RecursionError):
        return dump_json({str(key): _shown(value) for key, value in metadata.items()})


def _shown(value: Any) -> Any:
    try:
        text = json.dumps(_ordered(value), default=repr)
        return json.loads(text, parse_constant=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a cycle
        return repr(value)


def _ordered(value: Any) -> Any:
    """Sort the keys of nested objects: equal values are equal as text, which a filter compares."""
    if type(value) is dict or isinstance(value, Mapping):
        nested = {key: _ordered(item) for key, item in value.items()}
        return dict(sorted(nested.items(), key=lambda pair: str(pair[0])))
    if type(value) in (list, tuple):
        return [_ordered(item) for item in value]
    return value


def _is_vector(value: Sequence[Any]) -> bool:
    """Return whether a list is an embedding or the like: one value, not many items."""
    return len(value) >= MIN_VECTOR_LENGTH and all(type(item) is float for item in value)
