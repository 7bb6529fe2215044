"""Identifies callers by credentials: keys of the YAML, keys of the database, tokens of an identity provider.

Only SHA-256 digests of YAML keys and HMACs of database keys are stored; no key is stored, logged or compared in full.
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
_UNKNOWN = "The API key is unknown"


class PresentedCredentials(msgspec.Struct, frozen=True):
    """What identifies the sender of a request: its key or token, the peer's IP address, and the vendor API it uses."""

    key: str
    address: str = ""
    surface: str = ""


class TokenVerification(Protocol):
    """See `access.callers.jwt.TokenVerifier`."""

    async def verify(self, token: str) -> dict[str, Any]:
        """Returns the claims. Raises `Unauthenticated`, `Unavailable`."""
        ...


class StoredCallers(msgspec.Struct, frozen=True):
    """Keys of the database. `caller` returns the caller of a record, or None if its app was removed."""

    keys: StoredKeys
    caller: Callable[[StoredKey], Caller | None]


class TokenCallers(msgspec.Struct, frozen=True):
    """Tokens. `caller` returns the caller of a token's claims, or raises `Unauthenticated`."""

    verifier: TokenVerification
    looks_like: Callable[[str], bool]
    caller: Callable[[dict[str, Any]], Caller]


def digest(key: str) -> bytes:
    """The SHA-256 digest of `key`, 32 bytes."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class KeyRing:
    """Finds the caller of a key. With `anonymous` set, a request without a key has that caller."""

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
    def has_no_limits(self) -> bool:
        """Whether no caller can have a limit or a budget: all callers are from the YAML, and none has one."""
        callers = [*self._callers.values(), *([self._anonymous] if self._anonymous is not None else [])]
        declared = self._stored is None and self._tokens is None
        return declared and not any(caller.rules or caller.user_rules for caller in callers)

    async def identify(self, credentials: PresentedCredentials) -> Caller:
        """Returns the caller. Raises `Unauthenticated`, `NotAllowed`, or `Unavailable` if keys can't be checked now."""
        caller = await self._find(credentials.key)
        if caller.networks and not within(credentials.address, caller.networks):
            raise NotAllowed("This key may not be used from the network of this request")
        if caller.surfaces and credentials.surface and credentials.surface not in caller.surfaces:
            raise NotAllowed(f"This key may not use the {credentials.surface} API")
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
    """Whether an IP address is in one of the networks; an IPv4-mapped IPv6 address counts as IPv4."""
    try:
        where = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(where, ipaddress.IPv6Address) and where.ipv4_mapped is not None:
        where = where.ipv4_mapped
    return any(where in network for network in networks)


def allowed_models(caller: Caller, models: Iterable[str]) -> list[str]:
    """Those of `models` that `caller` may request, in their order."""
    return [name for name in models if caller.models is None or name in caller.models]


def unknown_model(name: str, allowed: Sequence[str]) -> UnknownModel:
    """The error for a model that does not exist or is not in `allowed`: the same for both, to prevent probing."""
    shown = name if len(name) <= 100 else name[:100] + "..."
    near = difflib.get_close_matches(name[:200], allowed, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else f" Available models: {', '.join(allowed[:10]) or 'none'}."
    return UnknownModel(f"The model '{shown}' does not exist or you may not use it.{hint}", param="model")
