"""What a run asks a person, for the view `questions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rowtrail.engine import Store, Tx
from rowtrail.journal import Scope
from rowtrail.journal.questions import NewQuestion, asker, note_answers, note_question, shown_text
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
