"""A provider answers the same whatever carries its calls: a pool of our own, a proxy's tunnel, HTTP/2."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError
from contract.attempt import Attempt
from contract.egress import read_proxy
from contract.endpoint import Endpoint
from contract.errors import RateLimited, UpstreamError
from contract.messages import ChatRequest, EmbeddingRequest, Message, Text
from contract.patience import Timeouts
from contract.provider import UpstreamCall
from contract.unsettled import Transcript
from gateway.assembly.configuration import load
from gateway.dialects.openai_chat import OpenAIChat
from gateway.providers.credentials import Credentials
from gateway.providers.http import ConnectionPool
from gateway.providers.opening import open_transport
from gateway.providers.remote import RemoteProvider
from tests.reports.proxies import Proxy, SecureHost, certificate
from tests.reports.vendors import openai_reply, response
from tests.unit.providers.http2_server import Asked, Http2Upstream, offering

ROOT = Path(__file__).parents[3]
KEY = "sk-s3cret-key"
WAYS = ["straight", "tunnel", "http2", "http2 in a tunnel"]


def events(*words: str) -> bytes:
    each = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    each.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in each) + b"data: [DONE]\n\n"


@asynccontextmanager
async def provider(
    way: str, answer: tuple[int, str, bytes], folder: Path, patch: pytest.MonkeyPatch
) -> AsyncIterator[RemoteProvider]:
    """One that is reached that way, and always gets `answer`: status, content type, body."""
    path, tls = certificate(folder, "api.vendor.test")
    patch.setenv("SSL_CERT_FILE", str(path))
    status, kind, body = answer

    async def play(asked: Asked) -> None:
        asked.answer(body, status, content_type=kind)

    by_two = way.startswith("http2")
    offering(tls, "h2") if by_two else None
    plain = None if by_two else SecureHost(tls, lambda _: response(body, kind, f"{status} said"))
    async with Http2Upstream(play, tls) as upstream:
        port = upstream.port if plain is None else plain.port
        proxy = Proxy(port) if "tunnel" in way else None
        base_url = f"https://127.0.0.1:{port}/v1" if proxy is None else "https://api.vendor.test/v1"
        through = read_proxy(proxy.url) if proxy is not None else None
        made = RemoteProvider(
            "p", OpenAIChat(), Endpoint(base_url, proxy=through, http2=by_two), Credentials((KEY,)), trusted=False
        )
        try:
            yield made
        finally:
            await made.close()
            for each in (proxy, plain):
                if each is not None:
                    each.close()


def call(*, stream: bool) -> UpstreamCall:
    attempt = Attempt("p/m", "p", "m")
    return UpstreamCall("m", stream, Timeouts(), attempt, Transcript(attempt))


async def words(made: RemoteProvider, *, stream: bool) -> str:
    asked = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("Hello?"),)),), stream=stream)
    reply = await made.open(asked, call(stream=stream))
    said = ""
    while (deltas := await reply.next()) is not None:
        said += "".join(choice.text for delta in deltas for choice in delta.choices)
    await reply.close()
    return said


def run(main: Callable[[], Awaitable[Any]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


@pytest.mark.parametrize("way", WAYS)
def test_whole_answers_streams_and_embeddings(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with provider(
            way, (200, "application/json", json.dumps(openai_reply("whole")).encode()), tmp_path, monkeypatch
        ) as made:
            for _ in range(3):
                assert await words(made, stream=False) == "whole"
        stream = (200, "text/event-stream", events("one ", "two"))
        async with provider(way, stream, tmp_path, monkeypatch) as made:
            for _ in range(3):
                assert await words(made, stream=True) == "one two"
        vectors = b'{"data": [{"index": 0, "embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 1}}'
        async with provider(way, (200, "application/json", vectors), tmp_path, monkeypatch) as made:
            found = await made.embed(
                EmbeddingRequest(dialect="openai", model="m", texts=("a text",)), call(stream=False)
            )
            assert [list(each) for each in found.vectors] == [[0.5, 1.0]]

    run(main)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stream", [False, True])
def test_failures_are_the_same(way: str, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"error": {"message": f"slow down, {KEY}", "type": "rate_limit"}}).encode()

    async def main() -> None:
        async with provider(way, (429, "application/json", body), tmp_path, monkeypatch) as made:
            with pytest.raises(RateLimited) as limited:
                await words(made, stream=stream)
            assert KEY not in limited.value.message
        async with provider(way, (302, "text/html", b"elsewhere"), tmp_path, monkeypatch) as made:
            with pytest.raises(UpstreamError, match="redirect"):
                await words(made, stream=stream)

    run(main)


def test_calls_go_straight_unless_something_else_is_asked_for() -> None:
    """And what the others need is not loaded then."""
    assert isinstance(open_transport(Endpoint("https://api.vendor.test/v1")), ConnectionPool)
    code = (
        "import sys; from contract.endpoint import Endpoint; from gateway.providers.opening import open_transport;"
        "open_transport(Endpoint('https://a.test')); print([e for e in ('httpcore', 'h2') if e in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_http_2_is_asked_for_in_the_yaml_and_only_at_https(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    text = (
        'version: 1\nproviders: {far: {kind: openai, base_url: "URL", api_key: k, http2: true}}\n'
        "models: {far: {targets: [far/m]}}\n"
    )
    path.write_text(text.replace("URL", "https://api.vendor.test/v1"))
    assert load(path, {}).providers["far"].network.http2  # type: ignore[union-attr]
    path.write_text(text.replace("URL", "http://vllm.internal:8000/v1"))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert "http2 is only spoken at https addresses" in caught.value.render()
