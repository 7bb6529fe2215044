"""Tools of a real MCP server: those that only read are offered and called, the others are not."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from tests.asking import ask, calling
from tests.live import free_port, running_gateway
from tests.recording import recording_upstream

YAML = """
version: 1
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: k}}
models: {{plain: {{targets: [up/m]}}, tooled: {{pipeline: tooled}}}}
pipelines: {{tooled: {{tools: [shop, gone], model: plain}}}}
tools:
  shop: {{kind: mcp, url: "http://127.0.0.1:{mcp}/mcp", allow: [price]}}
  gone: {{kind: mcp, url: "http://127.0.0.1:9/mcp", timeout: 1s}}
apps: {{one: {{keys: [test-key]}}}}
observe: {{log: "off"}}
"""


@contextlib.contextmanager
def mcp_server() -> Iterator[int]:
    server = MCPServer("shop")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def stock(article: str) -> str:
        """How many there are."""
        return f"There are 7 of {article}."

    @server.tool()
    def price(article: str) -> str:
        """What it costs."""
        raise ValueError("no such article")

    @server.tool()
    def buy(article: str) -> str:
        """Buys it."""
        return "bought"

    @server.tool("files.read/all", annotations=ToolAnnotations(read_only_hint=True))
    def read_all() -> str:
        """Reads all files."""
        return "There is one file."

    port = free_port()
    http = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=http.run, daemon=True)
    thread.start()
    while not http.started:
        time.sleep(0.01)
    yield port
    http.should_exit = True
    thread.join(5)


def test_reading_tools_of_a_server(tmp_path: Path) -> None:
    with (
        recording_upstream() as upstream,
        mcp_server() as port,
        running_gateway(YAML.format(port=upstream.port, mcp=port), tmp_path) as gateway,
    ):
        upstream.answers += [
            calling(("shop_stock", {"article": "pumps"}), ("shop_price", {"article": "x"})),
            lambda _: "Seven.",
        ]
        assert b"Seven" in ask(gateway, "openai", "tooled", "How many pumps?").body
        names = [tool["function"]["name"] for tool in upstream.bodies[0]["tools"]]
        assert names[:2] == ["shop_stock", "shop_price"]
        told = json.dumps(upstream.bodies[1]["messages"])
        assert "There are 7 of pumps." in told
        assert "The tool failed" in told
        # Vendors refuse the dots and slashes that MCP allows.
        assert re.fullmatch(r"shop_files_read_all_[0-9a-f]+", names[2])
        upstream.answers += [calling((names[2], {})), lambda _: "One."]
        assert b"One" in ask(gateway, "openai", "tooled", "How many files?").body
        assert "There is one file." in json.dumps(upstream.bodies[-1]["messages"])


def test_a_server_that_is_away_is_told_to_the_model(tmp_path: Path) -> None:
    with recording_upstream() as upstream:
        with mcp_server() as port:
            yaml = YAML.format(port=upstream.port, mcp=port)
            running = running_gateway(yaml, tmp_path)
            gateway = running.__enter__()
        upstream.answers += [calling(("shop_stock", {"article": "pumps"})), lambda _: "Sorry."]
        assert b"Sorry" in ask(gateway, "openai", "tooled", "How many pumps?").body
        assert "can't be used" in json.dumps(upstream.bodies[1]["messages"])
        running.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
