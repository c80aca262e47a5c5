"""What is said by a step, and where: one order of the places for the index and for its readers."""

from __future__ import annotations

from typing import Any

from rowtrail.history._index_file import IndexFile
from rowtrail.history._parts import digest_of, parts
from rowtrail.history._plain import plain_text
from rowtrail.history._source import Row, Tx

KINDS = ("llm", "tool", "function", "question")
"""What a step may be; the index has their places here as numbers."""
PLACES = ("arguments", "result", "error", "message", "question", "answer")
"""Where in a step a text may be; the index has their places here as numbers."""
MESSAGE = PLACES.index("message")
"""A message of a prompt, or the answer of a model."""


Spot = tuple[int, str, int | None, int | None]
"""Where a text is: a step, a place, and of a message in a prompt its log and position."""


def spot_of(row: tuple[Any, ...]) -> Spot:
    """Return the spot in a row of `first_place`."""
    step, place, log, pos = row
    return step, PLACES[int(place)], log, pos


def texts_of_step(row: Row) -> dict[str, str | None]:
    """Return the stored texts of a row of `search_steps`, without the messages of its prompt."""
    answer = "message" if row["kind"] == "llm" else "result"
    return {"arguments": row["arguments"], answer: row["result"], "error": row["error"]}


def texts_of_question(row: Row) -> dict[str, str | None]:
    """Return the stored texts of a row of `search_questions`."""
    return {"question": row["question"], "answer": row["answer"]}


def parts_of(stored: str | None, *, place: str) -> list[str]:
    """Return a stored text as people read it, in parts."""
    if not stored:
        return []
    return parts(stored if place == "error" else plain_text(stored))


def text_of(index: IndexFile, tx: Tx, doc: int, at: Spot) -> str | None:
    """Return the text of a row of the index from the journal; None where it is gone."""
    step, place, log, pos = at
    if log is not None and pos is not None:
        found = [row["text"] for row in tx.all("search_messages", log=log, lo=pos, hi=pos + 1)]
    elif step < 0:
        rows = tx.all("search_questions", steps=f"[{step}]")
        found = [texts_of_question(row)[place] for row in rows]
    else:
        rows = tx.all("search_steps", steps=f"[{step}]")
        found = [texts_of_step(row)[place] for row in rows]
    all_parts = parts_of(found[0], place=place) if found else []
    if len(all_parts) < 2:
        return next(iter(all_parts), None)
    same = (p for p in all_parts if index.value("doc_by_digest", digest=digest_of(p)) == doc)
    return next(same, None)
