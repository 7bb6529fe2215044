from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.response import BodyKind, body_kind

BOM = b"\xef\xbb\xbf"
BODIES: list[tuple[bytes, BodyKind]] = [
    (b'{"choices": []}', "json"),
    (b"\r\n \t[{}]", "json"),
    (BOM + b"{}", "json"),
    (BOM + b"\n\n{}", "json"),
    (b"data: {}\n\n", "events"),
    (b"data:{}\n\n", "events"),
    (b"event: ping\n", "events"),
    (b": comment\n\n", "events"),
    (b":\n\n", "events"),
    (b"id: 1\ndata: 1", "events"),
    (b"retry: 3\n", "events"),
    (BOM + b"\ndata: 1", "events"),
    (b"<html>", ""),
    (b"database is down", ""),
    (b"upstream connect error", ""),
    (b"", ""),
    (b"  \n", ""),
    (b"dat", ""),
    (BOM, ""),
]


@pytest.mark.parametrize(("body", "kind"), BODIES)
def test_the_first_bytes_tell(body: bytes, kind: BodyKind) -> None:
    assert body_kind(body, ended=True) == kind
    for place in range(len(body)):
        # Whatever has come so far, it never tells another kind.
        assert body_kind(body[:place]) in (None, kind)


@given(st.binary(max_size=12))
def test_any_bytes_end_in_a_kind(body: bytes) -> None:
    assert body_kind(body, ended=True) is not None
    assert body_kind(b"{" + body) == "json"
