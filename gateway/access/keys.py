"""Callers by their keys. Only SHA-256 digests are kept; the keys themselves are never stored, logged or compared."""

from __future__ import annotations

import difflib
import hashlib
from typing import TYPE_CHECKING

from gateway.contract.errors import Unauthenticated, UnknownModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.contract.exchange import Caller


def digest(key: str) -> bytes:
    """The 32 bytes that stand for `key`."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class KeyRing:
    """Finds the caller of a key. With `anonymous` set, a request without any key is that caller's."""

    def __init__(self, callers: Mapping[bytes, Caller], anonymous: Caller | None = None) -> None:
        """`callers` by the digest of their key."""
        self._callers = dict(callers)
        self._anonymous = anonymous

    def identify(self, key: str) -> Caller:
        """The caller; raises `Unauthenticated`."""
        if self._anonymous is not None and (not key or not self._callers):
            return self._anonymous
        caller = self._callers.get(digest(key)) if key else None
        if caller is None:
            raise Unauthenticated(
                "The API key is not known here"
                if key
                else "Send a key in 'Authorization: Bearer', 'x-api-key' or 'x-goog-api-key'"
            )
        return caller


def allowed_models(caller: Caller, models: Iterable[str]) -> list[str]:
    """Those of `models` that `caller` may ask for, in their order."""
    return [name for name in models if caller.models is None or name in caller.models]


def unknown_model(asked: str, caller: Caller, models: Iterable[str]) -> UnknownModel:
    """The error for a model that does not exist or is not the caller's: one for both, so that nobody can probe."""
    allowed = allowed_models(caller, models)
    shown = asked if len(asked) <= 100 else asked[:100] + "..."
    near = difflib.get_close_matches(asked[:200], allowed, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else f" Known here: {', '.join(allowed[:10]) or 'none'}."
    return UnknownModel(f"The model '{shown}' does not exist or is not yours to use.{hint}", param="model")
