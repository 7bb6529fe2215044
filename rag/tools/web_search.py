"""The tool kind `web_search`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlencode

from pydantic import Field, model_validator

from config.findings import wrong
from config.secret import Secret
from config.struct import Flag, HttpUrl
from config.tools import RemoteToolConfig, ToolParts
from config.units import Duration
from contract.egress import DIRECT, Egress
from contract.messages import Tool
from rag.tools.bounds import MAX_FETCHED, turn_of

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.outbound import Outbound

SearchEngine: TypeAlias = Literal["searxng", "brave", "tavily", "bing"]
ENGINES = {
    "brave": "https://api.search.brave.com/res/v1/web/search",
    "tavily": "https://api.tavily.com/search",
    "bing": "https://api.bing.microsoft.com/v7.0/search",
}
_RESULTS = 5


class WebSearchConfig(RemoteToolConfig):
    """A web search by one of several engines."""

    kind: Literal["web_search"] = Field(description="A web search.")
    engine: SearchEngine = Field(description="The search engine.")
    url: HttpUrl | None = Field(default=None, description="Of a SearXNG instance, or instead of an engine's own.")
    key: Secret | None = Field(default=None, description="The engine's key.")
    timeout: Duration = Field(default=10.0, description="How long it may take.")
    private: Flag = Field(default=False, description="Whether the host may be in one's own network.")

    @model_validator(mode="after")
    def _reachable(self) -> WebSearchConfig:
        if self.engine == "searxng" and self.url is None:
            raise wrong("url is missing", "set it to the URL of the SearXNG instance")
        if self.engine != "searxng" and self.key is None:
            raise wrong("key is missing", f"set the API key of {self.engine}")
        return self

    async def open(self, name: str, parts: ToolParts) -> Sequence[WebSearch]:
        """See `ToolConfig.open`."""
        url = (self.url or ENGINES.get(self.engine, "")).rstrip("/")
        key = self.key.reveal() if self.key is not None else ""
        return [
            WebSearch(
                name,
                self.engine,
                url,
                key,
                timeout_s=self.timeout,
                outbound=parts.outbound,
                private=self.private,
                egress=parts.egress,
            )
        ]


class WebSearch:
    """Returns a search engine's first results: title, URL and snippet."""

    def __init__(
        self,
        name: str,
        engine: SearchEngine,
        url: str,
        key: str,
        *,
        timeout_s: float,
        outbound: Outbound,
        private: bool = False,
        egress: Egress = DIRECT,
    ) -> None:
        """`url`: the engine's URL; for `searxng`, the URL of the instance."""
        query = {"type": "string", "description": "What to look for"}
        self.definition = Tool(
            name,
            "Searches the web; gives titles, addresses and a few words of each result.",
            {"type": "object", "properties": {"query": query}, "required": ["query"]},
        )
        self._outbound = outbound
        self._engine = engine
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._private = private
        self._egress = egress

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        query = str(arguments.get("query", "")).strip()
        if not query:
            raise ValueError("the argument query is missing")
        from contract.outbound import Call
        from rag.tools.fetch import fetch

        url, headers = self._request(query)
        asked = Call(url, self._timeout_s, headers, private=self._private, egress=self._egress)
        _, text = await fetch(self._outbound, asked, MAX_FETCHED, turn_of(caller))
        try:
            found = self._results(json.loads(text))
        except (json.JSONDecodeError, AttributeError, TypeError):
            raise ValueError("the search engine's response can't be read") from None
        lines = [f"{title}\n{address}\n{' '.join(words.split())[:500]}" for title, address, words in found[:_RESULTS]]
        return "\n\n".join(lines) or "Nothing was found."

    def _request(self, query: str) -> tuple[str, dict[str, str]]:
        if self._engine == "searxng":
            return f"{self._url}/search?{urlencode({'q': query, 'format': 'json'})}", {}
        if self._engine == "brave":
            return f"{self._url}?{urlencode({'q': query, 'count': _RESULTS})}", {"x-subscription-token": self._key}
        if self._engine == "tavily":
            return f"{self._url}?{urlencode({'query': query})}", {"authorization": f"Bearer {self._key}"}
        return f"{self._url}?{urlencode({'q': query})}", {"ocp-apim-subscription-key": self._key}

    def _results(self, answer: Any) -> list[tuple[str, str, str]]:
        if self._engine in ("searxng", "tavily"):
            return [(str(each["title"]), str(each["url"]), str(each.get("content", ""))) for each in answer["results"]]
        if self._engine == "brave":
            pages = answer.get("web", {}).get("results", [])
            return [(str(each["title"]), str(each["url"]), str(each.get("description", ""))) for each in pages]
        pages = answer.get("webPages", {}).get("value", [])
        return [(str(each["name"]), str(each["url"]), str(each.get("snippet", ""))) for each in pages]
