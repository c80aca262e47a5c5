"""Counting tokens without a network: by tiktoken and its vocabulary, or else an estimate."""

from __future__ import annotations

import os
from functools import cache
from typing import Literal, Protocol

CHARS_PER_TOKEN = 4
"""Mean of English text; 13 to 18 % off on prose and code (measured on licences and on NumPy)."""

MAX_PART_CHARS = 20_000
"""Longer texts are counted in parts, which is off by a token a part: tiktoken 0.14 dies of a stack
overflow on a million blanks, and older ones take quadratic time on a long word."""

_CACHED_AS = "https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
"""What tiktoken names its cache files after, by SHA-1. Source: `tiktoken_ext/openai_public.py`."""

_SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""Contents of the vocabularies. tiktoken downloads a file anew that differs: so look first."""

_CL100K_MODELS = ("gpt-4-", "gpt-3.5", "text-embedding")


class Encoding(Protocol):
    """The part of `tiktoken.Encoding` that counting needs."""

    def encode_ordinary(self, text: str) -> list[int]: ...


def count_tokens(text: str, model: str | None) -> tuple[int, Literal["tiktoken", "estimate"]]:
    """Return how many tokens `text` has, and how that was found out."""
    encoding = tiktoken_encoding(model or "")
    counted = None if encoding is None else _count(encoding, text)
    if counted is None:
        return -(-len(text) // CHARS_PER_TOKEN), "estimate"
    return counted, "tiktoken"


def _count(encoding: Encoding, text: str) -> int | None:
    parts = (text[at : at + MAX_PART_CHARS] for at in range(0, len(text), MAX_PART_CHARS))
    try:
        return sum(len(encoding.encode_ordinary(part)) for part in parts)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic of its Rust code is not an Exception; the answer is paid for
        return None


def tiktoken_encoding(model: str) -> Encoding | None:
    """Return the encoding of a model, None where tiktoken or its vocabulary is not on this machine.

    Never fetches: tiktoken would download what is missing, with no time limit.
    """
    name = "cl100k_base" if model.startswith(_CL100K_MODELS) or model == "gpt-4" else "o200k_base"
    folder = _cache_folder()
    return _load(name, folder) if folder is not None else None


def _cache_folder() -> str | None:
    """Return where tiktoken keeps its vocabularies, by tiktoken's own rules."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return os.environ[variable] or None
    import tempfile

    return os.path.join(tempfile.gettempdir(), "data-gym-cache")


@cache
def _load(name: str, folder: str) -> Encoding | None:
    import hashlib

    cached_as = hashlib.sha1(_CACHED_AS.format(name=name).encode(), usedforsecurity=False)
    try:
        with open(os.path.join(folder, cached_as.hexdigest()), "rb") as file:
            content = file.read()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != _SHA256[name]:
        return None
    try:
        import tiktoken
    except ImportError:  # the extra `tokens` is not installed
        return None
    return tiktoken.get_encoding(name)
