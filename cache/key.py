"""Which requests may share an answer: those with the same key, by construction and never by a later filter.

The scope holds what an answer may depend on beside the request: the app (or whoever shares by config), the pipeline
with all that is configured for it, and the versions of its sources. The request itself is taken whole, as it was
masked; only what says how the answer is to be sent, and to whom it is to be billed, is left out. A conversation that
has a name is its own: its masked values are known to nobody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from contract.messages import Opaque

if TYPE_CHECKING:
    from contract.messages import ChatRequest

KEY_BYTES = 16
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def request_key(request: ChatRequest, scope: Sequence[str]) -> bytes:
    """128 bits. `request` as it was masked; `scope` in a fixed order."""
    plain = msgspec.structs.replace(
        request,
        # What only one dialect understands may mean something else in another.
        dialect=request.dialect if _speaks_its_own(request) else "",
        stream=False,
        include_usage=False,
        user="",
        metadata=None,
        cache=None,
        headers={},
    )
    return hashlib.blake2b(_encoder.encode((scope, plain)), digest_size=KEY_BYTES).digest()


def scope_digest(parts: Sequence[str]) -> str:
    """A short name for a scope: equal only for equal parts in the same order."""
    return hashlib.blake2b(_encoder.encode(parts), digest_size=KEY_BYTES).hexdigest()


def _speaks_its_own(request: ChatRequest) -> bool:
    if request.extra or any(isinstance(tool, Opaque) or tool.extra or tool.beside for tool in request.tools):
        return True
    return any(
        message.extra or any(isinstance(part, Opaque) or getattr(part, "extra", None) for part in message.parts)
        for message in request.messages
    )
