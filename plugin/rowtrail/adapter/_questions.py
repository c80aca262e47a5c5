"""What a run asks a person, for the view `questions`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rowtrail.engine import Store, Tx
from rowtrail.journal import NOT_DONE, Journal, Scope
from rowtrail.journal.decisions import settle_by_hand
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
    scope: Scope,
    question: Any,
    *,
    kind: QuestionKind = "interrupt",
    position: int = 0,
    step_id: str | None = None,
) -> str:
    """Record that a scope waits for a person, and return the id of the question.

    Committed before it returns. Asked again at its position, it is the same question. A run of
    `journal.run` that returns without an error while one is unanswered is `waiting`, not `done`.

    Args:
        scope: Where it is asked, from `scope_here`.
        question: What is asked, of any type: a text, or what the framework shows.
        kind: `interrupt`, `approval` where the answer is yes or no to a call, or `in_doubt`.
        position: How many questions the scope asked before.
        step_id: The step in doubt, where the framework asks about it; `Journal.settle` answers.
    """
    row = _store(scope).write(_asking(scope, question, kind, position, step_id))
    scope.attempt.unanswered.add((scope.name, position))
    return str(row)


async def arecord_question(
    scope: Scope,
    question: Any,
    *,
    kind: QuestionKind = "interrupt",
    position: int = 0,
    step_id: str | None = None,
) -> str:
    """Async twin of `record_question`."""
    row = await _store(scope).awrite(_asking(scope, question, kind, position, step_id))
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


def settle_doubts(scope: Scope, answers: Mapping[str, Any]) -> None:
    """Settle the steps in doubt about which a scope asked a person, in all attempts of its run.

    Args:
        scope: Which asked, with `record_question(..., step_id=...)`.
        answers: What became of a call, by its `tool_call_id`: `rowtrail.NOT_DONE`, and it is made
            again, or what it returned.

    Raises:
        UnstorableError: A result has no stored form.
    """
    _store(scope).write(_settling(scope, answers))


async def asettle_doubts(scope: Scope, answers: Mapping[str, Any]) -> None:
    """Async twin of `settle_doubts`."""
    await _store(scope).awrite(_settling(scope, answers))


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


def _asking(
    scope: Scope, question: Any, kind: QuestionKind, position: int, step_id: str | None
) -> Callable[[Tx], int]:
    step = None if step_id is None else int(step_id)
    asked = NewQuestion(shown_text(scope.attempt.codec, question), kind, position, step)
    now = _store(scope).clock.now_ms()
    return lambda tx: note_question(tx, now, asker(scope), asked)


def _answering(scope: Scope, answer: Any, position: int) -> Callable[[Tx], None]:
    text = shown_text(scope.attempt.codec, answer)
    now = _store(scope).clock.now_ms()
    return lambda tx: note_answers(tx, now, asker(scope), [text], first=position)


def _settling(scope: Scope, answers: Mapping[str, Any]) -> Callable[[Tx], None]:
    recorder, who, codec = scope.attempt.recorder, asker(scope), scope.attempt.codec
    outputs = {
        call_id: None if said is NOT_DONE else recorder.content.prepare(codec.encode(said))
        for call_id, said in answers.items()
    }

    def work(tx: Tx) -> None:
        for row in tx.all("doubts_of_place", **who.key, place=who.place):
            if row["tool_call_id"] in outputs:
                settle_by_hand(tx, recorder, str(row["step"]), outputs[row["tool_call_id"]])

    return work
