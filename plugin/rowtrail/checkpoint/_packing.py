"""Short forms of what is stored with every checkpoint and shown by no view."""

from __future__ import annotations

import json
import zlib
from typing import cast

from rowtrail.content import Encoded
from rowtrail.engine import id_text
from rowtrail.errors import CorruptRowError

_DICTIONARY = (
    b'"__pregel_tasks":"__input__":{},"__interrupt__":{"__start__":"branch:to:model":"branch:to:tools":'
    b'"branch:to:agent":"branch:to:"messages":},"updated_channels":["branch:to:","messages"]}'
    b'"updated_channels":["__start__"]}"updated_channels":null}'
    b'{"v":4,"ts":"2026-11-22T12:00:00.000000+00:00","id":"1f1e6753-","channel_versions":{"__start__":'
    b'1,"messages":2,"branch:to:"},"versions_seen":{"__input__":{},"__start__":{"__start__":'
)
"""What the versions of nearly every checkpoint hold. Part of the file format: it never changes."""

_ZLIB_LEVEL = 6
"""zlib's own default between speed and size."""
_PACKED_JSON, _PACKED_DATA, _PLAIN_JSON = b"z", b"d", b"p"
_HEAD_BYTES = 2  # how it is packed, and the number of channel values
_MANY = 255  # that many or more

MAX_RATIO = 64
"""Versions shrink to a tenth or, with long names, to a thirtieth; zlib itself goes to a 1,032nd."""

ALWAYS_UNPACKED_BYTES = 2**20
"""A body that unpacks to no more than this is unpacked however small it is."""


def pack_body(body: Encoded, values: int) -> bytes:
    """Return the versions of a checkpoint, compressed: no view shows them.

    Args:
        values: How many channels have a value: damage must not let one of them go unseen.
    """
    count = bytes((min(values, _MANY),))
    if body.data is not None:
        return _PACKED_DATA + count + body.data
    text = (body.text or "").encode()
    packer = zlib.compressobj(_ZLIB_LEVEL, zdict=_DICTIONARY, wbits=-15)
    packed = packer.compress(text) + packer.flush()
    # What shrinks further than a reader would unpack is kept as it is.
    if len(text) > ALWAYS_UNPACKED_BYTES and len(text) > _most_bytes(packed):
        return _PLAIN_JSON + count + text
    return _PACKED_JSON + count + packed


def unpack_body(stored: bytes) -> Encoded:
    """Undo `pack_body`.

    Raises:
        CorruptRowError: It is not what `pack_body` wrote.
    """
    if stored[:1] == _PACKED_DATA:
        return Encoded("dict", None, stored[_HEAD_BYTES:])
    try:
        return Encoded("dict", _text_of(stored).decode())
    except ValueError as error:
        raise CorruptRowError(
            f"a checkpoint cannot be unpacked ({error}): run `rowtrail verify`", row="checkpoint"
        ) from error


def _text_of(stored: bytes) -> bytes:
    """Return the JSON text of a body; what it takes is bounded by the bytes that are in the file.

    Raises:
        ValueError: It is damaged, or unpacks to more than `pack_body` ever packs so small.
    """
    packed = stored[_HEAD_BYTES:]
    if stored[:1] == _PLAIN_JSON:
        return packed
    if stored[:1] != _PACKED_JSON:
        raise ValueError(f"it is packed in no known way: {stored[:1]!r}")
    most = _most_bytes(packed)
    unpacker = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    try:
        text = unpacker.decompress(packed, most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(text) > most:
        raise ValueError(f"{len(packed):,} bytes unpack to more than {most:,}")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut short")
    return text


def _most_bytes(packed: bytes) -> int:
    """Return to how many bytes a packed body may unpack."""
    return max(ALWAYS_UNPACKED_BYTES, MAX_RATIO * len(packed))


def values_fault(stored: bytes, values: int) -> str | None:
    """Return what is wrong with the number of a checkpoint's channel values, None if nothing is."""
    wanted = stored[1] if len(stored) >= _HEAD_BYTES else 0
    if wanted == min(values, _MANY):
        return None
    return f"{values} of its {wanted} channel values are there"


def body_fault(stored: bytes, checkpoint_id: bytes | str | None) -> str | None:
    """Return what is wrong with the packed versions of a checkpoint, None where nothing is."""
    if stored[:1] == _PACKED_DATA:
        return None
    try:
        body = json.loads(_text_of(stored))
    except (ValueError, RecursionError) as error:
        return f"its versions cannot be unpacked ({error})"
    if not isinstance(body, dict):
        return "its versions are no JSON object"
    inner = cast("dict[str, object]", body).get("id", id_text(checkpoint_id))
    if inner != id_text(checkpoint_id):
        return f"its versions are those of checkpoint {inner!r}"
    return None
