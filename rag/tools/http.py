"""The tool kind `http`: a GET of one configured URL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from config.findings import wrong
from config.providers import Headers
from config.struct import Flag, PageUrl
from config.tools import RemoteToolConfig, ToolParts
from config.units import Duration
from contract.egress import DIRECT, Egress
from contract.messages import Tool
from rag.tools.bounds import MAX_FETCHED, MAX_RESULT, turn_of

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.outbound import Outbound


class HttpToolConfig(RemoteToolConfig):
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

    @model_validator(mode="after")
    def _placeholders(self) -> HttpToolConfig:
        host, _, rest = self.url.partition("://")[2].partition("/")
        if "{" in host:
            raise wrong(
                "the host can't contain an argument",
                "write the host's name; arguments can be in the path and the query",
            )
        named = set(re.findall(r"\{(\w+)\}", rest))
        if named != set(self.parameters):
            odd = ", ".join(sorted(named ^ set(self.parameters)))
            raise wrong(f"url and parameters differ: {odd}", "use the same arguments in both")
        return self

    @property
    def schema_of_arguments(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        properties = {name: {"type": "string", "description": text} for name, text in self.parameters.items()}
        return {"type": "object", "properties": properties, "required": list(self.parameters)}

    async def open(self, name: str, parts: ToolParts) -> Sequence[HttpTool]:
        """See `ToolConfig.open`."""
        definition = Tool(name, self.description, self.schema_of_arguments)
        headers = {key: value.reveal() for key, value in self.headers.items()}
        return [
            HttpTool(
                definition,
                self.url,
                headers,
                timeout_s=self.timeout,
                outbound=parts.outbound,
                private=self.private,
                egress=parts.egress,
            )
        ]


class HttpTool:
    """A GET of one address, whose `{placeholders}` in path and query are the tool's arguments, percent-encoded."""

    def __init__(
        self,
        definition: Tool,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        outbound: Outbound,
        private: bool = False,
        egress: Egress = DIRECT,
    ) -> None:
        """`outbound` calls the servers of tools."""
        self._outbound = outbound
        self.definition = definition
        self._url = url
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._private = private
        self._egress = egress

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        properties: dict[str, Any] = (self.definition.parameters or {}).get("properties", {})
        url = self._url
        for name in properties:
            value = arguments.get(name)
            if value is None and f"{{{name}}}" in url:
                raise ValueError(f"the argument {name} is missing")
            # Percent-encode everything, so that an argument can't change other parts of the URL.
            url = url.replace(f"{{{name}}}", quote(str(value), safe=""))
        from contract.outbound import Call
        from rag.tools.fetch import fetch

        asked = Call(url, self._timeout_s, self._headers, private=self._private, egress=self._egress)
        media_type, text = await fetch(self._outbound, asked, MAX_FETCHED, turn_of(caller))
        return _readable(text, media_type)[:MAX_RESULT]


def _readable(text: str, media_type: str) -> str:
    if media_type != "text/html":
        return text
    from rag.documents.reading import UnreadableFile, read

    try:
        return read("page.html", text.encode())[0]
    except UnreadableFile:
        return text
