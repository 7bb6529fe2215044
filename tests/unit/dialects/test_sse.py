from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import MalformedReply
from gateway.dialects import sse
from gateway.dialects.sse import Event, SseParser

LINE_END = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=12)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["", "message_start", "error"]), st.lists(TEXT, min_size=1, max_size=3)), max_size=6
)


def parse(pieces: list[bytes]) -> list[Event]:
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish()


def render(events: list[tuple[str, list[str]]], end: bytes) -> bytes:
    out = b""
    for name, lines in events:
        if name:
            out += b"event: " + name.encode() + end
        out += b": a comment" + end
        for line in lines:
            out += b"data: " + line.encode() + end
        out += end
    return out


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(EVENTS, LINE_END, st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_gives_the_same_events(events: list[tuple[str, list[str]]], end: bytes, places: list[int]) -> None:
    data = render(events, end)
    expected = [(name, "\n".join(lines).encode()) for name, lines in events]
    assert parse([data]) == expected
    assert parse(cut(data, places)) == expected
    assert parse([data[i : i + 1] for i in range(len(data))]) == expected


def test_byte_order_mark_split_anywhere() -> None:
    data = b"\xef\xbb\xbfdata: x\n\n"
    for place in range(len(data)):
        assert parse([data[:place], data[place:]]) == [("", b"x")]


def test_last_event_without_blank_line_is_kept() -> None:
    assert parse([b"data: x\n\ndata: y"]) == [("", b"x"), ("", b"y")]


def test_unknown_fields_ids_and_retry_are_dropped() -> None:
    assert parse([b"id: 3\nretry: 10\nfoo\ndata:a\ndata\n\n"]) == [("", b"a\n")]


def test_an_event_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    for piece in (b"data: " + b"x" * 600, b"data: x\n" * 100):
        parser = SseParser()
        with pytest.raises(MalformedReply):
            for _ in range(20):
                parser.feed(piece)


@pytest.mark.guarantee("limits", "One event of a provider's stream is parsed in linear time, however it is split")
def test_a_large_event_in_pieces_is_joined_once() -> None:
    parser = SseParser()
    data = b"data: " + b"y" * 4_000_000 + b"\n\n"
    events = [event for place in range(0, len(data), 1000) for event in parser.feed(data[place : place + 1000])]
    assert events == [("", data[6:-2])]
    # Nothing is left behind that would count against the next event.
    assert parser.feed(b"data: x\n\n") == [("", b"x")]
