"""Public reports about providers that pack their answers though nobody asked them to."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd

from tests.reports.vendors import House, Request, house, plain, response

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "identity": bytes,
}


def packed(answer: bytes, coding: str, pack: Callable[[bytes], bytes] | None = None) -> bytes:
    """The same answer, its body packed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    body = (pack or PACK[coding])(body)
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    lines += [b"content-encoding: " + coding.encode(), b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", b""]) + body


def as_packed(coding: str, pack: Callable[[bytes], bytes] | None = None) -> Callable[[Request], bytes]:
    return lambda request: packed(plain(request), coding, pack)


def words(it: House, model: str, *, stream: bool) -> Any:
    answer = it.chat(model, stream=stream)
    assert answer.status == 200, answer.body
    if not stream:
        return answer.json()["choices"][0]["message"]["content"]
    data = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for each in data for choice in json.loads(each)["choices"])


@pytest.mark.report("http", "A compressed provider response is decompressed, buffered or streamed, for every provider")
@pytest.mark.parametrize("coding", sorted(PACK))
def test_packed_answers(tmp_path: Path, coding: str) -> None:
    with house(tmp_path, as_packed(coding)) as it:
        for model in "oag":
            assert words(it, model, stream=False) == "hello"
            assert words(it, model, stream=True) == "hello"


@pytest.mark.report("http", "A compressed provider error is decompressed")
def test_packed_errors(tmp_path: Path) -> None:
    error = response({"error": {"message": "the seed is odd", "type": "invalid_request_error"}}, status="400 Bad")
    with house(tmp_path, lambda _: packed(error, "gzip")) as it:
        answer = it.chat("o")
    assert answer.status == 400
    assert "the seed is odd" in answer.json()["error"]["message"]


def test_an_error_packed_in_an_unknown_way_keeps_its_status(tmp_path: Path) -> None:
    error = response({"error": {"message": "slow down"}}, status="429 Too Many")
    with house(tmp_path, lambda _: packed(error, "lzma", bytes)) as it:
        assert it.chat("o").status == 429


@pytest.mark.report("http", "A corrupt compressed response, or one with an unknown content coding, is malformed")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", bytes),
        ("br", bytes),
        ("zstd", bytes),
        ("deflate", bytes),
        ("gzip", lambda data: gzip.compress(data)[:-9]),
        ("gzip", lambda data: gzip.compress(data)[:-8] + b"12345678"),
        ("br", lambda data: brotli.compress(data)[:-3]),
        ("compress", bytes),
        ("gzip, gzip", gzip.compress),
    ],
)
def test_broken_packing(tmp_path: Path, coding: str, pack: Callable[[bytes], bytes], stream: bool) -> None:
    # Without the words that end a stream, what is broken behind them does not matter.
    def script(request: Request) -> bytes:
        return packed(plain(request).replace(b"data: [DONE]\n\n", b""), coding, pack)

    with house(tmp_path, script) as it:
        answer = it.chat("o", stream=stream)
    if answer.status == 200:
        assert stream
        assert b'"upstream_malformed"' in answer.body
        assert b"[DONE]" not in answer.body
    else:
        assert answer.status == 502
        assert answer.json()["error"]["code"] == "upstream_malformed"


@pytest.mark.report("http", "A decompressed provider response is limited to max_response")
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, br"])
def test_bombs(tmp_path: Path, coding: str) -> None:
    bomb = response(b'{"choices": [' + b" " * 200_000_000)
    with house(tmp_path, lambda _: packed(bomb, coding)) as it:
        answer = it.chat("o")
    assert answer.status == 502
    assert "max_response" in answer.json()["error"]["message"]


class Flow:
    """Packs piece by piece, each of them whole."""

    def __init__(self, coding: str) -> None:
        self.zlib = zlib.compressobj(wbits=31)
        self.br = brotli.Compressor()
        self.zstd = zstd.ZstdCompressor()
        self.coding = coding

    def piece(self, data: bytes) -> bytes:
        if self.coding == "gzip":
            return self.zlib.compress(data) + self.zlib.flush(zlib.Z_SYNC_FLUSH)
        if self.coding == "br":
            return bytes(self.br.process(data) + self.br.flush())
        return self.zstd.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)


@pytest.mark.report("http", "Events of a compressed stream are forwarded as they arrive")
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_events_are_not_held_back(tmp_path: Path, coding: str) -> None:
    def script(request: Request) -> Any:
        body = plain(request).partition(b"\r\n\r\n")[2]
        events = [each + b"\n\n" for each in body.split(b"\n\n") if each]
        flow = Flow(coding)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: {coding}\r\n"
        # The end never comes: all that is read came from pieces that were flushed.
        return [
            (head + "transfer-encoding: chunked\r\n\r\n").encode(),
            *[b"%x\r\n%b\r\n" % (len(piece), piece) for piece in map(flow.piece, events)],
            1.0,
        ]

    with house(tmp_path, script) as it:
        assert words(it, "o", stream=True) == "hello"


@contextmanager
def embedding_house(tmp_path: Path, coding: str) -> Iterator[House]:
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "e"}
    with house(tmp_path, lambda _: packed(response(body), coding)) as it:
        yield it


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_packed_embeddings(tmp_path: Path, coding: str) -> None:
    with embedding_house(tmp_path, coding) as it:
        answer = it.gateway.request("POST", "/v1/embeddings", {"model": "o", "input": "a"})
    assert answer.json()["data"][0]["embedding"] == [0.5]
