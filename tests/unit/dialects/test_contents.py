"""Signatures that say whose they are, media types, and the places of cited words."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deltas import Citation
from contract.media import media_type, split_data_url
from gateway.dialects import google, signatures
from gateway.dialects.foreign import merge
from gateway.dialects.quotes import count_before, find_quote

sealed = st.from_regex(r"[A-Za-z0-9+/]{0,20}={0,2}", fullmatch=True)


@given(signature=sealed, vendor=st.sampled_from(["anthropic", "gemini"]), own=st.sampled_from(["anthropic", "gemini"]))
def test_marked_signatures_come_back(signature: str, vendor: str, own: str) -> None:
    wanted = (vendor if signature else "", signature)
    assert signatures.split_tag(signatures.tag(signature, vendor, own), own) == wanted


@given(signature=sealed.filter(bool), kind=st.sampled_from(["anthropic", "redacted"]), url=st.booleans())
def test_sealed_signatures_are_base64_and_come_back(signature: str, kind: str, url: bool) -> None:
    text = signatures.seal(signature, kind)
    assert base64.b64decode(text, validate=True)
    if url:
        # The alphabet in which Google's SDK sends bytes.
        text = text.replace("+", "-").replace("/", "_").rstrip("=")
    assert signatures.unseal(text) == (kind, signature)


@given(signature=sealed.filter(bool))
def test_google_s_own_signatures_stay_as_they_are(signature: str) -> None:
    assert signatures.unseal(signature) == ("gemini", signature)
    content = {"google": {"a": 1}, "b": 2}
    assert google.split_signature(google.add_signature(signature, content)) == (signature, content)
    assert google.pop_signature({"x": 1, "extra_content": google.add_signature(signature)}) == (signature, {"x": 1})


@pytest.mark.parametrize("text", ["Z2F0ZWhvdXNl", "Z2F0ZWhvdXNlOnh4OnM=", "Z2F0ZWhvdXNl****", "Z2F0ZWhvdXNl//8="])
def test_what_only_looks_sealed_is_google_s(text: str) -> None:
    assert signatures.unseal(text) == ("gemini", text)


def encoded(data: bytes) -> str:
    return base64.b64encode(data + bytes(12)).decode()


@pytest.mark.parametrize(
    ("declared", "data", "name", "kind"),
    [
        ("image/JPG", "", "", "image/jpeg"),
        ("image/png; q=1", "", "", "image/png"),
        ("image/png", encoded(b"RIFF\x00\x00\x00\x00WEBP"), "", "image/webp"),
        ("image/png", encoded(b"BM"), "", "image/png"),
        ("text/plain", encoded(b"%PDF-1.7"), "a.pdf", "text/plain"),
        ("application/octet-stream", encoded(b"%PDF-1.7"), "", "application/pdf"),
        ("", "AAAA", "Report.PDF", "application/pdf"),
        ("", "", "https://x.example/a.b/picture.jpeg?name=b.png#c", "image/jpeg"),
        ("", "", "https://x.example/a.png/show", ""),
        ("", "not base64 at all", "", ""),
        ("", encoded(b"\x00\x00\x00\x18ftypheic"), "", "image/heic"),
    ],
)
def test_media_types(declared: str, data: str, name: str, kind: str) -> None:
    assert media_type(declared, data, name) == kind


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("data:image/png;base64,QQ==", ("image/png", "QQ==")),
        ("DATA:text/plain;charset=utf-8;BASE64,QQ==", ("text/plain;charset=utf-8", "QQ==")),
        ("data:,A%20b", ("", base64.b64encode(b"A b").decode())),
        ("data:image/png;base64", ("", "")),
        ("https://example.com/data:image/png;base64,QQ==", ("", "")),
    ],
)
def test_data_urls(url: str, found: tuple[str, str]) -> None:
    assert split_data_url(url) == found


@given(
    before=st.text("ab ", max_size=12), quote=st.text("ab", min_size=1, max_size=3), after=st.text("ab ", max_size=12)
)
def test_quotes_are_found_where_they_stood(before: str, quote: str, after: str) -> None:
    text = before + quote + after
    start = len(before)
    citation = Citation("openai", {}, quote=quote, nth=count_before(quote, text, start), start=start)
    assert find_quote(citation, text, 0) == (start, start + len(quote))
    # Something else was put before it.
    assert find_quote(citation, "Z" * 7 + text, 0) == (start + 7, start + 7 + len(quote))


def test_words_that_are_gone_have_a_place_within_the_text() -> None:
    assert find_quote(Citation("openai", {}, quote="gone", start=90), "short", 0) == (5, 5)
    assert find_quote(Citation("anthropic", {}), "one. two.", 5) == (5, 9)
    assert find_quote(Citation("openai", {}, start=3), "short", 0) == (3, 3)


def test_what_was_written_counts_and_what_else_was_said_stays() -> None:
    said = {"a": {"x": 1, "y": 2}, "b": 3, "c": [1]}
    assert merge(said, {"a": {"x": 9}, "c": 4}) == {"a": {"x": 9, "y": 2}, "b": 3, "c": 4}
