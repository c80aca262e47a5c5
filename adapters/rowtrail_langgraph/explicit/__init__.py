"""Recording without hooks: middleware, and a wrapper for tool nodes."""

from rowtrail_langgraph.explicit._tool_nodes import awrap_tool_call, wrap_tool_call

__all__ = [
    "awrap_tool_call",
    "wrap_tool_call",
]
