"""rowtrail for LangGraph: a checkpointer, and the journal of the calls made in its graphs.

Recorded and replayed: every chat-model call (`invoke`, `ainvoke`, `stream`, `astream`, `batch`,
bound tools, structured output) and every tool call (by `ToolNode`, `create_agent`, by hand) inside
a graph that runs on a `RowtrailSaver`; functions under `@rowtrail.step`. So are the calls in a pool
or a task that a node gave them to (`submit`, `map`, `run_in_executor`, `create_task`), and those in
a thread that it started, while the node is unfinished and no other run is active in the process.
Not recorded: embeddings, retrievers, HTTP requests and SDK calls of your own (put `@rowtrail.step`
on the function that makes them), calls in other threads (logged once; a `write` raises), in other
processes, and a chat model's `stream_events(version="v3")` called directly in a node.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from rowtrail.extras import Package, needed
from rowtrail.lazy import lazy

with needed(Package("langgraph", "1.2.15", extra="langgraph"), by="rowtrail_langgraph"):
    import_module("langgraph.pregel")
with needed(Package("langgraph-checkpoint", "4.3", extra="langgraph"), by="rowtrail_langgraph"):
    import_module("langgraph.checkpoint.base")
with needed(Package("langchain-core", "1.4.7", extra="langgraph"), by="rowtrail_langgraph"):
    import_module("langchain_core.messages")

from rowtrail_langgraph.capture import install, uninstall
from rowtrail_langgraph.saver import RowtrailSaver

if TYPE_CHECKING:
    from rowtrail_langgraph._history import history_tool
    from rowtrail_langgraph.explicit import awrap_tool_call, wrap_tool_call
    from rowtrail_langgraph.explicit.middleware import JournalMiddleware
    from rowtrail_langgraph.importing import ImportProgress, ImportReport, import_sqlite_saver
else:  # 50 ms that an agent on a saver does not need; JournalMiddleware needs langchain, too
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "rowtrail_langgraph._history": ["history_tool"],
            "rowtrail_langgraph.explicit": ["awrap_tool_call", "wrap_tool_call"],
            "rowtrail_langgraph.explicit.middleware": ["JournalMiddleware"],
            "rowtrail_langgraph.importing": [
                "ImportProgress",
                "ImportReport",
                "import_sqlite_saver",
            ],
        },
    )

__all__ = [
    "ImportProgress",
    "ImportReport",
    "JournalMiddleware",
    "RowtrailSaver",
    "awrap_tool_call",
    "history_tool",
    "import_sqlite_saver",
    "install",
    "uninstall",
    "wrap_tool_call",
]
