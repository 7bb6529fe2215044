"""Every kind of source, and the tool that searches one, keep what their seams ask for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.caller import Caller
from contract.passages import Passage
from rag.conformance import DocumentSourceConformance, FakeServices, LiveSourceConformance, ToolConformance
from rag.folder import FolderConfig
from rag.tables.sql import SqlConfig
from rag.tools.http import HttpToolConfig
from rag.tools.source import SourceToolConfig
from rag.tools.web_search import WebSearchConfig
from rag.uploads import DocumentsConfig
from rag.web import WebConfig
from tests.pages import pages


class TestFolder(DocumentSourceConformance):
    config = FolderConfig

    @pytest.fixture(autouse=True)
    def documents_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "a.md").write_text("# Warranty")
        (tmp_path / "deep" / "b.txt").write_text("Three years")
        (tmp_path / "picture.png").write_bytes(b"...")
        self.folder, self.options = tmp_path, {"path": "."}
        self.documents = {"a.md": "Warranty", "deep/b.txt": "Three years"}


class TestWeb(DocumentSourceConformance):
    config = WebConfig

    @pytest.fixture(autouse=True)
    def documents_of_a_site(self) -> Iterator[None]:
        with pages({"/warranty": ("text/html", "<p>Three years</p>"), "/hours": ("text/plain", "Until six")}) as url:
            self.options = {"urls": [f"{url}/warranty", f"{url}/hours"]}
            self.documents = {f"{url}/warranty": "Three years", f"{url}/hours": "Until six"}
            yield


class TestDocuments(DocumentSourceConformance):
    config = DocumentsConfig


class TestSql(LiveSourceConformance):
    config = SqlConfig
    answers = (("How many orders are there?", "SELECT count(*) AS orders FROM orders", "| 2 |"),)

    @pytest.fixture(autouse=True)
    def orders(self, tmp_path: Path) -> None:
        database = sqlite3.connect(tmp_path / "orders.db")
        database.executescript("CREATE TABLE orders (id integer); INSERT INTO orders VALUES (1), (2);")
        database.close()
        self.folder, self.options = tmp_path, {"database": "sqlite:///orders.db", "model": "quick"}


class Manuals:
    """A source with one passage."""

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        return [Passage("warranty.md", "line 1", "Three years on everything. " * 1000, 1.0, "1")][:top]


class TestSourceTool(ToolConformance):
    config = SourceToolConfig
    options = {"source": "manuals", "description": "The manuals."}
    calls = (({"query": "How long?"}, "Three years"),)
    refused = ({}, {"query": ""})

    def services(self) -> FakeServices:
        return FakeServices({"manuals": Manuals()})


class TestHttpTool(ToolConformance):
    config = HttpToolConfig
    calls = (({"city": "Bonn"}, "20 degrees"),)
    refused = ({}, {"city": "Nowhere"})

    @pytest.fixture(autouse=True)
    def weather(self) -> Iterator[None]:
        with pages({"/weather/Bonn": ("text/html", f"<p>20 degrees</p>{'<p>and so on</p>' * 5000}")}) as url:
            self.options = {
                "url": f"{url}/weather/{{city}}",
                "description": "The weather.",
                "parameters": {"city": "Where."},
                "private": True,
            }
            yield


RESULTS = {
    "searxng": {"results": [{"title": "Warranty", "url": "http://a.example", "content": "Three years"}]},
    "tavily": {"results": [{"title": "Warranty", "url": "http://a.example", "content": "Three years"}]},
    "brave": {"web": {"results": [{"title": "Warranty", "url": "http://a.example", "description": "Three years"}]}},
    "bing": {"webPages": {"value": [{"name": "Warranty", "url": "http://a.example", "snippet": "Three years"}]}},
}


@pytest.mark.parametrize("engine", RESULTS)
class TestWebSearch(ToolConformance):
    config = WebSearchConfig
    calls = (({"query": "warranty"}, "Three years"),)
    refused = ({}, {"query": " "})

    @pytest.fixture(autouse=True)
    def engine_of_this_machine(self, engine: str) -> Iterator[None]:
        body = ("application/json", json.dumps(RESULTS[engine]))
        with pages({"/": body, "": body, "/search": body}) as url:
            self.options = {"engine": engine, "url": url, "key": "a-key-of-an-engine", "private": True}
            yield
