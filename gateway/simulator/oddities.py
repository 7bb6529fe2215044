"""Turns a valid response into a broken provider's: too deep, truncated, endless, compressed, or with wrong headers."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.simulator.behaviours import Behaviour
    from gateway.simulator.wire import Wire

DEPTH = 100_000
INTERIM = (100, 102, 103)
_INTERIM_NAMES = {100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints"}
_NEST = b"[" * DEPTH + b"]" * DEPTH
# The end of the first call's arguments: as text within JSON, and as JSON.
_AS_TEXT = rb"y\":\"Rome\"}"
_AS_JSON = b'y":"Rome"}'
_BATCH_SIZE = 20
_ENCODINGS = ("gzip", "deflate", "br", "zstd")
_FLOODS = ("floodwords", "floodcalls", "floodchoices", "floodparts", "floodcomments")


def interim(status: int) -> bytes:
    """An interim response, with headers that would be wrong for the final response."""
    lines = [f"HTTP/1.1 {status} {_INTERIM_NAMES.get(status, 'Interim')}"]
    if status == 101:
        lines += ["connection: upgrade", "upgrade: websocket"]
    elif status != 100:
        lines += ["link: </style.css>; rel=preload", "content-type: text/html", "content-encoding: br"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def nest_deeply(body: bytes) -> bytes:
    """Adds a field nested 100,000 deep to the object in a body or in a frame's data."""
    head, _, rest = body.partition(b"{")
    return head + b'{"deep":' + _NEST + b"," + rest


def nest_error(body: bytes) -> bytes:
    """A vendor's error with a message nested 100,000 deep."""
    head, name, rest = body.partition(b'"message":')
    return head + name + _NEST + b"," + b'"was":' + rest


def break_arguments(data: bytes, behaviour: Behaviour) -> bytes:
    """Truncates the first call's arguments, or nests them 100,000 deep."""
    deep = behaviour.has("deepargs")
    if _AS_TEXT in data:
        return data.replace(_AS_TEXT, rb"y\":" + _NEST + b"}" if deep else rb"y\":\"Ro")
    place = data.find(_AS_JSON)
    if place < 0:
        return data
    if deep:
        return data.replace(_AS_JSON, b'y":' + _NEST + b"}")
    return data[:place] + b'y":"Ro' + (b"\n\n" if data.endswith(b"\n") else b"")


def content_encoding(behaviour: Behaviour) -> str:
    """The `content-encoding` header, or an empty string."""
    return next((name for name in _ENCODINGS if behaviour.has(name)), "")


def compress(body: bytes, behaviour: Behaviour) -> bytes:
    """Compresses with `gzip` or `deflate`; leaves the body as it is for `br`, `zstd` and `lie`."""
    if behaviour.has("lie") or not (behaviour.has("gzip") or behaviour.has("deflate")):
        return body
    compressor = zlib.compressobj(wbits=31 if behaviour.has("gzip") else 15)
    return compressor.compress(body) + compressor.flush()


def flood(behaviour: Behaviour) -> str:
    """The kind of endless content: `words`, `calls`, `choices`, `parts`, `comments`, or empty."""
    return next((name.removeprefix("flood") for name in _FLOODS if behaviour.has(name)), "")


def endless_events(wire: Wire, kind: str) -> Iterator[bytes]:
    """Endless events, several at a time."""
    return _endless(b": keep-alive\n\n" if kind == "comments" else wire.floods[kind])


def endless_body(wire: Wire, kind: str) -> Iterator[bytes]:
    """The parts of an endless buffered body."""
    if kind == "comments":
        return _endless(b" \n")
    head, item = wire.endless[kind]
    return itertools.chain((head,), _endless(item))


def _endless(template: bytes) -> Iterator[bytes]:
    """Repeats a template endlessly; `@` is replaced by the number of the repetition."""
    for start in itertools.count(0, _BATCH_SIZE):
        yield b"".join(template.replace(b"@", b"%d" % (start + place)) for place in range(_BATCH_SIZE))
