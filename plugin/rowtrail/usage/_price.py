"""Prices from genai-prices, when the extra `cost` is installed."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowtrail.usage import Usage


@cache
def _library() -> Any | None:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def price_usd(usage: Usage, *, model: str, provider: str | None, at_ms: int) -> float | None:
    """Return the price of a call at the time of the call, in US dollars.

    None where the library is not installed, does not know the model, or the tokens are not the
    provider's own figures: an unknown cost is unknown, never 0.
    """
    library = _library()
    if library is None or usage.source != "provider":
        return None
    counted = library.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    name = model.split("/", 1)[-1].split(":", 1)[-1]  # "openai:gpt-5.5", "anthropic/claude-opus-5"
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    for provider_id in dict.fromkeys((provider, None)):
        try:
            found = library.calc_price(
                counted, name, provider_id=provider_id, genai_request_timestamp=moment
            )
        except (LookupError, ValueError):
            continue
        return float(found.total_price)
    return None
