"""rowtrail for MCP clients: a journal served read-only on stdio, by the official SDK.

Tools: `query` (one SELECT, or a named query), `search`, `list_runs`, `get_run`, `get_step` (long
values a part at a time). Resources: `rowtrail://schema` and `rowtrail://runs/{run_id}`. Nothing is
recorded and nothing can be written; `search` fills the index beside the journal.
"""

try:
    import mcp.server  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as error:
    raise ImportError(
        f"rowtrail_mcp needs the MCP SDK, 1.24 or newer ({error}): pip install 'rowtrail[mcp]'"
    ) from error

from rowtrail_mcp._server import history_server, serve

__all__ = ["history_server", "serve"]
