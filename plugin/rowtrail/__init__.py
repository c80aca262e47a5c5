"""rowtrail: a checkpointer and a call journal for agents, in one SQLite file.

Every LLM call, tool call and checkpoint is a row. An interrupted run resumes without paying twice,
and what happened is asked with SQL. This package is the core and knows no framework;
`rowtrail_langgraph` is the adapter for LangGraph.
"""

from rowtrail.errors import (
    DivergedError,
    InDoubtError,
    NotDoneError,
    RowtrailError,
    RunBusyError,
)
from rowtrail.lazy import lazy

TYPE_CHECKING = False  # as in `rowtrail.lazy`
if TYPE_CHECKING:
    from rowtrail.adapter import step
    from rowtrail.journal import NOT_DONE, Journal, Run, Step, current_step
else:  # `rowtrail --help` and whoever catches an error need no journal
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "rowtrail.adapter": ["step"],
            "rowtrail.journal": ["NOT_DONE", "Journal", "Run", "Step", "current_step"],
        },
    )

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
