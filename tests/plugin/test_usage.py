"""Tokens and money: whose figures they are, and never a request to the network."""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from rowtrail.usage import Usage, count_tokens, price_usd, tiktoken_encoding
from rowtrail.usage import _count as counting
from rowtrail.usage import _price as pricing

CACHED_AS = {
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}
VOCABULARY = b"".join(b"%d\n" % n for n in range(256))
PATTERN = r"\p{L}+| ?[^\s\p{L}]+|\s+(?!\S)|\s+"
AT_MS = 1_795_000_000_000  # November 2026
CALL = Usage(1000, 100, "provider", cache_read_tokens=500)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    tried: list[str] = []

    def refuse(*args: Any, **options: Any) -> Any:
        tried.append(repr(args))
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tried
    assert tried == []


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    counting._load.cache_clear()
    pricing._library.cache_clear()
    yield
    counting._load.cache_clear()
    pricing._library.cache_clear()


@pytest.fixture
def vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of tiktoken's that holds one vocabulary, of bytes."""
    bytes_only = tiktoken.Encoding(
        "o200k_base",
        pat_str=PATTERN,
        mergeable_ranks={bytes([n]): n for n in range(256)},
        special_tokens={},
    )
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(counting._SHA256, "o200k_base", hashlib.sha256(VOCABULARY).hexdigest())
    monkeypatch.setattr(tiktoken, "get_encoding", {"o200k_base": bytes_only}.__getitem__)
    path = tmp_path / CACHED_AS["o200k_base"]
    path.write_bytes(VOCABULARY)
    return path


# Tokens.


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-5.5", "claude-opus-5", "", None])
def test_tokens_are_counted_where_the_vocabulary_is_here(model: str | None) -> None:
    assert count_tokens("twelve bytes", model) == (12, "tiktoken")


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize("model", ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo"])
def test_a_model_with_another_vocabulary_is_estimated(model: str) -> None:
    assert count_tokens("twelve bytes", model) == (3, "estimate")


def test_a_corrupted_vocabulary_is_not_used_and_not_fetched_anew(vocabulary: Path) -> None:
    vocabulary.write_bytes(VOCABULARY[:-1])
    assert tiktoken_encoding("gpt-4o") is None
    assert count_tokens("twelve bytes", "gpt-4o") == (3, "estimate")
    assert vocabulary.read_bytes() == VOCABULARY[:-1]


def test_a_missing_vocabulary_is_not_fetched(vocabulary: Path) -> None:
    vocabulary.unlink()
    assert count_tokens("twelve bytes", "gpt-4o") == (3, "estimate")
    assert list(vocabulary.parent.iterdir()) == []


@pytest.mark.usefixtures("vocabulary")
def test_caching_that_is_switched_off_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert count_tokens("twelve bytes", "gpt-4o") == (3, "estimate")


def test_tiktokens_other_folders_are_known(
    vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(vocabulary.parent))
    assert count_tokens("twelve bytes", "gpt-4o") == (12, "tiktoken")
    monkeypatch.delenv("DATA_GYM_CACHE_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(vocabulary.parent))
    folder = vocabulary.parent / "data-gym-cache"
    folder.mkdir()
    vocabulary.rename(folder / vocabulary.name)
    assert count_tokens("twelve bytes", "gpt-4o") == (12, "tiktoken")


def test_the_real_vocabularies_are_known_by_their_contents() -> None:
    found = importlib.util.find_spec("tiktoken_ext.openai_public")
    assert found is not None and found.origin is not None
    source = Path(found.origin).read_text()
    for name, digest in counting._SHA256.items():
        assert digest in source
        address = counting._CACHED_AS.format(name=name)
        assert address in source
        assert hashlib.sha1(address.encode()).hexdigest() == CACHED_AS[name]


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize(
    "text", ["", " " * 1_000_000, "a" * 1_000_000, "half \ud83d", "<|endoftext|>", "\0"]
)
def test_any_text_can_be_counted(text: str) -> None:
    tokens, source = count_tokens(text, "gpt-4o")
    assert source == "tiktoken"
    assert tokens >= len(text)


def test_a_tokenizer_that_panics_is_replaced_by_an_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PanicException(BaseException):
        """What code in Rust raises; no Exception."""

    class Panics:
        def encode_ordinary(self, text: str) -> list[int]:
            raise PanicException

    monkeypatch.setattr(counting, "tiktoken_encoding", lambda model: Panics())
    assert count_tokens("twelve bytes", "gpt-4o") == (3, "estimate")


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_an_estimate_is_four_characters_a_token(
    text: str, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert count_tokens(text, "gpt-4o") == (tokens, "estimate")


def test_counts_that_are_none_are_cut() -> None:
    usage = Usage(10**30, -5, "provider", reasoning_tokens=7)
    assert (usage.input_tokens, usage.output_tokens) == (2**40, 0)
    assert (usage.reasoning_tokens, usage.cache_read_tokens) == (7, None)


# Money.


def test_a_known_model_has_its_price() -> None:
    price = price_usd(CALL, model="gpt-4o-mini", provider="openai", at_ms=AT_MS)
    # 500 at 0.15, 500 cached at 0.075 and 100 at 0.60 dollars a million
    assert price == pytest.approx(500 * 0.15e-6 + 500 * 0.075e-6 + 100 * 0.6e-6)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", None),
        ("openai:gpt-4o-mini", None),
        ("openai/gpt-4o-mini", None),
        ("openai/gpt-4o-mini", "litellm"),
        ("gemini-2.5-pro", "google_genai"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "amazon_bedrock"),
    ],
)
def test_a_model_is_known_under_its_other_names(model: str, provider: str | None) -> None:
    price = price_usd(CALL, model=model, provider=provider, at_ms=AT_MS)
    assert price is not None and price > 0


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("made-up-model", "openai"),
        ("made-up-model", None),
        ("gpt-4o-mini", "made-up-provider"),
        ("deepseek-r1", "ollama"),  # on one's own machine it has no price
        ("deepseek-r1:7b", "ollama"),
        ("", None),
        ("///", ""),
    ],
)
def test_an_unknown_price_is_none_and_not_nothing(model: str, provider: str | None) -> None:
    assert price_usd(CALL, model=model, provider=provider, at_ms=AT_MS) is None


@pytest.mark.parametrize("source", ["tiktoken", "estimate"])
def test_counted_tokens_have_no_price(source: Any) -> None:
    usage = Usage(1000, 100, source)
    assert price_usd(usage, model="gpt-4o-mini", provider="openai", at_ms=AT_MS) is None


def test_figures_that_contradict_each_other_have_no_price() -> None:
    usage = Usage(100, 1, "provider", cache_read_tokens=500)
    assert price_usd(usage, model="gpt-4o-mini", provider="openai", at_ms=AT_MS) is None


HOUR = Usage(1000, 0, "provider", cache_write_tokens=1000, cache_write_1h_tokens=1000)


@pytest.mark.parametrize(
    ("usage", "model", "provider", "per_million"),
    [
        (HOUR, "claude-haiku-4-5", "anthropic", 2),
        (replace(HOUR, cache_write_1h_tokens=0), "claude-haiku-4-5", "anthropic", 1.25),
        (replace(HOUR, cache_write_1h_tokens=400), "claude-haiku-4-5", "anthropic", 1.55),
        (replace(HOUR, service_tier="batch"), "claude-haiku-4-5", "anthropic", 1),
        (Usage(1000, 0, "provider", service_tier="FLEX"), "gpt-5", "openai", 0.625),
        (Usage(1000, 0, "provider", service_tier="auto"), "gpt-5", "openai", 1.25),
        (Usage(1000, 0, "provider", input_audio_tokens=1000), "gpt-realtime", "openai", 32),
        (Usage(0, 0, "provider", answered_by="a cache"), "gpt-5", "openai", 0),
        # prices that the library does not have
        (Usage(1000, 0, "provider", service_tier="priority"), "gpt-5", "azure", None),
        (Usage(1000, 0, "provider", service_tier="priority"), "gpt-5-nano", "openai", None),
        (Usage(1000, 0, "provider", service_tier="reserved"), "claude-haiku-4-5", None, None),
        (Usage(1000, 0, "provider", speed="fast"), "claude-haiku-4-5", "anthropic", None),
        # what is cached of the audio is not told
        (
            Usage(1000, 0, "provider", 500, input_audio_tokens=700),
            "gpt-realtime",
            "openai",
            None,
        ),
        (Usage(0, 0, "provider", answered_by="a cache"), "made-up-model", "openai", None),
    ],
)
def test_how_a_call_was_served_decides_its_price(
    usage: Usage, model: str, provider: str | None, per_million: float | None
) -> None:
    price = price_usd(usage, model=model, provider=provider, at_ms=AT_MS)
    assert price == (None if per_million is None else pytest.approx(per_million / 1000))


def test_without_the_library_there_is_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "genai_prices":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.delitem(sys.modules, "genai_prices", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert price_usd(CALL, model="gpt-4o-mini", provider="openai", at_ms=AT_MS) is None
