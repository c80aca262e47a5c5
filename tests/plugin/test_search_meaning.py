"""Searching by meaning: embedders of users, their mistakes, and the fusion with words."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from rowtrail import Journal, step
from rowtrail.errors import EmbedderError
from rowtrail.history._embedder import PROBE, quantized
from rowtrail.history._finding import fused

DIMS = 512
SYNONYMS = {"refund": "repay", "reimbursement": "repay", "car": "vehicle", "automobile": "vehicle"}


def meaning(texts: list[str]) -> list[list[float]]:
    """Hash the words of texts, synonyms to one place."""
    vectors = [[0.01] * DIMS for _ in texts]
    for vector, text in zip(vectors, texts, strict=True):
        for word in text.lower().split():
            vector[crc32(SYNONYMS.get(word, word).encode()) % DIMS] += 1.0
    return vectors


class Counting:
    """An embedder in LangChain's form, which remembers what it embedded."""

    def __init__(self, dims: int = DIMS, sign: float = 1.0) -> None:
        self.documents: list[str] = []
        self.queries: list[str] = []
        self.dims, self.sign = dims, sign

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.documents += texts
        return [[self.sign * x for x in vector[: self.dims]] for vector in meaning(texts)]

    def embed_query(self, text: str) -> list[float]:
        self.queries.append(text)
        return [self.sign * x for x in meaning([text])[0][: self.dims]]


@step(name="ask", kind="llm")
def ask(question: str) -> str:
    return "ok"


TEXTS = ("please send a refund", "my car is red", "the weather is fine", "lunch at noon")


@pytest.fixture
def asked(journal: Journal) -> Journal:
    with journal.run("one", thread_id="t"):
        for text in TEXTS:
            ask(text)
    return journal


def snippets(answer: Any) -> list[str]:
    return [row["snippet"] for row in answer]


def test_what_means_the_same_is_found(asked: Journal) -> None:
    answer = asked.search("automobile", mode="semantic", embedder=meaning, limit=1)

    assert snippets(answer) == ["my car is red"]
    assert answer.note is None
    assert len(asked.search("automobile", mode="keyword")) == 0
    assert 0.4 < answer.to_dicts()[0]["score"] <= 1


def test_auto_is_hybrid_with_an_embedder(asked: Journal) -> None:
    answer = asked.search("reimbursement lunch", embedder=meaning, limit=2)

    assert {text.replace("[", "").replace("]", "") for text in snippets(answer)} == {
        "lunch at noon",
        "please send a refund",
    }
    assert "[lunch] at noon" in snippets(answer)


def test_filters_hold_for_meanings(asked: Journal) -> None:
    with asked.run("two", thread_id="u"):
        ask("a bus is no car")

    def search(**filters: Any) -> list[str]:
        answer = asked.search("automobile", mode="semantic", embedder=meaning, limit=1, **filters)
        return snippets(answer)

    assert search(thread_id="u") == ["a bus is no car"]
    assert search(thread_id="t") == ["my car is red"]
    assert search(run_id="two") == ["a bus is no car"]
    assert search(kind="tool") == []


def test_the_embedder_of_the_journal_is_asked_by_searches_only(db: Path) -> None:
    embedder = Counting()
    with Journal(db, embedder=embedder) as journal:
        with journal.run("one"):
            ask("my car is red")
        assert embedder.documents == []
        for _ in range(2):
            assert snippets(journal.search("automobile", limit=1)) == ["my car is red"]

    assert embedder.queries == ["automobile", "automobile"]
    assert len(embedder.documents) == 3


def test_every_text_is_embedded_once(asked: Journal) -> None:
    embedder = Counting()
    asked.search("automobile", embedder=embedder)
    with asked.run("two"):
        ask("my car is red")  # known
        ask("something new")
    asked.search("automobile", embedder=embedder)

    assert sorted(embedder.documents) == sorted([PROBE, *TEXTS, "ok", "something new"])


def test_another_embedder_has_all_texts_embedded_anew(asked: Journal) -> None:
    asked.search("automobile", embedder=meaning)
    other = Counting(sign=-1.0)

    answer = asked.search("automobile", mode="semantic", embedder=other, limit=1)

    assert snippets(answer) == ["my car is red"]
    assert answer.note is not None
    assert "another embedder" in answer.note
    assert len(other.documents) == len(TEXTS) + 2
    assert asked.search("lunch", mode="semantic", embedder=other, limit=1).note is None


def test_another_dimension_is_noticed(asked: Journal) -> None:
    asked.search("automobile", embedder=meaning)
    small = Counting(dims=32)

    asked.search("noon", mode="semantic", embedder=small)

    assert len(small.documents) == len(TEXTS) + 2
    assert asked.index(embedder=small).vectors == len(TEXTS) + 1


def test_deleted_texts_lose_their_vectors(asked: Journal) -> None:
    with asked.run("two", thread_id="u"):
        ask("my car is red")
    asked.search("automobile", embedder=meaning)

    asked.prune(thread_ids=["t"])

    answer = asked.search("automobile", mode="semantic", embedder=meaning)
    assert snippets(answer) == ["my car is red", "ok"]
    assert asked.index(embedder=meaning).vectors == 2


async def _async(texts: list[str]) -> list[list[float]]:
    return meaning(texts)


def _fails(texts: list[str]) -> list[list[float]]:
    raise ConnectionError("no route to the service")


class _Shifting(Counting):
    def embed_query(self, text: str) -> list[float]:
        return [1.0] * (DIMS + 1)


BROKEN: dict[str, tuple[Any, str]] = {
    "it raises": (_fails, "ConnectionError: no route to the service"),
    "it is async": (_async, "is async"),
    "too few": (lambda texts: [], "0 vectors"),
    "no numbers": (lambda texts: [["a"]] * len(texts), "not a list of vectors"),
    "not a list": (lambda texts: 5, "not a list of vectors"),
    "empty vectors": (lambda texts: [[]] * len(texts), "one vector for each"),
    "nan": (lambda texts: [[float("nan")]] * len(texts), "nan or infinity"),
    "lengths differ": (
        lambda texts: [[1.0] * (1 + (text != PROBE)) for text in texts],
        "same length|one length",
    ),
    "the question is of another length": (_Shifting(), "one length"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_embedder_that_fails_is_a_clear_error_and_auto_goes_on(
    asked: Journal, name: str
) -> None:
    embedder, message = BROKEN[name]

    with pytest.raises(EmbedderError, match=message):
        asked.search("lunch", mode="hybrid", embedder=embedder)

    answer = asked.search("lunch", embedder=embedder)
    assert snippets(answer) == ["[lunch] at noon"]
    assert answer.note is not None
    assert answer.note.startswith("by keyword only: the embedder")


def test_an_embedder_may_search_the_journal_itself(asked: Journal) -> None:
    """No lock is held while the embedder works, however long it takes."""
    seen: list[int] = []

    def slow(texts: list[str]) -> list[list[float]]:
        def search() -> None:
            seen.append(len(asked.search("lunch", mode="keyword")))

        thread = threading.Thread(target=search)
        thread.start()
        thread.join(10)
        return meaning(texts)

    asked.search("automobile", embedder=slow)

    assert seen
    assert set(seen) == {1}


def test_a_vector_of_zeros_is_near_to_nothing(asked: Journal) -> None:
    def blind(texts: list[str]) -> list[list[float]]:
        return [[0.0] * 3 if "lunch" in text else [1.0, 2.0, 3.0] for text in texts]

    answer = asked.search("car", mode="semantic", embedder=blind, limit=20)

    assert len(answer) == len(TEXTS)  # and the answer; not the lunch
    assert not any("lunch" in text for text in snippets(answer))
    assert len(asked.search("lunch", mode="semantic", embedder=blind)) == 0


def test_quantised_vectors_keep_their_direction() -> None:
    assert list(quantized([0.25, -1.0, 0.0])) == [32, 256 - 127, 0]
    assert quantized([1e-310, -4e-310, 0.0]) == quantized([1.0, -4.0, 0.0])


def test_fusion_prefers_what_both_ways_found() -> None:
    ranking = fused([[(1, 9.0), (2, 8.0)], [(2, 0.9), (3, 0.8)]])

    assert [doc for doc, _ in ranking] == [2, 1, 3]
    assert ranking[0][1] == pytest.approx(1 / 62 + 1 / 61)
