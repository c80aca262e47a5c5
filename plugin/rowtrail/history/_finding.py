"""What matches, and how it is shown: one search on an index that is filled."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rowtrail._clock import iso_utc
from rowtrail.errors import EmbedderError
from rowtrail.history._answer import Answer
from rowtrail.history._embedder import Embedder, quantized
from rowtrail.history._folding import aligned, folded
from rowtrail.history._index_file import IndexFile
from rowtrail.history._said import KINDS, Spot, spot_of, text_of
from rowtrail.history._snippets import marks_of, snippet
from rowtrail.history._source import Readable, Tx
from rowtrail.history._vectors import embed_missing
from rowtrail.history._words import COMMON, Plan, Term, plan, terms

Mode = Literal["auto", "keyword", "semantic", "hybrid"]

COLUMNS = (
    *("step_id", "run_id", "thread_id", "agent", "node", "kind", "name", "where", "snippet"),
    *("score", "at"),
)

CANDIDATES = 50
"""Texts that each way of searching hands to the fusion, at least."""

RANKED = 10_000
"""What more texts match is not ranked: the newest ones are the answer, in 1 ms and not in 90."""

FUSION_K = 60
"""Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR 2009."""

NEAR = 0.75
"""Likeness of words that one may have been meant by the other."""
MIN_NEAR_CHARS = 4
"""Shorter words are like too many."""
MOST_WORDS = 20_000
"""Words of one beginning that are compared, in some 100 ms."""

Scored = list[tuple[int, float]]
"""Rows of texts with their scores, the best first."""

_Hit = tuple[int, float, Spot]
"""A row of a text, its score, and where it is."""


@dataclass(frozen=True)
class Filter:
    """What the caller narrowed the search to; None leaves it open."""

    kind: str | None
    runs: tuple[int, ...] | None
    since_ms: int | None
    until_ms: int | None

    def bindings(self) -> dict[str, Any]:
        """Return the parameters of the statements."""
        return {
            "kind": None if self.kind is None else KINDS.index(self.kind),
            "runs": None if self.runs is None else json.dumps(self.runs),
            "since": -(1 << 62) if self.since_ms is None else self.since_ms,
            "until": 1 << 62 if self.until_ms is None else self.until_ms,
        }

    @property
    def is_open(self) -> bool:
        """Return whether it leaves everything."""
        return self == Filter(None, None, None, None)


@dataclass
class Finding:
    """One question, on an index that is up to date."""

    index: IndexFile
    source: Readable
    text: str
    within: Filter
    limit: int
    chars: int
    match: str | None = None
    """The expression that found texts by their words, for their snippets."""
    notes: list[str] = field(default_factory=list)

    def answer(self, mode: Mode, embedder: Embedder | None) -> Answer:
        """Return what was found, the best first."""
        semantic: Scored | None = None
        if embedder is not None:
            try:
                semantic = self._by_meaning(embedder)
            except EmbedderError as error:
                if mode != "auto":
                    raise
                self.notes.append(f"by keyword only: {error}")
        keyword = [] if mode == "semantic" else self._by_words()
        if semantic is None or mode == "semantic":
            scored = keyword if semantic is None else semantic
        else:
            scored = fused([keyword, semantic])
        return Answer(COLUMNS, self._rows(scored), note="; ".join(self.notes) or None)

    @property
    def _candidates(self) -> int:
        return max(CANDIDATES, 4 * self.limit)

    def _bindings(self) -> dict[str, Any]:
        within = self.within
        return {"all": within.is_open, "limit": self._candidates, **within.bindings()}

    def _by_words(self) -> Scored:
        wanted = terms(self.text)
        if not wanted:
            self.notes.append("the text has no word to look for")
        found: dict[int, float] = {}
        lowest = float("inf")
        planned = plan(wanted, self._count(COMMON))
        for match in dict.fromkeys((planned.whole, planned.some)):
            if match is None:
                continue
            self.match = match  # the last one is the widest: snippets show what any word found
            is_ranked = self._count(RANKED)(match) < RANKED
            statement = "keyword_best" if is_ranked else "keyword_newest"
            for doc, score in self.index.all(statement, match=match, **self._bindings()):
                # What matches all words stays before what matches some.
                found.setdefault(doc, min(score, lowest))
            lowest = min(found.values(), default=lowest)
            if match == planned.whole:
                planned = planned.with_all(len(found))
            if len(found) >= self.limit:
                break
        if wanted:
            self._advise(wanted, planned, len(found))
        return list(found.items())

    def _advise(self, wanted: list[Term], planned: Plan, found: int) -> None:
        """Say what to try where nothing has all of the text."""
        notes = self.notes
        if planned.begun:
            notes.append(f"words that begin with {_quoted(planned.begun)}")
        if found and planned.has_all is False and (len(wanted) > 1 or wanted[0].parts):
            notes.append("no text has all of it: these have some")
        if planned.nowhere and (found or len(wanted) > 1):
            notes.append(f"no text has {_quoted(planned.nowhere)}")
        near = [word for text in planned.nowhere for word in self._near(text)]
        if near:
            notes.append(f"did you mean {_quoted(tuple(near), 'or')}?")
        if found:
            return
        if planned.some is not None and not self.within.is_open:
            count = self._count(COMMON)(planned.some)
            notes.append(f"{count:,} texts outside of the filters have it: leave one out")
        elif not near:
            notes.append("try fewer or other words, the beginning of one, or meanings (embedder)")

    def _near(self, text: str) -> list[str]:
        """Return words of the index that are spelt much like a word that is nowhere."""
        word = folded(text)
        if len(word) < MIN_NEAR_CHARS or not word.isalpha():
            return []
        self.index.run("words_create")
        first = word[:1]
        rows = self.index.all(
            "words_like", first=first, behind=f"{first}\U0010ffff", limit=MOST_WORDS
        )
        common = sorted((term for term, _ in rows), key=len)
        return difflib.get_close_matches(word, common, n=2, cutoff=NEAR)

    def _count(self, most: int) -> Callable[[str], int]:
        return lambda match: self.index.value("matches_up_to", match=match, limit=most)

    def _by_meaning(self, embedder: Embedder) -> Scored:
        self.index.load_vectors()
        vector = embedder.query(self.text)
        if embed_missing(self.index, self.source, embedder, lambda what, done, total: None):
            self.notes.append(
                "all texts were embedded anew: their vectors were of another embedder"
            )
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
        places: dict[tuple[int, int], _Hit] = {}
        for doc, score in scored:
            for row in self.index.all("first_place", doc=doc, **self.within.bindings()):
                # Another part of the same value may have been better.
                places.setdefault((row[0], row[1]), (doc, score, spot_of(row)))
            if len(places) == self.limit:
                break
        if self.match is not None:
            self.index.run("shown_create")
        return self.source.read(lambda tx: list(self._read_rows(tx, list(places.values()))))

    def _read_rows(self, tx: Tx, found: list[_Hit]) -> Iterator[tuple[Any, ...]]:
        steps = [at[0] for _, _, at in found]
        by_id = {row["id"]: row for row in tx.all("search_found", steps=tx.array(steps))}
        for doc, score, at in found:
            row = by_id.get(at[0])
            if row is not None:
                shown = self._snippet(text_of(self.index, tx, doc, at) or "")
                names = (row[column] for column in COLUMNS[: COLUMNS.index("where")])
                yield (*names, at[1], shown, float(f"{score:.4g}"), iso_utc(row["at"]))

    def _snippet(self, text: str) -> str:
        if self.match is None:
            return snippet(text, [], self.chars)
        known = aligned(text.encode("utf-8", "replace").decode())
        self.index.run("shown_insert", body=known.body.translate(_UNMARKED))
        highlighted = self.index.value("shown_marked", match=self.match)
        self.index.run("shown_delete")
        marks = [] if highlighted is None else marks_of(known, highlighted)
        return snippet(text, marks, self.chars)


_UNMARKED = {1: " ", 2: " "}
"""What marks hits is nowhere else."""


def _quoted(words: tuple[str, ...], before_last: str = "and") -> str:
    shown = [repr(word) for word in words[:3]]
    if len(words) > len(shown):
        return f"{', '.join(shown)} ..."
    return f" {before_last} ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def fused(lists: Sequence[Scored]) -> Scored:
    """Return the rows of several rankings by reciprocal rank fusion."""
    scores: dict[int, float] = defaultdict(float)
    for ranking in lists:
        for rank, (doc, _) in enumerate(ranking, start=1):
            scores[doc] += 1 / (FUSION_K + rank)
    return sorted(scores.items(), key=lambda entry: -entry[1])
