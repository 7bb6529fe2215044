"""What a broken provider makes of a good answer: too deep, cut off, without end, packed, or wrongly announced."""

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
_PIECES_AT_ONCE = 20
_PACKED = ("gzip", "deflate", "br", "zstd")
_LIMITLESS = ("floodwords", "floodcalls", "floodchoices", "floodparts", "floodcomments")


def interim(status: int) -> bytes:
    """An answer before the answer, with headers that would be wrong for the real one."""
    lines = [f"HTTP/1.1 {status} {_INTERIM_NAMES.get(status, 'Interim')}"]
    if status == 101:
        lines += ["connection: upgrade", "upgrade: websocket"]
    elif status != 100:
        lines += ["link: </style.css>; rel=preload", "content-type: text/html", "content-encoding: br"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def deepened(body: bytes) -> bytes:
    """An object with a field more, nested 100,000 deep; a frame's is the one in its data."""
    head, _, rest = body.partition(b"{")
    return head + b'{"deep":' + _NEST + b"," + rest


def deep_error(body: bytes) -> bytes:
    """A vendor's error with a message nested 100,000 deep."""
    head, name, rest = body.partition(b'"message":')
    return head + name + _NEST + b"," + b'"was":' + rest


def in_arguments(data: bytes, behaviour: Behaviour) -> bytes:
    """With the first call's arguments cut off, or nested 100,000 deep."""
    deep = behaviour.has("deepargs")
    if _AS_TEXT in data:
        return data.replace(_AS_TEXT, rb"y\":" + _NEST + b"}" if deep else rb"y\":\"Ro")
    place = data.find(_AS_JSON)
    if place < 0:
        return data
    if deep:
        return data.replace(_AS_JSON, b'y":' + _NEST + b"}")
    return data[:place] + b'y":"Ro' + (b"\n\n" if data.endswith(b"\n") else b"")


def packing(behaviour: Behaviour) -> str:
    """The content encoding that is announced, or nothing."""
    return next((name for name in _PACKED if behaviour.has(name)), "")


def packed(body: bytes, behaviour: Behaviour) -> bytes:
    """As `gzip` or `deflate` have it; `br`, `zstd` and what is told to `lie` go out as they are."""
    if behaviour.has("lie") or not (behaviour.has("gzip") or behaviour.has("deflate")):
        return body
    packer = zlib.compressobj(wbits=31 if behaviour.has("gzip") else 15)
    return packer.compress(body) + packer.flush()


def flood(behaviour: Behaviour) -> str:
    """What comes without end: `words`, `calls`, `choices`, `parts`, `comments`, or nothing."""
    return next((name.removeprefix("flood") for name in _LIMITLESS if behaviour.has(name)), "")


def endless_events(wire: Wire, kind: str) -> Iterator[bytes]:
    """Events without end, several at once."""
    return _endless(b": keep-alive\n\n" if kind == "comments" else wire.floods[kind])


def endless_body(wire: Wire, kind: str) -> Iterator[bytes]:
    """A whole answer's body that never ends, in pieces."""
    if kind == "comments":
        return _endless(b" \n")
    head, item = wire.endless[kind]
    return itertools.chain((head,), _endless(item))


def _endless(template: bytes) -> Iterator[bytes]:
    """`@` is the number of the piece."""
    for start in itertools.count(0, _PIECES_AT_ONCE):
        yield b"".join(template.replace(b"@", b"%d" % (start + place)) for place in range(_PIECES_AT_ONCE))
