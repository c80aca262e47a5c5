"""What turns texts into vectors: a LangChain `Embeddings`, or any function of the user's."""

from __future__ import annotations

import inspect
import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rowtrail.errors import EmbedderError, UsageError


class Embeddings(Protocol):
    """The part of LangChain's `Embeddings` that searching needs."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...

    def embed_query(self, text: str) -> list[float]: ...


EmbedderLike = Embeddings | Callable[[list[str]], Sequence[Sequence[float]]]
"""A LangChain `Embeddings`, or a function that returns a vector for each text."""

PROBE = "The agent called a tool, and its answer was an error."
"""Its vector tells one embedder from another: neither functions nor classes have reliable names."""

SAME = 0.99
"""Cosine of two vectors of the probe by one embedder: the last bits of a service's vary."""

MAX_DIMS = 8192
"""What sqlite-vec allows."""
LARGEST = 127
"""Of a signed byte: vectors are kept as int8, a quarter of float32."""
_probes: dict[int, tuple[object, list[float]]] = {}
MAX_PROBES = 8
"""A program has one embedder or two."""


class Embedder:
    """An embedder of the user's, whose answers are checked.

    Raises:
        UsageError: It is nothing that embeds.
    """

    def __init__(self, given: EmbedderLike) -> None:
        self._given: Any = given
        self._is_object = hasattr(given, "embed_documents") and hasattr(given, "embed_query")
        if isinstance(given, type) or not (self._is_object or callable(given)):
            raise UsageError(
                f"embedder={given!r} embeds nothing: give a LangChain Embeddings object, or a "
                "function that takes a list of texts and returns a list of vectors"
            )

    def probe(self) -> list[float]:
        """Return the vector of the probe; asked once for each embedder of the process."""
        kept = _probes.get(id(self._given))
        if kept is None or kept[0] is not self._given:
            while len(_probes) >= MAX_PROBES:
                del _probes[next(iter(_probes))]
            kept = _probes[id(self._given)] = (self._given, self.documents([PROBE])[0])
        return kept[1]

    def documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts.

        Raises:
            EmbedderError: It failed, or returned something else.
        """
        ask = self._given.embed_documents if self._is_object else self._given
        return self._vectors(lambda: ask(texts), len(texts))

    def query(self, text: str) -> list[float]:
        """Return the vector of a question.

        Raises:
            EmbedderError: It failed, or returned something else.
        """
        if not self._is_object:
            return self.documents([text])[0]
        return self._vectors(lambda: [self._given.embed_query(text)], 1)[0]

    def _vectors(self, ask: Callable[[], Any], count: int) -> list[list[float]]:
        try:
            found = ask()
        except Exception as error:  # the user's code may raise anything
            raise EmbedderError(
                f"the embedder {self._name} failed: {type(error).__name__}: {error}"
            ) from error
        if inspect.iscoroutine(found):
            found.close()
            raise EmbedderError(f"the embedder {self._name} is async: give a function that is not")
        try:
            vectors = [[float(x) for x in vector] for vector in found]
        except (TypeError, ValueError) as error:
            raise EmbedderError(
                f"the embedder {self._name} returned {found!r:.80}, not a list of vectors"
            ) from error
        dims = {len(vector) for vector in vectors}
        if len(vectors) != count or len(dims) != 1 or not 0 < max(dims) <= MAX_DIMS:
            raise EmbedderError(
                f"the embedder {self._name} returned {len(vectors)} vectors of {sorted(dims)} "
                f"numbers for {count} texts: one vector for each is needed, all of one length, at "
                f"most {MAX_DIMS:,}"
            )
        if not all(math.isfinite(x) for vector in vectors for x in vector):
            raise EmbedderError(f"the embedder {self._name} returned a vector with nan or infinity")
        return vectors

    @property
    def _name(self) -> str:
        named: Any = self._given
        if not hasattr(named, "__qualname__"):
            named = type(named)  # pyright: ignore[reportUnknownVariableType]
        return f"{named.__module__}.{named.__qualname__}"


def quantized(vector: list[float]) -> bytes:
    """Return a vector, not of zeros, as signed bytes up to 127: cosines hardly change."""
    largest = max(map(abs, vector))
    return array("b", [round(x / largest * LARGEST) for x in vector]).tobytes()


def are_alike(one: list[float], other: list[float]) -> bool:
    """Return whether two vectors of the probe come from one embedder."""
    if len(one) != len(other):
        return False
    lengths = math.hypot(*one) * math.hypot(*other)
    if not lengths:
        return one == other
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths > SAME
