"""rowtrail for MCP clients: a journal served read-only on stdio, by the official SDK.

Tools: `query` (one SELECT, or a named query), `search`, `list_runs`, `get_run`, `get_step` (long
values a part at a time). Resources: `rowtrail://schema` and `rowtrail://runs/{run_id}`. Nothing is
recorded and nothing can be written; `search` fills the index beside the journal.
"""

from importlib import import_module

from rowtrail.extras import Package, needed

with needed(Package("mcp", "1.24", extra="mcp"), by="rowtrail_mcp"):
    import_module("mcp.server")

from rowtrail_mcp._server import history_server, serve

__all__ = ["history_server", "serve"]
