"""The public keys of an issuer: from its server, by URL or OpenID discovery, or from a file."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.util import base64_to_int

from access.callers.jwt import ALGORITHMS, MIN_RSA_BITS, fits
from contract.errors import Unavailable

MAX_BODY = 1_000_000
# For one refresh with both of its requests.
DEADLINE_S = 10.0
# How long a request waits for a refresh if its key is already known.
PATIENCE_S = 1.0
# OpenSSL does not verify with longer keys.
_MAX_RSA_BITS = 16_384
# The members of a JSON Web Key that joserfc receives: it rejects a key with null in any other member.
_MEMBERS = ("kty", "alg", "n", "e", "crv", "x", "y")

Keys: TypeAlias = dict[str, list[Key]]


class RemoteKeySet:
    """Keys from the issuer's server, fetched again when they are old or when a token names an unknown key."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[bytes]],
        *,
        jwks_url: str = "",
        issuer: str = "",
        clock: Callable[[], float] = time.monotonic,
        fresh_s: float = 3600.0,
        stale_s: float = 86400.0,
        retry_s: float = 30.0,
    ) -> None:
        """Without `jwks_url`, discovers it from `issuer`. Uses old keys for `stale_s` if it is unreachable."""
        if not jwks_url and not issuer:
            raise ValueError("a key set needs the URL of its keys or an issuer")
        self._fetch = fetch
        self._jwks_url = jwks_url
        self._issuer = issuer
        self._clock = clock
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._retry_s = retry_s
        self._keys: Keys = {}
        self._read_at = self._asked_at = -math.inf
        self._failed = True
        self._flight: asyncio.Task[None] | None = None

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """Returns None if the issuer has no such key. Raises `Unavailable` if its server is unreachable."""
        if self._age() >= self._stale_s:
            self._keys = {}
        known = kid in self._keys
        if not known or self._age() >= self._fresh_s:
            await self._refresh(PATIENCE_S if known else None)
        if kid not in self._keys and (self._failed or self._age() >= self._stale_s):
            wait_s = self._asked_at + self._retry_s - self._clock()
            raise Unavailable("The keys of the token's issuer are unavailable", retry_after_s=max(1.0, wait_s))
        return _find(self._keys, kid, algorithm)

    def _age(self) -> float:
        return self._clock() - self._read_at

    async def _refresh(self, patience_s: float | None) -> None:
        """Joins a running refresh; else starts one, unless the last one was less than `retry_s` ago."""
        if self._flight is None or self._flight.done():
            now = self._clock()
            if now - self._asked_at < self._retry_s:
                return
            self._asked_at = now
            self._flight = asyncio.create_task(self._ask(now))
        # A waiter that times out or is cancelled does not cancel the refresh.
        await asyncio.wait({self._flight}, timeout=patience_s)

    async def _ask(self, now: float) -> None:
        self._failed = True
        try:
            async with asyncio.timeout(DEADLINE_S):
                body = await self._fetch(self._jwks_url or await self._discovered())
                # Validating many keys takes a while.
                keys = await asyncio.to_thread(read_keys, body)
        except Exception as error:
            structlog.get_logger().warning("an issuer's keys can't be fetched", problem=type(error).__name__)
            return
        self._keys, self._read_at, self._failed = keys, now, False

    async def _discovered(self) -> str:
        found = _json_object(await self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration"))
        address = found.get("jwks_uri")
        if found.get("issuer") != self._issuer:
            raise ValueError("the discovery document has another issuer")
        secure = self._issuer.startswith("https://")
        if not isinstance(address, str) or not address.startswith("https://" if secure else ("https://", "http://")):
            raise ValueError("the discovery document has no jwks_uri, or an http one for an https issuer")
        return address


class FileKeySet:
    """Keys from a file, which is read again when it changes. If that fails, the old keys stay in use."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._keys: Keys | None = None
        self._seen: tuple[int, ...] = ()
        self._problem = ""

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """Returns None if the file has no such key. Raises `Unavailable` if the file could never be read."""
        self._read()
        if self._keys is None:
            raise Unavailable("The keys of the token's issuer are unavailable")
        return _find(self._keys, kid, algorithm)

    def _read(self) -> None:
        """Runs on the event loop: a stat of a local file is faster than a thread, and the file seldom changes."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                seen = (found.st_mtime_ns, found.st_size, found.st_ino)
                if seen == self._seen:
                    return
                body = file.read(MAX_BODY + 1)
            # An invalid file is not read again at every call.
            self._seen = seen
            self._keys = read_keys(body)
            self._problem = ""
        except (OSError, ValueError) as error:
            problem = type(error).__name__
            if problem != self._problem:
                structlog.get_logger().warning("a key file can't be read", path=str(self._path), problem=problem)
            self._problem = problem


def read_keys(body: bytes) -> Keys:
    """Returns the keys of a JSON Web Key Set by `kid`, without unusable ones. Raises `ValueError`."""
    entries = _json_object(body).get("keys")
    if not isinstance(entries, list):
        raise ValueError("not a key set")
    keys: Keys = {}
    for jwk in entries:
        try:
            key = _import(jwk)
        except (KeyError, TypeError, ValueError, JoseError, UnsupportedAlgorithm):
            continue
        keys.setdefault(jwk["kid"], []).append(key)
    return keys


def _find(keys: Keys, kid: str, algorithm: str) -> Key | None:
    return next((key for key in keys.get(kid, ()) if fits(key, algorithm)), None)


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise ValueError("too large")
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _import(jwk: Any) -> Key:
    """Imports one key. Raises various errors if it is not a key that verifies signatures."""
    kid = jwk["kid"]
    if not isinstance(kid, str) or not kid:
        raise ValueError("the key has no kid")
    # A published private key proves nothing.
    if "d" in jwk:
        raise ValueError("a private key")
    # joserfc treats an empty `use` or `alg` as missing, and rejects `key_ops` with custom operations.
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]) or jwk.get("alg") == "":
        raise ValueError("not for signatures")
    # joserfc imports an RSA key of any size, and for a short one it writes a warning to stderr.
    if jwk["kty"] == "RSA" and not MIN_RSA_BITS <= base64_to_int(jwk["n"]).bit_length() <= _MAX_RSA_BITS:
        raise ValueError("too short or too long")
    key = import_key({name: jwk[name] for name in _MEMBERS if name in jwk})
    if not any(fits(key, name) for name in ALGORITHMS):
        raise ValueError("for no algorithm")
    return key
