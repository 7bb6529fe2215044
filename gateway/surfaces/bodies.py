"""Reading a body: a small one at once, a big one in a thread, where its callers take turns.

What comes packed, in another charset or behind a byte order mark is made plain UTF-8 first, within `server.max_body`.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, TypeVar

import msgspec

from contract.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia
from contract.packing import CorruptBody, ExpansionTooLarge, UnknownCoding, known_codings, read_codings, unpack
from contract.work import WorkPool, caller_of
from gateway.dialects.fields import MOST_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from gateway.surfaces.http import HttpCall

T = TypeVar("T")

# Reading so much takes a millisecond or two, about what it costs to hand it to a thread and back when all are busy.
SMALL = 128 * 1024
THREADS = 2
MOST_WAITING = 32

# A body begins with one of these only where a byte order mark stands before its JSON.
_MARKED = (b"\xef", b"\xff", b"\xfe", b"\x00")
_MARKS = (
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


class _Form(msgspec.Struct, frozen=True):
    """How a body is written, where it is not plain: its codings, and Python's name of its charset."""

    codings: tuple[str, ...] = ()
    charset: str = "utf-8"


class BodyReader:
    """For all surfaces."""

    def __init__(self) -> None:
        self._pool = WorkPool("bodies", THREADS, MOST_WAITING)

    async def receive(self, call: HttpCall, exchange: Exchange, limit: int, body: bytes | None = None) -> bytes:
        """The body as plain UTF-8. Raises `UnsupportedMedia` before it is read, and what `HttpCall.read_body` raises.

        Raises `BodyTooLarge` for one that unpacks to more than `limit` bytes, as soon as it does. `body` is what was
        read already.
        """
        headers = call.headers
        form = None
        kind = headers.get(b"content-type", b"")
        if b"content-encoding" in headers or (kind != b"application/json" and b"/" in kind):
            form = _form_of(call.joined(b"content-encoding"), kind.decode("latin-1"))
        if body is None:
            body = await call.read_body(limit)
        if form is None:
            if body[:1] not in _MARKED:
                return body
            form = _Form()
        if len(body) <= SMALL:
            try:
                return _plain(body, form, min(limit, SMALL))
            except BodyTooLarge:
                if limit <= SMALL:
                    raise
        return await self._pool.run(caller_of(exchange), _plain, body, form, limit)

    async def read(self, exchange: Exchange, body: bytes, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the body. Raises what it raises, and `TooManyRequests`."""
        if len(body) <= SMALL:
            return read(body)
        return await self._pool.run(caller_of(exchange), read, body)


def _form_of(encoding: str, content_type: str) -> _Form | None:
    """None for plain UTF-8. Any media type is read as JSON, but for those that never are. Raises `UnsupportedMedia`."""
    try:
        codings = read_codings(encoding)
    except UnknownCoding as error:
        taken = ", ".join(known_codings())
        message = f"The body can't be unpacked: {error}. Taken are {taken}, or a body that is not packed"
        raise UnsupportedMedia(message, param="content-encoding", accept_encoding=taken) from None
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower().startswith("multipart/"):
        raise UnsupportedMedia(f"The body is {kind.strip()[:40]}: send JSON as application/json", param="content-type")
    charset = "utf-8"
    for each in parameters.split(";"):
        name, _, value = each.partition("=")
        if name.strip().lower() == "charset":
            told = value.strip().strip("\"'").lower()
            charset = _CHARSETS.get(told.replace("_", "-"), "")
            if not charset:
                raise UnsupportedMedia(f"The charset '{told[:40]}' is not read here: send UTF-8", param="content-type")
    return _Form(codings, charset) if codings or charset != "utf-8" else None


def _plain(body: bytes, form: _Form, limit: int) -> bytes:
    """The body unpacked, in UTF-8, without a byte order mark. Raises `BodyTooLarge`, `InvalidRequest`."""
    if form.codings:
        try:
            body = unpack(body, form.codings, limit)
        except ExpansionTooLarge:
            raise BodyTooLarge(
                f"The body is larger than {limit} bytes when unpacked, the limit here (server.max_body)"
            ) from None
        except CorruptBody as error:
            named = ", ".join(form.codings)
            raise InvalidRequest(
                f"The body can't be unpacked as its content-encoding says ({named}): {error}", param="content-encoding"
            ) from None
    mark, charset = next((each for each in _MARKS if body.startswith(each[0])), (b"", form.charset))
    body = body[len(mark) :]
    if charset == "utf-8":
        return body
    try:
        body = body.decode(charset).encode("utf-8")
    except ValueError:
        raise InvalidRequest(f"The body is not {charset}, as it says", param="content-type") from None
    if len(body) > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes in UTF-8, the limit here (server.max_body)")
    return body


def bounded(request: ChatRequest, field: str) -> ChatRequest:
    """The request, if its messages are not too many pieces: each is walked again and again. Raises `InvalidRequest`.

    `field`: see `Dialect.turns`.
    """
    parts = sum([len(message.parts) for message in request.messages])
    if parts > MOST_PARTS:
        raise InvalidRequest(f"'{field}' hold {parts} parts together, and at most {MOST_PARTS} are taken", param=field)
    return request
