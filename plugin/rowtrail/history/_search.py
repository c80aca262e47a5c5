"""`search`: where something was said, asked for, returned or complained about."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rowtrail._clock import iso_utc
from rowtrail.errors import EmbedderError, UnknownIdError, UsageError
from rowtrail.history._answer import Answer
from rowtrail.history._budget import fit
from rowtrail.history._embedder import Embedder, EmbedderLike, quantized
from rowtrail.history._filling import Progress, fill
from rowtrail.history._index_file import (
    MEMORY,
    IndexFile,
    check_can_search,
    discard,
    index_path,
    with_index,
)
from rowtrail.history._page import Moment, check_limit, millis_of
from rowtrail.history._plain import unspaced
from rowtrail.history._source import Readable, Source, reader_of
from rowtrail.history._vectors import embed_missing
from rowtrail.history._words import COMMON, expressions, words
from rowtrail.vocabulary import Kind

Mode = Literal["auto", "keyword", "semantic", "hybrid"]

COLUMNS = (
    "step_id", "run_id", "thread_id", "kind", "name", "where", "snippet", "score", "at"
)  # fmt: skip

CANDIDATES = 50
"""Texts that each way of searching hands to the fusion, at least."""

RANKED = 10_000
"""What more texts match is not ranked: the newest ones are the answer, in 1 ms and not in 90."""

FUSION_K = 60
"""Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR 2009."""

SNIPPET_CHARS = 240
"""About 60 tokens: ten hits are an answer that a model reads."""
ADVICE = (
    "narrow with kind, thread_id, run_id or since, or ask for fewer with limit",
    "raise max_tokens",
)

Scored = list[tuple[int, float]]
"""Rows of texts with their scores, the best first."""


@dataclass(frozen=True)
class Indexed:
    """What a search index holds: parts of texts, and vectors for them. `path` is its file."""

    path: str
    texts: int
    vectors: int

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {"path": self.path, "texts": self.texts, "vectors": self.vectors}


@dataclass(frozen=True)
class _Filter:
    """What the caller narrowed the search to; None leaves it open."""

    kind: Kind | None
    runs: tuple[int, ...] | None
    since_ms: int | None

    def bindings(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "runs": None if self.runs is None else json.dumps(self.runs),
            "since": -(1 << 62) if self.since_ms is None else self.since_ms,
        }

    @property
    def is_open(self) -> bool:
        return self == _Filter(None, None, None)


def search(
    source: Source,
    text: str,
    *,
    kind: Kind | None = None,
    thread_id: str | None = None,
    run_id: str | None = None,
    since: Moment | None = None,
    mode: Mode = "auto",
    limit: int = 10,
    max_tokens: int | None = None,
    embedder: EmbedderLike | None = None,
) -> Answer:
    """Find where the words or the meaning of `text` came up: in messages, tool arguments, results
    and errors.

    The rows, the best first: step_id, run_id, thread_id, kind, name, where (`message`,
    `arguments`, `result` or `error`), snippet (matching words in brackets), score (within one
    answer, higher is better), at (when the step began). A text that came up often is one row: the
    first step that it came up in, as far as the filters go.

    Any text may be searched for. All of its words are looked for (in their English stems, without
    accents), then any of them; `"words in quotes"` only side by side. What was recorded until now
    is found: the index, a file `-search` beside the journal, is filled before the answer. It may
    be deleted at any time. Of one value the first 1.1 million characters are searched, of what was
    stored encrypted nothing.

    Args:
        source: The journal.
        text: What to look for.
        kind: Only steps of this kind.
        thread_id: Only this thread.
        run_id: Only this run.
        since: Only steps begun since then: a datetime, or ISO-8601 text; UTC without a zone.
        mode: `keyword`; `semantic` (what means the same, by the embedder); `hybrid` (both, fused by
            rank); `auto` (hybrid where there is an embedder, else keyword).
        limit: How many rows are returned at most.
        max_tokens: How many tokens `Answer.text()` may have; rows are cut from the end.
        embedder: A LangChain `Embeddings`, or a function that returns a vector for each text of a
            list. Texts are embedded once; those that another embedder did are embedded anew.

    Raises:
        UsageError: An argument makes no sense.
        UnknownIdError: There is no such thread or run.
        MissingPackageError: The extra `search` is not installed.
        EmbedderError: The embedder failed, with `mode` `semantic` or `hybrid`.
        StorageError: The journal cannot be read, or the index cannot be written.
    """
    _check(text, kind, mode, limit, max_tokens, embedder)
    chosen = None if embedder is None or mode == "keyword" else Embedder(embedder)
    reader = reader_of(source)
    within = _Filter(kind, _runs(reader, thread_id, run_id), millis_of("since", since))

    def work(index: IndexFile) -> Answer:
        fill(index, reader, _say_nothing)
        return _Search(index, reader, text, within, limit).answer(mode, chosen)

    answer = with_index(reader, work)
    notes = [] if answer.note is None else [answer.note]
    return answer if max_tokens is None else fit(answer, notes, max_tokens, text, ADVICE)


def build_index(
    source: Source,
    *,
    embedder: EmbedderLike | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> Indexed:
    """Bring the search index to what the journal holds now; with an embedder, its vectors too.

    Killed in the middle, the next call goes on from there; several processes may do it at once.

    Raises:
        UsageError: The embedder embeds nothing.
        MissingPackageError: The extra `search` is not installed.
        EmbedderError: The embedder failed.
        StorageError: The journal cannot be read, or the index cannot be written.
    """
    chosen = None if embedder is None else Embedder(embedder)
    reader = reader_of(source)
    path = index_path(reader)
    check_can_search("searching")  # before anything is deleted
    if rebuild and path != MEMORY:
        discard(path)

    def work(index: IndexFile) -> Indexed:
        fill(index, reader, progress or _say_nothing)
        if chosen is not None:
            embed_missing(index, chosen, progress or _say_nothing)
        return Indexed(path, index.value("docs_count"), index.value("vectors_count"))

    return with_index(reader, work)


def _say_nothing(what: str, done: int, total: int) -> None:
    """Tell nobody how far it has come."""


def _check(
    text: str,
    kind: str | None,
    mode: str,
    limit: int,
    max_tokens: int | None,
    embedder: object,
) -> None:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # from anybody
        raise UsageError(f"text={text!r} is not text: give what to look for as a str")
    if kind is not None and kind not in get_args(Kind):
        raise UsageError(f"kind={kind!r} is unknown: use 'llm', 'tool' or 'function'")
    if mode not in get_args(Mode):
        raise UsageError(f"mode={mode!r} is unknown: use one of {', '.join(get_args(Mode))}")
    check_limit(limit)
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"max_tokens={max_tokens!r} leaves no room: use 1 or more")
    if mode in ("semantic", "hybrid") and embedder is None:
        raise UsageError(
            f"mode={mode!r} needs an embedder: Journal(path, embedder=...), "
            "search(..., embedder=...) or --embedder module:attribute"
        )


def _runs(source: Readable, thread_id: str | None, run_id: str | None) -> tuple[int, ...] | None:
    if thread_id is None and run_id is None:
        return None
    rows = source.read(lambda tx: tx.all("search_run_rows", thread_id=thread_id, run_id=run_id))
    if not rows:
        kind, value = ("run", run_id) if run_id is not None else ("thread", thread_id)
        of = f" in the thread {thread_id!r}" if run_id is not None and thread_id is not None else ""
        raise UnknownIdError(
            f"no {kind} has the id {value!r}{of}, or it made no call yet",
            kind=kind,
            value=str(value),
        )
    return tuple(row["id"] for row in rows)


@dataclass
class _Search:
    """One question, on an index that is up to date."""

    index: IndexFile
    source: Readable
    text: str
    within: _Filter
    limit: int
    match: str | None = None
    """The expression that found texts by their words, for their snippets."""

    def answer(self, mode: Mode, embedder: Embedder | None) -> Answer:
        notes: list[str] = []
        semantic: Scored | None = None
        if embedder is None:
            if mode == "auto":
                notes.append("by keyword only: no embedder was given")
        else:
            try:
                semantic = self._by_meaning(embedder, notes)
            except EmbedderError as error:
                if mode != "auto":
                    raise
                notes.append(f"by keyword only: {error}")
        keyword = [] if mode == "semantic" else self._by_words(notes)
        if semantic is None or mode == "semantic":
            scored = keyword if semantic is None else semantic
        else:
            scored = fused([keyword, semantic])
        rows = self._rows(scored)
        note = "; ".join(notes) or None
        return Answer(COLUMNS, rows, truncated=False, note=note)

    @property
    def _candidates(self) -> int:
        return max(CANDIDATES, 4 * self.limit)

    def _bindings(self) -> dict[str, Any]:
        within = self.within
        return {"all": within.is_open, "limit": self._candidates, **within.bindings()}

    def _by_words(self, notes: list[str]) -> Scored:
        strings = words(self.text)
        if not strings:
            notes.append("the text has no word to look for")
        found: dict[int, float] = {}
        lowest = float("inf")
        for match in expressions(strings, self._count(COMMON)):
            self.match = match  # the last one is the widest: snippets show what any word found
            is_ranked = self._count(RANKED)(match) < RANKED
            statement = "keyword_best" if is_ranked else "keyword_newest"
            for doc, score in self.index.all(statement, match=match, **self._bindings()):
                # What matches all words stays before what matches some.
                found.setdefault(doc, min(score, lowest))
            lowest = min(found.values(), default=lowest)
            if len(found) >= self.limit:
                break
        return list(found.items())

    def _count(self, most: int) -> Callable[[str], int]:
        return lambda match: self.index.value("matches_up_to", match=match, limit=most)

    def _by_meaning(self, embedder: Embedder, notes: list[str]) -> Scored:
        self.index.load_vectors()
        vector = embedder.query(self.text)
        if embed_missing(self.index, embedder, _say_nothing):
            notes.append("all texts were embedded anew: their vectors were of another embedder")
        if len(vector) != len(embedder.probe()):
            raise EmbedderError(
                f"the embedder returned {len(vector)} numbers for a question and "
                f"{len(embedder.probe())} for a text: use one that returns one length"
            )
        if not any(vector):
            return []
        found = self.index.all("vectors_nearest", vector=quantized(vector), **self._bindings())
        return [(doc, 1.0 - distance) for doc, distance in found]

    def _rows(self, scored: Scored) -> list[tuple[Any, ...]]:
        """Return the rows of the best texts; steps that are gone from the journal are left out."""
        places: dict[tuple[int, str], tuple[int, float]] = {}
        for doc, score in scored:
            first = self.index.all("first_place", doc=doc, **self.within.bindings())
            if first and first[0] not in places:  # another part of the same value was better
                places[first[0]] = (doc, score)
            if len(places) == self.limit:
                break
        steps = [step for step, _ in places]
        found = self.source.read(lambda tx: tx.all("search_found", steps=tx.array(steps)))
        by_id = {row["id"]: row for row in found}
        return [
            self._row(by_id[step], place, doc, score)
            for (step, place), (doc, score) in places.items()
            if step in by_id
        ]

    def _row(self, step: Any, place: str, doc: int, score: float) -> tuple[Any, ...]:
        names = (step["step_id"], step["run_id"], step["thread_id"], step["kind"], step["name"])
        return (*names, place, self._snippet(doc), float(f"{score:.4g}"), iso_utc(step["at"]))

    def _snippet(self, doc: int) -> str:
        found = None
        if self.match is not None:
            found = self.index.value("snippet", match=self.match, doc=doc)
        if found is None:
            found = self.index.value("text_start", doc=doc, chars=SNIPPET_CHARS + 1) or ""
            if len(found) > SNIPPET_CHARS:
                found = f"{found[:SNIPPET_CHARS]}…"
        return re.sub(r"\s+", " ", unspaced(found)).strip()


def fused(lists: Sequence[Scored]) -> Scored:
    """Return the rows of several rankings by reciprocal rank fusion."""
    scores: dict[int, float] = defaultdict(float)
    for ranking in lists:
        for rank, (doc, _) in enumerate(ranking, start=1):
            scores[doc] += 1 / (FUSION_K + rank)
    return sorted(scores.items(), key=lambda entry: -entry[1])
