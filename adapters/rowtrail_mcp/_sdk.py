"""The official MCP SDK, versions 1 (from 1.24) and 2: what differs between them stands here only.

langchain-mcp-adapters, among others, keeps its users on version 1.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mcp.types import ToolAnnotations

if TYPE_CHECKING:
    from mcp.server import MCPServer

_IS_V2 = find_spec("mcp.server.mcpserver") is not None
_NAME = "mcp.server.mcpserver" if _IS_V2 else "mcp.server.fastmcp"

_sdk: Any = import_module(_NAME)
_errors: Any = import_module(f"{_NAME}.exceptions")
ToolError: type[Exception] = _errors.ToolError
ResourceError: type[Exception] = _errors.ResourceError
ResourceNotFoundError: type[Exception] = getattr(_errors, "ResourceNotFoundError", ResourceError)

# by their names in the protocol, which both versions take
READS = ToolAnnotations.model_validate(
    {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
)


def server_of(name: str, *, instructions: str, version: str) -> MCPServer:
    """Return a server without tools or resources."""
    if _IS_V2:
        server = _sdk.MCPServer(
            name, instructions=instructions, version=version, log_level="WARNING"
        )
    else:
        server = _sdk.FastMCP(name, instructions=instructions, log_level="WARNING")
        server._mcp_server.version = version  # private; else clients get the SDK's
    return server  # type: ignore[no-any-return]


def add_resource(server: MCPServer, uri: str, read: Callable[..., str]) -> None:
    """Serve what `read` returns as plain text; a parameter of the URI may be any text.

    Version 2 takes percent signs for what they are, and refuses what looks like a path unless it
    is exempt; version 1 does neither.
    """
    if _IS_V2:
        security = _sdk.ResourceSecurity(exempt_params=frozenset(re.findall(r"\{(\w+)\}", uri)))
        server.resource(uri, mime_type="text/plain", security=security)(read)
    else:
        server.resource(uri, mime_type="text/plain")(_unquoting(read))


def _unquoting(read: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(read)
    def unquoting(**parameters: str) -> str:
        return read(**{name: unquote(value) for name, value in parameters.items()})

    return unquoting
