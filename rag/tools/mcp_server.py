"""Tools of MCP servers: those annotated as read-only, and those that the config allows."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from config.document import Path
from config.providers import Headers
from config.struct import HttpUrl
from config.tools import RemoteToolConfig, ToolParts
from config.units import Duration
from contract.egress import DIRECT, Egress
from contract.messages import Tool
from gateway.dialects.names import EVERY_VENDOR
from rag.tools.bounds import MAX_RESULT
from rag.tools.fetch import FetchFailed

if TYPE_CHECKING:
    from contract.caller import Caller


class McpConfig(RemoteToolConfig):
    """The read-only tools of an MCP server; each is offered as `<entry name>_<tool name>`."""

    kind: Literal["mcp"] = Field(description="The read-only tools of an MCP server.")
    url: HttpUrl = Field(
        description="The server's address (streamable HTTP).", examples=["https://mcp.example.com/mcp"]
    )
    headers: Headers = Field(default={}, description="Headers to send; values count as secrets.")
    allow: tuple[str, ...] = Field(
        default=(), description="Tools to offer in addition to those annotated as read-only."
    )
    timeout: Duration = Field(default=10.0, description="How long a call may take.")

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The protocol's library."""
        yield ("kind",), "tools"

    async def open(self, name: str, parts: ToolParts) -> Sequence[McpTool]:
        """See `ToolConfig.open`. An unreachable server offers no tools until the next reload."""
        import structlog

        headers = {key: value.reveal() for key, value in self.headers.items()}
        server = McpServer(name, self.url, headers, timeout_s=self.timeout, egress=parts.egress)
        try:
            return await server.tools(self.allow)
        except (FetchFailed, TimeoutError) as error:
            structlog.get_logger().warning("MCP server unavailable", tool=name, problem=str(error) or "timeout")
            return []


class McpTool:
    """Implements `contract.tools.ReadingTool`. Each call opens its own session; no connection stays open."""

    def __init__(self, definition: Tool, own_name: str, server: McpServer) -> None:
        """`own_name` is the tool's name on the server."""
        self.definition = definition
        self._own_name = own_name
        self._server = server

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        return await self._server.call(self._own_name, dict(arguments))


# A limit for a server that always returns a next page.
MAX_PAGES = 50


async def _all_tools(client: Any) -> list[Any]:
    """The tools of all pages, each name once."""
    tools: dict[str, Any] = {}
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor) if cursor else await client.list_tools()
        count = len(tools)
        tools |= {each.name: each for each in page.tools if each.name not in tools}
        cursor = page.next_cursor
        if not cursor or len(tools) == count:
            break
    return list(tools.values())


def _text_of(part: Any) -> str:
    """The text of a text part or of an embedded resource; else empty."""
    text = getattr(part, "text", None) or getattr(getattr(part, "resource", None), "text", None)
    return text if isinstance(text, str) else ""


class McpServer:
    """One server over streamable HTTP."""

    def __init__(
        self, name: str, url: str, headers: Mapping[str, str], *, timeout_s: float, egress: Egress = DIRECT
    ) -> None:
        self._name = name
        self._url = url
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._proxy = egress.proxy_for(url)

    async def tools(self, allowed: Sequence[str]) -> list[McpTool]:
        """The server's tools that may be called, prefixed with the entry's name. Raises `FetchFailed`."""
        async with asyncio.timeout(self._timeout_s):
            listed = await self._ask(_all_tools)
        tools: dict[str, McpTool] = {}
        for tool in listed:
            if tool.name in allowed or (tool.annotations is not None and tool.annotations.read_only_hint):
                name = f"{self._name}_{tool.name}"
                if not EVERY_VENDOR.accepts(name):
                    # MCP names may contain dots and slashes and have up to 128 characters.
                    name = EVERY_VENDOR.replacement(name, tools)
                tools[name] = McpTool(Tool(name, tool.description or "", dict(tool.input_schema)), tool.name, self)
        return list(tools.values())

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """Calls a tool; returns its result as text. Raises `FetchFailed`."""
        async with asyncio.timeout(self._timeout_s):
            result = await self._ask(lambda client: client.call_tool(tool, arguments))
        text = "\n".join([content for part in result.content if (content := _text_of(part))])
        if not text and result.structured_content is not None:
            # Servers should also return structured content as text, but some don't.
            text = json.dumps(result.structured_content, ensure_ascii=False)
        if result.is_error:
            raise FetchFailed(text[:500] or "it failed without a message")
        return text[:MAX_RESULT]

    async def _ask(self, ask: Any) -> Any:
        """Runs `ask` on a new session. Translates the library's exception groups to `FetchFailed`."""
        try:
            import httpx2
            from mcp import Client
            from mcp.client.streamable_http import streamable_http_client
        except ImportError:
            raise FetchFailed("the package mcp is not installed: gatehouse-platform[tools]") from None
        proxy = None
        if self._proxy is not None:
            headers = {"proxy-authorization": self._proxy.authorization} if self._proxy.authorization else {}
            proxy = httpx2.Proxy(self._proxy.shown, headers=headers)
        # Use the gateway's certificates and proxy, not those that the library reads from the environment.
        tls = ssl.create_default_context() if self._url.startswith("https:") else False
        try:
            async with (
                httpx2.AsyncClient(
                    headers=self._headers, follow_redirects=False, proxy=proxy, trust_env=False, verify=tls
                ) as http,
                Client(streamable_http_client(self._url, http_client=http)) as client,
            ):
                return await ask(client)
        except Exception as error:
            first: BaseException = error
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise FetchFailed(f"the MCP server can't be used ({type(first).__name__})") from None
