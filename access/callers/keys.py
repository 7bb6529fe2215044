"""Callers by what they show: keys of the YAML, keys that are made while it runs, tokens of an identity provider.

Of the YAML's keys only SHA-256 digests are kept, of the others HMACs; no key is stored, logged or compared as such.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from access.callers.stored_keys import PREFIX
from contract.errors import NotAllowed, Unauthenticated, UnknownModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from access.callers.stored_keys import StoredKey, StoredKeys
    from contract.caller import Caller

_NO_KEY = "Send a key in 'Authorization: Bearer', 'x-api-key' or 'x-goog-api-key'"
_UNKNOWN = "The API key is not known here"


class PresentedCredentials(msgspec.Struct, frozen=True):
    """What a request shows of who sends it: its key or token, the peer's address, and the vendor's API it speaks."""

    key: str
    address: str = ""
    surface: str = ""


class TokenVerification(Protocol):
    """See `access.callers.jwt.TokenVerifier`."""

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims. Raises `Unauthenticated`, `Unavailable`."""
        ...


class StoredCallers(msgspec.Struct, frozen=True):
    """Keys of the database, and the caller that a record makes; None for one whose app is no more."""

    keys: StoredKeys
    caller: Callable[[StoredKey], Caller | None]


class TokenCallers(msgspec.Struct, frozen=True):
    """Tokens, and the caller that their claims make. `caller` raises `Unauthenticated`."""

    verifier: TokenVerification
    looks_like: Callable[[str], bool]
    caller: Callable[[dict[str, Any]], Caller]


def digest(key: str) -> bytes:
    """The 32 bytes that stand for `key`."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class KeyRing:
    """Finds the caller of a key. With `anonymous` set, a request without any key is that caller's."""

    def __init__(
        self,
        callers: Mapping[bytes, Caller],
        anonymous: Caller | None = None,
        stored: StoredCallers | None = None,
        tokens: TokenCallers | None = None,
    ) -> None:
        """`callers` by the digest of their key."""
        self._callers = dict(callers)
        self._anonymous = anonymous
        self._stored = stored
        self._tokens = tokens

    @property
    def limits_nobody(self) -> bool:
        """Whether it is known that no caller has a limit or a budget: none comes from a database or a token."""
        callers = [*self._callers.values(), *([self._anonymous] if self._anonymous is not None else [])]
        declared = self._stored is None and self._tokens is None
        return declared and not any(caller.rules or caller.user_rules for caller in callers)

    async def identify(self, shown: PresentedCredentials) -> Caller:
        """The caller. Raises `Unauthenticated`, `NotAllowed`, or `Unavailable` where nobody can tell now."""
        caller = await self._find(shown.key)
        if caller.networks and not within(shown.address, caller.networks):
            raise NotAllowed("This key may not be used from where the request comes from")
        if caller.surfaces and shown.surface and shown.surface not in caller.surfaces:
            raise NotAllowed(f"This key may not use the {shown.surface} API")
        return caller

    async def _find(self, key: str) -> Caller:
        anonymous = self._anonymous
        if anonymous is not None and (not key or not (self._callers or self._stored or self._tokens)):
            return anonymous
        if not key:
            raise Unauthenticated(_NO_KEY)
        caller = self._callers.get(digest(key))
        if caller is not None:
            return caller
        if self._stored is not None and key.startswith(PREFIX):
            found = self._stored.caller(self._stored.keys.find(key))
            if found is not None:
                return found
        elif self._tokens is not None and self._tokens.looks_like(key):
            return self._tokens.caller(await self._tokens.verifier.verify(key))
        raise Unauthenticated(_UNKNOWN)


def within(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether a connection's end is in one of the networks; IPv4 in IPv6's clothes is IPv4."""
    try:
        where = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(where, ipaddress.IPv6Address) and where.ipv4_mapped is not None:
        where = where.ipv4_mapped
    return any(where in network for network in networks)


def allowed_models(caller: Caller, models: Iterable[str]) -> list[str]:
    """Those of `models` that `caller` may ask for, in their order."""
    return [name for name in models if caller.models is None or name in caller.models]


def unknown_model(asked: str, allowed: Sequence[str]) -> UnknownModel:
    """The error for a model that does not exist or is not among the caller's `allowed`: one for both, so that nobody
    can probe.
    """
    shown = asked if len(asked) <= 100 else asked[:100] + "..."
    near = difflib.get_close_matches(asked[:200], allowed, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else f" Known here: {', '.join(allowed[:10]) or 'none'}."
    return UnknownModel(f"The model '{shown}' does not exist or is not yours to use.{hint}", param="model")
