"""The vectors of the search index: one for each text, made outside of any transaction."""

from __future__ import annotations

import json
from typing import Any

from rowtrail.errors import EmbedderError
from rowtrail.history._embedder import Embedder, are_alike, quantized
from rowtrail.history._filling import Progress
from rowtrail.history._index_file import IndexFile
from rowtrail.history._plain import unspaced

BATCH_TEXTS = 128
"""Texts in one call of the embedder: at most 380,000 characters."""


def embed_missing(index: IndexFile, embedder: Embedder, progress: Progress) -> bool:
    """Give every text its vector, and return whether those of another embedder were replaced.

    Killed in the middle, what was embedded is kept. Two processes at once may embed a batch twice.

    Raises:
        EmbedderError: The embedder failed, or returned something else than vectors.
    """
    was_changed = _take_over(index, embedder.probe())
    while True:
        with index.snapshot():
            after, left = index.state()["embedded"], 0
            batch = index.all("docs_to_embed", after=after, limit=BATCH_TEXTS)
            if len(batch) == BATCH_TEXTS:
                left = index.value("docs_left", after=batch[-1][0])
        if not batch:
            return was_changed
        vectors = embedder.documents([unspaced(body) for _, body in batch])
        with index.transaction():
            _store(index, embedder, after, [doc for doc, _ in batch], vectors)
        total = index.value("docs_count")
        progress("vectors", total - left, total)


def _take_over(index: IndexFile, probe: list[float]) -> bool:
    """Drop the vectors of another embedder; return whether there were any."""
    if _is_ours(index.state(), probe):
        return False
    with index.transaction():
        if _is_ours(index.state(), probe):  # another process may have been first
            return False
        had = bool(index.value("vectors_count"))
        index.run("vectors_delete")
        index.set_state(dims=len(probe), probe=json.dumps(probe), embedded=0)
    return had


def _is_ours(state: dict[str, Any], probe: list[float]) -> bool:
    return "probe" in state and are_alike(json.loads(state["probe"]), probe)


def _store(
    index: IndexFile, embedder: Embedder, after: int, docs: list[int], vectors: list[list[float]]
) -> None:
    """Store the vectors of the texts that come next behind `after`."""
    state = index.state()
    if not _is_ours(state, embedder.probe()):
        raise EmbedderError(
            "another process searches this journal with another embedder: use one for all of them"
        )
    if len(vectors[0]) != state["dims"]:
        raise EmbedderError(
            f"the embedder returned vectors of {len(vectors[0])} numbers, and of {state['dims']} "
            "before: use one that returns the same length every time"
        )
    for doc, vector in zip(docs, vectors, strict=True):
        if any(vector):
            index.run("vector_insert", doc=doc, value=quantized(vector))
    if state["embedded"] >= after:  # else somebody began anew meanwhile
        index.set_state(embedded=max(state["embedded"], docs[-1]))
