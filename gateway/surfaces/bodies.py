"""Reading a body: a small one at once, a big one in a thread, where its callers take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.contract.errors import InvalidRequest
from gateway.contract.work import WorkPool, caller_of
from gateway.dialects.fields import MOST_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.contract.exchange import Exchange
    from gateway.contract.messages import ChatRequest

T = TypeVar("T")

# Reading so much takes a millisecond or two, about what it costs to hand it to a thread and back when all are busy.
SMALL = 128 * 1024
THREADS = 2
MOST_WAITING = 32


class BodyReader:
    """For all surfaces."""

    def __init__(self) -> None:
        self._pool = WorkPool("bodies", THREADS, MOST_WAITING)

    async def read(self, exchange: Exchange, body: bytes, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the body. Raises what it raises, and `TooManyRequests`."""
        if len(body) <= SMALL:
            return read(body)
        return await self._pool.run(caller_of(exchange), read, body)


def bounded(request: ChatRequest) -> ChatRequest:
    """The request, if its messages are not too many pieces: each is walked again and again. Raises `InvalidRequest`."""
    parts = sum([len(message.parts) for message in request.messages])
    if parts > MOST_PARTS:
        field = "contents" if request.dialect == "gemini" else "messages"
        raise InvalidRequest(f"'{field}' hold {parts} parts together, and at most {MOST_PARTS} are taken", param=field)
    return request
