"""The stored forms of what a serializer wrote: with JSON for people, or opaque."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from langchain_core.messages import BaseMessage

from rowtrail.checkpoint import SNAPSHOT
from rowtrail.content import Encoded, dump_json, legible
from rowtrail_langgraph._private import DeltaSnapshot
from rowtrail_langgraph.values._messages import message_fields

logger = logging.getLogger("rowtrail")


def stored_name(value: Any) -> str:
    """Return the stored type of a value: the core looks for one, so that has a word of its own."""
    return SNAPSHOT if isinstance(value, DeltaSnapshot) else type(value).__qualname__


def readable(value: Any, kind: str, payload: bytes) -> Encoded:
    """Return what was serialized of a value, with JSON that shows it."""
    name = stored_name(value)
    data = kind.encode() + b"\0" + payload
    return Encoded(name, _projection(value), data, name.encode() + b"\0" + data)


def opaque(name: str, data: bytes) -> Encoded:
    """Return a form without readable text; its content hash is that of the bytes."""
    return Encoded(name, None, data, name.encode() + b"\0" + data)


def _projection(value: Any) -> str | None:
    """Return JSON that shows a value which JSON cannot hold; None where there is none."""
    try:
        shown = _shown(value)
        if shown is value and not isinstance(value, (dict, list, tuple)):
            return None
        text = json.dumps(shown, default=_shown_inside)
        return legible(dump_json(json.loads(text, parse_constant=str)))
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
