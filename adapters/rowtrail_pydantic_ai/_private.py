"""The one private name of Pydantic AI that is used, looked for before anything else.

A stream's events come from a method that the classes of models implement, and nobody else calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from pydantic_ai.models import CompletedStreamedResponse, StreamedResponse

from rowtrail.errors import UnsupportedError

EVENTS = "_get_event_iterator"

if not hasattr(StreamedResponse, EVENTS):
    raise UnsupportedError(f"this version of Pydantic AI is not supported: no stream has {EVENTS}")


def events_of(stream: StreamedResponse) -> AsyncIterator[Any]:
    """Return the events of a stream as its provider sends them."""
    return cast("AsyncIterator[Any]", getattr(stream, EVENTS)())


def with_events(stream: Any, events: AsyncIterator[Any]) -> StreamedResponse:
    """Return a stream whose events come from somewhere else; one that is complete stays."""
    if not isinstance(stream, CompletedStreamedResponse):
        setattr(stream, EVENTS, lambda: events)
    return cast("StreamedResponse", stream)
