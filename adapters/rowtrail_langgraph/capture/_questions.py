"""What the tasks of a run ask a person, and what they are answered.

A task asks by raising `GraphInterrupt`, and takes answers by position. Both are seen where the task
ends, with its config at hand; they are written with the writes of the first task that the saver
stores after that, in the same transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langgraph.checkpoint.serde.types import INTERRUPT, RESUME
from langgraph.types import Interrupt

from rowtrail.content import Codec
from rowtrail.engine import Tx
from rowtrail.journal import Scope
from rowtrail.journal.questions import (
    NewQuestion,
    answer_newest,
    asker,
    note_answers,
    note_question,
    shown_text,
    unrecorded_asker,
)
from rowtrail.vocabulary import QuestionKind
from rowtrail_langgraph.capture._marker import NULL_TASK_ID, Task

IN_DOUBT = "rowtrail.in_doubt"
"""Type of the value with which a graph is interrupted to ask about a step in doubt."""

_APPROVALS = (
    frozenset(("action_requests", "review_configs")),  # HumanInTheLoopMiddleware
    frozenset(("action_request", "config")),  # `HumanInterrupt`, which it has replaced
)
"""What a value has that asks for a yes, by whoever made it."""


def kind_of(value: Any) -> QuestionKind:
    """Return what an interrupt asks a person for."""
    first: Any = value[0] if isinstance(value, (list, tuple)) and value else value
    if not isinstance(first, Mapping):
        return "interrupt"
    if first.get("type") == IN_DOUBT and str(first.get("step_id", "")).isdecimal():
        return "in_doubt"
    return "approval" if any(keys <= first.keys() for keys in _APPROVALS) else "interrupt"


def asked_by(codec: Codec, value: Any, position: int, step: int | None = None) -> NewQuestion:
    """Return the question that an interrupt is."""
    kind = kind_of(value)
    if kind == "in_doubt":
        return NewQuestion(
            shown_text(codec, value["question"]), kind, position, int(value["step_id"])
        )
    return NewQuestion(shown_text(codec, value), kind, position, step)


@dataclass
class Questions:
    """What was asked and answered in one invocation and is not written yet."""

    _asked: list[tuple[Scope, NewQuestion]] = field(default_factory=list)
    _answers: list[tuple[Scope, list[str | None]]] = field(default_factory=list)
    _seen: dict[int, Any] = field(default_factory=dict)
    """Interrupts by their identity: a graph around raises those of the graphs inside again."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(
        self, scope: Scope, codec: Codec, found: Sequence[Any], task: Task, answers: Sequence[Any]
    ) -> None:
        """Note the interrupts that a task raised, and the answers that it has from the first on."""
        texts = [shown_text(codec, answer) for answer in answers]
        with self._lock:
            if texts:
                self._answers.append((scope, texts))
            new = [each for each in found if id(each) not in self._seen]
            self._seen.update((id(each), each) for each in new)
            for position, each in enumerate(new, start=len(texts)):
                step = task.asking.get(position)
                self._asked.append((scope, asked_by(codec, each.value, position, step)))

    def take(self) -> Callable[[Tx, int], None] | None:
        """Return what writes all that was noted, at a time; None where nothing was."""
        if not self._asked and not self._answers:
            return None
        with self._lock:
            asked, self._asked = self._asked, []
            answers, self._answers = self._answers, []

        def work(tx: Tx, now: int) -> None:
            for scope, given in answers:
                note_answers(tx, now, asker(scope), given)
            for scope, question in asked:
                note_question(tx, now, asker(scope), question)

        return work


def interrupts_in(raised: Any) -> list[Interrupt]:
    """Return the questions in what a task raised or wrote, which may be anything of the user's."""
    if not isinstance(raised, (list, tuple)):
        return []
    several = cast("Sequence[Any]", raised)
    return [each for each in several if isinstance(each, Interrupt)]


def next_answer(
    codec: Codec, task_id: str, writes: Sequence[tuple[str, Any]]
) -> tuple[str | None] | None:
    """Return the answer to whatever was asked, if one is among the writes of no task."""
    if task_id != NULL_TASK_ID:
        return None
    return next(((shown_text(codec, value),) for name, value in writes if name == RESUME), None)


def unrecorded(
    codec: Codec, task_id: str, writes: Sequence[tuple[str, Any]]
) -> Callable[[Tx, int, str], None] | None:
    """Return what writes the questions and answers of a task whose calls are not recorded.

    It is given the time and the id of the thread. Of answers inside the graphs of a task nothing
    is known.
    """
    given: list[Any] = []
    found: Sequence[Interrupt] = ()
    for channel, value in writes:
        if channel == RESUME:
            given = value if isinstance(value, list) else [value]
        elif channel == INTERRUPT:
            found = interrupts_in(value)
    if not given and not found:
        return None
    answer = next_answer(codec, task_id, writes)
    answers = [shown_text(codec, each) for each in given]
    asked = [asked_by(codec, each.value, n) for n, each in enumerate(found, start=len(answers))]

    def work(tx: Tx, now: int, thread_id: str) -> None:
        who = unrecorded_asker(tx, thread_id, task_id)
        if answer is not None:
            answer_newest(tx, now, who, answer[0])
            return
        note_answers(tx, now, who, answers)
        for question in asked:
            note_question(tx, now, who, question)

    return work
