"""What `rowtrail verify` asks of values that only LangGraph's serializer can read."""

from __future__ import annotations

from typing import Any

from rowtrail.content import Encoded, UnknownClassError
from rowtrail.errors import CorruptRowError
from rowtrail_langgraph.values import GraphCodec, Safe, default_serde

__all__ = ["value_fault"]

MSGPACK = "msgpack"


def value_fault(stored: Encoded) -> str | None:
    """Return why a stored value cannot be read back as what it was, None where it can.

    Nothing is built or imported of what it names. What another serializer wrote, an encrypting one
    say, is not judged.
    """
    if stored.data is not None and stored.json is None:
        kind, _, payload = stored.data.partition(b"\0")
        return _payload_fault(payload) if kind.decode("latin-1") == MSGPACK else None
    try:
        _CODEC.decode(stored)
    except UnknownClassError:  # the program that reads it has the class
        return None
    except CorruptRowError as error:
        return str(error.__cause__ or error)
    return None


def _payload_fault(payload: bytes) -> str | None:
    safe = Safe(imports=False)
    try:
        safe.rewritten(payload)
    except Exception as error:  # each parser has errors of its own
        return f"its bytes cannot be read ({type(error).__name__}: {error})"
    for name, now in safe.changed.items():
        return f"it holds a {'.'.join(name)}, which is not a data type and is read as {now}"
    return None


class _Checking(GraphCodec):
    """Reads values of JSON, and of serialized parts in them looks only at what they name."""

    def _nested_from(self, stored: Any) -> Any:
        kind, payload = self.payload_of(stored)
        why = _payload_fault(payload) if kind == MSGPACK else None
        if why is not None:
            raise ValueError(why)
        return None


_CODEC = _Checking(default_serde())
