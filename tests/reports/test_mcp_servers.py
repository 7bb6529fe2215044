"""Public reports about MCP servers: lists in pages, results without words, names that no vendor takes."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import House, Request, Upstream, house, openai_reply, response, user

pytest.importorskip("mcp")


class Server:
    """An MCP server over streamable HTTP, without sessions: its tools in pages, and what each call answers."""

    def __init__(self, pages: list[list[str]], result: dict[str, Any], last: str | None = None) -> None:
        """`last` is the cursor that the last page names."""
        self.pages, self.result, self.last = pages, result, last
        self.called: list[str] = []

    def __call__(self, request: Request) -> bytes:
        if request.method != "POST":
            return response(b"", status="405 Method Not Allowed")
        asked = request.json
        if "id" not in asked:
            return response(b"", status="202 Accepted")
        answer = getattr(self, asked["method"].replace("/", "_"), None)
        said = (
            {"result": answer(asked.get("params") or {})}
            if answer
            else {"error": {"code": -32601, "message": "Method not found"}}
        )
        return response({"jsonrpc": "2.0", "id": asked["id"], **said})

    def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        info = {"name": "shop", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}

    def tools_list(self, params: dict[str, Any]) -> dict[str, Any]:
        page = min(int(params.get("cursor") or 0), len(self.pages) - 1)
        schema = {"type": "object", "properties": {}}
        hints = {"readOnlyHint": True}
        tools = [{"name": name, "inputSchema": schema, "annotations": hints} for name in self.pages[page]]
        after = str(page + 1) if page + 1 < len(self.pages) else self.last
        return {"tools": tools, **({"nextCursor": after} if after else {})}

    def tools_call(self, params: dict[str, Any]) -> dict[str, Any]:
        self.called.append(params["name"])
        return self.result


@contextlib.contextmanager
def tooled(folder: Path, server: Server, call: str) -> Iterator[House]:
    """A gateway whose model `tooled` calls one tool of the server and then says what it was told."""

    def script(request: Request) -> bytes:
        results = [each for each in request.json["messages"] if each["role"] == "tool"]
        if results:
            return response(openai_reply(json.dumps(results[-1]["content"])))
        wanted = {"id": "c1", "type": "function", "function": {"name": call, "arguments": "{}"}}
        return response(openai_reply(None, "tool_calls", tool_calls=[wanted]))

    upstream = Upstream(server)
    more = f"""  tooled: {{pipeline: tooled}}
pipelines: {{tooled: {{tools: [shop], model: o}}}}
tools: {{shop: {{kind: mcp, url: "{upstream.url}/mcp"}}}}
"""
    try:
        with house(folder, script, models=more) as it:
            yield it
    finally:
        upstream.close()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


WORDS = {"content": [{"type": "text", "text": "seven"}]}


def offered(it: House) -> list[str]:
    it.chat("tooled", [user("how many?")])
    return [tool["function"]["name"] for tool in it.upstream.requests[0].json["tools"]]


@pytest.mark.report("mcp", "All pages of an MCP server's tool list are read, and an endless list is cut off")
@pytest.mark.parametrize("last", [None, "1", "0"])
def test_tools_in_pages(tmp_path: Path, last: str | None) -> None:
    server = Server([["a", "b"], ["c"]], WORDS, last)
    with tooled(tmp_path, server, "shop_c") as it:
        assert offered(it) == ["shop_a", "shop_b", "shop_c"]
    assert server.called == ["c"]


@pytest.mark.report("mcp", "An MCP result that is only structured data or a document reaches the model")
@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"content": [], "structuredContent": {"left": 7, "of": "Pümpe"}}, '{"left": 7, "of": "Pümpe"}'),
        ({**WORDS, "structuredContent": {"left": 7}}, "seven"),
        ({"content": [{"type": "resource", "resource": {"uri": "a://b", "text": "seven left"}}]}, "seven left"),
    ],
)
def test_results_without_words(tmp_path: Path, result: dict[str, Any], told: str) -> None:
    with tooled(tmp_path, Server([["a"]], result), "shop_a") as it:
        said = it.chat("tooled", [user("how many?")]).json()["choices"][0]["message"]["content"]
    assert json.loads(said) == told


@pytest.mark.report("mcp", "An MCP tool with a name that providers refuse gets a name that every provider accepts")
def test_names_that_no_vendor_takes(tmp_path: Path) -> None:
    long = "x" * 80
    server = Server([["db.query", "db/query", long, long + "y"]], WORDS)
    with tooled(tmp_path, server, "shop_a") as it:
        names = offered(it)
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names), names
    server.called.clear()
    (tmp_path / "again").mkdir()
    with tooled(tmp_path / "again", server, names[1]) as it:
        offered(it)
    assert server.called == ["db/query"]
