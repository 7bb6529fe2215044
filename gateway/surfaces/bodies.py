"""Reads request bodies: small ones immediately, large ones in a thread pool that is fair between callers.

A body that is compressed, in another charset or has a byte order bom is first converted to UTF-8, within
`server.max_body`.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, TypeVar

import msgspec

from contract.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia
from contract.packing import CorruptBody, ExpansionTooLarge, UnknownCoding, known_codings, read_codings, unpack
from contract.work import WorkPool, caller_of
from gateway.dialects.fields import MAX_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from gateway.surfaces.http import HttpCall

T = TypeVar("T")

# Parsing this much takes 1 to 2 ms, about the cost of a round trip to a thread when all threads are busy.
MAX_INLINE_BYTES = 128 * 1024
THREADS = 2
MAX_WAITING = 32

# A JSON body starts with one of these bytes only if it has a byte order bom.
_BOM_FIRST_BYTES = (b"\xef", b"\xff", b"\xfe", b"\x00")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "utf-32": "utf-32",
    "utf-32le": "utf-32-le",
    "utf-32be": "utf-32-be",
    "iso-8859-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "windows-1252": "cp1252",
}


class _BodyEncoding(msgspec.Struct, frozen=True):
    """A body's content codings, and Python's name of its charset."""

    codings: tuple[str, ...] = ()
    charset: str = "utf-8"


class BodyReader:
    """Reads the bodies of all surfaces."""

    def __init__(self) -> None:
        self._pool = WorkPool("bodies", THREADS, MAX_WAITING)

    async def receive(self, call: HttpCall, exchange: Exchange, limit: int, body: bytes | None = None) -> bytes:
        """The body in UTF-8. Raises `UnsupportedMedia` before reading it, and what `HttpCall.read_body` raises.

        Raises `BodyTooLarge` as soon as it decompresses to more than `limit` bytes. `body` is the raw body, if it has
        been read already.
        """
        headers = call.headers
        encoding = None
        kind = headers.get(b"content-type", b"")
        if b"content-encoding" in headers or (kind != b"application/json" and b"/" in kind):
            encoding = _read_encoding(call.joined_header(b"content-encoding"), kind.decode("latin-1"))
        if body is None:
            body = await call.read_body(limit)
        if encoding is None:
            if body[:1] not in _BOM_FIRST_BYTES:
                return body
            encoding = _BodyEncoding()
        if len(body) <= MAX_INLINE_BYTES:
            try:
                return _decode(body, encoding, min(limit, MAX_INLINE_BYTES))
            except BodyTooLarge:
                if limit <= MAX_INLINE_BYTES:
                    raise
        return await self._pool.run(caller_of(exchange), _decode, body, encoding, limit)

    async def read(self, exchange: Exchange, body: bytes, read: Callable[[bytes], T]) -> T:
        """Parses the body with `read`. Raises what `read` raises, and `TooManyRequests`."""
        if len(body) <= MAX_INLINE_BYTES:
            return read(body)
        return await self._pool.run(caller_of(exchange), read, body)


def _read_encoding(content_encoding: str, content_type: str) -> _BodyEncoding | None:
    """The body's encoding; None for plain UTF-8. Any media type but multipart is read as JSON.

    Raises `UnsupportedMedia`.
    """
    try:
        codings = read_codings(content_encoding)
    except UnknownCoding as error:
        supported = ", ".join(known_codings())
        message = f"The body can't be decompressed: {error}. Use one of {supported}, or send it uncompressed"
        raise UnsupportedMedia(message, param="content-encoding", accept_encoding=supported) from None
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower().startswith("multipart/"):
        message = f"The media type {kind.strip()[:40]} is not supported: send JSON as application/json"
        raise UnsupportedMedia(message, param="content-type")
    charset = "utf-8"
    for each in parameters.split(";"):
        name, _, value = each.partition("=")
        if name.strip().lower() == "charset":
            label = value.strip().strip("\"'").lower()
            charset = _CHARSETS.get(label.replace("_", "-"), "")
            if not charset:
                message = f"The charset '{label[:40]}' is not supported: send UTF-8"
                raise UnsupportedMedia(message, param="content-type")
    return _BodyEncoding(codings, charset) if codings or charset != "utf-8" else None


def _decode(body: bytes, encoding: _BodyEncoding, limit: int) -> bytes:
    """The body decompressed, in UTF-8, without a byte order bom. Raises `BodyTooLarge`, `InvalidRequest`."""
    if encoding.codings:
        try:
            body = unpack(body, encoding.codings, limit)
        except ExpansionTooLarge:
            raise BodyTooLarge(
                f"The decompressed body is larger than the limit of {limit} bytes (server.max_body)"
            ) from None
        except CorruptBody as error:
            coding_names = ", ".join(encoding.codings)
            raise InvalidRequest(
                f"The body can't be decompressed with its content-encoding ({coding_names}): {error}",
                param="content-encoding",
            ) from None
    bom, charset = next((each for each in _BOMS if body.startswith(each[0])), (b"", encoding.charset))
    body = body[len(bom) :]
    if charset == "utf-8":
        return body
    try:
        body = body.decode(charset).encode("utf-8")
    except ValueError:
        message = f"The body is not valid {charset}, the charset that it declares"
        raise InvalidRequest(message, param="content-type") from None
    if len(body) > limit:
        raise BodyTooLarge(f"The body in UTF-8 is larger than the limit of {limit} bytes (server.max_body)")
    return body


def check_part_count(request: ChatRequest, field: str) -> ChatRequest:
    """Returns the request. Raises `InvalidRequest` for too many parts, as later steps visit each part several times.

    `field`: see `Dialect.turns`.
    """
    parts = sum([len(message.parts) for message in request.messages])
    if parts > MAX_PARTS:
        raise InvalidRequest(f"'{field}' contains {parts} parts; at most {MAX_PARTS} are accepted", param=field)
    return request
