"""The tools: an HTTP look-up, a web search, a search of one's own documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias
from urllib.parse import quote, urlencode

from contract.egress import DIRECT, Egress
from contract.messages import Tool
from rag.documents.reading import Unreadable, read
from rag.tools.fetch import fetch

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.work import WorkPool
    from rag.source import Source

SearchEngine: TypeAlias = Literal["searxng", "brave", "tavily", "bing"]
MAX_RESULT = 8_000
_NOTHING = "Nothing was found."
MAX_BYTES = 1_000_000
_RESULTS = 5


class ReadingTool(Protocol):
    """One tool."""

    definition: Tool

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """What it found. Raises `FetchFailed` or `ValueError`: the message goes to the model."""
        ...


class HttpTool:
    """A GET of one address, whose `{placeholders}` in path and query are the tool's arguments, quoted."""

    def __init__(
        self,
        definition: Tool,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        pool: WorkPool,
        private: bool = False,
        egress: Egress = DIRECT,
    ) -> None:
        """`pool` holds the threads that wait for the servers of tools."""
        self._pool = pool
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
            # Quoted whole: an argument can't leave its place in the address.
            url = url.replace(f"{{{name}}}", quote(str(value), safe=""))
        return await self._pool.run(_whose(caller), self._read, url)

    def _read(self, url: str) -> str:
        media_type, text = fetch(
            url, self._headers, self._timeout_s, MAX_BYTES, private=self._private, egress=self._egress
        )
        return _readable(text, media_type)[:MAX_RESULT]


def _whose(caller: Caller | None) -> str:
    return caller.app if caller is not None else ""


def _readable(text: str, media_type: str) -> str:
    if media_type != "text/html":
        return text
    try:
        return read("page.html", text.encode())[0]
    except Unreadable:
        return text


class WebSearch:
    """A search engine's first results: title, address, a few words."""

    def __init__(
        self,
        name: str,
        engine: SearchEngine,
        url: str,
        key: str,
        *,
        timeout_s: float,
        pool: WorkPool,
        private: bool = False,
        egress: Egress = DIRECT,
    ) -> None:
        """`url` is the engine's own; of `searxng` the instance's."""
        query = {"type": "string", "description": "What to look for"}
        self.definition = Tool(
            name,
            "Searches the web; gives titles, addresses and a few words of each result.",
            {"type": "object", "properties": {"query": query}, "required": ["query"]},
        )
        self._pool = pool
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
        url, headers = self._request(query)
        read = partial(fetch, url, headers, self._timeout_s, MAX_BYTES, private=self._private, egress=self._egress)
        _, text = await self._pool.run(_whose(caller), read)
        try:
            found = self._results(json.loads(text))
        except (json.JSONDecodeError, AttributeError, TypeError):
            raise ValueError("the search engine's answer can't be read") from None
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


class SourceTool:
    """A search of one source of documents, as far as the caller may see it."""

    def __init__(self, name: str, description: str, source: Source, top: int, source_name: str) -> None:
        """`source_name` is what a key calls the source that may reach only some."""
        query = {"type": "string", "description": "A question that stands alone"}
        self.definition = Tool(
            name, description, {"type": "object", "properties": {"query": query}, "required": ["query"]}
        )
        self._source = source
        self._source_name = source_name
        self._top = top

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        query = str(arguments.get("query", "")).strip()
        if not query:
            raise ValueError("the argument query is missing")
        if caller is not None and caller.sources is not None and self._source_name not in caller.sources:
            return _NOTHING
        labels = caller.labels if caller is not None else frozenset()
        found = await self._source.search(query, self._top, labels, caller)
        return "\n\n".join(f"[{each.source}, {each.place}]\n{each.text}" for each in found)[:MAX_RESULT] or _NOTHING
