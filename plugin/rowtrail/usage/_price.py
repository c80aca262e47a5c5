"""Prices from genai-prices, when the extra `cost` is installed."""

from __future__ import annotations

from collections.abc import Generator
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


def has_prices() -> bool:
    """Tell whether prices are known on this machine: the extra `cost` is installed."""
    return _library() is not None


def price_usd(usage: Usage, *, model: str, provider: str | None, at_ms: int) -> float | None:
    """Return the price of a call at the time of the call, in US dollars.

    None where the library is not installed, does not know the model at this provider, or the tokens
    are not the provider's own figures: an unknown cost is unknown, never 0.
    """
    library = _library()
    if library is None or usage.source != "provider":
        return None
    for provider_id, name in _names(model, provider):
        try:
            found = library.calc_price(
                library.Usage(
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cache_read_tokens=usage.cache_read_tokens,
                    cache_write_tokens=usage.cache_write_tokens,
                ),
                name,
                provider_id=provider_id,
                genai_request_timestamp=datetime.fromtimestamp(at_ms / 1000, UTC),
            )
            return float(found.total_price)
        except Exception:  # a price is never worth an agent's answer, whatever goes wrong in there
            continue
    return None


def _names(model: str, provider: str | None) -> Generator[tuple[str | None, str]]:
    """Yield the ways to read a model's name: `openai:gpt-5.5`, `anthropic/claude-opus-5`.

    A provider that is told is believed: what its servers run for others has another price there,
    or none.
    """
    yield provider, model
    for sign in "/:":
        prefix, found, rest = model.partition(sign)
        if found:
            yield provider, rest
            yield prefix, rest
