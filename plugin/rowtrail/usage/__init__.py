"""Tokens and money of one LLM call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rowtrail.usage._count import count_tokens, tiktoken_encoding
from rowtrail.usage._price import price_usd

__all__ = ["TokensSource", "Usage", "count_tokens", "price_usd", "tiktoken_encoding"]

TokensSource = Literal["provider", "tiktoken", "estimate"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, and where the figures come from.

    Cached and reasoning tokens are parts of `input_tokens` and `output_tokens`, None where unknown.
    """

    input_tokens: int
    output_tokens: int
    source: TokensSource
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
