"""Search over many messages, by words and by meaning, beside what people do without an index."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from random import Random
from statistics import median
from typing import Literal
from zlib import crc32

import rowtrail
from benchmarks._progress import tell
from benchmarks._row import ROWTRAIL, Bar, Row
from benchmarks._scratch import remove_database
from benchmarks._size import Size

WORKLOAD = "search"
LIKE = "LIKE over a plain table"
FTS5 = "FTS5 alone"
DIMS = 384
KEYWORD_MS = 30.0
HYBRID_MS = 150.0
VOCABULARY = 20_000
WORDS_A_MESSAGE = 70
CALLS_A_RUN = 500
QUERIES = 60


def measure(size: Size, folder: Path, _: Path | None) -> list[Row]:
    """Return the rows of the searches."""
    path, plain = folder / "search.db", folder / "plain.db"
    words = Words(seed=8)
    tell(f"search: recording {size.searched:,} messages")
    record(path, words, size.searched)
    write_plain_table(path, plain)
    queries = words.queries(QUERIES if size.is_full else 10)
    with (
        rowtrail.Journal(path, embedder=hashed) as journal,
        closing(sqlite3.connect(plain)) as table,
    ):
        tell("search: filling the index")
        filled_s = timed_s(journal.index)
        built_s = timed_s(lambda: build_fts5(table))
        tell("search: asking")
        rows = [
            Row(
                WORKLOAD, "texts read into the index, with their vectors", "per s",
                {ROWTRAIL: [size.searched / filled_s], FTS5: [size.searched / built_s]},
            ),
            _asked(size, "keyword", KEYWORD_MS, journal, table, queries),
            _asked(size, "hybrid", HYBRID_MS, journal, table, queries),
        ]  # fmt: skip
    for file in (path, plain):
        remove_database(file)
    return rows


class Words:
    """A language of which few words make up most of the text, as in any other."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        letters = "etaoinshrdlucm"
        made = {
            "".join(self._random.choices(letters, k=self._random.randint(3, 9)))
            for _ in range(VOCABULARY)
        }
        self._words = sorted(made)
        self._random.shuffle(self._words)
        self._shares = list(accumulate(1 / (rank + 1) for rank in range(len(self._words))))

    def message(self) -> str:
        """Return a text as a message has it."""
        drawn = self._random.choices(self._words, cum_weights=self._shares, k=WORDS_A_MESSAGE)
        return " ".join(drawn)

    def queries(self, count: int) -> list[str]:
        """Return what people look for: one to five words, as often common as rare ones."""
        ranks = [10, 30, 100, 300, 1000, 3000, 10_000]
        near = [[self._words[rank + i] for rank in ranks] for i in range(count)]
        return [
            " ".join(self._random.sample(words, k=1 + number % 5))
            for number, words in enumerate(near)
        ]


def record(path: Path, words: Words, messages: int) -> None:
    """Record calls of a model; a question and an answer are two messages."""
    with rowtrail.Journal(path, durability="normal") as journal:

        @rowtrail.step(name="model", kind="llm")
        def ask(question: str) -> str:
            return words.message()

        for first in range(0, messages // 2, CALLS_A_RUN):
            with journal.run(f"run-{first}", thread_id=f"thread-{first}"):
                for _ in range(first, min(first + CALLS_A_RUN, messages // 2)):
                    ask(words.message())


def hashed(texts: list[str]) -> list[list[float]]:
    """Return vectors that are alike where texts have words in common."""
    return [_hashed(text) for text in texts]


def _hashed(text: str) -> list[float]:
    vector = [0.01] * DIMS
    for word in text.split():
        at = crc32(word.encode())
        vector[at % DIMS] += 1.0 if at & 65536 else -1.0
    return vector


def write_plain_table(path: Path, plain: Path) -> None:
    """Write the same texts into one table, as a log of messages would keep them."""
    with closing(sqlite3.connect(plain)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("ATTACH ? AS journal", (str(path),))
        connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body TEXT)")
        connection.execute(
            "INSERT INTO message (body) SELECT input FROM journal.steps"
            " UNION ALL SELECT output FROM journal.steps"
        )
        connection.commit()


def build_fts5(table: sqlite3.Connection) -> None:
    table.execute("CREATE VIRTUAL TABLE found USING fts5(body)")
    table.execute("INSERT INTO found (rowid, body) SELECT id, body FROM message")
    table.commit()


def _asked(
    size: Size,
    mode: Literal["keyword", "hybrid"],
    limit_ms: float,
    journal: rowtrail.Journal,
    table: sqlite3.Connection,
    queries: list[str],
) -> Row:
    mine = list(_times_ms(lambda q: len(journal.search(q, mode=mode)), queries))
    theirs = list(_times_ms(lambda q: len(_like(table, q)), queries))
    return Row(
        WORKLOAD,
        f"{size.searched:,} messages: {mode}, p50",
        "ms",
        {ROWTRAIL: [median(mine)], LIKE: [median(theirs)]},
        (Bar("below", limit_ms),),
        note=f"slowest of {len(queries)} questions: {max(mine):.1f} ms",
    )


def _like(table: sqlite3.Connection, query: str) -> list[tuple[int]]:
    words = query.split()
    where = " AND ".join(["body LIKE ?"] * len(words))
    return table.execute(
        f"SELECT id FROM message WHERE {where} LIMIT 10", [f"%{word}%" for word in words]
    ).fetchall()


def _times_ms(ask: Callable[[str], object], queries: list[str]) -> Iterator[float]:
    ask(queries[0])
    for query in queries:
        started = time.perf_counter()
        ask(query)
        yield (time.perf_counter() - started) * 1e3


def timed_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
