"""Hooks into LangGraph and langchain-core: which run and task a call belongs to, and its record."""

from rowtrail_langgraph.capture._effects import Effects
from rowtrail_langgraph.capture._hooks import install, is_installed, uninstall
from rowtrail_langgraph.capture._interrupts import ErrorsLeaveGraph, Positions, ask_a_person
from rowtrail_langgraph.capture._models import (
    bound_ainvoke,
    bound_invoke,
    recorded_agenerate,
    recorded_astream,
    recorded_generate,
    recorded_stream,
)
from rowtrail_langgraph.capture._place import (
    current_config,
    node_attempt,
    place_of,
    run_of,
)
from rowtrail_langgraph.capture._refused import arecord_refusal, record_refusal
from rowtrail_langgraph.capture._saving import (
    asking,
    attempt_of,
    finishing,
    note_writes,
    without_used_answer,
)
from rowtrail_langgraph.capture._tools import TOOL_RESULTS, tool_request

__all__ = [
    "TOOL_RESULTS",
    "Effects",
    "ErrorsLeaveGraph",
    "Positions",
    "arecord_refusal",
    "ask_a_person",
    "asking",
    "attempt_of",
    "bound_ainvoke",
    "bound_invoke",
    "current_config",
    "finishing",
    "install",
    "is_installed",
    "node_attempt",
    "note_writes",
    "place_of",
    "record_refusal",
    "recorded_agenerate",
    "recorded_astream",
    "recorded_generate",
    "recorded_stream",
    "run_of",
    "tool_request",
    "uninstall",
    "without_used_answer",
]
