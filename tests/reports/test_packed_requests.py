"""Public reports about bodies that clients pack, or write in another charset than UTF-8."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd

from tests.live import Answer
from tests.reports.vendors import House, house, user

MAX_BODY = 1_000_000
PACK = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "identity": bytes,
}
PATHS = {
    "/v1/chat/completions": {"model": "o", "messages": [user()]},
    "/v1/messages": {"model": "a", "max_tokens": 9, "messages": [user()]},
    "/v1/messages/count_tokens": {"model": "a", "messages": [user()]},
    "/v1beta/models/g:generateContent": {"contents": [{"parts": [{"text": "hi"}]}]},
}


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("packed"), more="server: {max_body: 1MB}\n") as it:
        yield it


def send(it: House, path: str, body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return it.gateway.request("POST", path, body, {"content-type": "application/json", **named})


@pytest.mark.report("http", "Every surface accepts compressed requests")
@pytest.mark.parametrize("coding", sorted(PACK))
@pytest.mark.parametrize("path", sorted(PATHS))
def test_packed_requests(it: House, path: str, coding: str) -> None:
    answer = send(it, path, PACK[coding](json.dumps(PATHS[path]).encode()), content_encoding=coding)
    assert answer.status == 200, answer.body


@pytest.mark.report("http", "A large compressed request arrives complete")
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_a_big_packed_request(it: House, coding: str) -> None:
    text = "".join(f"{number} bottles of beer. " for number in range(30_000))
    body = json.dumps({"model": "o", "messages": [user(text)]}).encode()
    answer = send(it, "/v1/chat/completions", PACK[coding](body), content_encoding=coding)
    assert answer.status == 200
    assert it.last["messages"][0]["content"] == text


def test_deflate_without_its_frame_and_gzip_of_several_members(it: House) -> None:
    body = json.dumps(PATHS["/v1/chat/completions"]).encode()
    bare = zlib.compressobj(wbits=-15)
    for coding, packed in (
        ("deflate", bare.compress(body) + bare.flush()),
        ("gzip", gzip.compress(body[:9]) + gzip.compress(body[9:]) + b"\0\0"),
        ("zstd", zstd.compress(body[:9]) + zstd.compress(body[9:])),
    ):
        assert send(it, "/v1/chat/completions", packed, content_encoding=coding).status == 200


@pytest.mark.report("http", "A request that decompresses to more than server.max_body is refused early")
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, br", "gzip, gzip"])
def test_bombs(it: House, coding: str) -> None:
    bomb = b" " * 50_000_000
    packed = gzip.compress(gzip.compress(bomb)) if coding == "gzip, gzip" else PACK[coding](bomb)
    answer = send(it, "/v1/chat/completions", packed, content_encoding=coding)
    assert answer.status == 413
    assert "max_body" in answer.json()["error"]["message"]


@pytest.mark.report("http", "An unknown content coding returns 415 with a list of the supported codings")
@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("coding", ["compress", "gzip, lzma", "aws-chunked", "gzip, gzip, gzip, gzip"])
def test_unknown_codings(it: House, path: str, coding: str) -> None:
    answer = send(it, path, b"x", content_encoding=coding)
    assert answer.status == 415
    assert set(answer.headers["accept-encoding"].split(", ")) == {"gzip", "deflate", "br", "zstd"}
    assert "gzip" in json.dumps(answer.json())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("damage", ["not packed", "half", "more"])
def test_broken_packing(it: House, coding: str, damage: str) -> None:
    body = json.dumps(PATHS["/v1/chat/completions"]).encode()
    packed = PACK[coding](body)
    packed = {"not packed": body, "half": packed[: len(packed) // 2], "more": packed + b"garbage"}[damage]
    answer = send(it, "/v1/chat/completions", packed, content_encoding=coding)
    assert answer.status == 400
    assert coding in answer.json()["error"]["message"]


def test_nobody_without_a_key_has_anything_unpacked(tmp_path: Path) -> None:
    with house(tmp_path, more="apps: {one: {keys: [test-key]}}\n") as it:
        answer = send(it, "/v1/chat/completions", b"x", content_encoding="compress", authorization="Bearer wrong")
    assert answer.status == 401


TEXT = "Grüße, ñandú"
BODY: dict[str, Any] = {"model": "o", "messages": [user(TEXT)]}


@pytest.mark.report("http", "A request body with a byte order mark, or in the charset that it declares, is decoded")
@pytest.mark.parametrize(
    ("python", "content_type"),
    [
        ("utf-8-sig", "application/json"),
        ("utf-16", "application/json"),
        ("utf-32", "application/json"),
        ("utf-16", "application/json; charset=utf-16"),
        ("utf-16-le", "application/json;charset=UTF-16LE"),
        ("utf-16-be", "application/json; charset=utf-16be"),
        ("iso-8859-1", 'application/json; charset="ISO-8859-1"'),
        ("cp1252", "application/json; charset=windows-1252"),
        ("utf-8", "application/json; charset=utf8"),
        ("utf-8", "text/plain"),
        ("utf-8", "application/x-www-form-urlencoded"),
        ("utf-8", "json"),
        ("utf-8", ""),
        ("utf-8", ";;;=;charset"),
    ],
)
def test_charsets(it: House, python: str, content_type: str) -> None:
    body = json.dumps(BODY, ensure_ascii=False).encode(python)
    answer = send(it, "/v1/chat/completions", body, content_type=content_type)
    assert answer.status == 200, answer.body
    assert it.last["messages"][0]["content"] == TEXT


def test_a_packed_body_in_another_charset(it: House) -> None:
    body = gzip.compress(json.dumps(BODY, ensure_ascii=False).encode("utf-16"))
    answer = send(
        it, "/v1/chat/completions", body, content_type="application/json; charset=utf-16", content_encoding="gzip"
    )
    assert answer.status == 200
    assert it.last["messages"][0]["content"] == TEXT


@pytest.mark.parametrize(
    ("content_type", "status", "word"),
    [
        ("application/json; charset=utf-7", 415, "utf-7"),
        ("application/json; charset=koi8-r", 415, "koi8-r"),
        ("multipart/form-data; boundary=x", 415, "multipart/form-data"),
        ("application/json; charset=utf-16", 400, "utf-16"),
    ],
)
def test_charsets_that_are_not_read(it: House, content_type: str, status: int, word: str) -> None:
    answer = send(it, "/v1/chat/completions", b'{"a":1} ', content_type=content_type) if status == 415 else None
    answer = answer or send(it, "/v1/chat/completions", b'{"a":1}', content_type=content_type)
    assert answer.status == status
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("rest", [b"}", b"{}", b"\x00", b"garbage"])
def test_what_follows_the_json_is_refused(it: House, rest: bytes) -> None:
    body = json.dumps(BODY).encode()
    assert send(it, "/v1/chat/completions", body + b" \r\n").status == 200
    assert send(it, "/v1/chat/completions", body + rest).status == 400
