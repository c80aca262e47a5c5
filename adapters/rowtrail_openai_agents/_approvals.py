"""Calls that wait for approval, as questions of their run; and what was answered."""

from __future__ import annotations

import json
from typing import Any

from agents import RunResult, RunResultStreaming, RunState, ToolApprovalItem

from rowtrail.adapter import (
    AskedQuestion,
    Scope,
    afetch_questions,
    arecord_answer,
    arecord_question,
    fetch_run_that_asked,
)
from rowtrail.journal import Journal
from rowtrail_openai_agents._private import call_id_of, decision_on, rejection_of


def run_that_asked(journal: Journal, state: RunState[Any]) -> str | None:
    """Return the id of the run whose calls a state waits for, None where none is recorded."""
    for item in state.get_interruptions():
        found = fetch_run_that_asked(journal, json.dumps(call_id_of(item)))
        if found is not None:
            return found
    return None


async def record_answers(scope: Scope, state: RunState[Any]) -> None:
    """Record what a person decided about the calls that a state waits for."""
    asked = await _asked(scope)
    for item in state.get_interruptions():
        decision, call = decision_on(state, item), asked.get(call_id_of(item))
        if decision is not None and call is not None and not call.is_answered:
            answer: dict[str, Any] = {"approved": decision}
            if not decision and (said := rejection_of(state, item)) is not None:
                answer["message"] = said
            await arecord_answer(scope, answer, position=call.position)


async def decided(scope: Scope, result: RunResult | RunResultStreaming) -> RunState[Any] | None:
    """Return the state to go on with where the calls that wait were decided about before.

    What nobody has decided about becomes a question of the run.
    """
    if not result.interruptions:
        return None
    asked, state = await _asked(scope), result.to_state()
    is_decided = False
    for item in result.interruptions:
        call = asked.get(call_id_of(item))
        if call is not None and call.is_answered:
            _decide(state, item, call.answer)
            is_decided = True
        else:
            position = len(asked) if call is None else call.position
            question = _question(item)
            asked[call_id_of(item)] = AskedQuestion(position, question, None, is_answered=False)
            await arecord_question(scope, question, kind="approval", position=position)
    return state if is_decided else None


def _decide(state: RunState[Any], item: ToolApprovalItem, answer: dict[str, Any]) -> None:
    if answer["approved"]:
        state.approve(item)
    elif "message" in answer:
        state.reject(item, rejection_message=answer["message"])
    else:
        state.reject(item)


async def _asked(scope: Scope) -> dict[str | None, AskedQuestion]:
    """Return the approvals that a run asked for, by the id of the call."""
    return {each.question["call_id"]: each for each in await afetch_questions(scope)}


def _question(item: ToolApprovalItem) -> dict[str, Any]:
    try:
        arguments = json.loads(item.arguments or "{}")
    except ValueError:
        arguments = item.arguments
    return {
        "tool": item.tool_name or item.name,
        "args": arguments,
        "agent": item.agent.name,
        "call_id": str(call_id_of(item)),
    }
