"""Prices from genai-prices, when the extra `cost` is installed."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowtrail.usage._usage import Usage

_STANDARD = frozenset({"auto", "default", "on_demand", "standard"})
"""What providers call the tier that their list prices are for."""

_AT_LIST_PRICE = frozenset({("groq", "flex")})
"""Other tiers, by provider, that cost the same."""


@cache
def _library() -> Any | None:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def has_prices() -> bool:
    """Return whether prices are known on this machine: the extra `cost` is installed."""
    return _library() is not None


def price_usd(usage: Usage, *, model: str, provider: str | None, at_ms: int) -> float | None:
    """Return the price of a call at the time of the call, in US dollars.

    None where the library is not installed, does not know the model at this provider, or its price
    for how the call was served (a tier, a batch, a cache that lasts an hour), or the tokens are not
    the provider's own figures: an unknown cost is unknown, never 0.
    """
    library = _library()
    if library is None or usage.source != "provider":
        return None
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    for provider_id, name in _names(model, provider):
        try:
            return _priced(library, usage, name, provider_id, at)
        except Exception:  # a price is never worth an agent's answer, whatever goes wrong in there
            continue
    return None


def _priced(
    library: Any, usage: Usage, model: str, provider: str | None, at: datetime
) -> float | None:
    """Return the price of a model that the library knows, None where the price is another one.

    Raises:
        LookupError: The library does not know the model.
        ValueError: The figures contradict each other, or leave open what was priced.
    """
    terms = _terms(usage, provider)
    found = library.calc_price(
        library.Usage(**_counts(usage)),
        model,
        provider_id=provider,
        genai_request_timestamp=at,
        price_context=terms or None,
    )
    if usage.answered_by is not None:
        return 0.0
    if not all(_has_price_for(found, term, at) for term in terms.items()):
        return None
    prices = found.model_price
    if usage.cache_write_1h_tokens and prices.cache_write_mtok and not prices.cache_write_1h_mtok:
        return None
    return float(found.total_price)


def _counts(usage: Usage) -> dict[str, int]:
    """Return the tokens under the names of the library; a part of which there is none is left out.

    It refuses two parts that may overlap, audio and what was cached, where it is given both.
    """
    counts = {
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
    }
    parts = {name: count for name, count in counts.items() if count}
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, **parts}


def _terms(usage: Usage, provider: str | None) -> dict[str, str]:
    """Return how the call was served, where that has a price of its own, in the library's words."""
    terms: dict[str, str] = {}
    tier, speed = (usage.service_tier or "").lower(), (usage.speed or "").lower()
    if tier == "batch":
        terms["processing"] = tier
    elif tier and tier not in _STANDARD and (provider, tier) not in _AT_LIST_PRICE:
        terms["service_tier"] = tier
    if speed and speed not in _STANDARD:
        terms["speed"] = speed
    return terms


def _has_price_for(found: Any, term: tuple[str, str], at: datetime) -> bool:
    """Return whether a price was found for this very term: the library falls back to list prices.

    It does so too where it knows a model by another provider's name.
    """
    key, value = term
    variants = found.model.price_variants or ()
    return any(model is found.model for model in found.provider.models) and any(
        variant.when.get(key) == value
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in variants
    )


def _names(model: str, provider: str | None) -> Generator[tuple[str | None, str]]:
    """Yield the ways to read a model's name: `openai:gpt-5.5`, `anthropic/claude-opus-5`.

    A provider that is given is believed: what its servers run for others has another price there,
    or none.
    """
    yield provider, model
    for sign in "/:":
        prefix, found, rest = model.partition(sign)
        if found:
            yield provider, rest
            yield prefix, rest
