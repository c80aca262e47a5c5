"""What a run asks a person, for the view `questions`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from rowtrail.engine import Store, Tx
from rowtrail.journal import Journal, Scope
from rowtrail.journal.questions import (
    Asker,
    NewQuestion,
    asker,
    note_answers,
    note_question,
    shown_text,
)
from rowtrail.vocabulary import QuestionKind


def record_question(
    scope: Scope, question: Any, *, kind: QuestionKind = "interrupt", position: int = 0
) -> str:
    """Record that a scope waits for a person, and return the id of the question.

    Committed before it returns. Asked again at its position, it is the same question. A run of
    `journal.run` that returns without an error while one is unanswered is `waiting`, not `done`.

    Args:
        scope: Where it is asked, from `scope_here`.
        question: What is asked, of any type: a text, or what the framework shows.
        kind: `interrupt`, or `approval` where the answer is yes or no to a call.
        position: How many questions the scope asked before.
    """
    row = _store(scope).write(_asking(scope, question, kind, position))
    scope.attempt.unanswered.add((scope.name, position))
    return str(row)


async def arecord_question(
    scope: Scope, question: Any, *, kind: QuestionKind = "interrupt", position: int = 0
) -> str:
    """Async twin of `record_question`."""
    row = await _store(scope).awrite(_asking(scope, question, kind, position))
    scope.attempt.unanswered.add((scope.name, position))
    return str(row)


def record_answer(scope: Scope, answer: Any, *, position: int = 0) -> None:
    """Record what a person answered to the question of a scope at a position; committed."""
    _store(scope).write(_answering(scope, answer, position))
    scope.attempt.unanswered.discard((scope.name, position))


async def arecord_answer(scope: Scope, answer: Any, *, position: int = 0) -> None:
    """Async twin of `record_answer`."""
    await _store(scope).awrite(_answering(scope, answer, position))
    scope.attempt.unanswered.discard((scope.name, position))


class AskedQuestion(NamedTuple):
    """A question of a scope, as it is recorded.

    Attributes:
        position: How many questions the scope asked before.
        question: What is asked, as a value of JSON; None where it is encrypted. Likewise `answer`.
    """

    position: int
    question: Any
    answer: Any
    is_answered: bool


def fetch_questions(scope: Scope) -> list[AskedQuestion]:
    """Return what a scope asked in all attempts of its run, in order."""
    return _store(scope).read(lambda tx: _asked(tx, asker(scope)))


async def afetch_questions(scope: Scope) -> list[AskedQuestion]:
    """Async twin of `fetch_questions`."""
    return await _store(scope).aread(lambda tx: _asked(tx, asker(scope)))


def fetch_run_that_asked(journal: Journal, part: str) -> str | None:
    """Return the id of the newest run that asked a question whose JSON contains a text."""
    found: str | None = journal.store.read(lambda tx: tx.value("run_that_asked", part=part))
    return found


async def afetch_run_that_asked(journal: Journal, part: str) -> str | None:
    """Async twin of `fetch_run_that_asked`."""
    found: str | None = await journal.store.aread(lambda tx: tx.value("run_that_asked", part=part))
    return found


def _asked(tx: Tx, who: Asker) -> list[AskedQuestion]:
    return [
        AskedQuestion(
            row["n"], _value(row["question"]), _value(row["answer"]), bool(row["is_answered"])
        )
        for row in tx.all("questions_of_place", **who.key, place=who.place)
    ]


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _store(scope: Scope) -> Store:
    return scope.attempt.recorder.store


def _asking(scope: Scope, question: Any, kind: QuestionKind, position: int) -> Callable[[Tx], int]:
    asked = NewQuestion(shown_text(scope.attempt.codec, question), kind, position)
    now = _store(scope).clock.now_ms()
    return lambda tx: note_question(tx, now, asker(scope), asked)


def _answering(scope: Scope, answer: Any, position: int) -> Callable[[Tx], None]:
    text = shown_text(scope.attempt.codec, answer)
    now = _store(scope).clock.now_ms()
    return lambda tx: note_answers(tx, now, asker(scope), [text], first=position)
