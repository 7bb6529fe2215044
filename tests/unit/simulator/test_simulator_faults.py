"""Each fault as bytes: what comes, what does not, and how the connection ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from gateway.simulator.server import Simulator, running
from tests.unit.simulator.raw import call, ended_cleanly, said, send

DIALECTS = ("openai", "anthropic", "gemini")
SHORT_S = 0.06
dialects = pytest.mark.parametrize("dialect", DIALECTS)
modes = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@dialects
def test_ok(simulator: Simulator, dialect: str) -> None:
    whole = call(simulator.url, dialect)
    assert (whole.status, whole.framing, whole.whole, whole.ended) == (200, "length", True, "open")
    stream = call(simulator.url, dialect, stream=True)
    assert (stream.status, stream.framing, stream.whole, stream.ended) == (200, "chunked", True, "open")
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert ended_cleanly(dialect, stream)
    assert said(dialect, stream).startswith("Grüße")


@dialects
@modes
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
def test_status(simulator: Simulator, dialect: str, stream: bool, status: int) -> None:
    raw = call(simulator.url, dialect, f"{status}-after2", stream)
    assert (raw.status, raw.whole) == (status, True)
    assert raw.headers["retry-after"] == "2"
    error = raw.json()["error"]
    assert error["message"]
    if dialect == "openai":
        assert set(error) == {"message", "type", "param", "code"}
    elif dialect == "anthropic":
        assert raw.json()["type"] == "error"
        assert error["type"].endswith("_error")
    else:
        assert error["code"] == status
        assert error["details"][0]["retryDelay"] == "2s"


@dialects
@modes
def test_context(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "context", stream)
    assert raw.status == 400
    words = {"openai": "context_length_exceeded", "anthropic": "prompt is too long", "gemini": "exceeds the maximum"}
    assert words[dialect].encode() in raw.body


@dialects
@modes
def test_refuse(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "refuse", stream)
    assert (raw.status, raw.ended) == (0, "closed")


@dialects
@modes
def test_hang(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "hang", stream, SHORT_S)
    assert (raw.status, raw.ended) == (0, "open")


@dialects
def test_slow(simulator: Simulator, dialect: str) -> None:
    """A stream's headers come at once, its first event late."""
    begun = time.monotonic()
    early = call(simulator.url, dialect, "slow150", True, 0.1)
    assert (early.status, early.body) == (200, b"")
    assert call(simulator.url, dialect, "slow150", False, 0.1).status == 0
    assert call(simulator.url, dialect, "latency150", True, 0.1).status == 0
    late = call(simulator.url, dialect, "slow150", True)
    assert ended_cleanly(dialect, late)
    assert time.monotonic() - begun >= 0.45


@dialects
def test_stall(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "stall5", True, SHORT_S)
    assert (len(raw.frames()), raw.whole, raw.ended) == (5, False, "open")
    silent = call(simulator.url, dialect, "stall0", True, SHORT_S)
    assert (silent.status, silent.body, silent.ended) == (200, b"", "open")
    half = call(simulator.url, dialect, "stall5", False, SHORT_S)
    assert 0 < len(half.body) < int(half.headers["content-length"])


@dialects
def test_cut(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "cut5", True)
    assert (len(raw.frames()), raw.whole, raw.ended) == (5, False, "closed")
    assert not ended_cleanly(dialect, raw)
    half = call(simulator.url, dialect, "cut5", False)
    assert (half.whole, half.ended) == (False, "closed")
    assert 0 < len(half.body) < int(half.headers["content-length"])
    assert call(simulator.url, dialect, "cut0", False).body == b""
    # Even a cut after more events than there are leaves out the vendor's end.
    assert not ended_cleanly(dialect, call(simulator.url, dialect, "cut9999", True))


@dialects
@modes
def test_reset(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "cut5-reset", stream)
    assert (raw.whole, raw.ended) == (False, "reset")


@dialects
def test_cut_clean(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "cutclean5", True)
    assert (len(raw.frames()), raw.whole, raw.ended) == (5, True, "open")
    assert not ended_cleanly(dialect, raw)
    half = call(simulator.url, dialect, "cutclean5", False)
    assert half.whole
    with pytest.raises(json.JSONDecodeError):
        half.json()


@dialects
@modes
def test_cut_within_a_character(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "cutbyte", stream)
    assert (raw.whole, raw.ended) == (False, "closed")
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        raw.body.decode()


def test_cut_within_a_character_that_is_not_there(simulator: Simulator) -> None:
    raw = call(simulator.url, "openai", "cutbyte-n3")
    assert (raw.whole, raw.ended) == (False, "closed")


@dialects
def test_malformed(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "malformed3", True)
    frames = raw.frames()
    assert frames[2].endswith(b'data: {"broken": ')
    assert all(frame.endswith((b"}", b"[DONE]")) for frame in frames[:2] + frames[3:])
    with pytest.raises(json.JSONDecodeError):
        call(simulator.url, dialect, "malformed3", False).json()


@dialects
def test_error_in_a_200(simulator: Simulator, dialect: str) -> None:
    whole = call(simulator.url, dialect, "error200", False)
    assert whole.status == 200
    assert whole.json()["error"]["message"]
    first = call(simulator.url, dialect, "error200", True)
    assert len(first.frames()) == 1
    later = call(simulator.url, dialect, "erroreven5", True)
    assert len(later.frames()) == 6
    for raw in (first, later):
        assert (raw.status, raw.whole) == (200, True)
        assert b'"error"' in raw.frames()[-1]
        assert raw.frames()[-1].startswith(b"event: error\n") == (dialect == "anthropic")
        assert not ended_cleanly(dialect, raw)


@dialects
@modes
def test_empty(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "empty", stream)
    assert (raw.status, raw.whole) == (200, True)
    if stream:
        assert said(dialect, raw) == ""
        assert ended_cleanly(dialect, raw)
    nothing = call(simulator.url, dialect, "emptybody", stream)
    assert (nothing.status, nothing.body, nothing.whole) == (200, b"", True)


@dialects
@modes
def test_html(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "html", stream)
    assert raw.status == 200
    assert raw.headers["content-type"].startswith("text/html")
    assert b"Sign in" in raw.body


@dialects
@pytest.mark.parametrize(
    ("behaviour", "reasons"),
    [("safety", ("content_filter", "refusal", "SAFETY")), ("length", ("length", "max_tokens", "MAX_TOKENS"))],
)
def test_ends(simulator: Simulator, dialect: str, behaviour: str, reasons: tuple[str, ...]) -> None:
    reason = f'"{reasons[DIALECTS.index(dialect)]}"'.encode()
    assert reason in call(simulator.url, dialect, behaviour, False).body
    assert reason in call(simulator.url, dialect, behaviour, True).body


@dialects
@modes
def test_no_usage(simulator: Simulator, dialect: str, stream: bool) -> None:
    more = {"stream_options": {"include_usage": True}} if dialect == "openai" and stream else {}
    assert b"okens" in call(simulator.url, dialect, "cached100", stream, more=more).body.replace(
        b"TokenCount", b"okens"
    )
    assert b"100" in call(simulator.url, dialect, "cached100", stream, more=more).body
    bare = call(simulator.url, dialect, "nousage", stream, more=more).body
    for word in (b"prompt_tokens", b"output_tokens", b"usageMetadata"):
        assert word not in bare


@dialects
def test_pace(simulator: Simulator, dialect: str) -> None:
    begun = time.monotonic()
    raw = call(simulator.url, dialect, "n5-pace20", True)
    assert time.monotonic() - begun >= 0.1
    assert raw.reads >= 5
    assert said(dialect, raw) == "word0 word1 word2 word3 word4"


def test_a_fault_may_wait(simulator: Simulator) -> None:
    begun = time.monotonic()
    assert call(simulator.url, "openai", "503-latency50").status == 503
    assert time.monotonic() - begun >= 0.05


def test_array_stream(simulator: Simulator) -> None:
    """Gemini without `alt=sse`: one JSON array."""
    body = {"contents": [{"parts": [{"text": "x"}]}]}
    answers = send(simulator.url, "/v1/models/m:streamGenerateContent", body, {"x-simulate": "n3"}).json()
    texts = [part["text"] for each in answers for part in each["candidates"][0]["content"]["parts"]]
    assert "".join(texts) == "word0 word1 word2"
