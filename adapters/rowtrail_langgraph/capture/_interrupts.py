"""What leaves a graph through LangGraph's own exceptions: questions to a person, and our errors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import TracebackType
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.serde.types import RESUME
from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from rowtrail import Step
from rowtrail.errors import InDoubtError, RowtrailError
from rowtrail.journal.places import enter, leave, running_frame
from rowtrail_langgraph._private import SCRATCHPAD_KEY, SEND_KEY
from rowtrail_langgraph.capture._marker import current_task
from rowtrail_langgraph.capture._place import interruptible_config
from rowtrail_langgraph.capture._questions import IN_DOUBT


class ErrorsLeaveGraph:
    """Lets the journal's errors out of the graph; of others, tool nodes make messages."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, RowtrailError) and not isinstance(error, GraphBubbleUp):
            error.__class__ = _leaving_class(type(error))  # type: ignore[arg-type]


@cache
def _leaving_class(error_class: type[RowtrailError]) -> type[RowtrailError]:
    return type(error_class.__name__, (error_class, GraphBubbleUp), {"__module__": __name__})


def ask_a_person(step: Step | None) -> Any:
    """Interrupt the graph and return what it is resumed with.

    Answers: `"retry"` (it did not happen, or may happen twice), `"skip"` (do not make it), or
    `{"result": what the tool returned}`; anything else is asked again. None takes the position of a
    question that was answered before.

    Raises:
        InDoubtError: No task waits for this code, so that nobody can be asked.
    """
    config = interruptible_config()
    if step is None:
        return skip_interrupts(config or {}, 1)
    if config is None:
        raise _nobody_asked(step)
    entered = enter((var_child_runnable_config, config))  # a job in a pool has none in force
    try:
        return _interrupted(step)
    finally:
        leave(entered)


def _interrupted(step: Step) -> Any:
    return interrupt(
        {
            "type": IN_DOUBT,
            "question": step.doubt,
            "step_id": step.id,
            "name": step.name,
            "args": step.input,
            "idempotency_key": step.idempotency_key,
            "answers": ["retry", "skip", {"result": "what it returned"}],
        }
    )


def _nobody_asked(step: Step) -> InDoubtError:
    return InDoubtError(
        f"{step.name!r} (step {step.id}) was started and the process died before its result was "
        "recorded; nobody can be asked from a thread that its task does not wait for: submit the "
        "call to a ThreadPoolExecutor and wait for its future in the node, or settle it with "
        f"`rowtrail in-doubt {step.id}`",
        step_id=step.id,
        name=step.name,
        idempotency_key=step.idempotency_key,
    )


class Positions:
    """Counts and passes by the questions of steps of the user's own in a node."""

    @contextmanager
    def counting(self) -> Generator[Callable[[], int]]:
        """Count the interrupts of the code inside the block."""
        count = InterruptCount()
        config = var_child_runnable_config.get()
        if config is None or SCRATCHPAD_KEY not in (config.get("configurable") or {}):
            yield lambda: 0
            return
        entered = enter((var_child_runnable_config, count.counting(config)))
        try:
            yield lambda: count.count
        finally:
            leave(entered)

    def skip(self, count: int) -> None:
        """Take the positions of interrupts that a step went through, which is handed back."""
        skip_interrupts(interruptible_config() or {}, count)


class InterruptCount:
    """Counts the interrupts that one call goes through.

    LangGraph gives the answers to a task's interrupts by position. A replayed call must take as
    many positions as it took when it was made, or a later interrupt would get its answer.
    """

    def __init__(self) -> None:
        self.count = 0

    def counting(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return `config` with a scratchpad that counts."""
        configurable = config.get("configurable") or {}
        scratchpad = configurable.get(SCRATCHPAD_KEY)
        if scratchpad is None:
            return dict(config)
        inner = scratchpad.interrupt_counter

        def counted() -> int:
            self.count += 1
            position: int = inner()
            _note_asking(position)
            return position

        pad = replace(scratchpad, interrupt_counter=counted)
        return {**config, "configurable": {**configurable, SCRATCHPAD_KEY: pad}}


def _note_asking(position: int) -> None:
    """Note which step asks a person, where one does."""
    task, frame = current_task.get(), running_frame()
    if task is not None and frame is not None:
        task.asking[position] = frame.row


def skip_interrupts(config: Mapping[str, Any], count: int) -> None:
    """Take the positions of the interrupts that a replayed call went through."""
    configurable = config.get("configurable") or {}
    if SCRATCHPAD_KEY not in configurable:
        return
    scratchpad = configurable[SCRATCHPAD_KEY]
    for _ in range(count):
        # As `interrupt` itself: an answer that was given and not yet noted as this task's is taken,
        # and the answers so far are kept for the next time.
        position = scratchpad.interrupt_counter()
        answer = None
        if position == len(scratchpad.resume):
            answer = scratchpad.get_null_resume(True)
        if answer is not None:
            scratchpad.resume.append(answer)
        if position < len(scratchpad.resume):
            configurable[SEND_KEY]([(RESUME, scratchpad.resume[: position + 1])])
