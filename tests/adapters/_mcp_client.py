"""A client of the MCP SDK that is installed, version 1 or 2, with the same face for both."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client

try:
    from mcp import MCPError
except ImportError:  # version 1
    from mcp import McpError as MCPError  # type: ignore[attr-defined, no-redef]

__all__ = ["Client", "MCPError", "StdioServerParameters", "connected"]

TIMEOUT_S = 60


@dataclass(frozen=True)
class Client:
    """Answers as plain data, under the names of the protocol."""

    session: Any

    async def tools(self) -> list[dict[str, Any]]:
        return _plain(await self.session.list_tools())["tools"]  # type: ignore[no-any-return]

    async def resources(self) -> tuple[list[str], list[str]]:
        """Return the URIs of the resources, and the templates of URIs."""
        found = _plain(await self.session.list_resources())["resources"]
        templates = _plain(await self.session.list_resource_templates())["resourceTemplates"]
        return [each["uri"] for each in found], [each["uriTemplate"] for each in templates]

    async def call(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Return the text that a tool answers, and whether it is an error."""
        answer = _plain(await self.session.call_tool(tool, arguments))
        (content,) = answer["content"]
        return content["text"], answer["isError"]

    async def read(self, uri: str) -> str:
        (content,) = _plain(await self.session.read_resource(uri))["contents"]
        return content["text"]  # type: ignore[no-any-return]


def _plain(answer: Any) -> dict[str, Any]:
    return answer.model_dump(by_alias=True, mode="json")  # type: ignore[no-any-return]


@asynccontextmanager
async def connected(parameters: StdioServerParameters) -> AsyncGenerator[Client]:
    """Start a server, and return a client of it."""
    try:
        from mcp import Client as SdkClient
    except ImportError:
        from mcp import ClientSession

        async with (
            stdio_client(parameters) as (reads, writes),
            ClientSession(reads, writes, timedelta(seconds=TIMEOUT_S)) as session,  # type: ignore[arg-type]
        ):
            await session.initialize()
            yield Client(session)
    else:
        async with SdkClient(stdio_client(parameters), read_timeout_seconds=TIMEOUT_S) as client:
            yield Client(client)
