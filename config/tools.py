"""`tools`: what a model may call to fetch its own context. They only read, and ask no host that is not named here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from config.findings import wrong
from config.providers import Headers
from config.secret import Secret
from config.struct import Component, Flag, HttpUrl, PageUrl, Ref, Whole
from config.units import Duration, Pause

ENGINES = {
    "brave": "https://api.search.brave.com/res/v1/web/search",
    "tavily": "https://api.tavily.com/search",
    "bing": "https://api.bing.microsoft.com/v7.0/search",
}


class ToolBase(Component):
    """What every tool has."""

    kind: str = Field(description="What it does.")


class RemoteTool(ToolBase):
    """What a tool has that asks a host."""

    keep: Pause = Field(
        default=0.0, description="How long a result is remembered for the same arguments; 0s calls each time."
    )


class HttpToolConfig(RemoteTool):
    """A GET of one address, with the tool's arguments in its path and query."""

    kind: Literal["http"] = Field(description="A GET of one address.")
    description: str = Field(min_length=1, description="What it is for, for the model.")
    url: PageUrl = Field(
        description="The address; `{name}` in path or query stands for an argument.",
        examples=["https://api.example.com/v1/weather?city={city}"],
    )
    parameters: dict[str, str] = Field(default={}, description="The arguments with what they mean; all are texts.")
    headers: Headers = Field(default={}, description="Headers to send; values count as secrets.")
    timeout: Duration = Field(default=10.0, description="How long it may take.")
    private: Flag = Field(default=False, description="Whether the host may be in one's own network.")

    @property
    def schema_of_arguments(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        properties = {name: {"type": "string", "description": text} for name, text in self.parameters.items()}
        return {"type": "object", "properties": properties, "required": list(self.parameters)}

    @model_validator(mode="after")
    def _placeholders(self) -> HttpToolConfig:
        host, _, rest = self.url.partition("://")[2].partition("/")
        if "{" in host:
            raise wrong("the host can't be an argument", "write the host's name; arguments stand in path and query")
        named = set(re.findall(r"\{(\w+)\}", rest))
        if named != set(self.parameters):
            odd = ", ".join(sorted(named ^ set(self.parameters)))
            raise wrong(f"url and parameters differ: {odd}", "name the same arguments in both")
        return self


class WebSearchConfig(RemoteTool):
    """A web search by one of several engines."""

    kind: Literal["web_search"] = Field(description="A web search.")
    engine: Literal["searxng", "brave", "tavily", "bing"] = Field(description="The search engine.")
    url: HttpUrl | None = Field(default=None, description="Of a SearXNG instance, or instead of an engine's own.")
    key: Secret | None = Field(default=None, description="The engine's key.")
    timeout: Duration = Field(default=10.0, description="How long it may take.")
    private: Flag = Field(default=False, description="Whether the host may be in one's own network.")

    @model_validator(mode="after")
    def _reachable(self) -> WebSearchConfig:
        if self.engine == "searxng" and self.url is None:
            raise wrong("url is missing", "give the address of the SearXNG instance")
        if self.engine != "searxng" and self.key is None:
            raise wrong("key is missing", f"{self.engine} needs one")
        return self


class SourceToolConfig(ToolBase):
    """A search of a source of documents, when the model asks for it."""

    kind: Literal["source"] = Field(description="A search of a source of documents.")
    source: Annotated[str, Ref("sources", "source")] = Field(description="The source.")
    description: str = Field(min_length=1, description="What is in it, for the model.")
    top: Whole = Field(default=4, ge=1, le=20, description="Passages at most.")


class McpConfig(RemoteTool):
    """The reading tools of an MCP server; each is offered as the entry's name, an underscore and its own name."""

    kind: Literal["mcp"] = Field(description="The reading tools of an MCP server.")
    url: HttpUrl = Field(
        description="The server's address (streamable HTTP).", examples=["https://mcp.example.com/mcp"]
    )
    headers: Headers = Field(default={}, description="Headers to send; values count as secrets.")
    allow: tuple[str, ...] = Field(
        default=(), description="Tools to offer beside those that say of themselves that they only read."
    )
    timeout: Duration = Field(default=10.0, description="How long a call may take.")


ToolConfig: TypeAlias = HttpToolConfig | WebSearchConfig | SourceToolConfig | McpConfig
