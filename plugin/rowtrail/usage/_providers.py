"""Who serves at an address."""

PROVIDERS = {
    "anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "generativelanguage.googleapis.com": "google",
    "openai.azure.com": "azure",
    "openrouter.ai": "openrouter",
}
"""In the words of genai-prices: other models' prices are not OpenAI's."""


def provider_at(host: str, otherwise: str) -> str:
    """Return the provider whose host this is, by which tokens are priced."""
    for known, provider in PROVIDERS.items():
        if host == known or host.endswith(f".{known}"):
            return provider
    return otherwise
