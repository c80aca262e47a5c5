"""One invocation of a program, and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from langchain_core.messages import convert_to_messages

import rowtrail
from tests.crash.effects._shapes import Given, Program
from tests.crash.effects._stage import Stage
from tests.crash.effects._world import asleeping, until

Kind = Literal["done", "interrupted", "in_doubt", "busy", "no_input", "error", "left"]

LEFT: list[Any] = []
"""Tasks of closed loops: while somebody refers to them, nothing finalises them."""


@dataclass
class Outcome:
    """How an invocation ended."""

    kind: Kind
    messages: list[Any] = field(default_factory=list[Any])
    questions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    step_id: str = ""
    error: str = ""
    seconds: float = 0.0
    wait_s: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def invoke(stage: Stage, program: Program, given: Given) -> Outcome:
    """Invoke a program in the mode of the combination, and return how it ended."""
    return _ended(stage, given, lambda: _invoked(stage, program, given))


def strike(stage: Stage, program: Program, given: Given) -> Outcome:
    """Invoke a program for the first time, and do what the fault does from outside of the call."""
    fault, is_async = stage.combination.fault, stage.combination.mode == "async"
    if is_async and fault == "cancel":
        return _ended(stage, given, lambda: asyncio.run(_cancelled(stage, program.acall(given))))
    if is_async and fault == "closed_loop":
        return _ended(stage, given, lambda: _left_by_its_loop(stage, program.acall(given)))
    return invoke(stage, program, given)


def _invoked(stage: Stage, program: Program, given: Given) -> Any:
    if stage.combination.mode == "async":
        return asyncio.run(_run(program.acall(given)))
    return program.call(given)


async def _run(call: Coroutine[Any, Any, Any]) -> Any:
    return await call


async def _cancelled(stage: Stage, call: Coroutine[Any, Any, Any]) -> Any:
    work = asyncio.create_task(call)
    await asleeping(until(lambda: work.done() or stage.world.has("struck"), "the call"))
    work.cancel()
    return await work


def _left_by_its_loop(stage: Stage, call: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.new_event_loop()
    work = loop.create_task(call)
    LEFT.append(work)
    reached = until(lambda: work.done() or stage.world.has("struck"), "the call")
    loop.run_until_complete(asleeping(reached))
    result = work.result() if work.done() else None
    loop.close()
    return result


def _ended(stage: Stage, given: Given, work: Any) -> Outcome:
    began = time.monotonic()
    stage.world.trace(stage.role, f"invokes with {given}")
    try:
        outcome = _returned(work())
    except BaseException as error:
        outcome = _raised(error)
        stage.world.trace(stage.role, "".join(traceback.format_exception(error, limit=-6)))
    outcome.seconds = round(time.monotonic() - began, 3)
    stage.world.trace(stage.role, f"ended: {json.dumps(outcome.as_json())}")
    return outcome


def _returned(result: Any) -> Outcome:
    if result is None:
        return Outcome("left")
    if asked := result.get("__interrupt__"):
        questions = [{"id": one.id, "value": _plain(one.value)} for one in asked]
        return Outcome("interrupted", questions=questions)
    return Outcome("done", messages=_shown(result["messages"]))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _shown(messages: list[Any]) -> list[Any]:
    """Return messages without what differs from run to run: type, text, and what is asked for."""
    found = convert_to_messages(messages)
    return [
        [
            one.type,
            str(one.content),
            [[c["name"], c["args"]] for c in getattr(one, "tool_calls", [])],
        ]
        for one in found
    ]


def _raised(error: BaseException) -> Outcome:
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, rowtrail.InDoubtError):
        return Outcome("in_doubt", step_id=error.step_id, error=said)
    if isinstance(error, rowtrail.RunBusyError):
        return Outcome("busy", error=said, wait_s=getattr(error, "retry_after_s", None) or 0.5)
    if type(error).__name__ == "EmptyInputError":
        return Outcome("no_input", error=said)
    return Outcome("error", error=said)
