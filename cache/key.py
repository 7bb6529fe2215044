"""Cache keys: requests share an answer only if they have the same key, never by a later filter.

The scope contains what an answer depends on besides the request: the app (or the configured sharing), the pipeline with
its complete config, and the versions of its sources. The masked request is part of the key, except for fields that only
affect how the answer is sent and who is billed. A named conversation has its own key, because only it can resolve its
masked values.
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
    """The 128-bit key of a masked request in a scope, whose parts must have a fixed order."""
    plain = msgspec.structs.replace(
        request,
        # Dialect-specific fields may mean something else in another dialect.
        dialect=request.dialect if _has_own_fields(request) else "",
        stream=False,
        include_usage=False,
        user="",
        metadata=None,
        cache=None,
        headers={},
    )
    return hashlib.blake2b(_encoder.encode((scope, plain)), digest_size=KEY_BYTES).digest()


def scope_digest(parts: Sequence[str]) -> str:
    """A digest of a scope; equal only for equal parts in the same order."""
    return hashlib.blake2b(_encoder.encode(parts), digest_size=KEY_BYTES).hexdigest()


def _has_own_fields(request: ChatRequest) -> bool:
    if request.extra or any(isinstance(tool, Opaque) or tool.extra or tool.beside for tool in request.tools):
        return True
    return any(
        message.extra or any(isinstance(part, Opaque) or getattr(part, "extra", None) for part in message.parts)
        for message in request.messages
    )
