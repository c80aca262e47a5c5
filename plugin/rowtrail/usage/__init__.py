"""Tokens and money of one LLM call."""

from rowtrail.usage._count import count_tokens, tiktoken_encoding
from rowtrail.usage._price import has_prices, price_usd
from rowtrail.usage._providers import provider_at
from rowtrail.usage._usage import TokensSource, Usage

__all__ = [
    "TokensSource",
    "Usage",
    "count_tokens",
    "has_prices",
    "price_usd",
    "provider_at",
    "tiktoken_encoding",
]
