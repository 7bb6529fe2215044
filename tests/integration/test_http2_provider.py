"""A whole gateway, as it is served, whose provider speaks HTTP/2."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import running_gateway
from tests.reports.proxies import certificate
from tests.reports.vendors import openai_reply
from tests.unit.providers.http2_server import Asked, Http2Upstream, Play, offering


@contextmanager
def upstream(play: Play, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Http2Upstream]:
    """In a thread of its own."""
    path, tls = certificate(folder, "api.vendor.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    started, over = threading.Event(), asyncio.Event()
    serving = Http2Upstream(play, offering(tls, "h2"))
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving:
            started.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(5)
    try:
        yield serving
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)
        loop.close()


def test_a_gateway_asks_its_provider_by_http_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(asked: Asked) -> None:
        if not json.loads(asked.body).get("stream"):
            asked.answer(json.dumps(openai_reply("whole")).encode(), content_type="application/json")
            return
        asked.head(content_type="text/event-stream")
        for word in ("one ", "two"):
            asked.data(b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]}).encode())
        asked.data(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', end=True)

    with upstream(play, tmp_path, monkeypatch) as provider:
        text = (
            "version: 1\n"
            f'providers: {{far: {{kind: openai, base_url: "{provider.url}/v1", api_key: k, http2: true}}}}\n'
            'models: {far: {targets: [far/m]}}\nobserve: {log: "off"}\n'
        )
        body = {"model": "far", "messages": [{"role": "user", "content": "hi"}]}
        with running_gateway(text, tmp_path) as gateway:
            whole = gateway.request("POST", "/v1/chat/completions", body)
            assert (whole.status, json.loads(whole.body)["choices"][0]["message"]["content"]) == (200, "whole")
            streamed = gateway.request("POST", "/v1/chat/completions", {**body, "stream": True})
            assert streamed.status == 200
            assert b"one " in streamed.body
            assert streamed.body.rstrip().endswith(b"[DONE]")
        assert len(provider.connections) == 1
