"""The tools: `act`, whose effect is under test, and `approve`, which asks a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import interrupt

import rowtrail
from tests.crash.effects._endpoint import SINGLE, result_of
from tests.crash.effects._product import Combination
from tests.crash.effects._stage import PATIENCE_S, Stage
from tests.crash.effects._world import (
    Pause,
    World,
    areturned_by,
    asleeping,
    returned_by,
    sleeping,
    until,
)

POOL = ThreadPoolExecutor(max_workers=16)
"""Threads of the program's own; asyncio would wait for those of its default executor at its end."""


def declaration(combination: Combination, world: World) -> dict[str, Any]:
    """Return the effect under test as a tool declares it."""
    effect, _, on_doubt = combination.effect.partition("_")
    if effect != "write":
        return {"effect": effect}
    return {"effect": effect, "on_doubt": looking(world) if on_doubt == "look" else on_doubt}


def looking(world: World) -> Callable[[rowtrail.Step], Any]:
    """Return the function that looks into the ledger for a call, as a user's would into a bank."""

    def look(step: rowtrail.Step) -> Any:
        amount = amount_of(step.input)
        happened = is_in_ledger(world, amount, step.id, step.idempotency_key)
        world.trace("look", f"{step.name}({amount}) happened: {happened}")
        return result_of(amount) if happened else rowtrail.NOT_DONE

    return look


def amount_of(input: Any) -> int:
    """Return the amount in the recorded arguments of a call."""
    if "args" in input:
        return int((input["args"] or [input["kwargs"]["amount"]])[0])
    return int(input["amount"])


def is_in_ledger(world: World, amount: int, step: str, key: str | None) -> bool:
    """Return whether a call happened: its line is there, or one that no finished step accounts for.

    Of equal calls it is not known which one left a line, nor which one the question is about.
    """
    finished = {
        row["step_id"] for row in world.rows("SELECT step_id FROM steps WHERE status = 'done'")
    }
    lines = [line for line in world.ledger() if line.amount == amount and line.step not in finished]
    return bool(lines) or any(
        line.step == step or (key and line.key == key) for line in world.ledger()
    )


def act_of(stage: Stage) -> Callable[[int], Any]:
    """Return the function behind `act`, in the mode of the combination.

    Where the call outlives its caller, it is a step inside `act`, in a thread of the program's own.
    """
    is_async = stage.combination.mode == "async"
    if stage.combination.outlives:
        return _ain_pool(stage) if is_async else _in_pool(stage)
    return _aplain(stage) if is_async else _plain(stage)


def _plain(stage: Stage) -> Callable[[int], str]:
    def act(amount: int) -> str:
        """Act."""
        return returned_by(stage.act(amount))

    return act


def _aplain(stage: Stage) -> Callable[[int], Any]:
    async def act(amount: int) -> str:
        """Act."""
        return await areturned_by(stage.act(amount))

    return act


def _charge_of(stage: Stage) -> Callable[[int], str]:
    declared = declaration(stage.combination, stage.world)
    charge: Callable[[int], str] = rowtrail.step(name="charge", **declared)(_plain(stage))
    return charge


def _in_pool(stage: Stage) -> Callable[[int], str]:
    charge = _charge_of(stage)

    def act(amount: int) -> str:
        """Act."""
        future = POOL.submit(charge, amount)
        sleeping(_patience(stage, amount, future))
        return future.result(timeout=0)

    return act


def _ain_pool(stage: Stage) -> Callable[[int], Any]:
    charge = _charge_of(stage)

    async def act(amount: int) -> str:
        """Act."""
        future = asyncio.get_running_loop().run_in_executor(POOL, charge, amount)
        await asleeping(_patience(stage, amount, future))
        return await asyncio.wait_for(future, timeout=0)

    return act


def _patience(stage: Stage, amount: int, future: Any) -> Pause:
    """Wait for a call in a thread; once, for the one that the fault hits, not long enough."""
    gives_up = amount == SINGLE and stage.role == "first" and stage.world.claim("gives_up")
    over = until(lambda: future.done() or (gives_up and stage.world.has("struck")), "the call")
    yield from over
    if gives_up:
        yield PATIENCE_S


def approve(what: str) -> str:
    """Ask a person whether to go on."""
    return str(interrupt({"type": "approval", "what": what}))


async def aapprove(what: str) -> str:
    """Ask a person whether to go on."""
    return approve(what)


def tools_of(stage: Stage) -> list[BaseTool]:
    """Return the tools; what `act` does to the world it says where its shape has it say so."""
    act, is_async = act_of(stage), stage.combination.mode == "async"
    asks: Callable[..., Any] = aapprove if is_async else approve
    declares = not stage.combination.outlives  # else `charge` inside it does
    declared = declaration(stage.combination, stage.world)
    if declares and stage.combination.shape == "by_hand":
        act = rowtrail.step(**declared)(act)
    given: dict[str, Any] = {"coroutine": act} if is_async else {"func": act}
    tool = StructuredTool.from_function(**given, name="act", description="Act.")
    if declares and stage.combination.shape not in ("by_hand", "tool_node"):
        tool.metadata = {"rowtrail": declared}
    given = {"coroutine": asks} if is_async else {"func": asks}
    return [tool, StructuredTool.from_function(**given, name="approve")]


def effects_of(stage: Stage) -> dict[str, Any] | None:
    """Return what the saver is told of the tools: with `ToolNode`, the effect under test."""
    if stage.combination.outlives or stage.combination.shape != "tool_node":
        return None
    return {"act": declaration(stage.combination, stage.world)}
