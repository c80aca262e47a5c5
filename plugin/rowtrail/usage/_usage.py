"""Tokens of one LLM call, as its provider reported them or as they were counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_TOKENS = 2**40
"""More than any provider counts; sums of them fit into a column."""

TokensSource = Literal["provider", "tiktoken", "estimate"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, and where the figures come from.

    Cached, reasoning and audio tokens are parts of `input_tokens` and `output_tokens`, None where
    unknown. A count that is negative or larger than `MAX_TOKENS` is cut.

    Attributes:
        cache_write_1h_tokens: The part of `cache_write_tokens` that the cache keeps for an hour.
        service_tier: How the provider says that it served the call, in its own word: `flex`,
            `priority`, `batch`. None where it says nothing.
        speed: Likewise how fast: `fast`.
        answered_by: The cache that answered in the provider's place: no tokens were paid, so all
            counts are 0.
    """

    input_tokens: int
    output_tokens: int
    source: TokensSource
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    service_tier: str | None = None
    speed: str | None = None
    answered_by: str | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            count = getattr(self, name)
            if count is not None:
                object.__setattr__(self, name, min(max(int(count), 0), MAX_TOKENS))


_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
)
