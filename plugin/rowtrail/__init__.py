"""rowtrail: a checkpointer and a call journal for agents, in one SQLite file.

Every LLM call, tool call and checkpoint is a row. An interrupted run resumes without paying twice,
and what happened is asked with SQL. This package is the core and knows no framework;
`rowtrail_langgraph` is the adapter for LangGraph.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from rowtrail.errors import (
    DivergedError,
    InDoubtError,
    NotDoneError,
    RowtrailError,
    RunBusyError,
)

if TYPE_CHECKING:
    from rowtrail.adapter import step
    from rowtrail.journal import NOT_DONE, Journal, Run, Step, current_step

__all__ = [
    "NOT_DONE",
    "DivergedError",
    "InDoubtError",
    "Journal",
    "NotDoneError",
    "RowtrailError",
    "Run",
    "RunBusyError",
    "Step",
    "current_step",
    "step",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # who checks types has the imports above
    _HOMES = {
        "step": "rowtrail.adapter",
        **dict.fromkeys(("NOT_DONE", "Journal", "Run", "Step", "current_step"), "rowtrail.journal"),
    }

    def __getattr__(name: str) -> object:
        """Import the journal where it is used first: 40 ms that `rowtrail --help` does not need."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
