"""What a run asks a person, and what is answered: rows of the view `questions`.

A question is found again by its place: the scope that asks, and how many were asked there before.
NewQuestion again it is the same row, so a run that is resumed without an answer asks nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowtrail.content import Codec, Prepared
from rowtrail.engine import Tx
from rowtrail.journal._attempt import Scope
from rowtrail.vocabulary import QuestionKind

__all__ = [
    "Asker",
    "NewQuestion",
    "answer_newest",
    "asker",
    "note_answers",
    "note_question",
    "settle_question",
    "shown_text",
    "unrecorded_asker",
]

NOT_DONE_TEXT = '"retry"'
"""The answer of a person who said that a call did not happen."""


@dataclass(frozen=True)
class NewQuestion:
    """One question.

    Attributes:
        text: What is asked, as JSON; None where it must not be readable.
        kind: `interrupt`, `in_doubt` or `approval`.
        position: How many questions were asked at its place before.
        step: Row of the step that asks, or that is in doubt.
    """

    text: str | None
    kind: QuestionKind = "interrupt"
    position: int = 0
    step: int | None = None


@dataclass(frozen=True)
class Asker:
    """Who asks: a scope, or a task of a graph whose calls are not recorded.

    Attributes:
        thread: Row of the thread.
        run: Row of the run, None where calls are not recorded.
        place: Name of the scope or the task.
        scope: The scope.
    """

    thread: int | None
    run: int | None
    place: str
    scope: Scope | None = None

    @property
    def key(self) -> dict[str, Any]:
        """Return the columns by which its questions are found."""
        return {"thread": self.thread, "run": self.run}


def asker(scope: Scope) -> Asker:
    """Return a scope as one who asks."""
    return Asker(scope.attempt.thread, scope.attempt.run, scope.name, scope)


def unrecorded_asker(tx: Tx, thread_id: str, task: str) -> Asker:
    """Return a task of a graph in a thread, whose calls are not recorded, as one who asks."""
    return Asker(tx.value("thread_row", thread_id=thread_id), None, task)


def shown_text(codec: Codec, value: Any) -> str | None:
    """Return a question or an answer as JSON for people; None where the codec encrypts."""
    return codec.encode_shown(value).text


def note_question(tx: Tx, now: int, who: Asker, asked: NewQuestion) -> int:
    """Write down that a person is asked, and return the row."""
    key: dict[str, Any] = {**who.key, "place": who.place, "n": asked.position}
    known: int | None = tx.value("question_of_place", **key)
    if asked.kind == "in_doubt":  # it may have been asked somewhere else
        known = tx.value("question_of_step", step=asked.step) or known
    columns: dict[str, Any] = {
        "scope": None if who.scope is None else who.scope.row_in(tx),
        "place": who.place,
        "n": asked.position,
        "step": asked.step,
        "kind": asked.kind,
        "now": now,
        "question": asked.text,
    }
    if known is None:
        return tx.insert("question_insert", **who.key, **columns)
    tx.run("question_asked_again", id=known, **columns)
    return known


def note_answers(
    tx: Tx, now: int, who: Asker, answers: Sequence[str | None], first: int = 0
) -> None:
    """Write down answers to questions of one place, from the position `first` on."""
    for position, answer in enumerate(answers, start=first):
        known = tx.value("question_of_place", **who.key, place=who.place, n=position)
        if known is not None:
            tx.run("question_answer", id=known, now=now, answer=answer)


def answer_newest(tx: Tx, now: int, who: Asker, answer: str | None) -> None:
    """Write down an answer that does not say to what: to what the run or thread asked last."""
    tx.run("question_answer_newest", **who.key, now=now, answer=answer)


def settle_question(tx: Tx, now: int, step: int, output: Prepared | None) -> None:
    """Write down what a person says of a step in doubt; None: it did not happen."""
    answer: str | None = NOT_DONE_TEXT
    if output is not None:
        text = output.encoded.text
        answer = None if text is None else f'{{"result":{text}}}'
    known = tx.value("question_of_step", step=step)
    if known is None:
        tx.insert("question_settle", step=step, now=now, answer=answer)
    else:
        tx.run("question_answer", id=known, now=now, answer=answer)
