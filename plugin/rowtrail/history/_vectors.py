"""The vectors of the search index: one for each text, made outside of any transaction."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from rowtrail.errors import EmbedderError
from rowtrail.history._embedder import Embedder, are_alike, quantized
from rowtrail.history._filling import Progress
from rowtrail.history._index_file import IndexFile
from rowtrail.history._said import spot_of, text_of
from rowtrail.history._source import Readable, Tx

EVERYTHING = {"kind": None, "runs": None, "since": -(1 << 62), "until": 1 << 62}
"""The parameters of statements over everything that was read."""
BATCH_TEXTS = 128
"""Texts in one call of the embedder: at most 380,000 characters."""


def embed_missing(
    index: IndexFile, source: Readable, embedder: Embedder, progress: Progress
) -> bool:
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
        last = batch[-1][0]
        texts = dict(source.read(partial(_texts, index, batch)))
        vectors = embedder.documents(list(texts.values())) if texts else []
        with index.transaction():
            _store(index, embedder, dict(zip(texts, vectors, strict=True)))
            if index.state()["embedded"] >= after:  # else somebody began anew meanwhile
                index.set_state(embedded=max(index.state()["embedded"], last))
        total = index.value("docs_count")
        progress("vectors", total - left, total)


def _texts(index: IndexFile, batch: list[tuple[Any, ...]], tx: Tx) -> list[tuple[int, str]]:
    """Return the rows of a batch with their texts, without those that are gone from the journal."""
    found: list[tuple[int, str]] = []
    for (doc,) in batch:
        for row in index.all("first_place", doc=doc, **EVERYTHING):
            text = text_of(index, tx, doc, spot_of(row))
            if text is not None:
                found.append((doc, text))
    return found


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


def _store(index: IndexFile, embedder: Embedder, vectors: dict[int, list[float]]) -> None:
    """Store the vectors of some texts."""
    state = index.state()
    if not _is_ours(state, embedder.probe()):
        raise EmbedderError(
            "another process searches this journal with another embedder: use one for all of them"
        )
    dims = {len(vector) for vector in vectors.values()} - {state["dims"]}
    if dims:
        raise EmbedderError(
            f"the embedder returned vectors of {dims.pop()} numbers, and of {state['dims']} "
            "before: use one that returns the same length every time"
        )
    known = index.all("docs_known", docs=json.dumps(list(vectors)))
    for (doc,) in known:
        if any(vectors[doc]):
            index.run("vector_insert", doc=doc, value=quantized(vectors[doc]))
