"""Where providers say why a model stopped, each in a word of its own, which is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Place = tuple[str, ...]
"""The keys that lead to a value in nested mappings."""

FINISH_PLACES: tuple[Place, ...] = (
    ("finish_reason",),  # OpenAI chat, Gemini's Python library, Mistral, Cohere, Hugging Face
    ("stop_reason",),  # Anthropic, and its models on Bedrock's InvokeModel
    ("finishReason",),  # Gemini's REST API
    ("stopReason",),  # Bedrock's Converse
    ("done_reason",),  # Ollama
    # OpenAI Responses: why it is incomplete says more than that it is
    ("incomplete_details", "reason"),
    ("status",),  # OpenAI Responses
)
"""In this order. Source: the API references of the providers, November 2026."""


def finish_place(shape: Mapping[str, Any]) -> Place | None:
    """Return where the metadata of an answer says why the model stopped, None where it does not."""
    for place in FINISH_PLACES:
        value: Any = shape.get(place[0])
        if value and len(place) > 1:
            value = _within(value, place[1:])
        if value and type(value) is str:
            return place
    return None


def finish_reason(shape: Mapping[str, Any], place: Place | None = None) -> str | None:
    """Return the provider's word for why the model stopped, None where it says none.

    Args:
        place: From `finish_place`, where it was asked already.
    """
    place = place or finish_place(shape)
    return None if place is None else str(_within(shape, place))


def _within(value: Any, place: Place) -> Any:
    for key in place:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, Any]", value).get(key)
    return value
